"""A small Ray cluster on this machine, with the files of `examples/scale` on its path."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

EXAMPLES = Path(__file__).parents[2] / "examples" / "scale"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
    "GEMMA_TOOLS_MODELS": "tiny",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""The environment of all of the cluster's processes."""


CPUS = 5
"""As many as Ray Serve counts for two vLLM replicas and what goes before them; the machine may have fewer."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster. `url` is where Ray Serve answers."""

    url: str
    orphans: set[psutil.Process] = field(default_factory=set)
    """What killed processes had started, which may live on."""

    def processes(self, title: str) -> list[psutil.Process]:
        """The cluster's processes with `title` in the name that Ray gives them."""
        found = []
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if title in process.cmdline()[0]:
                    found.append(process)
        return found

    def kill(self, title: str) -> bool:
        """Kill one of these processes, which gets no chance to say anything; False if there is none."""
        for victim in self.processes(title):
            with suppress(psutil.NoSuchProcess):
                self.orphans.update(victim.children(recursive=True))
                victim.kill()
                return True
        return False


@contextmanager
def cluster(ray: Any) -> Iterator[Cluster]:
    """Start a cluster, with `ray` the module. At the end, also after a failure, every process that it started is gone."""
    path = [str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ.update(QUIET, PYTHONPATH=os.pathsep.join(path))
    sys.path.insert(0, str(EXAMPLES))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = Cluster(f"http://127.0.0.1:{port}")
    try:
        _start(ray)
        from ray import serve

        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        yield running
        serve.shutdown()
    finally:
        started = running.orphans.union(psutil.Process().children(recursive=True))
        ray.shutdown()
        _, left = psutil.wait_procs(started, timeout=20)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        sys.path.remove(str(EXAMPLES))


def _start(ray: Any) -> None:
    """Start Ray. Its parts wait only seconds for one another, which on a busy machine is too short now and then."""
    for last in (False, False, True):
        try:
            ray.init(num_cpus=CPUS, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
            return
        except Exception:
            ray.shutdown()
            if last:
                raise
