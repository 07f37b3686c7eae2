"""A process that ends while its engine generates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ENDINGS = (
    "",
    "engine.close()",
    "del engine, pieces",
    "sys.exit(0)",
    "Thread(target=read, daemon=True).start()",
    "Thread(target=engine.close).start()",
)
"""What may be the last thing that it does."""

_SCRIPT = """
import sys
from threading import Thread
from gemma_tools.engines import GenerationRequest, create_engine
from gemma_tools.errors import EngineUnavailable
from support.tiny import GREEDY, endless
def read():
    try:
        list(pieces)
    except EngineUnavailable:
        pass
engine = create_engine(sys.argv[1], threads=1)
pieces = engine.generate(GenerationRequest(endless(), GREEDY))
next(pieces)
"""


def ended(engine: str, ending: str) -> tuple[int, str]:
    """The exit code and the standard error of such a process."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _SCRIPT + ending, engine],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr.decode()
