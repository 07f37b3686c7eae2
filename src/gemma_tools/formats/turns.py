"""What the renderers of the two brace formats share: option checks, declarations, and what a result says."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal, TypeAlias

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import read_json
from gemma_tools.request import Content, Message, Tool

ToolContent: TypeAlias = Literal["string", "json_object"]
Declared: TypeAlias = tuple[str, tuple[str, ...]]
"""A declaration, quoted, and what it leaves unsaid."""


def check_option(name: str, value: object, allowed: Collection[object]) -> None:
    """Refuse a format option that is not one of `allowed`.

    Raises:
        InvalidRequest: with the option's name as `param`.
    """
    if value not in allowed:
        choices = ", ".join(map(repr, allowed))
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
    if mode == "json_object" and isinstance(content, str) and content.lstrip()[:1] == "{":
        try:
            value = read_json(content)
        except ValueError:
            return content
        return value if isinstance(value, dict) else content
    return content


def call_losses(message: Message, index: int) -> list[str]:
    """What the calls of a message say that the brace notation cannot."""
    losses = []
    for i, call in enumerate(message.tool_calls):
        place = f"messages[{index}].tool_calls[{i}].function.arguments"
        if not call.readable:
            losses.append(f"{place} is no JSON object, and is written as one argument named 'arguments'")
        elif any(":" in key or not key.strip() for key in call.arguments):
            losses.append(f"{place} has a key that cannot be read back, because it is empty or has a colon in it")
    return losses
