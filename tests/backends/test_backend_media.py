"""Images and audio: taken, fetched, or refused."""

from __future__ import annotations

import base64
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gemma_tools import Gemma4Model, media
from gemma_tools.engines.base import Capabilities
from gemma_tools.errors import InvalidRequest
from gemma_tools.media import MediaPolicy, load_media
from gemma_tools.testing import ScriptedEngine
from support.media import png, sound, wav

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 32
PNG_URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
SEEING = Capabilities(settings=frozenset(), images=True)
HEARING = Capabilities(settings=frozenset(), audio=True)
REMOTE = MediaPolicy(allow_remote=True, timeout=5)


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def audio(data: bytes) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"}}


def ask(model: Gemma4Model, *parts: dict[str, Any]) -> ScriptedEngine:
    model.run([{"role": "user", "content": [{"type": "text", "text": "What is this?"}, *parts]}])
    assert isinstance(model.engine, ScriptedEngine)
    return model.engine


def test_images_reach_the_engine_in_their_order() -> None:
    gif = b"GIF89a" + b"\x01" * 8
    model = Gemma4Model("x", engine=ScriptedEngine(["a"], capabilities=SEEING))
    engine = ask(model, image(PNG_URI), image("data:image/gif;base64," + base64.b64encode(gif).decode()))
    assert engine.asked[0].prompt.media == (
        {"type": "image", "data": PNG, "format": "image/png"},
        {"type": "image", "data": gif, "format": "image/gif"},
    )
    assert engine.asked[0].prompt.text.count("<|image|>") == 2


def test_audio_reaches_an_engine_that_hears() -> None:
    model = Gemma4Model("x", engine=ScriptedEngine(["a"], capabilities=HEARING))
    [part] = ask(model, audio(b"RIFF....WAVE")).asked[0].prompt.media
    assert part == {"type": "audio", "data": b"RIFF....WAVE", "format": "wav"}


@pytest.mark.parametrize(
    ("can", "part", "word"),
    [(HEARING, image(PNG_URI), "image"), (SEEING, audio(b"x"), "audio"), (SEEING, {"type": "video"}, "video")],
)
def test_an_engine_that_takes_none_says_so(can: Capabilities, part: dict[str, Any], word: str) -> None:
    engine = ScriptedEngine(["a"], capabilities=can)
    with pytest.raises(InvalidRequest, match=f"media part 0.*scripted takes no {word}") as caught:
        ask(Gemma4Model("x", engine=engine), part)
    assert caught.value.param == "messages"
    assert engine.asked == []


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (image("data:image/png;base64,@@"), "base64"),
        (image("data:image/png;base64,"), "empty"),
        (image("data:image/png"), "comma"),
        (image("data:text/html;base64," + base64.b64encode(b"<html>").decode()), "not a PNG"),
        (image(""), "no url"),
        ({"type": "image_url"}, "no url"),
        (image("https://example.org/x.png"), "allow_remote_media"),
        (image("file:///etc/hostname"), "allow_file_media"),
        (image("/etc/hostname"), "allow_file_media"),
        ({"type": "image", "image": "x"}, "image_url"),
    ],
)
def test_what_cannot_be_taken_is_named(part: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=f"media part 1 .*{reason}"):
        load_media([image(PNG_URI), part], MediaPolicy())


def test_sizes_are_limited() -> None:
    small = MediaPolicy(max_bytes=len(PNG), max_total_bytes=2 * len(PNG))
    assert len(load_media([image(PNG_URI)] * 2, small)) == 2
    with pytest.raises(InvalidRequest, match="together"):
        load_media([image(PNG_URI)] * 3, small)
    for policy in (MediaPolicy(max_bytes=len(PNG) - 1), MediaPolicy(max_bytes=8)):
        with pytest.raises(InvalidRequest, match="larger"):
            load_media([image(PNG_URI)], policy)


def test_numbers_are_limited() -> None:
    assert len(load_media([image(PNG_URI)] * 128, MediaPolicy())) == 128
    with pytest.raises(InvalidRequest, match=r"media part 128 .*128 images"):
        load_media([image(PNG_URI)] * 129, MediaPolicy())


def test_a_small_file_may_hold_a_huge_picture() -> None:
    """All of them together count, and their headers tell: 60 kB of PNG fill 300 MB."""
    large = image(uri(png(width=8000, height=8000)))
    assert load_media([large], MediaPolicy())
    with pytest.raises(InvalidRequest, match=r"media part 1 .*100000000 pixels"):
        load_media([large, large], MediaPolicy())


def sized(form: str, width: int, height: int) -> bytes:
    """The beginning of an image of this size."""
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 300) + b"\xff\xc0" * 150
    return {
        "png": png(width=width, height=height),
        "cgbi": png(width=width, height=height)[:8]
        + struct.pack(">I4s4sI", 4, b"CgBI", b"IHDR", 0)
        + png(width=width, height=height)[8:],
        "jpeg": b"\xff\xd8" + comment + b"\xff\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width) + bytes(10),
        "gif": b"GIF89a" + struct.pack("<HH", width, height) + bytes(3),
        "bmp": b"BM" + bytes(12) + struct.pack("<Iii", 40, width, -height) + bytes(28),
        "old bmp": b"BM" + bytes(12) + struct.pack("<IHH", 12, width, height) + bytes(8),
        "webp": b"RIFF\0\0\0\0WEBPVP8 " + bytes(4) + b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height),
        "lossless webp": b"RIFF\0\0\0\0WEBPVP8L" + bytes(4) + b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14),
        "large webp": b"RIFF\0\0\0\0WEBPVP8X"
        + bytes(8)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little"),
    }[form]


@pytest.mark.parametrize("form", ["png", "cgbi", "jpeg", "gif", "bmp", "old bmp", "webp", "lossless webp", "large webp"])
def test_the_size_of_a_picture_is_read_in_its_header(form: str) -> None:
    data = sized(form, 300, 200)
    for most, fits in ((60_000, True), (59_999, False)):
        policy = MediaPolicy(max_pixels=most)
        if fits:
            load_media([image(uri(data))], policy)
        else:
            with pytest.raises(InvalidRequest, match="pixels"):
                load_media([image(uri(data))], policy)
    for end in range(4, len(data) if len(data) < 400 else 40):  # a header that is cut short
        with suppress(InvalidRequest):
            load_media([image(uri(data[:end]))], MediaPolicy())


def test_a_jpeg_of_only_comments_is_too_large() -> None:
    data = b"\xff\xd8" + b"\xff\xfe\0\2" * 10_001
    with pytest.raises(InvalidRequest, match="pixels"):
        load_media([image(uri(data))], MediaPolicy())
    assert load_media([image(uri(data[:400]))], MediaPolicy())


def flac(seconds: float) -> bytes:
    packed = 16000 << 44 | int(16000 * seconds)
    return b"fLaC" + bytes(14) + packed.to_bytes(8, "big") + bytes(16)


def wave(seconds: float, kind: int = 1) -> bytes:
    """A WAV with a chunk before its form, which may be an extensible one."""
    data = wav(seconds)
    form = struct.pack("<H", 0xFFFE) + data[22:36] + struct.pack("<HHIH", 22, 16, 0, kind) + bytes(14)
    chunks = b"LIST" + struct.pack("<I", 3) + b"fmt\0" + b"fmt " + struct.pack("<I", len(form)) + form
    return data[:12] + chunks + data[36:]


@pytest.mark.parametrize(
    ("form", "data", "seconds"),
    [
        ("wav", wav(10), 10),
        ("wav", wave(10), 10),
        ("wav", wave(10, 3), 10),
        ("flac", flac(10), 10),
        ("mp3", b"\xff\xf3\x18\xc4" * 139, 10),
    ],
)
def test_the_length_of_a_sound_is_read_in_its_header(form: str, data: bytes, seconds: int) -> None:
    load_media([sound(data, form)], MediaPolicy(max_seconds=seconds + 1))
    with pytest.raises(InvalidRequest, match=f"longer than {seconds - 1} seconds"):
        load_media([sound(data, form)], MediaPolicy(max_seconds=seconds - 1))
    with pytest.raises(InvalidRequest, match="media part 1 "):
        load_media([sound(data, form)] * 2, MediaPolicy(max_seconds=seconds + 1))


def test_audio_whose_length_cannot_be_told_are_too_long() -> None:
    """A small file may hold a long sound: of ADPCM a number in the file says how long it is."""
    for data in (wave(1, 2), wav(1)[:12] + b"LIST\0\0\0\0" * 10_001):
        with pytest.raises(InvalidRequest, match="longer"):
            load_media([sound(data)], MediaPolicy())
    assert load_media([sound(data[:400])], MediaPolicy())
    nothing = wav(1)[:24] + bytes(20)  # of a rate of 0
    assert load_media([sound(nothing)], MediaPolicy())


def test_files_are_read_when_allowed(tmp_path: Path) -> None:
    file = tmp_path / "a picture.png"
    file.write_bytes(PNG)
    policy = MediaPolicy(allow_files=True, max_bytes=len(PNG))
    for url in (str(file), file.as_uri()):
        assert load_media([image(url)], policy)[0]["data"] == PNG
    file.write_bytes(PNG + b"\x00")
    with pytest.raises(InvalidRequest, match="larger"):
        load_media([image(str(file))], policy)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        load_media([image(str(tmp_path))], policy)


Answer = Callable[[BaseHTTPRequestHandler], None]


def respond(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@contextmanager
def site(pages: dict[str, Answer]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A server on loopback: its address by name, and what it was asked for (path and host)."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["host"]))
            pages[self.path](self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://pictures.test:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What each host name resolves to; 127.0.0.1 counts as public here, so that a server can be reached."""
    known = {"pictures.test": ["127.0.0.1"]}

    real = socket.getaddrinfo

    def resolve(host: str, port: int, *more: Any, **options: Any) -> list[Any]:
        if host[0].isdigit():
            return real(host, port, *more, **options)
        if host not in known:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    public = media._is_public
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(media, "_is_public", lambda address: address == "127.0.0.1" or public(address))
    return known


def test_an_address_is_fetched_when_allowed(names: dict[str, list[str]]) -> None:
    with site({"/x.png": respond(200, PNG)}) as (base, asked):
        assert load_media([image(f"{base}/x.png")], REMOTE)[0]["data"] == PNG
    assert asked == [("/x.png", base.removeprefix("http://"))]


def test_redirects_are_followed_through_the_same_door(names: dict[str, list[str]]) -> None:
    pages = {"/a": respond(302, location="/b"), "/b": respond(200, PNG), "/in": respond(302, location="http://10.0.0.1/")}
    pages["/loop"] = respond(302, location="/loop")
    pages["/file"] = respond(302, location="file:///etc/passwd")
    with site(pages) as (base, asked):
        assert load_media([image(f"{base}/a")], REMOTE)[0]["data"] == PNG
        with pytest.raises(InvalidRequest, match="public address"):
            load_media([image(f"{base}/in")], REMOTE)
        with pytest.raises(InvalidRequest, match="5 redirects"):
            load_media([image(f"{base}/loop")], REMOTE)
        with pytest.raises(InvalidRequest, match="not an http"):
            load_media([image(f"{base}/file")], REMOTE)
    assert len(asked) == 2 + 1 + 6 + 1


def test_one_private_address_among_others_refuses_the_host(names: dict[str, list[str]]) -> None:
    names["mixed.test"] = ["8.8.8.8", "192.168.1.1"]
    with pytest.raises(InvalidRequest, match="public address"):
        load_media([image("http://mixed.test/x.png")], REMOTE)
    with pytest.raises(InvalidRequest, match="cannot be resolved"):
        load_media([image("http://nowhere.test/x.png")], REMOTE)


def test_a_bad_answer_is_one_clear_error(names: dict[str, list[str]]) -> None:
    def broken(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"not http at all\r\n\r\n")

    pages = {"/404": respond(404), "/html": respond(200, b"<html>"), "/big": respond(200, PNG * 9), "/broken": broken}
    with site(pages) as (base, _):
        for path, reason in (("/404", "404"), ("/html", "not a PNG"), ("/big", "larger"), ("/broken", "cannot be downloaded")):
            with pytest.raises(InvalidRequest, match=reason):
                load_media([image(base + path)], MediaPolicy(allow_remote=True, max_bytes=len(PNG)))


def test_a_head_that_never_ends_is_not_waited_for(names: dict[str, list[str]]) -> None:
    def dribble(handler: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-long: ")
            while not threading.Event().wait(0.02):
                handler.wfile.write(b"x")

    with site({"/x": dribble}) as (base, _), pytest.raises(InvalidRequest, match=r"longer than 0\.5 seconds"):
        load_media([image(f"{base}/x")] * 3, MediaPolicy(allow_remote=True, timeout=0.5))


def test_a_connection_that_comes_too_late_is_not_read(names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def dribble(handler: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-long: ")
            while not threading.Event().wait(0.001):
                handler.wfile.write(b"x")

    known = socket.getaddrinfo

    def resolve(*given: Any, **options: Any) -> list[Any]:
        threading.Event().wait(0.2)
        return known(*given, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with site({"/x": dribble}) as (base, _), pytest.raises(InvalidRequest, match=r"longer than 0\.1 seconds"):
        load_media([image(f"{base}/x")], MediaPolicy(allow_remote=True, timeout=0.1))


@pytest.mark.parametrize("address", ["http://\x00/", "http://1.1.1.1\x00/", "http://[::1", "http://", "http://:80/"])
def test_an_address_that_cannot_be_read(address: str) -> None:
    with pytest.raises(InvalidRequest):
        load_media([image(address)], REMOTE)


def test_a_redirect_that_cannot_be_read(names: dict[str, list[str]]) -> None:
    with site({"/": respond(302, location="http://[::1")}) as (base, _), pytest.raises(InvalidRequest):
        load_media([image(base + "/")], REMOTE)


@pytest.mark.parametrize(("form", "data"), [(5, b"RIFF"), ("aiff", b"FORM"), ("mp3", b"RIFF"), ("wav", b"RIFF....AVI ")])
def test_sound_is_what_it_says(form: Any, data: bytes) -> None:
    part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": form}}
    with pytest.raises(InvalidRequest):
        load_media([part], MediaPolicy())


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "::1",
     "fe80::1", "fc00::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "ff02::1",
     "fec0::1", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::7f00:1", "2001:0:7f00:1::1", "192.0.0.8"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not media._is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_that_are(address: str) -> None:
    assert media._is_public(address)
