"""Run a part of docs/clients.md as it is written there: `python run_part.py PART FOLDER`.

FOLDER is where the part's packages are, in `bin` or in `node_modules`. Its programs have a home of their own, and work there.
The server's address on the page is replaced by that of a server in this process. What a block prints must be what the `text`
block below it shows, in which a line `...` stands for any lines; and every request must have been answered.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from gemma_tools.server.log import access
from support.clients import ADDRESS, Block, blocks, gemma_names, parts, scripted_gemma
from support.serving import named, serving

LANGUAGES = {"js": ("node", "mjs"), "python": ("python", "py"), "sh": ("bash -e", "sh")}
"""What runs a block, and what its file's name ends with."""
NOWHERE = "http://127.0.0.1:9"
QUIET = {
    "DO_NOT_TRACK": "1",
    "NO_COLOR": "1",
    "CONTINUE_CLI_ENABLE_TELEMETRY": "0",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "http_proxy": NOWHERE,
    "https_proxy": NOWHERE,
    "HTTP_PROXY": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
    "no_proxy": "127.0.0.1,localhost",
    "NO_PROXY": "127.0.0.1,localhost",
}
"""The programs get no further than this machine, and are not to try."""


class Requests(logging.Handler):
    """Keeps what the server's log says of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an entry."""
        self.entries.append(json.loads(record.getMessage()))


def environment(folder: Path, home: Path) -> dict[str, str]:
    """The variables of the part's programs."""
    path = os.pathsep.join([str(folder / "bin"), str(folder / "node_modules" / ".bin"), os.environ["PATH"]])
    return {**QUIET, "PATH": path, "HOME": str(home), "LANG": "C.UTF-8"}


def perform(block: Block, number: int, folder: Path, env: dict[str, str]) -> str:
    """Run a block, or write the file that it is, and give what it prints."""
    work = Path(env["HOME"], "work")
    if block.file or block.language not in LANGUAGES:
        file = work / block.file.replace("~", env["HOME"], 1)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")
        return ""
    program, ending = LANGUAGES[block.language]
    file = folder / f"block{number}.{ending}"  # where Node.js finds the packages
    file.write_text(block.text, encoding="utf-8")
    command = [*program.split(), str(file)]
    done = subprocess.run(command, cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=1200)
    printed = done.stdout.decode()
    assert done.returncode == 0, f"{block.text}\nended with {done.returncode} and printed\n{printed}"
    return printed


def agree(printed: str, shown: str) -> bool:
    """Whether `printed` is what the page shows."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else rf"{re.escape(line)}\s*\n" for line in shown.splitlines())
    return re.fullmatch(pattern, printed + "\n" * (not printed.endswith("\n"))) is not None


def end_what_is_left(home: str) -> None:
    """End the processes that programs with this home have left running."""
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get("HOME") == home:
            process.kill()


def run(part: str, folder: Path) -> None:
    """Run `part`. Raises `AssertionError` if it does not do what it says."""
    text, gemma = parts()[part], named(scripted_gemma(part))
    models = {"tiny": {"model": "tiny"}, **{name: {"model": gemma} for name in gemma_names(text)}}
    log = Requests()
    access.addHandler(log)
    access.setLevel(logging.INFO)
    printed = ""
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as home,
        serving(models=models, sampling={"temperature": 0}) as url,
        ExitStack() as undo,
    ):
        undo.callback(end_what_is_left, home)
        env = environment(folder, Path(home))
        Path(home, "work").mkdir()
        for number, block in enumerate(blocks(text.replace(ADDRESS, url.removesuffix("/v1")))):
            if block.language == "text":
                assert agree(printed, block.text), f"the page shows\n{block.text}\nprinted was\n{printed}"
            else:
                printed = perform(block, number, folder, env)
    asked = [f"{entry['method']} {entry['path']} {entry['status']} {entry['error'] or ''}" for entry in log.entries]
    print(*asked, sep="\n")
    assert asked, "no request came"
    assert all(entry["status"] == 200 and not entry["error"] for entry in log.entries)


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]).resolve())
