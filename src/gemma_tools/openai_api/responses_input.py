"""From a Responses request to a chat request: a pure translation, since nothing is kept between requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from gemma_tools.errors import InvalidRequest
from gemma_tools.validation.values import as_array, as_object, wrong_type

Json = Mapping[str, Any]

HONOURED = frozenset(
    {
        "input",
        "instructions",
        "max_output_tokens",
        "model",
        "parallel_tool_calls",
        "reasoning",
        "stream",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
        "chat_template_kwargs",
        "min_p",
        "seed",
        "stop",
        "top_k",
    }
)
"""Fields that change the answer. The last five are not OpenAI's here, but come through its `extra_body`."""

ACCEPTED = frozenset(
    {
        "include",
        "max_tool_calls",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "user",
    }
)
"""Fields that are taken and have no effect: a local model has no account, cache key or built-in tools for them."""

REFUSED: Mapping[str, Any] = {
    "background": False,
    "context_management": None,
    "conversation": None,
    "moderation": None,
    "previous_response_id": None,
    "prompt": None,
    "top_logprobs": 0,
    "truncation": "disabled",
}
"""Fields that are refused unless they have this value, which asks for nothing; null never does."""

_SAME = HONOURED - {"input", "instructions", "max_output_tokens", "reasoning", "text", "tools"}
_PARAMS = (
    (re.compile(r"messages\b.*"), "input"),
    (re.compile(r"max_tokens\b"), "max_output_tokens"),
    (re.compile(r"reasoning_effort\b"), "reasoning.effort"),
    (re.compile(r"response_format(\.json_schema)?"), "text.format"),
    (re.compile(r"(tools\[\d+\]|tool_choice)\.function\b"), r"\1"),
)


def to_chat(body: Json) -> dict[str, Any]:
    """The chat completions body that asks the same as the Responses body `body`.

    Raises:
        InvalidRequest: a field or an item that cannot be said in chat completions, or that needs stored state.
    """
    body = {name: value for name, value in body.items() if value is not None}
    for name, value in body.items():
        if name in HONOURED or name in ACCEPTED or (name in REFUSED and value == REFUSED[name]):
            continue
        if name == "previous_response_id":
            raise InvalidRequest(
                "responses are not stored; send the whole conversation in `input`", param=name, code="unsupported_parameter"
            )
        code = "unsupported_parameter" if name in REFUSED else "unknown_parameter"
        message = "this is not supported" if name in REFUSED else "unrecognized request argument"
        raise InvalidRequest(message, param=name, code=code)
    if "input" not in body:
        raise InvalidRequest("give the conversation", param="input", code="missing_required_parameter")
    chat = {name: value for name, value in body.items() if name in _SAME}
    chat["messages"] = _messages(body["input"], body.get("instructions"))
    if "max_output_tokens" in body:
        chat["max_tokens"] = body["max_output_tokens"]
    if "tools" in body:
        chat["tools"] = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(as_array(body["tools"], "tools"))]
    text = as_object(body.get("text", {}), "text")
    if text.get("format") is not None:
        chat["response_format"] = _response_format(as_object(text["format"], "text.format"))
    effort = as_object(body.get("reasoning", {}), "reasoning").get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    return chat


def in_responses_words(error: InvalidRequest) -> InvalidRequest:
    """The same error about the chat request, its `param` named as the Responses request names it."""
    param = error.param
    for pattern, name in _PARAMS:
        if param and (match := pattern.match(param)):
            param = match.expand(name) + param[match.end() :]
            break
    return InvalidRequest(error.message, param=param, code=error.code)


def _messages(given: Any, instructions: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if instructions is not None:
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    for i, item in enumerate(as_array(given, "input")):
        param = f"input[{i}]"
        item = as_object(item, param)
        kind = item.get("type") or "message"
        add = _ITEMS.get(kind) if isinstance(kind, str) else None
        if add is None:
            raise _unsupported(f"an item of type {kind!r}", f"{param}.type")
        add(messages, item, param)
    return messages


def _add_message(messages: list[dict[str, Any]], item: Json, param: str) -> None:
    content = _content(item.get("content"), f"{param}.content")
    if item.get("role") == "assistant":
        _assistant(messages, after=("content", "tool_calls"))["content"] = content
    else:
        messages.append({"role": item.get("role"), "content": content})


def _add_reasoning(messages: list[dict[str, Any]], item: Json, param: str) -> None:
    where = f"{param}.content" if item.get("content") else f"{param}.summary"
    parts = as_array(item.get("content") or item.get("summary") or [], where)
    text = "".join(_text(part, f"{where}[{i}]") for i, part in enumerate(parts))
    if text:
        _assistant(messages, after=("reasoning_content", "content", "tool_calls"))["reasoning_content"] = text


def _add_call(messages: list[dict[str, Any]], item: Json, param: str) -> None:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    call = {"id": item.get("call_id"), "type": "function", "function": function}
    _assistant(messages, after=()).setdefault("tool_calls", []).append(call)


def _add_output(messages: list[dict[str, Any]], item: Json, param: str) -> None:
    output = _content(item.get("output"), f"{param}.output")
    messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})


_ITEMS: Mapping[str, Callable[[list[dict[str, Any]], Json, str], None]] = {
    "message": _add_message,
    "reasoning": _add_reasoning,
    "function_call": _add_call,
    "function_call_output": _add_output,
}


def _assistant(messages: list[dict[str, Any]], *, after: tuple[str, ...]) -> dict[str, Any]:
    """The assistant message that the next item belongs to: the last one, unless it has any of `after` already."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or any(last.get(key) is not None for key in after):
        last = {"role": "assistant", "content": None}
        messages.append(last)
    return last


def _content(content: Any, param: str) -> Any:
    """Content as chat has it: text parts pass under their own names, images and unknown parts do not."""
    if not isinstance(content, list):
        return content
    parts = [as_object(part, f"{param}[{i}]") for i, part in enumerate(content)]
    return [_image(part) if part.get("type") == "input_image" else part for part in parts]


def _image(part: Json) -> Json:
    return {"type": "image_url", "image_url": {"url": part.get("image_url"), "detail": part.get("detail") or "auto"}}


def _tool(tool: Any, param: str) -> dict[str, Any]:
    tool = as_object(tool, param)
    if tool.get("type") != "function":
        raise _unsupported(f"a tool of type {tool.get('type')!r}", f"{param}.type")
    function = {key: tool[key] for key in ("name", "description", "parameters", "strict") if tool.get(key) is not None}
    return {"type": "function", "function": function}


def _response_format(wanted: Json) -> dict[str, Any]:
    if wanted.get("type") != "json_schema":
        return dict(wanted)
    return {"type": "json_schema", "json_schema": {key: value for key, value in wanted.items() if key != "type"}}


def _text(part: Any, param: str) -> str:
    text = as_object(part, param).get("text")
    if not isinstance(text, str):
        raise wrong_type("a string", text, f"{param}.text")
    return text


def _unsupported(what: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"{what} is not supported here", param=param, code="unsupported_value")
