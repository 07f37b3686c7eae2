"""The tools of an MCP server as a `ToolBox`. Needs the official SDK, 1.x or 2.x (the extra `mcp`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from gemma_tools.errors import InvalidRequest, MissingDependency, ToolError
from gemma_tools.tools.ending import cancellation
from gemma_tools.tools.toolbox import ToolBox

if TYPE_CHECKING:
    from mcp import ClientSession

McpServer: TypeAlias = str | Sequence[str]
"""The address of a streamable HTTP server, or the command and arguments of a server on stdin and stdout."""


@contextmanager
def mcp_toolbox(
    server: McpServer,
    *,
    env: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> Iterator[ToolBox]:
    """The tools of an MCP server, while the context is open. A separate thread talks to the server.

    Args:
        server: an address (`"http://127.0.0.1:8000/mcp"`), or a command (`["python", "server.py"]`) that is started and
            stopped with the context.
        env: variables for the command, in addition to the few that the SDK passes on.
        headers: HTTP headers for the address, such as `Authorization`.
        timeout: seconds for the connection, and for each call.

    Raises:
        MissingDependency: the SDK is not installed.
        InvalidRequest: the server cannot be started or reached, or does not speak MCP.
    """
    from anyio.from_thread import BlockingPortal, start_blocking_portal

    def blocking(portal: BlockingPortal, function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            running = portal.start_task_soon(partial(function, **arguments))
            try:
                with cancellation().calling(running.cancel):
                    return running.result()
            except CancelledError:
                raise ToolError("the call was ended, because its request was") from None

        return call

    opened = amcp_toolbox(server, env=env, headers=headers, timeout=timeout)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opened) as box:
        yield ToolBox([(tool.declaration, blocking(portal, tool.function)) for tool in box.functions])


@asynccontextmanager
async def amcp_toolbox(
    server: McpServer,
    *,
    env: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> AsyncIterator[ToolBox]:
    """`mcp_toolbox` for async code: the tools are async functions of the running event loop."""
    try:
        import mcp  # noqa: F401
    except ImportError:
        raise MissingDependency("mcp", "mcp", "an MCP server") from None
    connected = False
    failure: Exception | None = None
    try:
        async with AsyncExitStack() as stack:
            box = await _connect(stack, server, env, headers, timeout)
            connected = True
            try:
                yield box
            except Exception as error:
                # The SDK's task groups would raise it inside an ExceptionGroup.
                failure = error
    except Exception as error:
        if connected:
            raise
        raise InvalidRequest(f"the MCP server cannot be used: {_reason(error)}", param="server") from error
    if failure is not None:
        raise failure


async def _connect(
    stack: AsyncExitStack,
    server: McpServer,
    env: Mapping[str, str] | None,
    headers: Mapping[str, str] | None,
    timeout: float,
) -> ToolBox:
    from anyio import fail_after
    from mcp import ClientSession, StdioServerParameters, stdio_client
    from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client  # type: ignore[attr-defined]
    from mcp.types import PaginatedRequestParams

    streams: Any
    if isinstance(server, str):
        client = await stack.enter_async_context(create_mcp_http_client(headers=dict(headers or {})))
        streams = streamable_http_client(server, http_client=client)
    elif server:
        command, *arguments = server
        streams = stdio_client(StdioServerParameters(command=command, args=arguments, env=dict(env or {})))
    else:
        raise ValueError("the command is empty")
    read, write, *_ = await stack.enter_async_context(streams)
    session = await stack.enter_async_context(ClientSession(read, write))
    found: list[dict[str, Any]] = []
    with fail_after(timeout):
        await session.initialize()
        cursor: str | None = None
        while True:
            page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
            # The field names of the two major versions differ; those on the wire do not.
            data = page.model_dump(mode="json", by_alias=True)
            found += data["tools"]
            cursor = data.get("nextCursor")
            if not cursor:
                break
    return ToolBox([(_declaration(tool), _function(session, tool["name"], timeout)) for tool in found])


def _declaration(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": tool["name"], "description": tool.get("description") or "", "parameters": tool["inputSchema"]}
    return {"type": "function", "function": function}


def _function(session: ClientSession, name: str, timeout: float) -> Callable[..., Awaitable[Any]]:
    from anyio import fail_after

    async def call(**arguments: Any) -> Any:
        try:
            with fail_after(timeout):
                result = await session.call_tool(name, arguments)
        except TimeoutError:
            raise ToolError(f"no answer within {timeout:g} seconds") from None
        data = result.model_dump(mode="json", by_alias=True)
        text = "\n".join(map(_text, data["content"]))
        if data.get("isError"):
            raise ToolError(text)
        structured = data.get("structuredContent")
        return structured if structured is not None and not data["content"] else text

    return call


def _text(block: Mapping[str, Any]) -> str:
    match block:
        case {"type": "text", "text": str(text)} | {"type": "resource", "resource": {"text": str(text)}}:
            return text
        case {"type": "resource", "resource": {"uri": uri}} | {"type": "resource_link", "uri": uri}:
            return f"[resource {uri}]"
    return f"[{block['type']}]"


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
