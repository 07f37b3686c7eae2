"""`execute_python`: a tool that runs the Python scripts of one directory.

This is not a sandbox. A script runs as the user of this program, and can do everything that the user can: read files, open
connections, start processes. Only the model's choices are limited: which script, which interpreter, how long, how much memory
and output. Use a directory with only scripts that a stranger may run.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from threading import Thread
from typing import IO, Annotated, Final

from pydantic import AliasChoices, Field

from gemma_tools.errors import InvalidRequest
from gemma_tools.tools.ending import cancellation
from gemma_tools.tools.functions import FunctionTool, tool

_POSIX: Final = os.name == "posix"
_NAME: Final = re.compile(r"(?!.*\.\.)\w[\w .+-]*\.py")
_SUPERVISOR: Final = Path(__file__).with_name("supervisor.py")
_MARK: Final = "GEMMA_TOOLS_SCRIPT_RUN"
_KILL_ROUNDS: Final = 20
_CLOSING_SECONDS: Final = 1.0
_ENDING_SECONDS: Final = 10.0
_PR_SET_DUMPABLE: Final = 4
_NAMES_SHOWN: Final = 50
_MAX_ARGUMENTS: Final = 32_000


@dataclass(frozen=True, slots=True)
class ScriptResult:
    """The result of a script, or why it was not run."""

    stdout: str = ""
    stderr: str = ""
    return_code: int = -1
    """The exit status; the negative number of the signal that ended it; -1, with an `error`, if it was not run."""
    error: str | None = None
    """Why it was not run, or why it was stopped."""
    duration: float = 0.0
    """Seconds from start to end."""
    truncated: bool = False
    """Whether there was more output than is returned."""


class _Refused(Exception):
    """The script is not run; the message says why."""


@dataclass(frozen=True, slots=True)
class _Limits:
    timeout: float
    max_output: int
    max_memory: int | None
    max_processes: int | None
    max_file_size: int | None
    max_files: int | None

    def of_each_process(self) -> dict[str, int]:
        """The limits that the system enforces, by their names in `resource`."""
        processes = None if self.max_processes is None else _processes() + self.max_processes
        limits = {
            "RLIMIT_AS": self.max_memory,
            "RLIMIT_CPU": int(self.timeout) + 1,
            "RLIMIT_CORE": 0,
            "RLIMIT_NPROC": processes if sys.platform.startswith("linux") else None,
            "RLIMIT_FSIZE": self.max_file_size,
            "RLIMIT_NOFILE": self.max_files,
        }
        return {name: most for name, most in limits.items() if most is not None}


def script_runner(
    scripts_dir: str | os.PathLike[str],
    *,
    venvs: Iterable[str | os.PathLike[str]] = (),
    timeout: float = 300.0,
    max_output: int = 100_000,
    max_memory: int | None = 4 * 1024**3,
    max_processes: int | None = 256,
    max_file_size: int | None = 1024**3,
    max_files: int | None = 1024,
    env: Mapping[str, str] | None = None,
) -> FunctionTool:
    """The tool `execute_python(script_name, arguments="", venv_path="")` for the scripts of one directory.

    A model's `script_name` must name a `.py` file directly in `scripts_dir`; `arguments` is split as a shell would split it,
    but never passed to a shell; `venv_path` must be one of `venvs`, as its directory or its `bin/activate`, and its interpreter
    is used. The parameters also work under the names `py_script_name`, `py_script_args` and `py_script_venv`.

    Args:
        scripts_dir: the only directory that scripts are run from; also their working directory.
        venvs: the virtual environments that a model may choose. Without a choice the running interpreter is used.
        timeout: seconds until the script and every process that it started are killed: on Linux also those that have left
            its group and its session and dropped their environment, elsewhere those of its group.
        max_output: how many bytes of stdout, and as many of stderr, are kept; the rest is read and dropped.
        max_memory: bytes of address space for each process, if the system has such a limit; None for no limit.
        max_processes: processes and threads of the script, on Linux for a user other than root; None for no limit.
        max_file_size: bytes of each file that it writes; None for no limit.
        max_files: files and connections that each of its processes may have open; None for no limit.
        env: variables for the script. Otherwise it gets only PATH and LANG, and nothing of this program's environment.

    Raises:
        InvalidRequest: the directory or an environment does not exist, or a limit is not positive.
    """
    limits = _Limits(timeout, max_output, max_memory, max_processes, max_file_size, max_files)
    for field in fields(limits):
        if (limit := getattr(limits, field.name)) is not None and limit <= 0:
            raise InvalidRequest("must be more than 0", param=field.name)
    folder = Path(scripts_dir).resolve()
    if not folder.is_dir():
        raise InvalidRequest(f"{scripts_dir} is not a directory", param="scripts_dir")
    interpreters = {Path(venv).resolve(): _interpreter(Path(venv).absolute()) for venv in venvs}

    def execute_python(
        script_name: Annotated[
            str,
            Field(
                description="The script's file name, such as report.py",
                validation_alias=AliasChoices("script_name", "py_script_name"),
            ),
        ],
        arguments: Annotated[
            str,
            Field(
                description="The command line arguments, as one string",
                validation_alias=AliasChoices("arguments", "py_script_args"),
            ),
        ] = "",
        venv_path: Annotated[
            str,
            Field(
                description="The virtual environment to use, if not the usual one",
                validation_alias=AliasChoices("venv_path", "py_script_venv"),
            ),
        ] = "",
    ) -> ScriptResult:
        """Runs a Python script and gives its output and exit status."""
        try:
            script = _script(folder, script_name)
            words = _words(arguments)
            interpreter = _chosen(interpreters, folder, venv_path) if venv_path else Path(sys.executable)
        except _Refused as refusal:
            return ScriptResult(error=str(refusal))
        return _execute([str(interpreter), "-u", "-s", str(script), *words], folder, interpreter.parent, env or {}, limits)

    return tool(execute_python)


def _script(folder: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise _Refused(f"{name!r} is not a script name: use a file name that ends in .py, without a path")
    try:
        script = (folder / name).resolve(strict=True)
    except (OSError, RuntimeError):
        known = sorted(path.name for path in folder.glob("*.py") if _can_run(folder, path))[:_NAMES_SHOWN]
        raise _Refused(f"there is no script {name!r}; available: {', '.join(known) or 'none'}") from None
    if script.parent != folder or not script.is_file():
        raise _Refused(f"{name!r} is not a file of the scripts directory")
    return script


def _can_run(folder: Path, path: Path) -> bool:
    """Whether a model could run this file."""
    try:
        return bool(_NAME.fullmatch(path.name)) and path.resolve(strict=True).parent == folder and path.is_file()
    except (OSError, RuntimeError):
        return False


def _words(arguments: str) -> list[str]:
    if "\0" in arguments or len(arguments) > _MAX_ARGUMENTS:
        raise _Refused(f"the arguments contain a NUL character, or are longer than {_MAX_ARGUMENTS} characters")
    try:
        return shlex.split(arguments)
    except ValueError as error:
        raise _Refused(f"the arguments cannot be split: {error}") from None


def _interpreter(venv: Path) -> Path:
    interpreter = venv / "bin" / "python" if _POSIX else venv / "Scripts" / "python.exe"
    if not os.access(interpreter, os.X_OK):
        raise InvalidRequest(f"{venv} is not a virtual environment: it has no {interpreter.relative_to(venv)}", param="venvs")
    return interpreter


def _chosen(interpreters: Mapping[Path, Path], folder: Path, venv_path: str) -> Path:
    venv = folder / venv_path
    if venv.name == "activate" and venv.parent.name in ("bin", "Scripts"):
        venv = venv.parent.parent
    try:
        return interpreters[venv.resolve()]
    except (KeyError, OSError, ValueError, RuntimeError):
        raise _Refused(f"the virtual environment {venv_path!r} is not allowed: use one of `venvs`") from None


def _execute(command: list[str], folder: Path, bin_dir: Path, env: Mapping[str, str], limits: _Limits) -> ScriptResult:
    mark = secrets.token_hex(16)
    ours, theirs = socket.socketpair()
    if _POSIX:
        command = [sys.executable, "-I", "-S", str(_SUPERVISOR), json.dumps(limits.of_each_process()), *command]
    started = time.monotonic()
    with ours:
        try:
            with theirs:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env={
                        "PATH": f"{bin_dir}{os.pathsep}{os.defpath}",
                        "LANG": "C.UTF-8",
                        **_system_variables(),
                        **env,
                        _MARK: mark,
                    },
                    stdin=theirs.fileno() if _POSIX else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:
            return ScriptResult(error=f"the script cannot be started: {error}")
        assert process.stdout is not None
        assert process.stderr is not None
        stdout, stderr = _Output(process.stdout, limits.max_output), _Output(process.stderr, limits.max_output)
        failure = None
        cancel = cancellation()
        try:
            with cancel.calling(partial(_end, process, ours)):
                process.wait(limits.timeout)
            if cancel.cancelled:
                failure = "the script was stopped, because its request ended"
        except subprocess.TimeoutExpired:
            failure = f"the script was stopped after {limits.timeout:g} seconds"
        finally:
            _end(process, ours)
            _see_ended(process, ours, mark)
    duration = time.monotonic() - started
    return ScriptResult(
        stdout=stdout.text(),
        stderr=stderr.text(),
        return_code=process.returncode,
        error=failure,
        duration=round(duration, 3),
        truncated=stdout.truncated or stderr.truncated,
    )


def _system_variables() -> dict[str, str]:
    # Without it no program starts on Windows.
    return {"SYSTEMROOT": os.environ["SYSTEMROOT"]} if "SYSTEMROOT" in os.environ else {}


class _Output:
    """The beginning of a pipe's output. The rest is read, so that the writer is not blocked, and dropped."""

    def __init__(self, pipe: IO[bytes], most: int) -> None:
        self._pipe = pipe
        self._most = most
        self._kept = bytearray()
        self.truncated = False
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe as pipe:
            while piece := os.read(pipe.fileno(), 65536):
                room = self._most - len(self._kept)
                self._kept += piece[:room]
                self.truncated = self.truncated or len(piece) > room

    def text(self) -> str:
        """The output, when all of it is read. It does not wait for an escaped process that keeps the pipe open."""
        self._thread.join(_CLOSING_SECONDS)
        return bytes(self._kept).decode("utf-8", "replace")


def _end(process: subprocess.Popen[bytes], ours: socket.socket) -> None:
    """End the script with everything that it started: its supervisor does that when this end of its socket is closed."""
    if not _POSIX:
        process.kill()
    with suppress(OSError):
        ours.shutdown(socket.SHUT_WR)


def _see_ended(process: subprocess.Popen[bytes], ours: socket.socket, mark: str) -> None:
    """Wait until nothing of the script is left. If its supervisor was killed, end what still has `mark` (Linux)."""
    try:
        process.wait(_ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    ours.settimeout(0)
    with suppress(OSError):
        if ours.recv(1) or not _POSIX:
            return
    for _ in range(_KILL_ROUNDS):
        strays = list(_marked(mark.encode()))
        if not strays:
            return
        for pid in strays:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> int:
    """The processes and threads that this user has (Linux)."""
    count = 0
    for entry in Path("/proc").glob("[0-9]*/task"):
        with suppress(OSError):
            count += len(os.listdir(entry)) * (entry.stat().st_uid == os.getuid())
    return count


def hide_environment() -> None:
    """Keep other processes of this user, such as scripts, from reading this one's environment and memory (Linux).

    Debuggers are kept away, too, and no core is dumped. Root can still look, but the scripts that are run here cannot, not
    even as root: see `supervisor`.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(*map(ctypes.c_ulong, (_PR_SET_DUMPABLE, 0, 0, 0, 0)))


def _marked(mark: bytes) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in entry.read_bytes():
                yield int(entry.parent.name)
