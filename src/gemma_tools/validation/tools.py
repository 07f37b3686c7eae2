"""Tools and the tool choice, as `Tool` and `ToolChoice`."""

from __future__ import annotations

import marshal
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, cast

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import check_json
from gemma_tools.request import RawChoice, RawTool, Tool, ToolChoice
from gemma_tools.validation.values import as_array, as_object, check_name, check_text, shown, within, wrong_type

_LARGEST_KEY: Final = 1 << 16
"""In bytes. Larger tools are not cached, so the cache stays below 64 MiB."""


def validate_tools(tools: Sequence[RawTool] | None) -> tuple[Tool, ...]:
    """Check the `tools` of a request: `{"type": "function", "function": {...}}` each; None means none.

    Raises:
        InvalidRequest: `param` is the place, such as `tools[0].function.name`.
    """
    if tools is None:
        return ()
    given = as_array(tools, "tools")
    result: list[Tool] = []
    try:
        for raw in given:
            result.append(raw if raw.__class__ is Tool else _tool(raw))
    except InvalidRequest as wrong:
        raise within(wrong, f"tools[{len(result)}]") from None
    names = [tool.name for tool in result]
    if len(set(names)) < len(names):
        first = {name: i for i, name in reversed(list(enumerate(names)))}
        place = next(i for i, name in enumerate(names) if first[name] < i)
        message = f"there is already a tool {names[place]!r}"
        raise InvalidRequest(message, param=f"tools[{place}].function.name", code="duplicate_name")
    return tuple(result)


def _tool(raw: object) -> Tool:
    raw = raw if isinstance(raw, dict) else as_object(raw, "")
    try:
        key = marshal.dumps(cast("dict[str, Any]", raw), 2)
    except ValueError:  # too deep for marshal, or not plain Python values
        return _checked_tool(raw, None)
    return cached_tool(key) if len(key) <= _LARGEST_KEY else _checked_tool(raw, None)


@lru_cache(maxsize=1024)
def cached_tool(key: bytes) -> Tool:
    """The tool of a `Tool.key`: made from the marshalled content, so the cache never refers to the caller's own objects."""
    return _checked_tool(marshal.loads(key), key)


def _checked_tool(raw: Mapping[str, Any], key: bytes | None) -> Tool:
    check_json(raw, "")
    if raw.get("type", "function") != "function":
        message = f"tools of type {shown(raw['type'])} are not supported, only functions"
        raise InvalidRequest(message, param=".type", code="unsupported_tool")
    function = raw.get("function")
    if function is None:
        hint = '; write it as {"type": "function", "function": {...}}' if "name" in raw else ""
        raise InvalidRequest("the function is missing" + hint, param=".function", code="missing")
    if not isinstance(function, Mapping):
        raise wrong_type("an object", function, ".function")
    for part in ("parameters", "response"):
        if function.get(part) is not None and not isinstance(function[part], Mapping):
            raise wrong_type("a JSON Schema object", function[part], f".function.{part}")
    return Tool(
        name=check_name(function.get("name"), ".function.name"),
        description=check_text(function.get("description"), ".function.description") or "",
        parameters=function.get("parameters"),
        strict=function.get("strict") is True,
        response=function.get("response"),
        function=function,
        key=key,
    )


_AUTO: Final = ToolChoice()
_NONE: Final = ToolChoice("none")


def validate_choice(choice: RawChoice, tools: tuple[Tool, ...]) -> ToolChoice:
    """Check a `tool_choice`: a mode, one function, or `allowed_tools`, whose names may be in `function` or next to it.

    Raises:
        InvalidRequest: it is none of these, names an undeclared tool, or requires a call although there are no tools.
    """
    if isinstance(choice, ToolChoice):
        return choice
    if choice is None or choice == "auto":
        return _AUTO
    if choice == "none":
        return _NONE
    chosen = _choice(choice)
    declared = {tool.name for tool in tools}
    if chosen.names is not None and not chosen.names <= declared:
        missing = ", ".join(sorted(chosen.names - declared))
        raise InvalidRequest(f"there is no tool {missing}", param="tool_choice", code="unknown_tool")
    if not tools:
        raise InvalidRequest("tool_choice requires a call, but there are no tools", param="tool_choice", code="missing_tools")
    return chosen


def _choice(choice: str | Mapping[str, Any]) -> ToolChoice:
    if choice == "required":
        return ToolChoice("required")
    if not isinstance(choice, Mapping):
        raise InvalidRequest(f"{shown(choice)} must be none, auto, required or an object that names tools", param="tool_choice")
    kind = choice.get("type")
    if kind == "function":
        return ToolChoice("required", frozenset((_chosen(choice, "tool_choice.function.name"),)))
    if kind != "allowed_tools":
        raise InvalidRequest(
            f"{shown(kind)} is not a supported choice; use function or allowed_tools", param="tool_choice.type"
        )
    allowed = choice.get("allowed_tools", choice)
    mode, tools = (allowed.get("mode"), allowed.get("tools")) if isinstance(allowed, Mapping) else (None, None)
    if mode not in ("auto", "required") or not isinstance(tools, (list, tuple)) or not tools:
        message = "allowed_tools needs a mode, auto or required, and an array of tools"
        raise InvalidRequest(message, param="tool_choice.allowed_tools")
    names = frozenset(_chosen(tool, "tool_choice.allowed_tools.tools") for tool in tools)
    return ToolChoice(cast(Literal["auto", "required"], mode), names)


def _chosen(item: object, where: str) -> str:
    function = item.get("function", item) if isinstance(item, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise InvalidRequest("the function's name is missing", param=where, code="missing")
    return name
