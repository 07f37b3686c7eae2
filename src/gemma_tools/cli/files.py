"""Reads a command's input, a file or `-` for standard input, and writes JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, BinaryIO, TypeVar

from gemma_tools import jsontext
from gemma_tools.errors import GemmaToolsError, InvalidRequest

T = TypeVar("T")


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
        yield file


def read_text(path: str) -> str:
    """All text of a file, with unchanged line ends.

    Raises:
        OSError: it cannot be read.
        InvalidRequest: it is not UTF-8.
    """
    with _opened(path) as file:
        return _decode(file.read(), path)


def read_json(path: str) -> Any:
    """The JSON value in a file.

    Raises:
        OSError: it cannot be read.
        InvalidRequest: it is not valid JSON; the message says where.
    """
    return _load(read_text(path), path)


def read_request(path: str) -> dict[str, Any]:
    """The JSON object in a file. Raises as `read_json`."""
    return _object(read_json(path), path)


def write_json(value: object, *, indented: bool = False) -> None:
    """Print a JSON value of any depth at once, on one line unless indented."""
    print(jsontext.to_json_lines(value) if indented else jsontext.to_json(value), flush=True)


def map_lines(path: str, answer: Callable[[dict[str, Any]], Mapping[str, Any]], what: str) -> None:
    """Read one JSON object per line, and print for each the same object with the members that `answer` adds.

    A line that fails gets a member `error` (`message`, `param`, `code`) instead, and the other lines are still processed. On a
    terminal a progress bar runs on stderr.

    Raises:
        OSError: the file cannot be read.
        InvalidRequest: at the end, if lines failed: how many, and the first error.
    """
    for item, added in _answers(path, lambda where, item: answer(item), what):
        write_json({**item, **({"error": _error(added)} if isinstance(added, GemmaToolsError) else added)})


def convert_lines(path: str, convert: Callable[[str, dict[str, Any]], list[dict[str, Any]]], what: str) -> None:
    """Read one JSON object per line, and print the objects that `convert` makes from it; it also gets the position.

    A line that fails is left out. Otherwise like `map_lines`.
    """
    for _, made in _answers(path, convert, what):
        if not isinstance(made, GemmaToolsError):
            for row in made:
                write_json(row)


def _answers(
    path: str, answer: Callable[[str, dict[str, Any]], T], what: str
) -> Iterator[tuple[dict[str, Any], T | GemmaToolsError]]:
    """The JSON object of each line, and the answer to it or its error. Raises like `map_lines`."""
    failed: list[str] = []
    done = 0
    for number, line in _lines(path, what):
        done += 1
        where = f"{path}, line {number}"
        item: dict[str, Any] = {}
        made: T | GemmaToolsError
        try:
            item = _object(_load(_decode(line)))
            made = answer(where, item)
        except GemmaToolsError as error:
            failed.append(f"{where}: {error}")
            made = error
        yield item, made
    if failed:
        raise InvalidRequest(f"{len(failed)} of {done} lines failed, first {failed[0]}")


def read_lines(path: str, what: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file, one per line, each with the name of its position.

    With `what`, a progress bar runs on stderr if that is a terminal.

    Raises:
        OSError: the file cannot be read.
        InvalidRequest: a line is not a JSON object.
    """
    for number, line in _lines(path, what):
        where = f"{path}, line {number}"
        yield where, _object(_load(_decode(line, where), where), where)


def _lines(path: str, what: str | None) -> Iterator[tuple[int, bytes]]:
    with _opened(path) as file, _progress(what, file) as advance:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line
            advance(len(line))


def _error(error: GemmaToolsError) -> dict[str, Any]:
    if isinstance(error, InvalidRequest):
        return {"message": error.message, "param": error.param, "code": error.code}
    return {"message": str(error), "param": None, "code": None}


def _decode(data: bytes, where: str | None = None) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"not UTF-8 (byte {error.start})", param=where, code="invalid_json") from None


def _load(text: str, where: str | None = None) -> Any:
    try:
        return jsontext.read_json(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"not valid JSON: {error.msg} ({place})", param=where, code="invalid_json") from None
    except ValueError as error:
        raise InvalidRequest(f"not valid JSON: {error}", param=where, code="invalid_json") from None


def _object(value: Any, where: str | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest("must be a JSON object", param=where, code="invalid_type")
    return value


@contextmanager
def _progress(what: str | None, file: BinaryIO) -> Iterator[Callable[[int], object]]:
    """Return a function to call with the number of bytes that were read; on a terminal it moves a bar on stderr."""
    if what is None or not sys.stderr.isatty():
        yield lambda size: None
        return
    from rich.console import Console
    from rich.progress import Progress

    total = _size(file)
    with Progress(console=Console(stderr=True), redirect_stdout=sys.stdout.isatty(), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda size: bar.advance(task, size)


def _size(file: BinaryIO) -> int | None:
    if not file.seekable():
        return None
    here = file.tell()
    size = file.seek(0, 2)
    file.seek(here)
    return size
