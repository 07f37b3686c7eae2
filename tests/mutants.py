"""Change the code of formats and schemas at random, one place at a time, and print the share of changes that tests notice.

    python tests/mutants.py [MINUTES] [SEED]

mutmut makes the changes and runs the tests; its settings are in pyproject.toml. A random sample is tried, batch by batch, as
long as the next batch is likely to end in time. `mutmut show NAME` prints a change that no test noticed.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

MADE = Path("mutants")
BATCH = 150
KILLED = {1, 3}
"""Exit codes of pytest: a test failed, or pytest itself did."""
TIMEOUT = {24, 36, 152, 255, -24}
"""Exit codes of mutmut for a change that made the tests run for too long, which is noticed, too."""


def outcomes() -> dict[str, int | None]:
    """The exit code of every change that was made; None if it was not tried."""
    found: dict[str, int | None] = {}
    for path in MADE.rglob("*.py.meta"):
        found |= json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return found


def main(minutes: float, seed: int) -> int:
    shutil.rmtree(MADE, ignore_errors=True)
    start = time.monotonic()
    rng = random.Random(seed)
    batch = [f"*__mutmut_{rng.randrange(20, 60)}"]  # of each function with so many; the others have no names yet
    names: list[str] = []
    while batch:
        begun = time.monotonic()
        subprocess.run(["mutmut", "run", *batch], check=True)
        ended = time.monotonic()
        names = names or rng.sample(found := sorted(outcomes()), len(found))
        batch, names = (names[:BATCH], names[BATCH:]) if 2 * ended - begun - start < 60 * minutes else ([], [])
    tried = {name: code for name, code in outcomes().items() if code is not None}
    missed = sorted(name for name, code in tried.items() if code not in KILLED | TIMEOUT)
    print(*missed, sep="\n")
    print(f"{len(tried) - len(missed)} of {len(tried)} changes noticed: {1 - len(missed) / len(tried):.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main(float((sys.argv[1:] or ["20"])[0]), int((sys.argv[2:] or ["0"])[0])))
