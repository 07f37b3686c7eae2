"""When a request ends, all that it started ends, and its place is given back only then."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

import httpx
import pytest

from gemma_tools import FunctionGemmaModel
from gemma_tools.engines.base import Cancellation, Generation, GenerationRequest, Pieces
from gemma_tools.errors import EngineTimeout
from gemma_tools.openai_api.wire import Facts
from gemma_tools.routes import error_frame
from gemma_tools.testing import ScriptedEngine
from support.serving import QUESTION, EndlessEngine, serving

TESTS = Path(__file__).parents[1]
BODY = {"model": "m", "messages": QUESTION}
RUN = "<start_function_call>call:execute_python{script_name:<escape>sleep.py<escape>}<end_function_call>"
SLEEP = """
import os, pathlib, subprocess, sys, time
pathlib.Path(f"pid-{os.getpid()}").touch()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(f"pid-{child.pid}").touch()
pathlib.Path("ready").touch()
time.sleep(600)
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    (tmp_path / "sleep.py").write_text(SLEEP, encoding="utf-8")
    return tmp_path


def wait_for(condition: Callable[[], object], seconds: float = 60) -> bool:
    """Whether `condition()` comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        Event().wait(0.02)
    return False


def alive(scripts: Path) -> list[int]:
    """The processes of scripts that still run."""
    pids = [int(path.name.removeprefix("pid-")) for path in scripts.glob("pid-*")]
    return [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):  # it ended, perhaps just now
        return False


def runner(answers: int = 4) -> FunctionGemmaModel:
    return FunctionGemmaModel("m", engine=ScriptedEngine([RUN] * answers))


pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at /proc")


def test_a_script_ends_when_its_caller_leaves(scripts: Path) -> None:
    with serving(runner(), run_tools=["execute_python"], scripts_dir=scripts) as url:
        body = json.dumps(BODY)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port)) as caller:
            caller.sendall(f"{head}Content-Type: application/json\r\n\r\n{body}".encode())
            assert wait_for((scripts / "ready").exists)
        assert wait_for(lambda: not alive(scripts))


def test_a_script_ends_when_the_time_is_up(scripts: Path) -> None:
    with serving(runner(), run_tools=["execute_python"], scripts_dir=scripts, timeout=3) as url:
        response = httpx.post(f"{url}/chat/completions", json=BODY, timeout=120)
        assert response.status_code == 504
        assert wait_for(lambda: not alive(scripts))


def test_a_script_ends_when_the_server_stops(scripts: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with serving(runner(), run_tools=["execute_python"], scripts_dir=scripts, drain=0) as url:
            asked = pool.submit(_quietly, url)
            assert wait_for((scripts / "ready").exists)
            assert alive(scripts)
        assert not alive(scripts)
        asked.result()


def _quietly(url: str) -> None:
    with suppress(httpx.HTTPError):
        httpx.post(f"{url}/chat/completions", json=BODY, timeout=120)


class StubbornEngine(EndlessEngine):
    """Computes until `gate` is set, whether or not it is told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Event()
        self.running = 0

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Write nothing for long."""
        self.running += 1
        self.started.set()
        try:
            self.gate.wait()
            yield "done"
            return Generation()
        finally:
            self.running -= 1


@pytest.fixture
def stubborn() -> Iterator[StubbornEngine]:
    engine = StubbornEngine()
    try:
        yield engine
    finally:
        engine.gate.set()


def test_a_place_is_taken_until_the_work_has_ended(stubborn: StubbornEngine) -> None:
    with serving(FunctionGemmaModel("m", engine=stubborn), concurrency=1, queue=0, timeout=1) as url:
        assert httpx.post(f"{url}/chat/completions", json=BODY, timeout=60).status_code == 504
        for _ in range(3):
            assert httpx.post(f"{url}/chat/completions", json=BODY, timeout=60).status_code == 503
        assert stubborn.running == 1
        stubborn.gate.set()
        assert wait_for(lambda: httpx.post(f"{url}/chat/completions", json=BODY, timeout=60).status_code == 200)


STOPS = """
from support.serving import EndlessEngine, FunctionGemmaModel, Settings, address_of, make_server, named
models = {"m": {"model": named(FunctionGemmaModel("x", engine=EndlessEngine()))}}
server, listener = make_server(Settings(port=0, models=models))
print(address_of(listener), flush=True)
server.run(sockets=[listener])
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_first_interrupt_says_what_it_waits_for_and_the_second_exits() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STOPS], cwd=TESTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        with httpx.stream("POST", f"{url}/chat/completions", json={**BODY, "stream": True}, timeout=120) as answer:
            pieces = answer.iter_raw()  # to be kept: without it the answer is closed
            assert next(pieces)
            process.send_signal(signal.SIGINT)
            assert "1 request, for 30 seconds at most" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("path", "head"),
    [("/v1/chat/completions", b""), ("/v1/responses", b"event: error\n"), ("/v1/messages", b"event: error\n")],
)
def test_the_error_that_ends_a_stream_is_an_event_of_its_api(path: str, head: bytes) -> None:
    before, mark, data = error_frame(EngineTimeout("too late"), path, Facts()).rpartition(b"data: ")
    told = json.loads(data)
    assert (before, mark, told.get("type")) == (head, b"data: ", "error" if head else None)
    assert (told["error"]["code"], told["error"]["message"]) == ("engine_timeout", "too late")
    if path == "/v1/responses":
        assert (told["code"], told["message"], told["param"]) == ("engine_timeout", "too late", None)
