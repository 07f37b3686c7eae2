"""What the renderers of the two brace formats share: option checks, declarations, and what a result says."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats.brace.writer import Notation
from gemma_tools.jsontext import read_json
from gemma_tools.request import Content, Message, Tool

ToolContent: TypeAlias = Literal["string", "json_object"]
Declared: TypeAlias = tuple[str, tuple[str, ...]]
"""A declaration, quoted, and what it leaves unsaid."""


STRING_LENGTHS: Final = range(1, 4097)
"""Where a grammar may end a string to which the schema sets no end, in characters."""


def check_option(name: str, value: object, allowed: Collection[object]) -> None:
    """Refuse a format option that is not one of `allowed`.

    Raises:
        InvalidRequest: with the option's name as `param`.
    """
    if value not in allowed:
        choices = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(repr, allowed))
        raise InvalidRequest(f"{value!r} is not one of {choices}", param=name, code="invalid_option")


def declare_all(
    tools: Collection[Tool], cached: Callable[[bytes, bool], Declared], fresh: Callable[[Tool, bool], Declared], exact: bool
) -> tuple[list[str], list[str]]:
    """The declarations of `tools` and their losses; `cached` takes a tool's key, `fresh` a tool that has none."""
    texts: list[str] = []
    losses: list[str] = []
    for tool in tools:
        text, lost = cached(tool.key, exact) if tool.key is not None else fresh(tool, exact)
        texts.append(text)
        if lost:
            losses += lost
    return texts, losses


def result_of(content: Content, mode: ToolContent) -> object:
    """What a tool result says: its text (parts joined as they are), or an object.

    In mode "json_object" a text that is a JSON object is read as one; any other text stays text.
    """
    if isinstance(content, tuple):
        content = "".join([part["text"] for part in content if part["type"] == "text"])
    if mode == "json_object" and isinstance(content, str) and (content[:1] == "{" or content.lstrip()[:1] == "{"):
        try:
            value = read_json(content)
        except ValueError:
            return content
        return value if isinstance(value, dict) else content
    return content


def write_result(notation: Notation, name: str, content: Content, mode: ToolContent) -> str:
    """A tool result with its control tokens. Histories are rendered again and again, so small results are remembered."""
    if mode == "json_object" and isinstance(content, str) and len(content) <= _LARGEST_RESULT:
        return _remembered_result(notation, name, content)
    return notation.write_response(name, result_of(content, mode))


_LARGEST_RESULT: Final = 2048
"""In characters. Longer ones are read and written anew each time, so that the memory stays small."""


@lru_cache(maxsize=2048)
def _remembered_result(notation: Notation, name: str, content: str) -> str:
    return notation.write_response(name, result_of(content, "json_object"))


def write_calls(notation: Notation, message: Message, index: int, out: list[str], losses: list[str]) -> None:
    """Write the calls of a message, and report what of them the notation cannot say."""
    for i, call in enumerate(message.tool_calls):
        text, unreadable_key = notation.write_call(call.name, call.arguments)
        out.append(text)
        if unreadable_key is not None or not call.readable:
            place = f"messages[{index}].tool_calls[{i}].function.arguments"
            if call.readable:
                losses.append(f"{place} has the key {unreadable_key!r}, which cannot be read back")
            else:
                losses.append(f"{place} is no JSON object, and is written as one argument named 'arguments'")
