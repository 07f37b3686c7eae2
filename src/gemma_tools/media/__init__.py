"""Images and audio in a request: downloaded, checked and decoded before an engine gets them.

Data URIs are always accepted. An http(s) URL or a file is accepted only if the caller allows it, because both reach beyond the
request. A host name is resolved once, refused unless all its addresses are public, and the connection uses that address. Every
redirect is checked in the same way.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit
from urllib.request import url2pathname

from gemma_tools.errors import InvalidRequest
from gemma_tools.media.sizes import pixels, seconds

_REDIRECTS = 5
_IMAGE_STARTS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
}
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""The only IPv6 addresses that are assigned (RFC 4291). 6to4 and Teredo, which contain an IPv4 address, are inside."""
_PROTOCOL_ASSIGNMENTS = ipaddress.ip_network("192.0.0.0/24")
"""Not for hosts (RFC 6890); to some releases of Python half of it is global."""
_AUDIO_STARTS = {
    "wav": (b"RIFF",),
    "mp3": (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfa"),
    "flac": (b"fLaC",),
    "ogg": (b"OggS",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPolicy:
    """What may be loaded, and how much; `timeout` in seconds for all downloads of one request.

    Sizes in bytes are file sizes. Pixels and seconds are those of all images and of all audio together, from their headers: a
    small file may contain a picture that fills the memory.
    """

    allow_remote: bool = False
    allow_files: bool = False
    max_parts: int = 128
    max_bytes: int = 20 * 2**20
    max_total_bytes: int = 50 * 2**20
    max_pixels: int = 100_000_000
    max_seconds: int = 3600
    timeout: float = 20.0


def load_media(parts: Sequence[Mapping[str, Any]], policy: MediaPolicy) -> tuple[Mapping[str, Any], ...]:
    """OpenAI's `image_url` and `input_audio` parts as `{"type": "image" | "audio", "data": bytes, "format": str}`, in order.

    `format` is the media type of an image ("image/png") and OpenAI's format name for audio ("wav").

    Raises:
        InvalidRequest: a part that is not allowed, too large, unreadable, or has a wrong format; `param` names it.
    """
    loaded: list[Mapping[str, Any]] = []
    total = points = length = 0.0
    due = time.monotonic() + policy.timeout
    for number, part in enumerate(parts):
        if number >= policy.max_parts:
            raise _refusal(f"a request may have {policy.max_parts} images and audio", part, number)
        media = _load(part, policy, number, due)
        total += len(media["data"])
        if media["type"] == "image":
            points += pixels(media["data"], media["format"])
        else:
            length += seconds(media["data"], media["format"])
        if total > policy.max_total_bytes:
            raise _refusal(f"the images and audio together are larger than {policy.max_total_bytes} bytes", part, number)
        if points > policy.max_pixels:
            raise _refusal(f"the images together have more than {policy.max_pixels} pixels", part, number)
        if length > policy.max_seconds:
            raise _refusal(f"all audio together is longer than {policy.max_seconds} seconds", part, number)
        loaded.append(media)
    return tuple(loaded)


def refuse_media(part: Mapping[str, Any], number: int, reason: str) -> InvalidRequest:
    """The error for the `number`th image or audio part of a request, counted from 0."""
    return _refusal(reason, part, number, code="unsupported_media")


def _load(part: Mapping[str, Any], policy: MediaPolicy, number: int, due: float) -> Mapping[str, Any]:
    kind = part.get("type")
    value = part.get(str(kind))
    try:
        if kind == "image_url":
            url = value.get("url") if isinstance(value, Mapping) else value
            data = _bytes_of(url, policy, due)
            return {"type": "image", "data": data, "format": _image_format(data)}
        if kind == "input_audio" and isinstance(value, Mapping):
            data = _decode(str(value.get("data", "")), policy)
            return {"type": "audio", "data": data, "format": _audio_format(data, value.get("format", "wav"))}
    except _Unloadable as error:
        raise _refusal(str(error), part, number) from error.__cause__
    raise _refusal("send images as image_url parts and audio as input_audio parts", part, number)


class _Unloadable(Exception):
    """Why a part cannot be loaded."""


def _refusal(reason: str, part: Mapping[str, Any], number: int, code: str = "invalid_media") -> InvalidRequest:
    return InvalidRequest(f"media part {number} of the request ({part.get('type')}): {reason}", param="messages", code=code)


def _bytes_of(url: object, policy: MediaPolicy, due: float) -> bytes:
    if not isinstance(url, str) or not url:
        raise _Unloadable("it has no url")
    scheme = url.partition(":")[0].lower()
    if scheme == "data":
        head, comma, data = url.partition(",")
        if not comma:
            raise _Unloadable("its data URI has no comma")
        if head.lower().endswith(";base64"):
            return _decode(data, policy)
        return _within(unquote_to_bytes(data), policy)
    if scheme in ("http", "https"):
        if not policy.allow_remote:
            raise _Unloadable("URLs are not downloaded; send a data URI, or create the backend with allow_remote_media=True")
        return _fetch(url, policy, due)
    if not policy.allow_files:
        raise _Unloadable("files are not read; send a data URI, or create the backend with allow_file_media=True")
    return _read(Path(url2pathname(urlsplit(url).path) if scheme == "file" else url), policy)


def _within(data: bytes, policy: MediaPolicy) -> bytes:
    if len(data) > policy.max_bytes:
        raise _Unloadable(f"it is larger than {policy.max_bytes} bytes")
    if not data:
        raise _Unloadable("it is empty")
    return data


def _decode(text: str, policy: MediaPolicy) -> bytes:
    if len(text) > policy.max_bytes * 4 // 3 + 4:
        raise _Unloadable(f"it is larger than {policy.max_bytes} bytes")
    try:
        return _within(base64.b64decode(text, validate=True), policy)
    except (binascii.Error, ValueError):
        raise _Unloadable("it is not valid base64") from None


def _read(path: Path, policy: MediaPolicy) -> bytes:
    try:
        with path.open("rb") as file:
            return _within(file.read(policy.max_bytes + 1), policy)
    except OSError as error:
        raise _Unloadable(f"the file cannot be read: {error.strerror}") from None


def _image_format(data: bytes) -> str:
    for start, name in _IMAGE_STARTS.items():
        if data.startswith(start) and (start != b"RIFF" or data[8:12] == b"WEBP"):
            return name
    raise _Unloadable("it is not a PNG, JPEG, GIF, WebP or BMP image")


def _audio_format(data: bytes, name: object) -> str:
    if not isinstance(name, str) or name not in _AUDIO_STARTS:
        raise _Unloadable(f"its format is not one of {', '.join(_AUDIO_STARTS)}")
    if not data.startswith(_AUDIO_STARTS[name]) or (name == "wav" and data[8:12] != b"WAVE"):
        raise _Unloadable(f"it is not a {name} file")
    return name


def _fetch(url: str, policy: MediaPolicy, due: float) -> bytes:
    import httpx

    # No proxy from the environment: the connection must use the address that was checked.
    patience = max(0.01, due - time.monotonic())
    with _ended_at(due) as watch, httpx.Client(timeout=patience, follow_redirects=False, trust_env=False) as client:
        for _ in range(_REDIRECTS + 1):
            host, port = _endpoint(url)
            try:
                request = client.build_request(
                    "GET",
                    httpx.URL(url).copy_with(host=_public_address(host, port)),
                    headers={"host": urlsplit(url).netloc.rpartition("@")[2]},
                    extensions={"sni_hostname": host, "trace": watch},
                )
                response = client.send(request, stream=True)
                try:
                    if response.has_redirect_location:
                        url = urljoin(url, response.headers["location"])
                        continue
                    if response.status_code != 200:
                        raise _Unloadable(f"its server answered with status {response.status_code}")
                    data = _receive(response, policy)
                    if time.monotonic() >= due:  # it may have been cut
                        raise _too_slow(policy)
                    return data
                finally:
                    response.close()
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                if time.monotonic() >= due:
                    raise _too_slow(policy) from error
                raise _Unloadable(f"it cannot be downloaded ({type(error).__name__})") from error
    raise _Unloadable(f"more than {_REDIRECTS} redirects")


def _too_slow(policy: MediaPolicy) -> _Unloadable:
    return _Unloadable(f"it took longer than {policy.timeout:g} seconds")


def _receive(response: Any, policy: MediaPolicy) -> bytes:
    data = bytearray()
    for piece in response.iter_bytes():
        data += piece
        if len(data) > policy.max_bytes:
            break
    return _within(bytes(data), policy)


@contextmanager
def _ended_at(due: float) -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
    """A trace for requests of httpx, whose connections are cut at `due`, whatever they wait for.

    httpx bounds each wait alone: a head that comes byte by byte would be read for hours.
    """
    wires: list[socket.socket] = []

    def watch(event: str, told: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            wires.append(told["return_value"].get_extra_info("socket"))
            if time.monotonic() >= due:  # the timer may have run before this connection was there
                cut()

    def cut() -> None:
        for wire in wires:
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

    timer = Timer(max(0.0, due - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield watch
    finally:
        timer.cancel()


def _endpoint(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _Unloadable("its URL is not valid") from None
    if parts.scheme not in ("http", "https") or not host:
        raise _Unloadable("it redirects to something that is not an http(s) URL")
    return host, port or (443 if parts.scheme == "https" else 80)


def _public_address(host: str, port: int) -> str:
    """The address to connect to for `host`; refused unless all its addresses are public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _Unloadable("its host name cannot be resolved") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not all(map(_is_public, addresses)):
        raise _Unloadable("its host is not a public address")
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        # Addresses that contain an IPv4 address are as public as a gateway makes them: only the plain mapping is read.
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address not in _GLOBAL_UNICAST or address.sixtofour is not None or address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast and address not in _PROTOCOL_ASSIGNMENTS
