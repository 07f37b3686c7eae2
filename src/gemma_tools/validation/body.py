"""A whole request body, as `ChatRequest`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import check_json, read_json
from gemma_tools.policy import FIELD_POLICY, Unknown
from gemma_tools.request import ChatRequest, Conversation, ResponseFormat
from gemma_tools.validation.conversation import validate
from gemma_tools.validation.values import (
    as_array,
    check_flag,
    check_integer,
    check_number,
    check_object,
    check_text,
    shown,
    wrong_type,
)


def parse_request(body: Mapping[str, Any], *, unknown: Unknown = "refuse", warnings: Sequence[str] = ()) -> ChatRequest:
    """Validate the body of a chat completion request. A field that is null counts as absent.

    With `unknown="warn"` unknown fields and types of tools are left out, and `ChatRequest.warnings` reports them after
    `warnings`, which report what was left out to make the body.

    Raises:
        InvalidRequest: `param` is the field, and the place in it.
    """
    if not isinstance(body, Mapping):
        raise InvalidRequest("the request must be an object", code="invalid_type")
    left_out = _LeftOut(unknown, list(warnings))
    _check_fields(body, left_out)
    get = body.get
    conversation = _conversation(body, left_out)
    limits = [None if get(name) == -1 else _integer(body, name) for name in ("max_tokens", "max_completion_tokens")]
    stream_options = check_object(get("stream_options"), "stream_options") or {}
    template = _template_arguments(get("chat_template_kwargs"), left_out)
    logprobs = check_flag(get("logprobs"), "logprobs") or False
    top_logprobs = _integer(body, "top_logprobs")
    if top_logprobs is not None and not logprobs:
        raise InvalidRequest("requires logprobs=true", param="top_logprobs")
    repeat_penalty, repetition_penalty = _number(body, "repeat_penalty"), _number(body, "repetition_penalty")
    return ChatRequest(
        model=check_text(get("model"), "model"),
        messages=conversation.messages,
        tools=conversation.tools,
        tool_choice=conversation.tool_choice,
        parallel_tool_calls=check_flag(get("parallel_tool_calls"), "parallel_tool_calls"),
        response_format=_wanted_format(body),
        stream=check_flag(get("stream"), "stream") or False,
        include_usage=check_flag(stream_options.get("include_usage"), "stream_options.include_usage") or False,
        max_tokens=min((limit for limit in limits if limit is not None), default=None),
        temperature=_number(body, "temperature"),
        top_p=_number(body, "top_p"),
        top_k=0 if get("top_k") == -1 else _integer(body, "top_k"),
        min_p=_number(body, "min_p"),
        seed=_integer(body, "seed"),
        stop=_stop(get("stop")),
        n=_integer(body, "n") or 1,
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        logit_bias=_logit_bias(get("logit_bias")),
        frequency_penalty=_number(body, "frequency_penalty"),
        presence_penalty=_number(body, "presence_penalty"),
        repeat_penalty=repetition_penalty if repeat_penalty is None else repeat_penalty,
        grammar=check_text(get("grammar"), "grammar"),
        enable_thinking=_thinking(template, body),
        preserve_thinking=check_flag(template.get("preserve_thinking"), "chat_template_kwargs.preserve_thinking") or False,
        continues=_continues(body, conversation),
        legacy_functions=get("functions") is not None,
        warnings=tuple(left_out.warnings),
    )


def _continues(body: Mapping[str, Any], conversation: Conversation) -> bool:
    param = "continue_final_message"
    if not check_flag(body.get(param), param):
        return False
    *before, last = conversation.messages
    if not before or last.role != "assistant" or last.tool_calls or not (isinstance(last.content, str) and last.content):
        raise InvalidRequest(
            "the last message must be the assistant's, must not be the only one, and must contain only text", param=param
        )
    return True


class _LeftOut:
    """The unknown parts of a request: recorded as a warning, or raised."""

    def __init__(self, unknown: Unknown, warnings: list[str]) -> None:
        self.allowed = unknown == "warn"
        self.warnings = warnings

    def add(self, wrong: InvalidRequest) -> None:
        """Record that the part that `wrong` is about is left out; raise `wrong` if that is not allowed."""
        if not self.allowed:
            raise wrong
        self.warnings.append(f"{wrong.param} was left out: {wrong.message}")


def _integer(body: Mapping[str, Any], name: str) -> int | None:
    policy = FIELD_POLICY[name]
    return check_integer(body.get(name), name, policy.low, policy.high)


def _number(body: Mapping[str, Any], name: str) -> float | None:
    policy = FIELD_POLICY[name]
    return check_number(body.get(name), name, policy.low, policy.high)


def _check_fields(body: Mapping[str, Any], left_out: _LeftOut) -> None:
    """Refuse the fields that must be refused, and leave out those that are unknown or cannot be honoured."""
    for name, value in body.items():
        if value is None:
            continue
        policy = FIELD_POLICY.get(name)
        if policy is None:
            left_out.add(InvalidRequest("unrecognized request argument", param=str(name), code="unknown_parameter"))
        elif policy.treatment in ("refused", "left out") and not (name == "modalities" and value == ["text"]):
            wrong = InvalidRequest(f"this is not supported. {policy.note}", param=name, code="unsupported_parameter")
            if policy.treatment == "refused":
                raise wrong
            left_out.add(wrong)


def _conversation(body: Mapping[str, Any], left_out: _LeftOut) -> Conversation:
    tools, choice = _legacy(body)
    kept = _functions(tools, left_out) if left_out.allowed and isinstance(tools, (list, tuple)) else None
    messages = body.get("messages")
    try:
        return validate(() if messages is None else messages, tools if kept is None else [tools[i] for i in kept], choice)
    except InvalidRequest as wrong:
        place = wrong.param or ""
        if kept is not None and (found := _NUMBER.match(place)):
            place = f"tools[{kept[int(found[1])]}]{place[found.end() :]}"
        if body.get("functions") is not None:
            place = _OF_FUNCTION.sub(r"functions\1", place)
        if body.get("function_call") is not None and place.startswith("tool_choice"):
            place = "function_call"
        raise InvalidRequest(wrong.message, param=place or None, code=wrong.code) from None


def _functions(tools: Sequence[Any], left_out: _LeftOut) -> list[int]:
    """The numbers of the tools that are functions, or wrong in another way. The others are left out."""
    kept: list[int] = []
    for i, tool in enumerate(tools):
        kind = tool.get("type", "function") if isinstance(tool, Mapping) else "function"
        if kind == "function":
            kept.append(i)
        else:
            message = f"tools of type {shown(kind)} are not supported, only functions"
            left_out.add(InvalidRequest(message, param=f"tools[{i}]", code="unsupported_tool"))
    return kept


_NUMBER: Final = re.compile(r"tools\[(\d+)\]")
_OF_FUNCTION: Final = re.compile(r"^tools(\[\d+\])\.function")


def _legacy(body: Mapping[str, Any]) -> tuple[Any, Any]:
    """The tools and the tool choice, from `functions` and `function_call` if those are set."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    functions, call = body.get("functions"), body.get("function_call")
    if functions is not None:
        if tools:
            raise InvalidRequest("use tools or functions, not both", param="functions")
        tools = [{"type": "function", "function": function} for function in as_array(functions, "functions")]
    if call is not None:
        if choice is not None:
            raise InvalidRequest("use tool_choice or function_call, not both", param="function_call")
        choice = {"type": "function", "function": call} if isinstance(call, Mapping) else call
    return tools, choice


_EFFORTS: Final = MappingProxyType(
    {"none": False, "minimal": False, "low": True, "medium": True, "high": True, "xhigh": True, "max": True}
)
_THINKING_TYPES: Final = MappingProxyType({"enabled": True, "adaptive": True, "auto": None, "disabled": False})


def _template_arguments(given: object, left_out: _LeftOut) -> Mapping[str, Any]:
    arguments = check_object(given, "chat_template_kwargs") or {}
    for name in arguments:
        if name not in ("enable_thinking", "preserve_thinking"):
            place = f"chat_template_kwargs.{name}"
            left_out.add(InvalidRequest("unrecognized argument", param=place, code="unknown_parameter"))
    return arguments


def _thinking(template: Mapping[str, Any], body: Mapping[str, Any]) -> bool | None:
    """Whether to think: every field for it is checked, and the first with a value decides."""
    reasoning = check_object(body.get("reasoning"), "reasoning") or {}
    said = (
        check_flag(template.get("enable_thinking"), "chat_template_kwargs.enable_thinking"),
        check_flag(body.get("enable_thinking"), "enable_thinking"),
        _effort(body.get("think"), "think"),
        _thinking_type(body.get("thinking")),
        _effort(check_text(body.get("reasoning_effort"), "reasoning_effort"), "reasoning_effort"),
        _effort(check_text(reasoning.get("effort"), "reasoning.effort"), "reasoning.effort"),
        check_flag(reasoning.get("enabled"), "reasoning.enabled"),
    )
    return next((one for one in said if one is not None), None)


def _effort(value: object, param: str) -> bool | None:
    if not isinstance(value, str):
        return check_flag(value, param)
    if value not in _EFFORTS:
        raise InvalidRequest(f"{shown(value)} is not one of {', '.join(_EFFORTS)}", param=param)
    return _EFFORTS[value]


def _thinking_type(value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    kind = (check_object(value, "thinking") or {}).get("type")
    if not isinstance(kind, str) or kind not in _THINKING_TYPES:
        raise InvalidRequest(f"{shown(kind)} is not one of {', '.join(_THINKING_TYPES)}", param="thinking.type")
    return _THINKING_TYPES[kind]


def _wanted_format(body: Mapping[str, Any]) -> ResponseFormat | None:
    """`response_format`, or the field that vLLM's clients send instead. Only one of them may be set."""
    outputs = check_object(body.get("structured_outputs"), "structured_outputs") or {}
    forms = {name: value for name, value in outputs.items() if value is not None and name in _FORMS}
    for name in forms:
        if name not in ("json", "json_object"):
            raise InvalidRequest(
                "only its key json is supported", param=f"structured_outputs.{name}", code="unsupported_parameter"
            )
    given: dict[str, Any] = {"response_format": body.get("response_format"), "guided_json": body.get("guided_json")}
    given |= {f"structured_outputs.{name}": value for name, value in forms.items()}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) > 1:
        raise InvalidRequest(f"use only one of {', '.join(given)}", param=list(given)[1])
    if "response_format" in given or not given:
        return _response_format(body.get("response_format"))
    ((where, value),) = given.items()
    if where == "structured_outputs.json_object":
        return ResponseFormat("json_object") if check_flag(value, where) else None
    schema = _read_schema(value, where)
    check_json(schema, where)
    return ResponseFormat("json_schema", schema)


_FORMS: Final = frozenset(("json", "json_object", "regex", "choice", "grammar", "structural_tag"))


def _read_schema(value: object, where: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = read_json(value)
        except ValueError as error:
            raise InvalidRequest(f"this is not valid JSON: {error}", param=where) from None
    schema = check_object(value, where)
    if schema is None:
        raise wrong_type("a JSON Schema object", value, where)
    return schema


def _response_format(value: object) -> ResponseFormat | None:
    given = check_object(value, "response_format")
    if given is None:
        return None
    kind = given.get("type")
    if kind == "text" or kind == "json_object":
        return ResponseFormat(kind)
    if kind != "json_schema":
        raise InvalidRequest(f"{shown(kind)} is not one of text, json_object, json_schema", param="response_format.type")
    where = "response_format.json_schema"
    wrapper = check_object(given.get("json_schema"), where) or {}
    schema = check_object(wrapper.get("schema"), f"{where}.schema")
    if schema is None:
        raise InvalidRequest("the schema is missing", param=f"{where}.schema" if wrapper else where, code="missing")
    check_json(schema, f"{where}.schema")
    name = wrapper.get("name")
    return ResponseFormat("json_schema", schema, name if isinstance(name, str) else None, wrapper.get("strict") is True)


def _stop(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    stops = (given,) if isinstance(given, str) else given
    if not isinstance(stops, (list, tuple)) or not all(isinstance(stop, str) and stop for stop in stops):
        message = "must be a string or an array of strings, none of them empty"
        raise InvalidRequest(message, param="stop", code="invalid_type")
    return tuple(stops)


_TOKEN_ID: Final = re.compile(r"[0-9]{1,9}")


def _logit_bias(value: object) -> Mapping[str, float] | None:
    given = check_object(value, "logit_bias")
    if not given:
        return None
    biases: dict[str, float] = {}
    for token, bias in given.items():
        if not _TOKEN_ID.fullmatch(str(token)):
            raise InvalidRequest("its keys must be token ids, integers from 0", param="logit_bias")
        number = check_number(bias, f"logit_bias.{token}", -100, 100)
        if number is None:
            raise wrong_type("a number", bias, f"logit_bias.{token}")
        biases[str(token)] = float(number)
    return MappingProxyType(biases)
