"""Requests to an HTTP server, made in the thread that needs the answer; any other thread can cancel one.

It uses the standard library's client. An asynchronous client takes several times as long for a request, and passes each chunk
of the answer from thread to thread.
"""

from __future__ import annotations

import json
import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cached_property, partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection, IncompleteRead
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from gemma_tools.engines.answers import Headers, Meter, Size, refuse_head
from gemma_tools.engines.remote import CONNECT_TIMEOUT, FRESH, Bounds, through_proxy
from gemma_tools.errors import EngineUnavailable

if TYPE_CHECKING:
    from ssl import SSLContext


class HttpServer:
    """The server at `url`. `headers` are sent with every request; the environment's proxies are used, but not for this machine.

    No answer may be larger than `size`.
    """

    def __init__(self, url: str, headers: Mapping[str, str], size: Size) -> None:
        parts = urlsplit(url)
        self.url = url
        self._size = size
        self._secure = parts.scheme == "https"
        self._address = parts.netloc.rpartition("@")[2]
        self._path = parts.path
        self._headers = {"Content-Type": "application/json", **FRESH, **headers}
        proxies = getproxies() if through_proxy(url) and not proxy_bypass(parts.hostname or "") else {}
        self._proxy = proxies.get(parts.scheme) or proxies.get("all")

    @contextmanager
    def ask(self, path: str, bounds: Bounds, body: object = None) -> Iterator[Response]:
        """POST `body` as JSON, or GET without one. The answer must be read inside this context.

        `bounds` apply when the connection is open, for which ten seconds are allowed.

        Raises:
            EngineUnavailable: no connection is possible.
            EngineError: the answer is a redirect, compressed, or too large.
            OSError, HTTPException: the connection was lost, timed out, or was not HTTP; see `faults.http_fault`.
        """
        connection, target, headers = self._route(self._path + path)
        data = None if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        with closing(connection):
            try:
                connection.connect()
            except OSError as error:
                raise EngineUnavailable(f"no connection to {self.url}: {error}") from None
            wire = connection.sock
            wire.settimeout(bounds.seconds)
            with bounds.stop.calling(partial(_cut, wire)):
                connection.request("GET" if data is None else "POST", target, data, headers)
                with connection.getresponse() as response:
                    refuse_head(response.status, response.headers, self.url)
                    yield Response(self.url + path, response, wire, bounds.seconds, Meter(self._size, self.url))

    def _route(self, path: str) -> tuple[HTTPConnection, str, Mapping[str, str]]:
        """A connection that is not open yet, the target of a request, and the headers."""
        make = partial(HTTPSConnection, context=self._tls) if self._secure else HTTPConnection
        if self._proxy is None:
            return make(self._address, timeout=CONNECT_TIMEOUT), path, self._headers
        proxy = urlsplit(self._proxy if "://" in self._proxy else f"http://{self._proxy}")
        connection = make(proxy.netloc.rpartition("@")[2], timeout=CONNECT_TIMEOUT)
        user = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}"
        permit = {"Proxy-Authorization": f"Basic {b64encode(user.encode()).decode()}"} if proxy.username else {}
        if self._secure:
            connection.set_tunnel(self._address, headers=permit)
            return connection, path, self._headers
        return connection, f"http://{self._address}{path}", {**self._headers, **permit}

    @cached_property
    def _tls(self) -> SSLContext:
        import httpx  # it knows which certificates to trust, and takes long to import

        return httpx.create_ssl_context()


class Response:
    """A server's answer: the status, and the body, as a whole or line by line."""

    def __init__(self, url: str, response: HTTPResponse, wire: socket.socket, seconds: float | None, meter: Meter) -> None:
        self.url = url
        self.status = response.status
        self.headers: Headers = response.headers
        self._meter = meter
        self._response = response
        self._wire = wire
        self._seconds = seconds
        self._left = response.length
        """How many bytes of the body are still missing; None if the body itself marks its end."""

    def read(self) -> bytes:
        """The whole body."""
        due = self._due()
        return b"".join(iter(lambda: self._piece(due), b""))

    def lines(self) -> Iterator[bytes]:
        """The lines of the body as they arrive, split at `\\n` only: JSON text may contain Unicode's other separators.

        Empty lines, and lines that begin with a colon (a keep-alive between server-sent events), are skipped, and do not
        end a silence.
        """
        begun: list[bytes] = []  # the chunks of an unfinished line, joined when it is complete
        due = self._due()
        while piece := self._piece(due):
            first, *others = piece.split(b"\n")
            begun.append(first)
            if not others:
                continue
            *whole, rest = b"".join(begun), *others
            begun = [rest]
            for line in whole:
                if line and not line.startswith(b":"):
                    yield line
                    due = self._due()
        if rest := b"".join(begun):
            yield rest

    def _due(self) -> float | None:
        return None if self._seconds is None else monotonic() + self._seconds

    def _piece(self, due: float | None) -> bytes:
        if due is not None and not self._response.isclosed():  # Python 3.13 closes the socket after the last byte
            self._wire.settimeout(max(0.001, due - monotonic()))
        piece = self._response.read1(65536)
        self._meter.add(piece)
        if self._left is not None:
            self._left -= len(piece)
            if not piece and self._left > 0:
                raise IncompleteRead(piece, self._left)
        return piece


def _cut(wire: socket.socket) -> None:
    """End the connection: nobody waits for it any more, here or in another thread."""
    with suppress(OSError):
        wire.shutdown(socket.SHUT_RDWR)
