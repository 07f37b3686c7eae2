"""How many cores this process may use: by the machine, by affinity and by a container's quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gemma_tools.engines import create_engine
from gemma_tools.engines.cores import compute_threads, usable_cores
from gemma_tools.errors import InvalidRequest

V2 = "0::/app/worker\n"
V1 = "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n"


def machine(root: Path, cgroup: str = "", files: dict[str, str] | None = None, cores: str = "") -> Path:
    """The files of a system: its control group, the files of control groups, and for each CPU the CPUs of its core."""
    written = {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{name}": text for name, text in (files or {}).items()}}
    for cpu, siblings in enumerate(cores.split()):
        written[f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"] = siblings + "\n"
    for name, text in written.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_more_knowledge_each_cpu_is_a_core(tmp_path: Path) -> None:
    assert usable_cores({0, 1, 5}, tmp_path) == 3


def test_two_threads_of_one_core_are_one(tmp_path: Path) -> None:
    root = machine(tmp_path, cores="0,4 1,5 2,6 3,7 0,4 1,5 2,6 3,7")
    assert usable_cores(set(range(8)), root) == 4
    assert usable_cores({0, 4}, root) == 1
    assert usable_cores({1, 4, 6}, root) == 3


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"app/worker/cpu.max": "200000 100000\n"}, 2),
        ({"app/worker/cpu.max": "max 100000\n"}, 8),
        ({"app/worker/cpu.max": "max 100000\n", "app/cpu.max": "350000 100000\n"}, 3),
        ({"app/worker/cpu.max": "600000 100000\n", "cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu.max": "nonsense\n"}, 8),
        ({"cpu.max": "1 0\n"}, 8),
        ({}, 8),
    ],
)
def test_a_quota_is_so_many_cores(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert usable_cores(set(range(8)), machine(tmp_path, V2, files)) == cores


@pytest.mark.parametrize("folder", ["cpu,cpuacct/docker/abc", "cpu/docker/abc", "cpu,cpuacct", "cpu"])
@pytest.mark.parametrize(("quota", "cores"), [("150000", 1), ("400000", 4), ("-1", 8)])
def test_a_quota_of_the_first_version(tmp_path: Path, folder: str, quota: str, cores: int) -> None:
    files = {f"{folder}/cpu.cfs_quota_us": quota + "\n", f"{folder}/cpu.cfs_period_us": "100000\n"}
    assert usable_cores(set(range(8)), machine(tmp_path, V1, files)) == cores


def test_the_number_of_threads_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_TOOLS_THREADS", "3")
    assert compute_threads() == 3
    monkeypatch.setenv("GEMMA_TOOLS_THREADS", "many")
    with pytest.raises(InvalidRequest, match="GEMMA_TOOLS_THREADS"):
        compute_threads()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the affinity is told on Linux")
def test_one_core_is_left_to_the_rest_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMMA_TOOLS_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert compute_threads() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(1000, 1004)))
    assert compute_threads() in (1, 2, 3)  # a container's quota may be lower


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(threads: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        create_engine("tiny", threads=threads)
    assert caught.value.param == "threads"
