"""The tools of a Responses request, as functions for chat completions, and the way back to their own names.

A `custom` tool takes free text: it is declared as a function with one string. The tools of a `namespace` are declared under
qualified names. Tools that OpenAI's servers run themselves are not supported. The format is that of
https://platform.openai.com/docs/api-reference/responses/create.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import read_json, to_json
from gemma_tools.validation.values import as_array, as_object, check_object, check_text, shown, wrong_type

Json = Mapping[str, Any]

INPUT: Final = "input"
"""The parameter with the free text of a custom tool."""


class Own(NamedTuple):
    """What a declared function is in the Responses request."""

    name: Any
    namespace: str | None = None
    custom: bool = False

    @property
    def reference(self) -> dict[str, Any]:
        """The fields that name it in an output item."""
        return {"name": self.name} if self.namespace is None else {"name": self.name, "namespace": self.namespace}


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools of one request: the declared functions, the place of each in the request, and what each is there."""

    functions: list[dict[str, Any]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    own: dict[str, Own] = field(default_factory=dict)
    """By declared name. A plain function is not in it."""
    echo: list[dict[str, Any]] = field(default_factory=list)
    """The tools as in the answer: without those that were left out."""
    left_out: list[InvalidRequest] = field(default_factory=list)

    def of(self, name: Any) -> Own:
        """What the function that is declared as `name` is in the request."""
        return self.own.get(name) or Own(name)


def offered_name(item: Json) -> Any:
    """The name of a tool, a call or a choice for the model: after its namespace, if it has one."""
    name, namespace = item.get("name"), item.get("namespace")
    if not isinstance(name, str) or not isinstance(namespace, str):
        return name
    return f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"


def read_tools(given: Any) -> Offer:
    """The tools of a request.

    Raises:
        InvalidRequest: it is not an array of objects, or a part of a tool has the wrong type.
    """
    offer = Offer()
    for i, tool in enumerate(as_array(given, "tools")):
        tool, place = as_object(tool, f"tools[{i}]"), f"tools[{i}]"
        if tool.get("type") == "namespace":
            _add_namespace(offer, tool, place)
        elif _add(offer, tool, place, None):
            offer.echo.append(_told(tool))
    return offer


def _add_namespace(offer: Offer, tool: Json, place: str) -> None:
    """The functions do not say what they have in common, so the first one's description does."""
    namespace = check_text(tool.get("name"), f"{place}.name")
    if not namespace:
        raise InvalidRequest("the namespace's name is missing", param=f"{place}.name", code="missing")
    first = len(offer.functions)
    inner = [as_object(one, f"{place}.tools[{j}]") for j, one in enumerate(as_array(tool.get("tools"), f"{place}.tools"))]
    kept = [one for j, one in enumerate(inner) if _add(offer, one, f"{place}.tools[{j}]", namespace)]
    about = check_text(tool.get("description"), f"{place}.description")
    if about and kept:
        function = offer.functions[first]["function"]
        function["description"] = "\n\n".join(filter(None, (function.get("description"), f"{namespace}: {about}")))
    offer.echo.append({**tool, "tools": [_told(one) for one in kept]})


def _add(offer: Offer, tool: Json, place: str, namespace: str | None) -> bool:
    """Declare one tool, if it is supported."""
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        message = f"a tool of type {shown(kind)} cannot be run here"
        offer.left_out.append(InvalidRequest(message, param=place, code="unsupported_tool"))
        return False
    own = Own(tool.get("name"), namespace, kind == "custom")
    name = offered_name({"name": own.name, "namespace": namespace})
    if own.custom:
        function = _free_text(tool, place)
    else:
        function = {key: tool[key] for key in ("description", "parameters", "strict") if tool.get(key) is not None}
    if isinstance(name, str) and (namespace or own.custom):
        offer.own[name] = own
    offer.functions.append({"type": "function", "function": {"name": name, **function}})
    offer.places.append(place)
    return True


def _free_text(tool: Json, place: str) -> dict[str, Any]:
    """A custom tool as a function. A regular expression becomes a pattern of its string, a grammar the string's `x-lark`."""
    text: dict[str, Any] = {"type": "string", "description": "The whole input, as plain text."}
    said = [check_text(tool.get("description"), f"{place}.description")]
    wanted = check_object(tool.get("format"), f"{place}.format") or {}
    held = False
    if wanted.get("type") not in (None, "text"):
        definition, syntax = wanted.get("definition"), wanted.get("syntax")
        if wanted["type"] != "grammar" or syntax not in ("lark", "regex"):
            message = "the format of a custom tool is text, or a grammar in lark or regex"
            raise InvalidRequest(message, param=f"{place}.format", code="unsupported_value")
        if not isinstance(definition, str):
            raise wrong_type("a string", definition, f"{place}.format.definition")
        held = True
        if syntax == "regex":
            text["pattern"] = f"^(?:{_unanchored(definition)})$"
            said.append(f"The input must match this regular expression: {definition}")
        else:
            text["x-lark"] = definition
            _check_lark(definition, f"{place}.format.definition")
            said.append(f"The input must follow this Lark grammar:\n{definition}")
    parameters = {"type": "object", "properties": {INPUT: text}, "required": [INPUT], "additionalProperties": False}
    return {"description": "\n\n".join(filter(None, said)), "parameters": parameters, **({"strict": True} if held else {})}


def _check_lark(definition: str, param: str) -> None:
    """Refuse a grammar that llguidance, if installed, cannot parse: some engines would silently enforce nothing."""
    try:
        from llguidance import LLMatcher
    except ImportError:
        return
    if fault := LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(definition)):
        raise InvalidRequest(f"llguidance cannot parse it: {fault.strip()}", param=param)


def _unanchored(pattern: str) -> str:
    """Without anchors at its ends: a format always applies to the whole input."""
    pattern = pattern.removeprefix("^")
    return pattern[:-1] if pattern.endswith("$") and not pattern.endswith("\\$") else pattern


def _told(tool: Json) -> dict[str, Any]:
    """A tool as in the answer: a function with all its fields."""
    if tool.get("type") != "function":
        return dict(tool)
    return {"description": None, "parameters": None, **tool, "strict": tool.get("strict") is True}


def read_choice(choice: Any, offer: Offer) -> Any:
    """The `tool_choice` of a chat request for that of a Responses request.

    Raises:
        InvalidRequest: it names a tool that is not supported.
    """
    if not isinstance(choice, Mapping):
        return choice
    kind = choice.get("type")
    if kind in ("function", "custom"):
        return {"type": "function", "function": {"name": _chosen(choice, offer)}}
    if kind != "allowed_tools":
        message = f"a tool of type {shown(kind)} cannot be run here, so it cannot be chosen"
        raise InvalidRequest(message, param="tool_choice.type", code="unsupported_value")
    allowed = [
        as_object(one, f"tool_choice.tools[{i}]") for i, one in enumerate(as_array(choice.get("tools"), "tool_choice.tools"))
    ]
    names = [name for one in allowed for name in _allowed(one, offer)]
    if allowed and not names:
        message = "none of these tools can be run here"
        raise InvalidRequest(message, param="tool_choice.tools", code="unsupported_value")
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode"), "tools": tools}}


def _allowed(one: Json, offer: Offer) -> Iterator[Any]:
    """The declared names of an entry of `allowed_tools`: one tool, or a namespace. An entry that was left out has none."""
    if one.get("type") == "namespace":
        yield from (name for name, own in offer.own.items() if own.namespace == one.get("name"))
    elif one.get("type", "function") in ("function", "custom"):
        yield _chosen(one, offer)


def _chosen(choice: Json, offer: Offer) -> Any:
    """The declared name of a chosen tool. A tool in a namespace may be named without it, if the name is unique."""
    name = offered_name(choice)
    if any(function["function"]["name"] == name for function in offer.functions):
        return name
    found = [offered for offered, own in offer.own.items() if own.name == name and "namespace" not in choice]
    return found[0] if len(found) == 1 else name


def call_item(call: Json, own: Own) -> dict[str, Any]:
    """The output item of a call that has just started."""
    kind, text = ("custom_tool_call", INPUT) if own.custom else ("function_call", "arguments")
    return {"type": kind, "status": "in_progress", "call_id": call.get("id"), **own.reference, text: ""}


def free_text(arguments: str) -> tuple[str, bool]:
    """The input of a custom tool from a call's arguments, and whether it was found. If not, the arguments are unchanged."""
    try:
        value = read_json(arguments)
    except ValueError:
        return arguments, False
    text = value.get(INPUT) if isinstance(value, dict) else None
    return (text, True) if isinstance(text, str) else (arguments, True)


def call_in_chat(item: Json) -> dict[str, Any]:
    """The tool call of a chat message for a call in the conversation."""
    arguments = to_json({INPUT: item.get("input")}) if item.get("type") == "custom_tool_call" else item.get("arguments")
    return {"id": item.get("call_id"), "type": "function", "function": {"name": offered_name(item), "arguments": arguments}}
