"""What OpenAI code sends, validated once and brought into one form.

`validate` takes the messages, tools and tool choice of a request in every shape that OpenAI code and the agent frameworks
send; `parse_request` takes a whole request body. Both raise `InvalidRequest` with the name of the field that is wrong, and
never change what they are given. `FIELD_POLICY` says of every field of the body what is done with it.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, cast

from gemma_tools.errors import InvalidRequest
from gemma_tools.fields import INT64, check_fields, flag, integer, mapping, number, text
from gemma_tools.jsontext import check_json, is_mapping, read_json
from gemma_tools.policy import FIELD_POLICY, FieldPolicy

__all__ = [
    "FIELD_POLICY",
    "MEDIA_PARTS",
    "Call",
    "ChatRequest",
    "Content",
    "Conversation",
    "Dumpable",
    "FieldPolicy",
    "Message",
    "Part",
    "RawChoice",
    "RawMessage",
    "RawTool",
    "ResponseFormat",
    "Tool",
    "ToolChoice",
    "ToolResponse",
    "cached_tool",
    "parse_request",
    "validate",
    "validate_choice",
    "validate_tools",
]

Part: TypeAlias = Mapping[str, Any]
"""A part of a content list: `{"type": "text", "text": ...}`, or an image, audio or video part as it was given."""
Content: TypeAlias = str | tuple[Part, ...] | Mapping[str, Any] | None
"""Text, parts, or nothing; a tool result may also be a JSON object."""


class Call(NamedTuple):
    """A tool call of an assistant message."""

    id: str | None
    name: str
    arguments: Mapping[str, Any]
    readable: bool = True
    """False: the arguments were text that is no JSON object; `arguments` holds that text under the key "arguments"."""


class ToolResponse(NamedTuple):
    """A result in Gemma's own shape: an entry of `tool_responses` on an assistant message."""

    name: str | None
    response: Any


class Message(NamedTuple):
    """One message, validated.

    `name` is what the message gives; on a tool result `called` is the name of the call that it answers, None if there is no
    such call before it. Roles "function" and the legacy field `function_call` are already brought into today's form.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    tool_calls: tuple[Call, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    called: str | None = None
    reasoning: str | None = None
    tool_responses: tuple[ToolResponse, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A declared function. Its parts are shared between requests: look, and do not change them."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    strict: bool = False
    response: Mapping[str, Any] | None = None
    function: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The function as the request declares it, unknown keys included."""
    key: bytes | None = field(default=None, repr=False, compare=False)
    """Equal only for tools of equal content, so that what is derived from a tool can be cached by it; None: do not cache."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may call, must call, or must not, and which names (None: every declared one)."""

    mode: Literal["none", "auto", "required"] = "auto"
    names: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """What the answer's text must be. `schema` only with type "json_schema"."""

    type: Literal["text", "json_object", "json_schema"]
    schema: Mapping[str, Any] | None = None
    name: str | None = None
    strict: bool = False


class Conversation(NamedTuple):
    """What `validate` returns."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice


class Dumpable(Protocol):
    """An object that gives itself as a dict, such as the messages and calls of the openai package."""

    def model_dump(self) -> dict[str, Any]:
        """The object as JSON values."""


RawMessage: TypeAlias = Mapping[str, Any] | Message | Dumpable
RawTool: TypeAlias = Mapping[str, Any] | Tool | Dumpable
RawChoice: TypeAlias = str | Mapping[str, Any] | ToolChoice | None


def validate(
    messages: Sequence[RawMessage], tools: Sequence[RawTool] | None = None, tool_choice: RawChoice = "auto"
) -> Conversation:
    """Check a conversation and bring it into one form. What is already validated passes as it is.

    Messages, calls and parts may be dicts or objects with `model_dump`, such as the openai package's own.

    Raises:
        InvalidRequest: with the place in OpenAI's manner, such as `messages[2].tool_calls[0].function.name`.
    """
    checked = validate_tools(tools)
    return Conversation(_messages(messages), checked, validate_choice(tool_choice, checked))


_UNNAMEABLE: Final = re.compile(r"[\s\[\]{}()<>\"'`,]")
_LONGEST_NAME: Final = 128


def _messages(messages: Sequence[RawMessage]) -> tuple[Message, ...]:
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
        raise InvalidRequest("a list of messages is needed", param="messages", code="invalid_type")
    if not messages:
        raise InvalidRequest("at least one message is needed", param="messages", code="empty_array")
    known: set[str] = set()
    answers: dict[str, str] = {}
    pending: dict[str | int, str] = {}
    result: list[Message] = []
    for index, raw in enumerate(messages):
        if raw.__class__ is not dict:
            if isinstance(raw, Message):
                result.append(raw)
                if raw.tool_calls:
                    pending = _note_calls(raw.tool_calls, answers)
                continue
            raw = _object(raw, f"messages[{index}]")
        get = raw.get
        role, content, name = get("role"), get("content"), get("name")
        if content.__class__ is not str and content is not None:
            content = _content(content, index, role)
        if name is not None and not isinstance(name, str):
            raise InvalidRequest("the name must be text", param=f"messages[{index}].name", code="invalid_type")
        if role == "user" or role == "system" or role == "developer":
            message = _new(Message, (role, content, (), None, name, None, None, ()))
        elif role == "assistant":
            message = _assistant(get, content, name, index, known)
            if message.tool_calls:
                pending = _note_calls(message.tool_calls, answers)
        elif role == "tool" or role == "function":
            if is_mapping(content) and content.keys() == {"name", "response"}:  # the shape of Google's guide
                name, response = content["name"], content["response"]
                content = response if isinstance(response, str) or is_mapping(response) else {"value": response}
            if name is not None and (name.__class__ is not str or name not in known):
                known.add(_name(name, f"messages[{index}].name"))
            call_id = get("tool_call_id")
            if call_id is not None and not isinstance(call_id, str):
                raise InvalidRequest("the id must be text", param=f"messages[{index}].tool_call_id", code="invalid_type")
            if call_id is None:
                called = _next_call(pending, name)
            else:
                called = answers.get(call_id)
                pending.pop(call_id, None)
            message = _new(Message, ("tool", content, (), call_id, name, called, None, ()))
        else:
            raise InvalidRequest(
                f"{role!r} is not a role; roles are system, developer, user, assistant and tool",
                param=f"messages[{index}].role",
                code="missing" if role is None else "invalid_value",
            )
        result.append(message)
    return tuple(result)


_new: Final = tuple.__new__
"""Makes a named tuple of all its fields, in half the time of a call of its class."""


def _note_calls(calls: tuple[Call, ...], answers: dict[str, str]) -> dict[str | int, str]:
    """Note the names of calls by id, and return those that now wait for their results: by id, or by place without one."""
    pending: dict[str | int, str] = {}
    for place, (call_id, name, _, _) in enumerate(calls):
        if call_id is None:
            pending[place] = name
        else:
            pending[call_id] = answers[call_id] = name
    return pending


def _next_call(pending: dict[str | int, str], name: str | None) -> str | None:
    """The call that a result without an id answers: of those still unanswered the first, or the first of its name."""
    key = next((key for key, called in pending.items() if name is None or called == name), None)
    return None if key is None else pending.pop(key)


def _assistant(get: Callable[[str], Any], content: Content, name: str | None, index: int, known: set[str]) -> Message:
    calls: tuple[Call, ...] = ()
    given = get("tool_calls")
    if given:
        calls = _calls(given, index, known)
    elif given := get("function_call"):
        where = f"messages[{index}].function_call"
        calls = (_call(None, given, where, known),)
    reasoning = get("reasoning") or get("reasoning_content") or None
    if reasoning is not None and not isinstance(reasoning, str):
        field = "reasoning" if get("reasoning") else "reasoning_content"
        raise InvalidRequest("text is needed", param=f"messages[{index}].{field}", code="invalid_type")
    responses = get("tool_responses")
    answers = _responses(responses, index, known) if responses else ()
    return _new(Message, ("assistant", content, calls, None, name, None, reasoning, answers))


def _calls(given: object, index: int, known: set[str]) -> tuple[Call, ...]:
    where = f"messages[{index}].tool_calls"
    if not isinstance(given, (list, tuple)):
        raise InvalidRequest("a list of calls is needed", param=where, code="invalid_type")
    calls = []
    for raw in given:
        try:
            if raw.__class__ is not dict:
                raw = _object(raw, "")
            function, call_id = raw.get("function"), raw.get("id")
            if function is None:
                raise InvalidRequest("the called function is missing", param=".function", code="missing")
            if call_id is not None and not isinstance(call_id, str):
                raise InvalidRequest("the id must be text", param=".id", code="invalid_type")
            calls.append(_call(call_id, function, ".function", known))
        except InvalidRequest as wrong:
            raise _placed(wrong, f"{where}[{len(calls)}]") from None
    return tuple(calls)


def _placed(wrong: InvalidRequest, where: str) -> InvalidRequest:
    """The same fault, with `where` in front of its place."""
    return InvalidRequest(wrong.message, param=where + (wrong.param or ""), code=wrong.code)


def _call(call_id: str | None, function: object, where: str, known: set[str]) -> Call:
    if not is_mapping(function):
        function = _object(function, where)
    name, arguments = function.get("name"), function.get("arguments")
    if name.__class__ is not str or name not in known:
        known.add(_name(name, where + ".name"))
    readable = True
    if isinstance(arguments, str):
        try:
            value = read_json(arguments) if arguments else {}
        except ValueError:
            value = arguments if arguments.strip() else {}
        if value is None:  # what some clients send for a call without arguments
            value = {}
        elif value.__class__ is not dict:
            value, readable = {"arguments": value}, False
    elif arguments is None:
        value = {}
    else:
        value = _object(arguments, where + ".arguments")
        check_json(value, where + ".arguments")
    return _new(Call, (call_id, name, value, readable))


def _responses(given: object, index: int, known: set[str]) -> tuple[ToolResponse, ...]:
    where = f"messages[{index}].tool_responses"
    if not isinstance(given, (list, tuple)):
        raise InvalidRequest("a list of responses is needed", param=where, code="invalid_type")
    responses = []
    for i, raw in enumerate(given):
        raw = _object(raw, f"{where}[{i}]")
        name, response = raw.get("name"), raw.get("response")
        if name is not None and (name.__class__ is not str or name not in known):
            known.add(_name(name, f"{where}[{i}].name"))
        check_json(response, f"{where}[{i}].response")
        responses.append(ToolResponse(name, response))
    return tuple(responses)


_TEXT_PARTS: Final = MappingProxyType({"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"})
MEDIA_PARTS: Final = MappingProxyType(
    {"image": "image", "image_url": "image", "audio": "audio", "input_audio": "audio", "video": "video"}
)
"""The kind of medium of each part type that is not text."""


def _content(content: object, index: int, role: object) -> Content:
    where = f"messages[{index}].content"
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)):
        return tuple([_part(part, f"{where}[{i}]") for i, part in enumerate(content)])
    if isinstance(content, Mapping) and role in ("tool", "function"):
        check_json(content, where)
        return content
    raise InvalidRequest("text or a list of parts is needed", param=where, code="invalid_type")


def _part(raw: object, where: str) -> Part:
    if isinstance(raw, str):
        return {"type": "text", "text": raw}
    part = _object(raw, where)
    kind = part.get("type")
    if isinstance(kind, str) and kind in MEDIA_PARTS:
        check_json(part, where)
        return part
    if not isinstance(kind, str) or kind not in _TEXT_PARTS:
        raise InvalidRequest(
            f"{kind!r} is not a kind of part that Gemma reads; text, image_url and input_audio are",
            param=f"{where}.type",
            code="missing" if kind is None else "unsupported_content",
        )
    text = part.get(_TEXT_PARTS[kind])
    if not isinstance(text, str):
        raise InvalidRequest("text is needed", param=f"{where}.{_TEXT_PARTS[kind]}", code="invalid_type")
    return {"type": "text", "text": text}


def _object(raw: object, where: str) -> Mapping[str, Any]:
    if isinstance(raw, Mapping):
        return raw
    dump = getattr(raw, "model_dump", None)
    if dump is None:
        raise InvalidRequest(f"an object is needed, not {type(raw).__name__}", param=where, code="invalid_type")
    return cast("Mapping[str, Any]", dump())


def _name(name: object, where: str) -> str:
    if name is None or name == "":
        raise InvalidRequest("the function's name is missing", param=where, code="missing")
    if not isinstance(name, str):
        raise InvalidRequest("the name must be text", param=where, code="invalid_type")
    if len(name) > _LONGEST_NAME:
        raise InvalidRequest(f"the name is longer than {_LONGEST_NAME} characters", param=where, code="invalid_name")
    if _UNNAMEABLE.search(name):
        raise InvalidRequest(
            f"{name!r} holds white space, a bracket, a quote or a comma, which a call cannot carry",
            param=where,
            code="invalid_name",
        )
    return name


_LARGEST_KEY: Final = 1 << 16
"""In bytes. Larger tools are not cached, so that the cache stays within 64 MiB."""


def validate_tools(tools: Sequence[RawTool] | None) -> tuple[Tool, ...]:
    """Check the `tools` of a request: `{"type": "function", "function": {...}}` each; None is none.

    Raises:
        InvalidRequest: `param` is the place, such as `tools[0].function.name`.
    """
    if tools is None:
        return ()
    if not isinstance(tools, (list, tuple)):
        raise InvalidRequest("a list of tools is needed", param="tools", code="invalid_type")
    result = []
    for index, raw in enumerate(tools):
        if raw.__class__ is Tool:
            result.append(raw)
            continue
        try:
            result.append(_tool(raw))
        except InvalidRequest as wrong:
            raise _placed(wrong, f"tools[{index}]") from None
    if len({tool.name for tool in result}) < len(result):
        names = [tool.name for tool in result]
        index = next(i for i, name in enumerate(names) if name in names[:i])
        raise InvalidRequest(
            f"there is another tool {names[index]!r}", param=f"tools[{index}].function.name", code="duplicate_name"
        )
    return tuple(result)


def _tool(raw: object) -> Tool:
    if not isinstance(raw, dict):
        raw = _object(raw, "")
    try:
        key = marshal.dumps(cast("dict[str, Any]", raw), 2)
    except ValueError:  # too deep for marshal, or not plain Python values
        return _checked_tool(raw, None)
    return cached_tool(key) if len(key) <= _LARGEST_KEY else _checked_tool(raw, None)


@lru_cache(maxsize=1024)
def cached_tool(key: bytes) -> Tool:
    """The tool of a `Tool.key`: made from the marshalled content, so that the cache never holds the caller's own objects."""
    return _checked_tool(marshal.loads(key), key)


def _checked_tool(raw: Mapping[str, Any], key: bytes | None) -> Tool:
    check_json(raw, "")
    if raw.get("type", "function") != "function":
        raise InvalidRequest(
            f"tools of type {raw['type']!r} are not supported, only functions", param=".type", code="unsupported_tool"
        )
    function = raw.get("function")
    if function is None:
        hint = '; wrap it as {"type": "function", "function": {...}}' if "name" in raw else ""
        raise InvalidRequest("the function is missing" + hint, param=".function", code="missing")
    if not isinstance(function, Mapping):
        raise InvalidRequest("an object is needed", param=".function", code="invalid_type")
    return _function_tool(function, key)


def _function_tool(function: Mapping[str, Any], key: bytes | None) -> Tool:
    name = _name(function.get("name"), ".function.name")
    description = function.get("description")
    if description is not None and not isinstance(description, str):
        raise InvalidRequest("text is needed", param=".function.description", code="invalid_type")
    for part in ("parameters", "response"):
        if function.get(part) is not None and not isinstance(function[part], Mapping):
            raise InvalidRequest("a JSON Schema object is needed", param=f".function.{part}", code="invalid_type")
    return Tool(
        name=name,
        description=description or "",
        parameters=function.get("parameters"),
        strict=function.get("strict") is True,
        response=function.get("response"),
        function=function,
        key=key,
    )


def validate_choice(choice: RawChoice, tools: tuple[Tool, ...]) -> ToolChoice:
    """Check a `tool_choice`: a mode, one function, or `allowed_tools`, whose names may stand in `function` or beside it.

    Raises:
        InvalidRequest: it is none of these, names a tool that is not there, or requires a call where there are no tools.
    """
    if isinstance(choice, ToolChoice):
        return choice
    if choice is None or choice == "auto":
        return ToolChoice()
    if choice == "none":
        return ToolChoice("none")
    mode: object = "required"
    names: frozenset[str] | None = None
    if isinstance(choice, Mapping):
        kind = choice.get("type")
        if kind == "allowed_tools":
            allowed = choice.get("allowed_tools", choice)
            mode = allowed.get("mode") if isinstance(allowed, Mapping) else None
            chosen = allowed.get("tools") if isinstance(allowed, Mapping) else None
            if mode not in ("auto", "required") or not isinstance(chosen, (list, tuple)) or not chosen:
                raise InvalidRequest(
                    "allowed_tools needs a mode, auto or required, and a list of tools", param="tool_choice.allowed_tools"
                )
            names = frozenset(_chosen(item, "tool_choice.allowed_tools.tools") for item in chosen)
        elif kind == "function":
            names = frozenset((_chosen(choice, "tool_choice.function.name"),))
        else:
            raise InvalidRequest(f"{kind!r} is not a kind of choice; function and allowed_tools are", param="tool_choice.type")
    elif choice != "required":
        raise InvalidRequest(f"{choice!r} is not none, auto, required or an object that names tools", param="tool_choice")
    declared = {tool.name for tool in tools}
    if names is not None and not names <= declared:
        missing = ", ".join(sorted(names - declared))
        raise InvalidRequest(f"no tool is called {missing}", param="tool_choice", code="unknown_tool")
    if not tools:
        raise InvalidRequest("a call is required, and there are no tools", param="tool_choice", code="missing_tools")
    return ToolChoice(cast(Literal["auto", "required"], mode), names)


def _chosen(item: object, where: str) -> str:
    function = item.get("function", item) if isinstance(item, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise InvalidRequest("the name of a function is needed", param=where, code="missing")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A whole request, validated. None leaves a setting to the backend and its engine."""

    model: str | None = None
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool | None = None
    """None where the request does not say."""
    response_format: ResponseFormat | None = None
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: bool = False
    top_logprobs: int | None = None
    logit_bias: Mapping[str, float] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    enable_thinking: bool | None = None
    """What `chat_template_kwargs` or else `reasoning_effort` says; None: nothing."""
    preserve_thinking: bool = False
    """What `chat_template_kwargs` says."""
    legacy_functions: bool = False
    """The request has `functions`, so that the answer has `function_call`."""


def parse_request(body: Mapping[str, Any]) -> ChatRequest:
    """Validate the body of a chat completion request. A field that is null counts as absent.

    Raises:
        InvalidRequest: `param` is the field, and the place in it.
    """
    if not isinstance(body, Mapping):
        raise InvalidRequest("the request must be an object", code="invalid_type")
    check_fields(body)
    conversation = _conversation(body)
    limits = [limit for name in ("max_tokens", "max_completion_tokens") if (limit := integer(body, name, 1)) is not None]
    stream_options = mapping(body, "stream_options") or {}
    logprobs = flag(body, "logprobs")
    top_logprobs = integer(body, "top_logprobs", 0, 20)
    if top_logprobs is not None and not logprobs:
        raise InvalidRequest("it needs logprobs: true", param="top_logprobs")
    template = _template_arguments(body)
    return ChatRequest(
        model=text(body, "model"),
        messages=conversation.messages,
        tools=conversation.tools,
        tool_choice=conversation.tool_choice,
        parallel_tool_calls=None if body.get("parallel_tool_calls") is None else flag(body, "parallel_tool_calls"),
        response_format=_response_format(body),
        stream=flag(body, "stream"),
        include_usage=flag(stream_options, "include_usage", param="stream_options.include_usage"),
        max_tokens=min(limits, default=None),
        temperature=number(body, "temperature", 0, 2),
        top_p=number(body, "top_p", 0, 1),
        top_k=integer(body, "top_k", 0),
        min_p=number(body, "min_p", 0, 1),
        seed=integer(body, "seed", -INT64, INT64),
        stop=_stop(body.get("stop")),
        n=integer(body, "n", 1, 128) or 1,
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        logit_bias=_logit_bias(body),
        frequency_penalty=number(body, "frequency_penalty", -2, 2),
        presence_penalty=number(body, "presence_penalty", -2, 2),
        enable_thinking=_thinking(template, _effort(body)),
        preserve_thinking=flag(template, "preserve_thinking", param="chat_template_kwargs.preserve_thinking"),
        legacy_functions=body.get("functions") is not None,
    )


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
        if not isinstance(functions, (list, tuple)):
            raise InvalidRequest("a list of functions is needed", param="functions", code="invalid_type")
        tools = [{"type": "function", "function": function} for function in functions]
    if call is not None:
        if choice is not None:
            raise InvalidRequest("give tool_choice or function_call, not both", param="function_call")
        choice = {"type": "function", "function": call} if isinstance(call, Mapping) else call
    return tools, choice


_EFFORTS: Final = MappingProxyType({"none": False, "minimal": False, "low": True, "medium": True, "high": True, "xhigh": True})


def _effort(body: Mapping[str, Any]) -> str | None:
    effort = text(body, "reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        raise InvalidRequest(f"{effort!r} is not one of {', '.join(_EFFORTS)}", param="reasoning_effort")
    return effort


def _template_arguments(body: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = mapping(body, "chat_template_kwargs") or {}
    for name in arguments:
        if name not in ("enable_thinking", "preserve_thinking"):
            raise InvalidRequest("there is no such argument", param=f"chat_template_kwargs.{name}", code="unknown_parameter")
    return arguments


def _thinking(template: Mapping[str, Any], effort: str | None) -> bool | None:
    if template.get("enable_thinking") is None:
        return None if effort is None else _EFFORTS[effort]
    return flag(template, "enable_thinking", param="chat_template_kwargs.enable_thinking")


def _response_format(body: Mapping[str, Any]) -> ResponseFormat | None:
    given = mapping(body, "response_format")
    if given is None:
        return None
    kind = given.get("type")
    if kind == "text" or kind == "json_object":
        return ResponseFormat(kind)
    if kind != "json_schema":
        raise InvalidRequest(f"{kind!r} is not one of text, json_object, json_schema", param="response_format.type")
    where = "response_format.json_schema"
    wrapper = mapping(given, "json_schema", where)
    schema = mapping(wrapper or {}, "schema", f"{where}.schema")
    if wrapper is None or schema is None:
        raise InvalidRequest("the schema is missing", param=f"{where}.schema" if wrapper else where, code="missing")
    check_json(schema, f"{where}.schema")
    name = wrapper.get("name")
    return ResponseFormat("json_schema", schema, name if isinstance(name, str) else None, wrapper.get("strict") is True)


def _stop(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    stops = (given,) if isinstance(given, str) else given
    if not isinstance(stops, (list, tuple)) or not all(isinstance(stop, str) and stop for stop in stops):
        raise InvalidRequest("a text or a list of texts is needed, none of them empty", param="stop", code="invalid_type")
    return tuple(stops)


def _logit_bias(body: Mapping[str, Any]) -> Mapping[str, float] | None:
    given = mapping(body, "logit_bias")
    if not given:
        return None
    for token in given:
        place = f"logit_bias.{token}"
        if number(given, token, -100, 100, param=place) is None:
            raise InvalidRequest("a number is needed", param=place, code="invalid_type")
    return MappingProxyType({str(token): float(bias) for token, bias in given.items()})
