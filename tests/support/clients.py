"""The page on clients, docs/clients.md, in parts, and the model that its programs for coding are run with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from gemma_tools import Gemma4Model
from gemma_tools.engines.base import Cancellation, Capabilities, Engine, Generation, GenerationRequest, Pieces, Sampling
from gemma_tools.formats import get_format

PAGE: Final = Path(__file__).parents[2] / "docs" / "clients.md"
ADDRESS: Final = "http://127.0.0.1:1337"
"""Where the server is on the page."""
RESULT: Final = "sunny"
"""What the tool of a part finds out."""

_PARTS: Final = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCKS: Final = re.compile(r"^(?:[^\n]*`([^`\n]+)`:\n\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INSTALL: Final = re.compile(r"(?:pip|npm) install ")
_SERVE: Final = "gemma-tools serve "
_RENAMED: Final = re.compile(r"--model (\S+)=gemma4:e2b")


class Block(NamedTuple):
    """A fenced block. `file` is the name in backticks at the end of the line above, if there is one: there it is written."""

    file: str
    language: str
    text: str


def parts() -> dict[str, str]:
    """The parts of the page that install something, by the names that the session `clients` gives them."""
    found = _PARTS.findall(PAGE.read_text(encoding="utf-8"))
    return {re.sub(r"\W+", "-", title.lower()).strip("-"): text for title, text in found if _INSTALL.search(text)}


def blocks(part: str) -> Iterator[Block]:
    """The blocks of a part, without those that install it and start a server."""
    found = (Block(*match) for match in _BLOCKS.findall(part))
    return (block for block in found if not _INSTALL.match(block.text) and not block.text.startswith(_SERVE))


def gemma_names(part: str) -> list[str]:
    """The names that `gemma4:e2b` has in a part."""
    return ["gemma4:e2b", *_RENAMED.findall(part)]


@dataclass(frozen=True)
class Call:
    """The tool that a scripted model calls where it is declared."""

    tool: str
    arguments: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The call as Gemma 4 writes it."""
        return f"<|tool_call>call:{self.tool}{get_format('gemma4').value(self.arguments)}<tool_call|>"


@dataclass(frozen=True)
class Script:
    """What `gemma4:e2b` does in a part: it calls the first tool that is declared, and with its result it answers."""

    calls: tuple[Call, ...] = ()
    answer: str = f"It is {RESULT} in Lisbon."


_READ: Final = "cat forecast.txt"
_PATCH: Final = f"*** Begin Patch\n*** Add File: note.txt\n+Lisbon: {RESULT}\n*** End Patch\n"
_WEATHER: Final = Call("get_weather", {"city": "Lisbon"})
SCRIPTS: Final[Mapping[str, Script]] = {
    **dict.fromkeys(("ai-sdk-openai", "ai-sdk-openai-compatible", "ai-sdk-anthropic"), Script((_WEATHER,))),
    "codex": Script((Call("apply_patch", {"input": _PATCH}), Call("exec_command", {"cmd": _READ}))),
    "opencode": Script((Call("bash", {"command": _READ, "description": "Reads the forecast"}),)),
    "cline": Script((Call("run_commands", {"commands": [_READ]}),)),
    "continue": Script((Call("Bash", {"command": _READ}),)),
    "claude-code": Script((Call("Bash", {"command": _READ, "description": "Reads the forecast"}),)),
    "bfcl": Script((Call("calculate_triangle_area", {"base": 10, "height": 5}), Call("math_factorial", {"number": 5}))),
    "aider": Script(answer=f'weather.py\n```python\nprint("{RESULT}")\n```\n'),
}
"""By part."""

_TITLE: Final = "The weather in Lisbon"
_OPENING: Final = "<|channel>thought\n"
_THOUGHT: Final = f"{_OPENING}Let me see.<channel|>"
_PIECE: Final = 8


class ScriptEngine(Engine):
    """Answers each prompt by what stands in it: between the steps of a task, programs also ask for titles and summaries."""

    name = "script"
    capabilities = Capabilities(settings=frozenset(field.name for field in fields(Sampling)) - {"extra"})

    def __init__(self, script: Script) -> None:
        self._script = script

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Write the reply in small pieces; see `Engine.generate`."""
        reply = self._reply(request.prompt.text)
        if "<|think|>" in request.prompt.text:
            reply = (_THOUGHT if request.prompt.opens == "content" else _THOUGHT.removeprefix(_OPENING)) + reply
        for start in range(0, len(reply), _PIECE):
            yield reply[start : start + _PIECE]
        return Generation()

    def count_tokens(self, text: str) -> int:
        """Some number of tokens."""
        return -(-len(text) // 4)

    def _reply(self, prompt: str) -> str:
        if not self._script.calls or RESULT in prompt:
            return self._script.answer
        return next((call.text for call in self._script.calls if f"declaration:{call.tool}{{" in prompt), _TITLE)


def scripted_gemma(part: str) -> Gemma4Model:
    """The model that is `gemma4:e2b` in a part of the page."""
    return Gemma4Model("gemma4:e2b", engine=ScriptEngine(SCRIPTS.get(part, Script())))
