"""The tools of real MCP servers, made with the official SDK and reached over stdin and stdout, and over HTTP."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gemma_tools import FunctionGemmaModel
from gemma_tools.engines.base import Cancellation
from gemma_tools.errors import InvalidRequest, MissingDependency
from gemma_tools.testing import ScriptedEngine
from gemma_tools.tools import ToolBox, amcp_toolbox, mcp_toolbox, run_tools
from gemma_tools.tools.ending import ended_by

pytest.importorskip("mcp")

SERVER = '''
import os, socket
from typing import Any
try:
    from mcp.server.mcpserver import MCPServer
except ImportError:
    from mcp.server.fastmcp import FastMCP as MCPServer
from mcp.types import EmbeddedResource, ImageContent, TextContent, TextResourceContents

server = MCPServer("numbers", log_level="CRITICAL")

@server.tool()
def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b

@server.tool()
def mixed() -> list[Any]:
    """Gives all sorts."""
    words = TextResourceContents(uri="memo://words", text="words")
    parts = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
    return [TextContent(type="text", text="one"), ImageContent(**parts), EmbeddedResource(type="resource", resource=words)]

@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("no luck")

@server.tool()
def variable(name: str) -> str:
    """Tells a variable."""
    return os.environ.get(name, "unset")

@server.tool()
def wait(port: int) -> str:
    """Tells that it runs, and waits for ever."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.recv(1)
    return "late"

@server.tool()
def leave() -> str:
    """Ends the server."""
    os._exit(1)

server.run("stdio")
'''


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    file = tmp_path_factory.mktemp("mcp") / "server.py"
    file.write_text(SERVER)
    return [sys.executable, str(file)]


@pytest.fixture(scope="module")
def box(command: list[str]) -> Iterator[ToolBox]:
    with mcp_toolbox(command, env={"MODE": "test"}) as box:
        yield box


def test_the_tools_are_declared_as_the_server_does(box: ToolBox) -> None:
    assert box.names == ("add", "mixed", "fail", "variable", "wait", "leave")
    function = box.schemas()[0]["function"]
    assert function["description"] == "Adds two numbers."
    assert function["parameters"]["required"] == ["a"]


def test_calls_give_text_and_faults(box: ToolBox) -> None:
    assert box.call("add", {"a": 2, "b": 3}).content == "5"
    assert box.call("add", '{"a": 2}').content == "3"
    assert box.call("mixed", {}).content == "one\n[image]\nwords"
    for name, arguments in (("fail", {}), ("add", {"a": "x"})):
        result = box.call(name, arguments)
        assert (result.fault, "Traceback" in result.content) == ("failed", False)


def test_a_server_gets_the_variables_it_is_given_and_no_others(box: ToolBox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert box.call("variable", {"name": "MODE"}).content == "test"
    assert box.call("variable", {"name": "PYTEST_CURRENT_TEST"}).content == "unset"


def test_a_model_uses_the_tools_of_a_server(box: ToolBox) -> None:
    answers = ["<start_function_call>call:add{a:2,b:3}<end_function_call><start_function_response>", "It is 5.<end_of_turn>"]
    transcript = run_tools(FunctionGemmaModel("functiongemma", engine=ScriptedEngine(answers)), "2 + 3?", box)
    assert (transcript.text, transcript.outcomes[0][1].content) == ("It is 5.", "5")


def test_async_calls_share_the_loop_and_raise_the_caller_s_errors(command: list[str]) -> None:
    results: list[str] = []

    async def inside() -> None:
        async with amcp_toolbox(command) as box:
            results.extend(r.content for r in await asyncio.gather(*(box.acall("add", {"a": n}) for n in range(3))))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(inside())
    assert results == ["1", "2", "3"]


def test_a_server_that_ends_fails_its_calls(command: list[str]) -> None:
    with mcp_toolbox(command) as box:
        assert box.call("leave", {}).fault == "failed"
        assert box.call("add", {"a": 1}).fault == "failed"


class Guarded:
    """An ASGI application that asks for a token, and answers 401 without it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"authorization", b"Bearer t0ken") not in scope["headers"]:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self.app(scope, receive, send)


@pytest.fixture
def address() -> Iterator[str]:
    uvicorn = pytest.importorskip("uvicorn")
    made: dict[str, Any] = {}
    exec(SERVER.replace('server.run("stdio")', ""), made)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Guarded(made["server"].streamable_http_app()), log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    server.should_exit = True
    thread.join()
    listening.close()


def test_a_server_is_reached_over_http_with_headers(address: str) -> None:
    with mcp_toolbox(address, headers={"Authorization": "Bearer t0ken"}) as box:
        assert box.call("add", {"a": 2, "b": 3}).content == "5"
    with pytest.raises(InvalidRequest, match="cannot be used"), mcp_toolbox(address):
        pass


@pytest.mark.parametrize("ending", ["missing", "at once", "silent", "nobody", "empty"])
def test_a_server_that_cannot_be_used_is_refused(ending: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    server: Any = {
        "missing": [str(Path("nowhere", "server"))],
        "at once": [sys.executable, "-c", ""],
        "silent": [sys.executable, "-c", "input()"],
        "nobody": f"http://127.0.0.1:{port}/mcp",
        "empty": [],
    }[ending]
    with pytest.raises(InvalidRequest) as caught, mcp_toolbox(server, timeout=0.5 if ending == "silent" else 60):
        pass
    assert caught.value.param == "server"


def test_without_the_sdk_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(MissingDependency, match=r"gemma-tools\[mcp\]"), mcp_toolbox(["x"]):
        pass


def test_a_call_ends_with_its_request(command: list[str]) -> None:
    cancel = Cancellation()
    with socket.create_server(("127.0.0.1", 0)) as listener, mcp_toolbox(command) as box:

        def leave() -> None:
            with listener.accept()[0]:
                cancel.cancel()
                ended.wait(60)

        ended = threading.Event()
        caller = threading.Thread(target=leave)
        caller.start()
        with ended_by(cancel):
            result = box.call("wait", {"port": listener.getsockname()[1]})
        ended.set()
        caller.join()
    assert "its request was" in result.content
