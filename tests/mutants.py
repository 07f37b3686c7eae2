"""Change the code of formats and schemas at random, one place at a time, and print the share of changes that tests notice.

    python tests/mutants.py [MINUTES] [SEED]

mutmut makes the changes and runs the tests; its settings are in pyproject.toml. A random sample is tried, batch by batch,
until the time is up: the batch that is then at work is ended, and what it has tried counts. `mutmut show NAME` prints a
change that no test noticed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

MADE = Path("mutants")
FIRST = "*__mutmut_100"
"""The few changes whose names are known before any is made: of functions with so many."""
BATCH = 150
KILLED = {1, 3}
"""Exit codes of pytest: a test failed, or pytest itself did."""
TIMEOUT = {24, 36, 152, 255, -24}
"""Exit codes of mutmut for a change that made the tests run for too long, which is noticed, too."""


def outcomes() -> dict[str, int | None]:
    """The exit code of every change that was made; None if it was not tried."""
    found: dict[str, int | None] = {}
    for path in MADE.rglob("*.py.meta"):
        with suppress(json.JSONDecodeError):  # mutmut was ended while it wrote this file
            found |= json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return found


def run(names: list[str], until: float) -> bool:
    """Try these changes; whether all of them were tried in time."""
    running = subprocess.Popen(["mutmut", "run", *names], start_new_session=True)
    try:
        if running.wait(max(0, until - time.monotonic())):
            raise SystemExit("mutmut failed: the tests have to pass before any change")
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def main(minutes: float, seed: int) -> int:
    shutil.rmtree(MADE, ignore_errors=True)
    until = time.monotonic() + 60 * minutes
    going = run([FIRST], until)
    names = sorted(outcomes())
    random.Random(seed).shuffle(names)
    while going and names:
        batch, names = names[:BATCH], names[BATCH:]
        going = run(batch, until)
    tried = {name: code for name, code in outcomes().items() if code is not None}
    if not tried:
        raise SystemExit(f"{minutes:g} minutes are too few: no change was tried")
    missed = sorted(name for name, code in tried.items() if code not in KILLED | TIMEOUT)
    late = sum(code in TIMEOUT for code in tried.values())
    print(*missed, sep="\n")
    print(
        f"{len(tried) - len(missed)} of {len(tried)} changes noticed: {1 - len(missed) / len(tried):.1%} ({late} by their time)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(float((sys.argv[1:] or ["20"])[0]), int((sys.argv[2:] or ["0"])[0])))
