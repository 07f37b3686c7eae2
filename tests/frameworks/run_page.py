"""Run the Python code of a page of docs/frameworks as it is written there: `python run_page.py PAGE`.

Every attempt to reach a network is refused. What the code prints must be what the `text` blocks of the page show, and the
result of a tool (all pages have one that says `sunny`) must have come back to a model in a whole and in a streamed request, as
far as the page does not say that the framework cannot.
"""

from __future__ import annotations

import io
import re
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from gemma_tools import BaseModelBackend
from gemma_tools.request import ChatRequest

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RESULT = "sunny"
HERE = ("127.0.0.1", "::1", "localhost", None)


def blocks(page: str, language: str) -> Iterator[str]:
    """The fenced blocks of `page` in `language`."""
    return (block for found, block in FENCE.findall(page) if found == language)


def program(page: str) -> str:
    """The Python of `page`, each line at the number that it has there, so that tracebacks point into the page."""
    lines = [""] * page.count("\n")
    for match in FENCE.finditer(page):
        if match[1] == "python":
            first = page.count("\n", 0, match.start(2))
            code = match[2].splitlines()
            lines[first : first + len(code)] = code
    return "\n".join(lines)


def ways(page: str) -> set[bool]:
    """The values of `stream` with which the framework of `page` gives a tool's result back."""
    if "has no tool loop" in page:
        return set()
    return {streamed for streamed, denial in ((False, "always streams"), (True, "never streams")) if denial not in page}


def refuse_network(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook: nothing but this machine is looked up or connected to. The llama.cpp in process has a port on it."""
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event == "socket.connect" and not isinstance(args[1], (str, bytes)):
        host = args[1][0]
    else:
        return
    if host not in HERE:
        raise PermissionError(f"{host}: these programs run without a network")


def recording(respond: Callable[..., Any], seen: list[ChatRequest]) -> Callable[..., Any]:
    """`respond`, or its twin, that keeps what it is asked in `seen`."""

    def record(self: BaseModelBackend, request: ChatRequest, **options: Any) -> Any:
        seen.append(request)
        return respond(self, request, **options)

    return record


def run(path: Path) -> None:
    """Run the page at `path`. Raises `AssertionError` if it does not do what it says, or what its code raises."""
    page = path.read_text(encoding="utf-8")
    seen: list[ChatRequest] = []
    BaseModelBackend.respond = recording(BaseModelBackend.respond, seen)
    BaseModelBackend.arespond = recording(BaseModelBackend.arespond, seen)
    sys.addaudithook(refuse_network)
    # A real file, because frameworks read the source of functions.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()) as out:
        file = Path(folder, path.with_suffix(".py").name)
        file.write_text(program(page), encoding="utf-8")
        runpy.run_path(str(file), run_name="__main__")
    printed, shown = out.getvalue(), "".join(blocks(page, "text"))
    assert printed == shown, f"{path} shows\n{shown}and prints\n{printed}"
    answered = {request.stream for request in seen if RESULT in str(request.messages)}
    assert answered == ways(page), f"{path} gave a tool's result back in requests with stream={answered}"


if __name__ == "__main__":
    run(Path(sys.argv[1]))
