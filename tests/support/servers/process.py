"""A real server in a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

_PATIENCE = 300
"""How many seconds a server may take to load its model."""


@dataclass(frozen=True)
class Process:
    """A server that was started, and where it is."""

    url: str
    popen: subprocess.Popen[bytes]

    def signal(self, number: int) -> None:
        """Send a signal to the server and to all processes that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)


@contextmanager
def running(command: Sequence[str], *, ready: str, env: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Run `command`, in which `{port}` stands for a free port, and wait until it answers at the path `ready`.

    The server and all that it started are ended when this context is left.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [part.replace("{port}", str(port)) for part in command]
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w+b") as log:
        popen = subprocess.Popen(
            arguments, env={**os.environ, **(env or {})}, stdout=log, stderr=log, start_new_session=True, cwd=folder
        )
        process = Process(f"http://127.0.0.1:{port}", popen)
        try:
            if not _answers(process, ready):
                log.seek(0)
                raise RuntimeError(f"{arguments[0]} did not start:\n{log.read()[-4000:].decode(errors='replace')}")
            yield process
        finally:
            process.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                popen.wait(timeout=20)
            process.signal(signal.SIGKILL)
            popen.wait()


def _answers(process: Process, path: str) -> bool:
    for _ in range(4 * _PATIENCE):
        if process.popen.poll() is not None:
            return False
        with suppress(OSError), urllib.request.urlopen(process.url + path, timeout=5):
            return True
        Event().wait(0.25)
    return False
