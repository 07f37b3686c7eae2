"""From a Messages request to a chat request: a pure translation, because nothing is stored between requests.

The format is that of https://docs.claude.com/en/api/messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from gemma_tools.errors import InvalidRequest
from gemma_tools.validation.values import as_array, as_object, check_flag, check_integer, check_text, shown, wrong_type

Json = Mapping[str, Any]

_SAME: Final = ("model", "stream", "temperature", "top_p", "top_k")
"""Fields with the same meaning in chat completions."""
_WITHOUT_EFFECT: Final = frozenset(
    ("cache_control", "context_management", "diagnostics", "inference_geo", "metadata", "service_tier", "speed",
     "user_profile_id", "workspace_id")
)  # fmt: skip
"""Fields that do not change the answer of a local model: caching, billing, routing."""
_OWN: Final = frozenset(
    ("max_tokens", "messages", "output_config", "output_format", "stop_sequences", "system", "thinking", "tool_choice", "tools")
)
_PARAMS: Final = (
    (re.compile(r"stop\b"), "stop_sequences"),
    (re.compile(r"(?:response_format\.json_schema|response_format)\b"), "output_config.format"),
    (re.compile(r"chat_template_kwargs\.enable_thinking"), "thinking.type"),
    (re.compile(r"reasoning_effort"), "output_config.effort"),
    (re.compile(r"(tools\[\d+\])\.function\.parameters"), r"\1.input_schema"),
    (re.compile(r"(tools\[\d+\]|tool_choice)\.function\b"), r"\1"),
)
"""The names of the places in a chat request here. Messages have no numbers, because one may have become several."""


class Translated(NamedTuple):
    """A chat completions body, and sentences about the parts of the Messages body that were left out."""

    chat: dict[str, Any]
    warnings: tuple[str, ...]


def to_chat(body: Json) -> Translated:
    """The chat completions body for the Messages body `body`.

    Raises:
        InvalidRequest: a field or a block that chat completions do not have; `param` is its place.
    """
    body = {name: value for name, value in body.items() if value is not None}
    if "messages" not in body:
        raise InvalidRequest("the conversation is missing", param="messages", code="missing_required_parameter")
    left_out: list[str] = []
    chat: dict[str, Any] = {name: body[name] for name in _SAME if name in body}
    chat["messages"] = _messages(body, left_out)
    last = chat["messages"][-1] if chat["messages"] else {}
    if last.get("role") == "assistant" and last.get("content") and "tool_calls" not in last:
        chat["continue_final_message"] = True
    if "max_tokens" in body:
        chat["max_tokens"] = body["max_tokens"]
    if "stop_sequences" in body:
        chat["stop"] = list(as_array(body["stop_sequences"], "stop_sequences")) or None
    _add_tools(chat, body, left_out)
    _add_thinking(chat, body)
    _add_format(chat, body)
    for name in body.keys() - _OWN - _WITHOUT_EFFECT - set(_SAME):
        left_out.append(f"{name}: not supported, left out")
    return Translated(chat, tuple(left_out))


def in_messages_words(error: InvalidRequest) -> InvalidRequest:
    """The same error about the chat request, with the Messages request's name as `param`."""
    param = error.param or ""
    if param.startswith(("messages", "continue_final_message")):
        return InvalidRequest(error.message, param="messages", code=error.code)
    for pattern, name in _PARAMS:
        if match := pattern.match(param):
            param = match.expand(name) + param[match.end() :]
            break
    return InvalidRequest(error.message, param=param or None, code=error.code)


def _messages(body: Json, left_out: list[str]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if "system" in body:
        messages.append({"role": "system", "content": _content(body["system"], "system")})
    for i, given in enumerate(as_array(body["messages"], "messages")):
        param = f"messages[{i}]"
        message = as_object(given, param)
        add = _ROLES.get(str(message.get("role")))
        if add is None:
            raise InvalidRequest(f"{shown(message.get('role'))} is not one of user, assistant, system", param=f"{param}.role")
        content = message.get("content")
        blocks = content if isinstance(content, (list, tuple)) else [{"type": "text", "text": content}]
        named = [(as_object(block, f"{param}.content[{j}]"), f"{param}.content[{j}]") for j, block in enumerate(blocks)]
        if not isinstance(content, (str, list, tuple)):
            raise wrong_type("a string or an array of blocks", content, f"{param}.content")
        add(messages, named, left_out)
    return messages


Blocks = list[tuple[Json, str]]


def _add_user(messages: list[dict[str, Any]], blocks: Blocks, left_out: list[str]) -> None:
    """Results become separate messages first; the blocks between them stay in place."""
    parts: list[dict[str, Any]] = []

    def end_parts() -> None:
        if parts:
            messages.append({"role": "user", "content": _joined(list(parts))})
            parts.clear()

    for block, param in blocks:
        if block.get("type") == "tool_result":
            end_parts()
            messages.append(_result(block, param))
        else:
            parts += _parts(block, param)
    end_parts()


def _add_assistant(messages: list[dict[str, Any]], blocks: Blocks, left_out: list[str]) -> None:
    """One message, if its blocks are in the order of a reply: thought, text, calls."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    for block, param in blocks:
        kind = block.get("type")
        if kind == "thinking":
            if "tool_calls" in message or message["content"] is not None:
                messages.append(message)
                message = {"role": "assistant", "content": None}
            thought = _text(block, "thinking", param)
            message["reasoning_content"] = message.get("reasoning_content", "") + thought
        elif kind == "tool_use":
            function = {"name": block.get("name"), "arguments": block.get("input")}
            call = {"id": block.get("id"), "type": "function", "function": function}
            message.setdefault("tool_calls", []).append(call)
        elif kind == "text":
            if "tool_calls" in message:
                messages.append(message)
                message = {"role": "assistant", "content": None}
            message["content"] = (message["content"] or "") + _text(block, "text", param)
        else:  # what another model's server ran or hid, such as redacted_thinking: it cannot be repeated
            left_out.append(f"{param}: blocks of type {shown(kind)} are not supported, left out")
    messages.append(message)


def _add_system(messages: list[dict[str, Any]], blocks: Blocks, left_out: list[str]) -> None:
    messages.append({"role": "system", "content": _joined([part for block, param in blocks for part in _parts(block, param)])})


_ROLES: Final[Mapping[str, Callable[[list[dict[str, Any]], Blocks, list[str]], None]]] = {
    "user": _add_user,
    "assistant": _add_assistant,
    "system": _add_system,
}


def _result(block: Json, param: str) -> dict[str, Any]:
    given = block.get("content")
    content = "" if given in (None, []) else _content(given, f"{param}.content")
    if check_flag(block.get("is_error"), f"{param}.is_error"):
        # In the tool loop's form for a failed tool.
        if not isinstance(content, str) and any(part["type"] != "text" for part in content):
            message = "the result of a failed tool must contain only text"
            raise InvalidRequest(message, param=f"{param}.content", code="unsupported_value")
        text = content if isinstance(content, str) else "\n".join(part["text"] for part in content)
        content = json.dumps({"error": text}, ensure_ascii=False)
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content}


def _content(content: Any, param: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    blocks = [(as_object(block, f"{param}[{i}]"), f"{param}[{i}]") for i, block in enumerate(as_array(content, param))]
    return _joined([part for block, place in blocks for part in _parts(block, place)])


def _joined(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A single text as a string: Gemma's templates write a list with one part differently."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _parts(block: Json, param: str) -> list[dict[str, Any]]:
    """A block as parts of a chat message."""
    kind = block.get("type")
    if kind == "text":
        return [{"type": "text", "text": _text(block, "text", param)}]
    if kind == "image":
        return [{"type": "image_url", "image_url": {"url": _image(as_object(block.get("source"), f"{param}.source"), param)}}]
    if kind == "document":
        return _document(block, param)
    if kind == "search_result":
        head = f"{_text(block, 'title', param)} ({_text(block, 'source', param)})\n"
        found = _content(block.get("content") or [], f"{param}.content")
        return [{"type": "text", "text": head}, *([{"type": "text", "text": found}] if isinstance(found, str) else found)]
    raise InvalidRequest(
        f"blocks of type {shown(kind)} are not supported here", param=f"{param}.type", code="unsupported_value"
    )


def _image(source: Json, param: str) -> str:
    if source.get("type") == "base64":
        return f"data:{_text(source, 'media_type', f'{param}.source')};base64,{_text(source, 'data', f'{param}.source')}"
    if source.get("type") == "url":
        return _text(source, "url", f"{param}.source")
    what = f"an image source of type {shown(source.get('type'))} is not supported: send base64 or url"
    raise InvalidRequest(what, param=f"{param}.source.type", code="unsupported_value")


def _document(block: Json, param: str) -> list[dict[str, Any]]:
    source = as_object(block.get("source"), f"{param}.source")
    if source.get("type") == "text":
        body: list[dict[str, Any]] = [{"type": "text", "text": _text(source, "data", f"{param}.source")}]
    elif source.get("type") == "content":
        inner = _content(source.get("content") or "", f"{param}.source.content")
        body = [{"type": "text", "text": inner}] if isinstance(inner, str) else inner
    else:
        what = f"a document source of type {shown(source.get('type'))} is not supported: send its text"
        raise InvalidRequest(what, param=f"{param}.source.type", code="unsupported_value")
    heads = [text for name in ("title", "context") if (text := check_text(block.get(name), f"{param}.{name}"))]
    return [*({"type": "text", "text": f"{head}\n"} for head in heads), *body]


def _add_tools(chat: dict[str, Any], body: Json, left_out: list[str]) -> None:
    kept: list[dict[str, Any]] = []
    missing: set[str] = set()
    for i, given in enumerate(as_array(body.get("tools", ()), "tools")):
        tool = as_object(given, f"tools[{i}]")
        if tool.get("type") in (None, "custom"):
            kept.append(_tool(tool))
        else:
            missing.add(str(tool.get("name")))
            left_out.append(f"tools[{i}]: a tool of type {shown(tool.get('type'))} is not supported, left out")
    if kept:
        chat["tools"] = kept
    if "tool_choice" not in body:
        return
    choice = as_object(body["tool_choice"], "tool_choice")
    kind, name = choice.get("type"), check_text(choice.get("name"), "tool_choice.name")
    if not isinstance(kind, str) or kind not in _CHOICES:
        raise InvalidRequest(f"{shown(kind)} is not one of {', '.join(_CHOICES)}", param="tool_choice.type")
    if kind == "tool" and name in missing:
        message = f"the tool {name!r} is not supported here, so it cannot be chosen"
        raise InvalidRequest(message, param="tool_choice.name", code="unsupported_value")
    chat["tool_choice"] = {"type": "function", "function": {"name": name}} if kind == "tool" else _CHOICES[kind]
    if check_flag(choice.get("disable_parallel_tool_use"), "tool_choice.disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False
    if not kept and chat["tool_choice"] == "auto":
        del chat["tool_choice"]


_CHOICES: Final = {"auto": "auto", "any": "required", "tool": "", "none": "none"}


def _tool(tool: Json) -> dict[str, Any]:
    function = {name: tool[name] for name in ("name", "description", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": {**function, "parameters": tool.get("input_schema")}}


def _add_thinking(chat: dict[str, Any], body: Json) -> None:
    effort = as_object(body.get("output_config", {}), "output_config").get("effort")
    if "thinking" in body:
        thinking = as_object(body["thinking"], "thinking")
        kind = thinking.get("type")
        if kind not in ("enabled", "adaptive", "between_tools", "disabled"):
            message = f"{shown(kind)} is not one of enabled, adaptive, between_tools, disabled"
            raise InvalidRequest(message, param="thinking.type")
        check_integer(thinking.get("budget_tokens"), "thinking.budget_tokens", 1)
        chat["chat_template_kwargs"] = {"enable_thinking": kind != "disabled"}
    elif effort is not None and effort not in ("low", "medium", "high", "xhigh", "max"):
        raise InvalidRequest(f"{shown(effort)} is not one of low, medium, high, xhigh, max", param="output_config.effort")


def _add_format(chat: dict[str, Any], body: Json) -> None:
    """`output_config.format`, or its older name `output_format`."""
    wanted = as_object(body.get("output_config", {}), "output_config").get("format") or body.get("output_format")
    if wanted is None:
        return
    wanted = as_object(wanted, "output_config.format")
    if wanted.get("type") != "json_schema":
        message = f"{shown(wanted.get('type'))} is not json_schema"
        raise InvalidRequest(message, param="output_config.format.type", code="unsupported_value")
    schema = {"name": "output", "schema": wanted.get("schema"), "strict": True}
    chat["response_format"] = {"type": "json_schema", "json_schema": schema}


def _text(holder: Json, name: str, param: str) -> str:
    text = holder.get(name)
    if not isinstance(text, str):
        raise wrong_type("a string", text, f"{param}.{name}")
    return text
