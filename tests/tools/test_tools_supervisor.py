"""Nothing that a script starts outlives it, whatever it leaves behind, and it cannot read this program's environment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from gemma_tools.engines.base import Cancellation
from gemma_tools.errors import InvalidRequest
from gemma_tools.tools import ScriptResult, ToolBox, script_runner
from gemma_tools.tools.ending import ended_by

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="subreapers and /proc are Linux's")

LEAVES = """
import os, socket, sys
def leave(*, keep=(), environment=None):
    # Into a session of its own, without a parent, without an environment.
    r, w = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.set_inheritable(w, True)
        code = ("import os, socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
                "s.sendall(b'%d\\\\n' % os.getpid()); os.write(int(sys.argv[2]), b'.'); s.recv(1)")
        os.execve(sys.executable, [sys.executable, '-S', '-c', code, sys.argv[1], str(w)], environment or {})
    os.close(w)
    os.read(r, 1)
"""
"""A process that leaves connects to the port that the script is given, tells its number, and waits for ever."""


class Port:
    """Where those that leave a script tell that they are there."""

    def __init__(self, listener: socket.socket) -> None:
        self.number = str(listener.getsockname()[1])
        self._listener = listener

    def next(self) -> socket.socket:
        """The connection of the next one."""
        connection = self._listener.accept()[0]
        connection.settimeout(60)
        return connection

    def gone(self, count: int = 1) -> bool:
        """Whether the next `count` that came are gone: the system closes the connections of what has ended."""
        for _ in range(count):
            with self.next() as connection, connection.makefile("rb") as told:
                assert int(told.readline())
                if told.read():
                    return False
        return True


@pytest.fixture
def port() -> Iterator[Port]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        yield Port(listener)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., ScriptResult]:
    def run(source: str, arguments: str = "", **options: Any) -> ScriptResult:
        (tmp_path / "script.py").write_text(source)
        return script_runner(tmp_path, **options)("script.py", arguments)  # type: ignore[no-any-return]

    return run


def test_a_process_that_leaves_everything_ends_with_the_script(run: Any, port: Port) -> None:
    result = run(LEAVES + "leave(); print('done')", port.number)
    assert (result.stdout, result.return_code, result.error) == ("done\n", 0, None)
    assert port.gone()


def test_a_chain_of_processes_that_leave_ends_with_the_script(run: Any, port: Port) -> None:
    result = run(LEAVES + "for _ in range(5): leave()\nsys.exit(3)", port.number)
    assert result.return_code == 3
    assert port.gone(5)


def test_what_holds_the_output_holds_up_nothing(run: Any, port: Port) -> None:
    result = run(LEAVES + "leave(); print('a'); sys.stdout.flush(); os.kill(os.getpid(), 9)", port.number)
    assert (result.stdout, result.return_code) == ("a\n", -signal.SIGKILL)
    assert port.gone()


def test_a_request_that_ends_ends_what_left(run: Any, port: Port) -> None:
    cancel = Cancellation()

    def watch() -> None:
        with port.next() as connection:
            connection.recv(100)
            cancel.cancel()
            gone.append(connection.recv(1) == b"")

    gone: list[bool] = []
    with ended_by(cancel):
        watching = Thread(target=watch)
        watching.start()
        result = run(LEAVES + "leave()\nimport time; time.sleep(1000)", port.number)
        watching.join()
    assert (result.return_code, "request" in result.error, gone) == (-signal.SIGKILL, True, [True])


WAITS = "import socket, sys, time; held = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"


def test_a_cancelled_task_ends_the_scripts_that_it_waits_for(tmp_path: Path, port: Port) -> None:
    (tmp_path / "wait.py").write_text(WAITS)
    box = ToolBox([script_runner(tmp_path)])

    async def main() -> None:
        arguments = {"script_name": "wait.py", "arguments": port.number}
        task = asyncio.create_task(box.acall("execute_python", arguments))
        with await asyncio.to_thread(port.next) as connection:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(connection.recv, 1) == b""

    asyncio.run(main())


INTERRUPTED = """
import sys
from gemma_tools.reply import ToolCall
from gemma_tools.tools import ToolBox, script_runner
from gemma_tools.tools.loop import run_calls
box = ToolBox([script_runner(sys.argv[1])])
arguments = '{"script_name": "wait.py", "arguments": "%s"}' % sys.argv[2]
try:
    run_calls(box, [ToolCall(str(number), "execute_python", arguments) for number in range(2)])
except KeyboardInterrupt:
    sys.stdin.read()
"""


def test_an_interrupt_ends_all_scripts_that_run_at_once(tmp_path: Path, port: Port) -> None:
    (tmp_path / "wait.py").write_text(WAITS)
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path), port.number]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process, port.next() as first, port.next() as second:
        process.send_signal(signal.SIGINT)
        assert (first.recv(1), second.recv(1)) == (b"", b"")
        assert process.poll() is None


def test_a_script_ends_with_a_caller_that_is_killed(tmp_path: Path, port: Port) -> None:
    (tmp_path / "script.py").write_text(LEAVES + "leave()\nimport time; time.sleep(1000)")
    code = "import sys; from gemma_tools.tools import script_runner; script_runner(sys.argv[1])('script.py', sys.argv[2])"
    caller = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), port.number])
    with port.next() as connection:
        assert connection.recv(100)
        caller.kill()
        caller.wait()
        assert connection.recv(1) == b""


def test_a_script_that_kills_its_supervisor_takes_its_marked_processes_with_it(run: Any, port: Port) -> None:
    source = LEAVES + "leave(environment=dict(os.environ)); os.kill(os.getppid(), 9); import time; time.sleep(1000)"
    result = run(source, port.number)
    assert result.return_code == -signal.SIGKILL
    assert port.gone()


def test_no_process_and_no_descriptor_is_left_here(run: Any, port: Port) -> None:
    run("")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run(LEAVES + "leave()", port.number)
        assert port.gone()
    assert len(os.listdir("/proc/self/fd")) == before


LIMITS = "import json, resource; print(json.dumps({n: resource.getrlimit(getattr(resource, n)) for n in %r}))"


def test_limits_are_set(run: Any) -> None:
    names = ("RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CORE")
    told = json.loads(run(LIMITS % (names,), max_file_size=1000, max_files=50, max_processes=10).stdout)
    assert told["RLIMIT_FSIZE"] == [1000, 1000]
    assert told["RLIMIT_NOFILE"] == [50, 50]
    assert told["RLIMIT_CORE"] == [0, 0]
    assert told["RLIMIT_NPROC"][0] > 10
    free = json.loads(run(LIMITS % (names,), max_file_size=None, max_files=None, max_processes=None).stdout)
    assert free["RLIMIT_FSIZE"] != [1000, 1000]


def test_files_do_not_grow_without_a_bound(run: Any, tmp_path: Path) -> None:
    result = run("with open('out', 'wb') as file: file.write(bytes(100_000))", max_file_size=1000)
    assert result.return_code != 0
    assert (tmp_path / "out").stat().st_size == 1000


def test_open_files_are_bounded(run: Any) -> None:
    assert "Too many open files" in run("files = [open('/dev/null') for _ in range(100)]", max_files=50).stderr


@pytest.mark.parametrize("limit", ["max_processes", "max_file_size", "max_files"])
def test_a_limit_of_nothing_is_refused(tmp_path: Path, limit: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        script_runner(tmp_path, **{limit: 0})
    assert caught.value.param == limit


def test_the_environment_of_the_server_cannot_be_read(tmp_path: Path) -> None:
    """As a server does it before it begins. The script looks for its supervisor's parent, and at every other process."""
    (tmp_path / "script.py").write_text(
        "import glob\nfor name in glob.glob('/proc/[0-9]*/environ'):\n"
        "    try:\n        print('s3cret' in open(name, errors='replace').read())\n    except OSError: pass\n"
    )
    code = (
        "import sys; from gemma_tools.tools.scripts import hide_environment, script_runner; hide_environment()\n"
        "print(script_runner(sys.argv[1])('script.py').stdout)"
    )
    environment = {**os.environ, "GEMMA_TOOLS_API_KEYS": "s3cret"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert set(done.stdout.split()) == {"False"}
