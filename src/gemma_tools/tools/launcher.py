"""Run as a script of its own: limit this process, then become the program that is to run.

    python -I -S launcher.py MEMORY_BYTES CPU_SECONDS PROGRAM [ARGUMENT...]

Limits are set here, not between fork and exec in the caller, which may have threads. 0 is no limit.
"""

import os
import resource
import sys
from contextlib import suppress


def _limit(kind: int, most: int) -> None:
    # A system that does not know a limit, or has a lower one already, keeps its own.
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    if memory:
        _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_CPU, seconds)
    _limit(resource.RLIMIT_CORE, 0)
    os.execv(sys.argv[3], sys.argv[3:])
