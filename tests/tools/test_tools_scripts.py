"""`execute_python` against path tricks and hostile scripts, and `get_system_info`."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.engines.base import Cancellation
from gemma_tools.errors import InvalidRequest
from gemma_tools.tools import ScriptResult, ToolBox, get_system_info, script_runner
from gemma_tools.tools.ending import ended_by

posix = pytest.mark.skipif(os.name != "posix", reason="process groups and limits are POSIX")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="strays are found in /proc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "hello.py").write_text("import sys; print('hello', *sys.argv[1:])")
    (tmp_path / "outside.py").write_text("print('escaped')")
    return scripts


@pytest.fixture
def run(folder: Path) -> Callable[..., ScriptResult]:
    def run(source: str, arguments: str = "", **options: Any) -> ScriptResult:
        (folder / "script.py").write_text(source)
        result = script_runner(folder, **{"timeout": 60, **options})("script.py", arguments)
        assert isinstance(result, ScriptResult)
        return result

    return run


TRICKS = [
    "",
    ".py",
    "..py",
    "hello",
    "hello.txt",
    "hello.PY",
    "hello.pyc",
    "hello.py ",
    "hello.py\n",
    "hello.py\0",
    "\0hello.py",
    "hello\0.py",
    "hello.py\0.py",
    "../outside.py",
    "..\\outside.py",
    "./hello.py",
    "sub/../hello.py",
    "sub/inner.py",
    "sub//inner.py",
    "/etc/passwd",
    "/etc/hello.py",
    "//hello.py",
    "C:hello.py",
    "C:\\hello.py",
    "\\\\host\\share\\hello.py",
    "~/hello.py",
    "~hello.py",
    "$HOME.py",
    "`id`.py",
    "$(id).py",
    "hello.py;id.py",
    "hello.py|id.py",
    "*.py",
    "-c.py",
    "--help.py",
    "-",
    "%2e%2e%2foutside.py",
    "..%2foutside.py",
    "．．／outside.py",
    "hello\u2215outside.py",
    "hello\u202e.py",
    "hello..py",
    "missing.py",
    "link_out.py",
    "link_up.py",
    "link_loop.py",
    "link_dangling.py",
    "link_dir.py",
    "directory.py",
    "fifo.py",
    "x" * 300 + ".py",
    "\ud800.py",
]


@posix
@pytest.mark.parametrize("name", TRICKS)
def test_path_tricks_are_refused(folder: Path, name: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "inner.py").write_text("print('inner')")
    (folder / "directory.py").mkdir()
    (folder / "link_out.py").symlink_to(folder.parent / "outside.py")
    (folder / "link_up.py").symlink_to("../outside.py")
    (folder / "link_loop.py").symlink_to("link_loop.py")
    (folder / "link_dangling.py").symlink_to("nothing.py")
    (folder / "link_dir.py").symlink_to("sub/inner.py")
    os.mkfifo(folder / "fifo.py")
    result = script_runner(folder)(name)
    assert (result.return_code, result.stdout, result.stderr, result.duration) == (-1, "", "", 0.0)
    assert result.error


@given(st.text(max_size=12).map(lambda text: text + ".py"))
def test_no_name_leaves_the_directory(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    empty = tmp_path_factory.getbasetemp() / "empty"
    empty.mkdir(exist_ok=True)
    assert script_runner(empty)(name).return_code == -1


@posix
def test_a_link_within_the_directory_and_plain_names_are_run(folder: Path) -> None:
    (folder / "alias.py").symlink_to("hello.py")
    (folder / "größe 2-a+b.py").write_text("print('ok')")
    runner = script_runner(folder)
    assert runner("alias.py").stdout == "hello\n"
    assert runner("größe 2-a+b.py").stdout == "ok\n"


@posix
def test_a_missing_script_is_answered_with_those_that_can_be_run(folder: Path) -> None:
    (folder / "alias.py").symlink_to("hello.py")
    (folder / "link_out.py").symlink_to("../outside.py")
    (folder / ".hidden.py").write_text("")
    (folder / "directory.py").mkdir()
    os.mkfifo(folder / "fifo.py")
    assert (script_runner(folder)("helo.py").error or "").endswith("available: alias.py, hello.py")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", []),
        ("test", ["test"]),
        ("a 'b c' \"d e\" f\\ g", ["a", "b c", "d e", "f g"]),
        (
            "$HOME `id` $(id) ; id && id | id > x # y *",
            ["$HOME", "`id`", "$(id)", ";", "id", "&&", "id", "|", "id", ">", "x", "#", "y", "*"],
        ),
        ("''", [""]),
        ("-c 'import os' --flag=ü", ["-c", "import os", "--flag=ü"]),
    ],
)
def test_arguments_are_split_but_never_given_to_a_shell(run: Any, folder: Path, arguments: str, words: list[str]) -> None:
    result = run("import json, sys; print(json.dumps(sys.argv[1:]))", arguments)
    assert json.loads(result.stdout) == words
    assert not (folder / "x").exists()


@pytest.mark.parametrize("arguments", ["'open", "a\0b", "x\\", "\ud800", "x" * 300_000])
def test_arguments_that_cannot_be_passed_on_are_refused(run: Any, arguments: str) -> None:
    result = run("print(1)", arguments)
    assert (result.return_code, bool(result.error)) == (-1, True)


def test_output_status_and_working_directory_are_reported(run: Any, folder: Path) -> None:
    result = run("import os, sys; print(os.getcwd()); print('oops', file=sys.stderr); sys.exit(3)")
    assert (result.stdout, result.stderr, result.return_code) == (f"{folder.resolve()}\n", "oops\n", 3)
    assert (result.error, result.truncated) == (None, False)
    assert result.duration > 0


def test_scripts_import_their_neighbours_and_have_no_input(run: Any, folder: Path) -> None:
    (folder / "neighbour.py").write_text("x = 7")
    result = run("import sys, neighbour; print(neighbour.x, repr(sys.stdin.read()))")
    assert result.stdout == "7 ''\n"


def test_output_that_is_not_utf8_is_kept_readable(run: Any) -> None:
    assert run(r"import sys; sys.stdout.buffer.write(b'a\xff\n'); print('é')").stdout == "a\ufffd\né\n"


def test_nothing_of_the_environment_is_inherited(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere.py")
    result = run("import json, os; print(json.dumps(dict(os.environ)))", env={"MODE": "test"})
    names = set(json.loads(result.stdout))
    assert {"PATH", "LANG", "MODE"} <= names
    assert not names & {"SECRET_TOKEN", "PYTHONSTARTUP", "HOME", "USER"}


@pytest.fixture
def run_a_while(run: Any, folder: Path) -> Callable[..., ScriptResult]:
    """Runs a script that never ends until it has called `ready`; then its request ends."""
    (folder / "begun.py").write_text("def ready(): open('ready', 'w').close()")

    def run_a_while(source: str, **options: Any) -> ScriptResult:
        os.mkfifo(folder / "ready")
        cancel = Cancellation()
        watching = Thread(target=lambda: ((folder / "ready").read_bytes(), cancel.cancel()))
        watching.start()
        with ended_by(cancel):
            result: ScriptResult = run("from begun import ready\n" + source, **options)
        os.close(os.open(folder / "ready", os.O_RDWR))  # for a script that was never ready
        watching.join()
        return result

    return run_a_while


# Hostile scripts. Each is ended, and leaves nothing running.

FOREVER = "import time\nwhile True: time.sleep(100)"
PIDS = 'def tell(): os.write(1, b"%d\\n" % os.getpid())\n'  # in one piece, also when several tell at once


def alive(pid: int) -> bool:
    """Whether the process goes on: one that was killed gets the time that its end takes."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        return not select.select([process], [], [], 5)[0]
    finally:
        os.close(process)


@posix
def test_a_script_that_goes_on_for_ever_is_ended(run: Any) -> None:
    result = run(FOREVER, timeout=0.5)
    assert result.return_code == -signal.SIGKILL
    assert "0.5 seconds" in (result.error or "")


@linux
@pytest.mark.parametrize(
    "source",
    [
        "import os, signal\n" + PIDS + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntell()\nready()\n" + FOREVER,
        "import os\n" + PIDS + "for _ in range(3):\n    if os.fork() == 0: break\ntell()\nready()\n" + FOREVER,
        "import os\n"
        + PIDS
        + "if os.fork() == 0:\n    os.setsid()\n    os.fork() and os._exit(0)\ntell()\nready()\n"
        + FOREVER,
        "import os, sys\n" + PIDS + "os.close(0); tell(); ready(); os.close(1); os.close(2)\n" + FOREVER,
    ],
    ids=["ignores signals", "forks", "daemon", "closes its output"],
)
def test_nothing_is_left_of_a_hostile_script(run_a_while: Any, source: str) -> None:
    result = run_a_while(source)
    pids = [int(line) for line in result.stdout.split()]
    assert pids
    assert "its request" in (result.error or "")
    assert not [pid for pid in pids if alive(pid)]


@linux
@pytest.mark.parametrize("leave", ["", "    os.setsid()\n"], ids=["same group", "own session"])
def test_what_a_script_leaves_running_ends_with_it(run: Any, leave: str) -> None:
    child = "    print(os.getpid(), flush=True)\n    os.write(w, b'.')\n    import time; time.sleep(100)\n"
    source = "import os\nr, w = os.pipe()\nif os.fork() == 0:\n" + leave + child + "os.read(r, 1)\n"
    result = run(source)
    assert (result.return_code, result.error) == (0, None)
    assert not alive(int(result.stdout))


@posix
def test_a_script_that_prints_for_ever_fills_no_memory(run_a_while: Any) -> None:
    prints = "print('x' * 9999); print('y' * 9999, file=sys.stderr)"
    result = run_a_while(f"import sys\nfor _ in range(99): {prints}\nready()\nwhile True: {prints}", max_output=1000)
    assert (result.stdout, result.stderr, result.truncated) == ("x" * 1000, "y" * 1000, True)


def test_a_script_that_prints_too_much_still_ends_by_itself(run: Any) -> None:
    result = run("print('x' * 300_000)", max_output=10)
    assert (result.stdout, result.truncated, result.return_code, result.error) == ("x" * 10, True, 0, None)


def test_output_that_just_fits_is_not_truncated(run: Any) -> None:
    assert not run("print('x' * 9, end='')", max_output=9).truncated


@linux
def test_memory_is_limited(run: Any) -> None:
    result = run("bytearray(2**30)", max_memory=2**28)
    assert "MemoryError" in result.stderr
    assert run("print(len(bytearray(2**20)))", max_memory=None).stdout == "1048576\n"


# Virtual environments


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    made = tmp_path / "my venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    return made


@posix
def test_an_allowed_environment_is_used_by_its_interpreter(folder: Path, venv: Path) -> None:
    (folder / "where.py").write_text("import sys; print(sys.prefix)")
    (venv / "bin" / "activate").write_text("touch activated\nexit 1\n")
    runner = script_runner(folder, venvs=[venv])
    for spelling in (venv, venv / "bin" / "activate", f"{venv}/", Path("..") / venv.name, f"../{venv.name}/bin/activate"):
        assert runner("where.py", venv_path=str(spelling)).stdout == f"{venv}\n"
    assert runner("where.py").stdout == f"{sys.prefix}\n"
    assert not list(folder.glob("activated"))


@posix
@pytest.mark.parametrize(
    "path", ["/", "/usr", "..", "bin/activate", "/dev/null", "x\0y", "{venv}/bin", "{venv}/bin/python", "{venv}2"]
)
def test_other_environments_are_refused(folder: Path, venv: Path, path: str) -> None:
    result = script_runner(folder, venvs=[venv])("hello.py", venv_path=path.format(venv=venv))
    assert (result.return_code, "is not allowed" in (result.error or "")) == (-1, True)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"timeout": 0}, "timeout"),
        ({"max_output": 0}, "max_output"),
        ({"max_memory": -1}, "max_memory"),
        ({"venvs": ["/nowhere"]}, "venvs"),
        ({"scripts_dir": "/nowhere"}, "scripts_dir"),
    ],
)
def test_what_cannot_be_set_up_is_refused(folder: Path, options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        script_runner(**{"scripts_dir": folder, **options})
    assert caught.value.param == param


# As tools


def test_both_names_of_the_parameters_are_taken(folder: Path) -> None:
    box = ToolBox([script_runner(folder)])
    parameters = box.schemas()[0]["function"]["parameters"]
    assert (list(parameters["properties"]), parameters["required"]) == (
        ["script_name", "arguments", "venv_path"],
        ["script_name"],
    )
    for arguments in (
        {"script_name": "hello.py", "arguments": "you"},
        {"py_script_name": "hello.py", "py_script_args": "you", "py_script_venv": ""},
    ):
        told = json.loads(box.call("execute_python", arguments).content)
        assert told["stdout"] == "hello you\n"
        assert set(told) == {"stdout", "stderr", "return_code", "error", "duration", "truncated"}
    assert box.call("execute_python", {"script_name": 3}).fault == "invalid_arguments"


@pytest.mark.parametrize(
    ("info_type", "keys"),
    [
        ("cpu", {"cpu"}),
        ("memory", {"memory"}),
        ("disk", {"disk"}),
        ("all", {"system", "cpu", "memory", "disk"}),
    ],
)
def test_system_info(info_type: str, keys: set[str]) -> None:
    told = json.loads(ToolBox([get_system_info]).call("get_system_info", {"info_type": info_type}).content)
    assert set(told) == keys
    for name in keys - {"system"}:
        assert 0 <= told[name]["percent"] <= 100


def test_system_info_takes_no_other_type() -> None:
    assert ToolBox([get_system_info]).call("get_system_info", {"info_type": "users"}).fault == "invalid_arguments"
