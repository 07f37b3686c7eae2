"""A whole request body, as `ChatRequest`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import check_json
from gemma_tools.policy import FIELD_POLICY
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


def parse_request(body: Mapping[str, Any], *, warnings: tuple[str, ...] = ()) -> ChatRequest:
    """Validate the body of a chat completion request. A field that is null counts as absent.

    `warnings` tell what had to be left out to make the body: they go into the completion.

    Raises:
        InvalidRequest: `param` is the field, and the place in it.
    """
    if not isinstance(body, Mapping):
        raise InvalidRequest("the request must be an object", code="invalid_type")
    _check_fields(body)
    get = body.get
    conversation = _conversation(body)
    limits = [_integer(body, name) for name in ("max_tokens", "max_completion_tokens")]
    stream_options = check_object(get("stream_options"), "stream_options") or {}
    template = _template_arguments(get("chat_template_kwargs"))
    logprobs = check_flag(get("logprobs"), "logprobs") or False
    top_logprobs = _integer(body, "top_logprobs")
    if top_logprobs is not None and not logprobs:
        raise InvalidRequest("requires logprobs=true", param="top_logprobs")
    return ChatRequest(
        model=check_text(get("model"), "model"),
        messages=conversation.messages,
        tools=conversation.tools,
        tool_choice=conversation.tool_choice,
        parallel_tool_calls=check_flag(get("parallel_tool_calls"), "parallel_tool_calls"),
        response_format=_response_format(get("response_format")),
        stream=check_flag(get("stream"), "stream") or False,
        include_usage=check_flag(stream_options.get("include_usage"), "stream_options.include_usage") or False,
        max_tokens=min((limit for limit in limits if limit is not None), default=None),
        temperature=_number(body, "temperature"),
        top_p=_number(body, "top_p"),
        top_k=_integer(body, "top_k"),
        min_p=_number(body, "min_p"),
        seed=_integer(body, "seed"),
        stop=_stop(get("stop")),
        n=_integer(body, "n") or 1,
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        logit_bias=_logit_bias(get("logit_bias")),
        frequency_penalty=_number(body, "frequency_penalty"),
        presence_penalty=_number(body, "presence_penalty"),
        enable_thinking=_thinking(template, get("reasoning_effort")),
        preserve_thinking=check_flag(template.get("preserve_thinking"), "chat_template_kwargs.preserve_thinking") or False,
        legacy_functions=get("functions") is not None,
        warnings=warnings,
    )


def _integer(body: Mapping[str, Any], name: str) -> int | None:
    policy = FIELD_POLICY[name]
    return check_integer(body.get(name), name, policy.low, policy.high)


def _number(body: Mapping[str, Any], name: str) -> float | None:
    policy = FIELD_POLICY[name]
    return check_number(body.get(name), name, policy.low, policy.high)


def _check_fields(body: Mapping[str, Any]) -> None:
    """Refuse the fields that are unknown, and those of the policy "refused"; null is as good as absent."""
    for name, value in body.items():
        if value is None:
            continue
        policy = FIELD_POLICY.get(name)
        if policy is None:
            raise InvalidRequest("unrecognized request argument", param=str(name), code="unknown_parameter")
        if policy.treatment == "refused" and not (name == "modalities" and value == ["text"]):
            raise InvalidRequest(f"this is not supported. {policy.note}", param=name, code="unsupported_parameter")


def _conversation(body: Mapping[str, Any]) -> Conversation:
    tools, choice = _legacy(body)
    try:
        return validate(body.get("messages") or (), tools, choice)
    except InvalidRequest as wrong:
        place = wrong.param or ""
        if body.get("functions") is not None:
            place = _OF_FUNCTION.sub(r"functions\1", place)
        if body.get("function_call") is not None and place.startswith("tool_choice"):
            place = "function_call"
        raise InvalidRequest(wrong.message, param=place or None, code=wrong.code) from None


_OF_FUNCTION: Final = re.compile(r"^tools(\[\d+\])\.function")


def _legacy(body: Mapping[str, Any]) -> tuple[Any, Any]:
    """The tools and the tool choice, from `functions` and `function_call` where those are given."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    functions, call = body.get("functions"), body.get("function_call")
    if functions is not None:
        if tools:
            raise InvalidRequest("give tools or functions, not both", param="functions")
        tools = [{"type": "function", "function": function} for function in as_array(functions, "functions")]
    if call is not None:
        if choice is not None:
            raise InvalidRequest("give tool_choice or function_call, not both", param="function_call")
        choice = {"type": "function", "function": call} if isinstance(call, Mapping) else call
    return tools, choice


_EFFORTS: Final = MappingProxyType({"none": False, "minimal": False, "low": True, "medium": True, "high": True, "xhigh": True})


def _template_arguments(given: object) -> Mapping[str, Any]:
    arguments = check_object(given, "chat_template_kwargs") or {}
    for name in arguments:
        if name not in ("enable_thinking", "preserve_thinking"):
            raise InvalidRequest("unrecognized argument", param=f"chat_template_kwargs.{name}", code="unknown_parameter")
    return arguments


def _thinking(template: Mapping[str, Any], given: object) -> bool | None:
    effort = check_text(given, "reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        raise InvalidRequest(f"{effort!r} is not one of {', '.join(_EFFORTS)}", param="reasoning_effort")
    if template.get("enable_thinking") is None:
        return None if effort is None else _EFFORTS[effort]
    return check_flag(template["enable_thinking"], "chat_template_kwargs.enable_thinking")


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


def _logit_bias(value: object) -> Mapping[str, float] | None:
    given = check_object(value, "logit_bias")
    if not given:
        return None
    biases: dict[str, float] = {}
    for token, bias in given.items():
        number = check_number(bias, f"logit_bias.{token}", -100, 100)
        if number is None:
            raise wrong_type("a number", bias, f"logit_bias.{token}")
        biases[str(token)] = float(number)
    return MappingProxyType(biases)
