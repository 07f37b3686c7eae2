"""How many threads should compute at once: the cores of the machine that this process may use.

Threads that wait in a busy loop, as llama.cpp's do, cost more time than they save if there are more of them than free cores.
Two hardware threads of one core count as one, and a container's quota as that many cores.

Sources: cgroups(7) and the kernel's cgroup-v2.rst (cpu.max), sched-bwc.rst (cpu.cfs_quota_us), cputopology.rst.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path

from gemma_tools.errors import InvalidRequest

_ROOT = Path("/")


def compute_threads() -> int | None:
    """The number of threads to compute with: all usable cores except one, which is left to the rest of this process.

    GEMMA_TOOLS_THREADS in the environment sets another number. None if the system does not report these cores: then the
    library's own choice is better.

    Raises:
        InvalidRequest: GEMMA_TOOLS_THREADS is not a number of threads.
    """
    if said := os.environ.get("GEMMA_TOOLS_THREADS"):
        if not said.isdecimal() or int(said) < 1:
            raise InvalidRequest("must be a number of at least 1", param="GEMMA_TOOLS_THREADS")
        return int(said)
    if not sys.platform.startswith("linux"):
        return None
    return max(1, usable_cores(os.sched_getaffinity(0)) - 1)


def usable_cores(cpus: Set[int], root: Path = _ROOT) -> int:
    """The number of physical cores among `cpus`, but no more than the quota of this process's control group; at least 1.

    `root` contains `proc` and `sys`.
    """
    cores = {_core(cpu, root) for cpu in cpus}
    return max(1, min(len(cores), *(int(quota) for quota in _quotas(root)), len(cores)))


def _core(cpu: int, root: Path) -> str:
    """What all hardware threads of one core have in common."""
    with suppress(OSError):
        return (root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    return str(cpu)


def _quotas(root: Path) -> Iterator[float]:
    """The quotas, in cores, of this process's control group and of its parents (version 2, then version 1)."""
    lines: list[str] = []
    with suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts, read = ["sys/fs/cgroup"], _quota
        elif "cpu" in controllers.split(","):
            mounts, read = [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"], _old_quota
        else:
            continue
        inside = Path(path.lstrip("/"))
        for mount in mounts:
            for group in (inside, *inside.parents):
                with suppress(OSError, ValueError, ZeroDivisionError):
                    yield read(root / mount / group)


def _quota(group: Path) -> float:
    quota, period = (group / "cpu.max").read_text().split()
    return int(quota) / int(period)  # "max" is not a number: there is no quota


def _old_quota(group: Path) -> float:
    quota = float((group / "cpu.cfs_quota_us").read_text())
    if quota < 0:
        raise ValueError("there is no quota")
    return quota / float((group / "cpu.cfs_period_us").read_text())
