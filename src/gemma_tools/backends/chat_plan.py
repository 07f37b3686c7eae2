"""The plan for a chat-only engine: what an answer is constrained by there, and what the model can only be asked for.

The endpoint's own tool choice forces a call; if it has none, its JSON schema does, as one call in JSON. Otherwise the model is
asked in the prompt, its answer is validated, and it is asked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from gemma_tools.backends.plan import (
    ANY_OBJECT,
    OnInvalid,
    Plan,
    check_grammar,
    demands_of,
    instructed,
    policy_of,
    wanted_json,
)
from gemma_tools.engines.base import Capabilities, Constraint
from gemma_tools.errors import InvalidRequest
from gemma_tools.formats.base import Format
from gemma_tools.formats.gemma3 import Gemma3Format
from gemma_tools.jsontext import read_json, to_json
from gemma_tools.request import ChatRequest, Message, Tool

PROMPTED = "the endpoint does not get the tools; they are described in the text of the messages"
"""A warning in an answer for which tools were described in the text."""

NO_SWITCH = "enable_thinking: this endpoint has no known field for thinking"

_AS_JSON = 'Answer with the call that fits, as one JSON object: {"name": its name, "parameters": its arguments}.'
_MOST_NAMED = 32
"""The number of tools for which an invented result ends the answer: each is searched in every chunk."""


def chat_plan(
    request: ChatRequest, format: Format, engine: Capabilities, *, thinking: bool, on_invalid: OnInvalid | None
) -> Plan:
    """The plan for `request`, as messages of a chat.

    Raises:
        InvalidRequest: the endpoint cannot satisfy the request; `param` names the field.
    """
    if request.grammar is not None:
        check_grammar(request, engine)
    if request.continues:
        message = "a chat endpoint always starts a new turn: the last message must not be the assistant's"
        raise InvalidRequest(message, param="continue_final_message", code="unsupported_parameter")
    tools, declared, _, max_calls, forced, answer = demands_of(request, format)
    by_schema = "json_schema" in engine.constraints
    way = _way(format, engine, only_by_schema=forced and by_schema and not engine.forces_calls)
    must_call = forced and way == "native" and engine.forces_calls
    as_json = forced and way == "prompted" and by_schema
    told_to_call = forced and not must_call and not as_json
    told = answer is not None and (bool(tools) or not by_schema)

    texts = []
    if way == "prompted" and declared and not as_json and format.plain.instruction:
        texts.append(format.plain.instruction)
    if as_json:
        texts.append(_AS_JSON)
    elif told_to_call:
        texts.append(_call_now(tools))
    if answer is not None and told:
        texts.append(wanted_json(answer))
    messages = instructed(request.messages, *texts)
    prompted = way == "prompted"
    writing = replace(format, tool_style="json") if as_json and isinstance(format, Gemma3Format) else format
    prompt = writing.render(
        _without_thoughts(messages) if prompted else messages,
        declared,
        enable_thinking=thinking and not prompted,
        preserve_thinking=request.preserve_thinking,
    )
    if prompted and format.plain.result:
        made_up = tuple(f"{format.plain.result}{tool.name}{{" for tool in declared[:_MOST_NAMED])
        prompt = replace(prompt, stop=(*prompt.stop, *made_up))
    constraint = None
    if as_json:
        constraint = Constraint(json_schema=call_schema(tools))
    elif answer is not None and not told:
        constraint = Constraint(json_schema=answer.schema or ANY_OBJECT)
    return Plan(
        prompt=prompt,
        messages=messages,
        declared=declared,
        tools=tools,
        thinking=thinking,
        constraint=constraint,
        max_calls=1 if as_json else max_calls,
        forced=forced,
        answer=answer,
        told=told,
        way=way,
        must_call=must_call,
        call_as_json=as_json,
        told_to_call=told_to_call,
        on_invalid=policy_of(on_invalid, tools, bound=False),
        warnings=(
            *prompt.warnings,
            *((PROMPTED,) if prompted and declared else ()),
            *((NO_SWITCH,) if thinking and not engine.thinks else ()),
        ),
    )


def call_schema(tools: Sequence[Tool]) -> Mapping[str, Any]:
    """The schema of one call of one of `tools`, as Gemma 3's JSON style writes it."""
    schemas = [tool.parameters or {"type": "object"} for tool in tools]
    place = "#/properties/parameters"
    if len(schemas) == 1:
        parameters = _moved(schemas[0], place)
    else:
        parameters = {"anyOf": [_moved(schema, f"{place}/anyOf/{number}") for number, schema in enumerate(schemas)]}
    return {
        "type": "object",
        "properties": {"name": {"type": "string", "enum": [tool.name for tool in tools]}, "parameters": parameters},
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _moved(schema: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """`schema` as it must be written at `place` in another one: its references to itself are adjusted."""
    if "$ref" not in (text := to_json(schema)):
        return schema
    # In JSON text, a quotation mark without a backslash before it ends a key.
    moved: Mapping[str, Any] = read_json(text.replace('"$ref": "#', f'"$ref": "{place}'))
    return moved


def _way(format: Format, engine: Capabilities, *, only_by_schema: bool) -> Literal["native", "prompted"]:
    """Native where it can be, but for a family whose template has no tools, and a call that only a schema can force."""
    if "native" in engine.chat and ("prompted" not in engine.chat or (format.tools_in_template and not only_by_schema)):
        return "native"
    return "prompted"


def _call_now(tools: Sequence[Tool]) -> str:
    names = ", ".join(tool.name for tool in tools)
    one = "the function" if len(tools) == 1 else "one of the functions"
    return f"Call {one} {names} now. Write nothing but the call."


def _without_thoughts(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(message._replace(reasoning=None) if message.reasoning else message for message in messages)
