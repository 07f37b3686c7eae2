"""The HTTP server that runs the application: uvicorn, with limited patience and without its own logs."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import ExitStack, suppress
from functools import partial
from types import FrameType
from typing import Any

from gemma_tools.errors import InvalidRequest, MissingDependency
from gemma_tools.server.app import PARTING_SECONDS, Api, make_app
from gemma_tools.server.settings import Settings
from gemma_tools.tools.scripts import hide_environment

try:
    import h11
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError:
    raise MissingDependency("uvicorn", "server", "the server") from None


def make_server(settings: Settings) -> tuple[uvicorn.Server, socket.socket]:
    """A server, ready for `run(sockets=[...])` with the returned socket, which already listens.

    Raises:
        InvalidRequest: the address cannot be used.
    """
    if "execute_python" in settings.run_tools:
        hide_environment()
    app, api = make_app(settings)
    config = uvicorn.Config(
        app,
        http=partial(_PatientProtocol, settings.body_timeout),  # type: ignore[arg-type]  # it is called like the class
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=settings.drain + 2 * PARTING_SECONDS,
    )
    return _Server(config, api, settings.drain), _listen(settings.host, settings.port)


class _Server(uvicorn.Server):
    """uvicorn's server; requests that it must interrupt get an error, and a second Ctrl-C exits at once."""

    def __init__(self, config: uvicorn.Config, api: Api, drain: int) -> None:
        super().__init__(config)
        self._api = api
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests finish for a while, then end those that are left with an error."""
        cut = asyncio.get_running_loop().call_later(self._drain, self._api.stop)
        await super().shutdown(sockets)
        cut.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, and print what the server waits for; if it is already stopping, exit at once."""
        if self.should_exit:
            os._exit(128 + sig)  # scripts end with this process
        super().handle_exit(sig, frame)  # first: the next signal may arrive while this one is reported
        if waiting := self._api.unanswered:
            what = f"{waiting} request{'s' * (waiting > 1)}, for {self._drain} seconds at most"
            with suppress(OSError):  # nobody reads it any more
                os.write(2, f"gemma-tools: stopping after {what}; the same signal again exits at once\n".encode())


def address_of(listener: socket.socket) -> str:
    """The URL under which a listening socket answers the API."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def _listen(host: str, port: int) -> socket.socket:
    with ExitStack() as undo:
        try:
            # With an explicit protocol asyncio sends small packets at once; otherwise each answer takes 40 ms more.
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE)
            family, kind, protocol, _, address = found[0]
            listener = undo.enter_context(socket.socket(family, kind, protocol))
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError as error:
            raise InvalidRequest(f"cannot listen on {host}:{port}: {error.strerror or error}", param="port") from None
        undo.pop_all()
        return listener


class _PatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection if the next request's head does not arrive in `patience` seconds.

    uvicorn's own timer covers only the silence between two requests. A client that sends a head byte by byte, or continues to
    send a refused body, would keep a connection open without end.
    """

    def __init__(self, patience: float, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = patience
        self._due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE and self.conn.our_state is not h11.DONE:
            self._forget()
        elif self._due is None:
            self._due = self.loop.call_later(self._patience, self.transport.close)

    def _forget(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
