"""HTTP servers on a free port of this machine, for as long as a test needs them."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve with `handler`; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class JsonHandler(BaseHTTPRequestHandler):
    """A quiet handler with JSON in and JSON or NDJSON out."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def body(self) -> dict[str, Any]:
        """The request's JSON object."""
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def answer(self, status: int, value: Any) -> None:
        """Send one JSON value."""
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer_lines(self, values: Iterator[Mapping[str, Any]]) -> None:
        """Send JSON objects line by line, until the client leaves."""
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for value in values:
                self.wfile.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")

    def answer_events(self, values: Iterator[Mapping[str, Any]], *, comments: bool = False) -> None:
        """Send JSON objects as server-sent events, until the client leaves, and the mark of their end."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(b": PROCESSING\n\n" * comments)
            for value in values:
                self.wfile.write(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")
            self.wfile.write(b"data: [DONE]\n\n")


HANG = "hang"
"""Send nothing more, and keep the connection until the client leaves."""
RESET = "reset"
"""Break the connection, as a killed server does."""


class Faulty:
    """A server that plays a script of bytes: one list of steps for each connection, the last one for all that follow.

    A step is bytes to send, HANG or RESET; after the last step the connection is closed. `requests` holds what was received.
    """

    def __init__(self, *connections: Sequence[bytes | str]) -> None:
        self.requests: list[bytes] = []
        self.left = 0  # connections that the client left while this server was silent
        self._connections = list(connections)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [Thread(target=self._accept)]

    def __enter__(self) -> Faulty:
        self._threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                steps = self._connections[min(len(self.requests), len(self._connections) - 1)]
                self.requests.append(b"")
                thread = Thread(target=self._play, args=(connection, steps, len(self.requests) - 1))
                self._threads.append(thread)
                thread.start()

    def _play(self, connection: socket.socket, steps: Sequence[bytes | str], number: int) -> None:
        with connection, contextlib.suppress(OSError):
            self.requests[number] = _receive(connection)
            for step in steps:
                if step == HANG:
                    while connection.recv(1024):
                        pass
                    self.left += 1
                elif step == RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    assert isinstance(step, bytes)
                    connection.sendall(step)


def _receive(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    wanted = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < wanted:
        body += _some(connection)
    return head + b"\r\n\r\n" + body


def _some(connection: socket.socket) -> bytes:
    if not (data := connection.recv(65536)):
        raise ConnectionError("the client left")
    return data


def http(status: int, body: bytes, *, kind: bytes = b"application/json") -> bytes:
    """A whole HTTP answer."""
    head = b"HTTP/1.1 %d Some\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, kind, len(body)) + body


def chunked(*pieces: bytes, kind: bytes = b"text/event-stream", end: bool = True) -> bytes:
    """An HTTP answer sent in chunks; without `end` it is cut off."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" % kind
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n\r\n" if end else b"")
