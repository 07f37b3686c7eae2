"""From a Responses request to a chat request: a translation that only adds stored responses.

The format is that of https://platform.openai.com/docs/api-reference/responses/create.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from gemma_tools.errors import InvalidRequest
from gemma_tools.openai_api.responses_store import Memory
from gemma_tools.openai_api.responses_thoughts import unpacked
from gemma_tools.openai_api.responses_tools import Offer, call_in_chat, read_choice, read_tools
from gemma_tools.policy import Unknown
from gemma_tools.validation.values import as_array, as_object, check_object, check_text, shown, wrong_type

Json = Mapping[str, Any]
Items = list[tuple[Json, str]]
"""The items of a conversation, each with its place in the request."""

_SAME: Final = frozenset(
    (
        "model",
        "parallel_tool_calls",
        "stream",
        "temperature",
        "top_p",
        "cache_prompt",
        "chat_template_kwargs",
        "enable_thinking",
        "frequency_penalty",
        "grammar",
        "guided_json",
        "keep_alive",
        "logit_bias",
        "min_p",
        "presence_penalty",
        "repeat_penalty",
        "repetition_penalty",
        "seed",
        "skip_special_tokens",
        "stop",
        "structured_outputs",
        "think",
        "thinking",
        "top_k",
    )
)
"""Fields with the same meaning in chat completions. All but the first five are not OpenAI's."""

HONOURED: Final = _SAME | {
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "previous_response_id",
    "reasoning",
    "store",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
}
"""Fields that are honoured, if the chat request honours them."""

ACCEPTED: Final = frozenset(
    (
        "client_metadata",
        "max_tool_calls",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "stream_options",
        "truncation",
        "user",
    )
)
"""Fields that are accepted without effect: a local model has no account, cache key or built-in tools for them."""

LEFT_OUT: Final = frozenset(("context_management", "moderation"))
"""Fields that are left out with a warning, like unknown ones."""

REFUSED: Final[Mapping[str, Any]] = {"background": False, "conversation": None, "prompt": None}
"""Fields that are refused unless they have this value, which has no effect; null is always accepted."""

_LOGPROBS: Final = "message.output_text.logprobs"
_PARAMS: Final = (
    (re.compile(r"messages\b.*"), "input"),
    (re.compile(r"max_tokens\b"), "max_output_tokens"),
    (re.compile(r"reasoning_effort\b"), "reasoning.effort"),
    (re.compile(r"logprobs\b"), "top_logprobs"),
    (re.compile(r"response_format(\.json_schema)?"), "text.format"),
    (re.compile(r"tool_choice\.function\b"), "tool_choice"),
)
_TOOL: Final = re.compile(r"tools\[(\d+)\](?:\.function\b)?")


class Translated(NamedTuple):
    """A chat completions body, the tools that it declares, and the parts of the Responses body that were left out."""

    chat: dict[str, Any]
    offer: Offer
    left_out: tuple[InvalidRequest, ...]

    def warnings(self, unknown: Unknown) -> tuple[str, ...]:
        """A sentence about each part that was left out.

        Raises:
            InvalidRequest: `unknown` does not allow anything to be left out.
        """
        if self.left_out and unknown == "refuse":
            raise self.left_out[0]
        return tuple(f"{wrong.param} was left out: {wrong.message}" for wrong in self.left_out)

    def in_responses_words(self, error: InvalidRequest) -> InvalidRequest:
        """The same error about the chat request, with the Responses request's name as `param`."""
        param = error.param or ""
        if (match := _TOOL.match(param)) and int(match[1]) < len(self.offer.places):
            param = self.offer.places[int(match[1])] + param[match.end() :]
        for pattern, name in _PARAMS:
            if match := pattern.match(param):
                param = match.expand(name) + param[match.end() :]
                break
        return InvalidRequest(error.message, param=param or None, code=error.code)


def _check_repeated(body: Json) -> None:
    """See that what the answer repeats has the types that clients read there."""
    check_text(body.get("user"), "user")
    for name, value in (check_object(body.get("metadata"), "metadata") or {}).items():
        if not isinstance(value, str):
            raise wrong_type("a string", value, f"metadata.{name}")


def items_of(body: Json, memory: Memory) -> Items:
    """The items of the conversation: those of the previous response, if one is named, and those of the request.

    Raises:
        InvalidRequest: the input is missing or invalid, or refers to something that is not stored.
        Refused: it refers to an item that does not exist.
    """
    items: Items = []
    if body.get("previous_response_id") is not None:
        items += [(item, "previous_response_id") for item in memory.before(body["previous_response_id"])]
    given = body.get("input")
    if given is None:
        raise InvalidRequest("the conversation is missing", param="input", code="missing_required_parameter")
    if isinstance(given, str):
        return [*items, ({"type": "message", "role": "user", "content": given}, "input")]
    for i, item in enumerate(as_array(given, "input")):
        item = as_object(item, f"input[{i}]")
        # An item with only an id is also a reference.
        if item.get("type") == "item_reference" or (item.get("type") is None and item.keys() <= {"id", "type"}):
            item = memory.item(item.get("id"), f"input[{i}].id")
        items.append((item, f"input[{i}]"))
    return items


def to_chat(body: Json, items: Items) -> Translated:
    """The chat completions body for the Responses body `body`, whose conversation is `items`.

    Raises:
        InvalidRequest: a field or an item that chat completions do not have.
    """
    _check_repeated(body)
    body = {name: value for name, value in body.items() if value is not None}
    left_out = _left_out_fields(body)
    offer = read_tools(body.get("tools", ()))
    chat = {name: value for name, value in body.items() if name in _SAME}
    chat["messages"] = _messages(items, body.get("instructions"), left_out)
    if "max_output_tokens" in body:
        chat["max_tokens"] = body["max_output_tokens"]
    if offer.functions:
        chat["tools"] = offer.functions
    if "tool_choice" in body:
        chat["tool_choice"] = read_choice(body["tool_choice"], offer)
    text = as_object(body.get("text", {}), "text")
    if text.get("format") is not None:
        chat["response_format"] = _response_format(as_object(text["format"], "text.format"))
    if _LOGPROBS in as_array(body.get("include", ()), "include") or body.get("top_logprobs"):
        chat |= {"logprobs": True, "top_logprobs": body.get("top_logprobs", 0)}
    effort = as_object(body.get("reasoning", {}), "reasoning").get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    return Translated(chat, offer, (*left_out, *offer.left_out))


def _left_out_fields(body: Json) -> list[InvalidRequest]:
    """The fields that are unknown, or that cannot be honoured but may be ignored."""
    left_out: list[InvalidRequest] = []
    for name, value in body.items():
        if name in HONOURED or name in ACCEPTED or (name in REFUSED and value == REFUSED[name]):
            continue
        if name in REFUSED:
            raise InvalidRequest("this is not supported", param=name, code="unsupported_parameter")
        if name in LEFT_OUT:
            left_out.append(InvalidRequest("this is not supported", param=name, code="unsupported_parameter"))
        else:
            left_out.append(InvalidRequest("unrecognized request argument", param=str(name), code="unknown_parameter"))
    return left_out


def _messages(items: Items, instructions: Any, left_out: list[InvalidRequest]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if instructions is not None:
        messages.append({"role": "system", "content": instructions})
    for item, param in items:
        kind = item.get("type") or "message"
        add = _ITEMS.get(kind) if isinstance(kind, str) else None
        if add is not None:
            add(messages, item, param)
        elif isinstance(kind, str):  # what OpenAI's own servers ran or packed
            left_out.append(
                InvalidRequest(f"items of type {shown(kind)} are not supported", param=param, code="unsupported_value")
            )
        else:
            raise wrong_type("a string", kind, f"{param}.type")
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
    text = "".join(_text(part, f"{where}[{i}]") for i, part in enumerate(parts)) or unpacked(item.get("encrypted_content"))
    if text:
        _assistant(messages, after=("reasoning_content", "content", "tool_calls"))["reasoning_content"] = text


def _add_call(messages: list[dict[str, Any]], item: Json, param: str) -> None:
    if item.get("type") == "custom_tool_call" and not isinstance(item.get("input"), str):
        raise wrong_type("a string", item.get("input"), f"{param}.input")
    _assistant(messages, after=()).setdefault("tool_calls", []).append(call_in_chat(item))


def _add_output(messages: list[dict[str, Any]], item: Json, param: str) -> None:
    output = _content(item.get("output"), f"{param}.output")
    messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})


_ITEMS: Mapping[str, Callable[[list[dict[str, Any]], Json, str], None]] = {
    "message": _add_message,
    "reasoning": _add_reasoning,
    "function_call": _add_call,
    "function_call_output": _add_output,
    "custom_tool_call": _add_call,
    "custom_tool_call_output": _add_output,
}


def _assistant(messages: list[dict[str, Any]], *, after: tuple[str, ...]) -> dict[str, Any]:
    """The assistant message that the next item belongs to: the last one, unless it already has any of `after`."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or any(last.get(key) is not None for key in after):
        last = {"role": "assistant", "content": None}
        messages.append(last)
    return last


def _content(content: Any, param: str) -> Any:
    """Content in chat's format: text parts keep their names, images and unknown parts do not."""
    if not isinstance(content, list):
        return content
    parts = [as_object(part, f"{param}[{i}]") for i, part in enumerate(content)]
    return [_image(part) if part.get("type") == "input_image" else part for part in parts]


def _image(part: Json) -> Json:
    return {"type": "image_url", "image_url": {"url": part.get("image_url"), "detail": part.get("detail") or "auto"}}


def _response_format(wanted: Json) -> dict[str, Any]:
    if wanted.get("type") != "json_schema":
        return dict(wanted)
    return {"type": "json_schema", "json_schema": {key: value for key, value in wanted.items() if key != "type"}}


def _text(part: Any, param: str) -> str:
    text = as_object(part, param).get("text")
    if not isinstance(text, str):
        raise wrong_type("a string", text, f"{param}.text")
    return text
