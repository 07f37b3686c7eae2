"""A real server in a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import BinaryIO

_PATIENCE = 1200
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
    port = _free_port()
    arguments = [part.replace("{port}", str(port)) for part in command]
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w+b") as log:
        popen = subprocess.Popen(
            arguments, env={**os.environ, **(env or {})}, stdout=log, stderr=log, start_new_session=True, cwd=folder
        )
        process = Process(f"http://127.0.0.1:{port}", popen)
        try:
            if not _answers(process, ready):
                raise RuntimeError(f"{arguments[0]} did not start:\n{_end(log)}")
            yield process
        finally:
            if popen.poll() is not None:
                print(f"{arguments[0]} has ended by itself, {popen.returncode}:\n{_end(log)}", file=sys.stderr)
            process.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                popen.wait(timeout=20)
            process.signal(signal.SIGKILL)
            popen.wait()


def _end(log: BinaryIO) -> str:
    log.seek(0)
    return log.read()[-4000:].decode(errors="replace")


def _free_port() -> int:
    """A port outside of the range that the system gives to all who ask for any: a server may take minutes until it listens."""
    for port in random.sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port is free")


def _answers(process: Process, path: str) -> bool:
    for _ in range(4 * _PATIENCE):
        if process.popen.poll() is not None:
            return False
        with suppress(OSError), urllib.request.urlopen(process.url + path, timeout=5):
            return True
        Event().wait(0.25)
    return False
