"""Messages in every form that OpenAI code and agent frameworks send, as `Message`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import check_json, is_mapping, read_json
from gemma_tools.request import MEDIA_PARTS, Call, Content, Message, Part, RawMessage, ToolResponse
from gemma_tools.validation.values import as_array, as_object, check_name, check_text, shown, within, wrong_type

_new: Final = tuple.__new__
"""Makes a named tuple from all its fields, in half the time of a call of its class."""


def validate_messages(messages: Sequence[RawMessage]) -> tuple[Message, ...]:
    """Check the `messages` of a request. A `Message` is returned unchanged.

    Raises:
        InvalidRequest: `param` is the place, such as `messages[2].tool_calls[0].function.name`.
    """
    # Checking the abstract classes takes longer than reading a short message.
    if messages.__class__ is not list and (isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence)):
        raise wrong_type("an array of messages", messages, "messages")
    if not messages:
        raise InvalidRequest("must have at least one message", param="messages", code="empty_array")
    if messages.__class__ is tuple and set(map(type, messages)) == {Message}:
        return cast("tuple[Message, ...]", messages)
    ledger = _Ledger()
    result: list[Message] = []
    place = 0
    try:
        for place, raw in enumerate(messages):  # noqa: B007  (the error below names it)
            if raw.__class__ is not dict:
                if isinstance(raw, Message):
                    ledger.note(raw.tool_calls)
                    result.append(raw)
                    continue
                raw = as_object(raw, "")
            try:
                read = _READERS[raw.get("role")]
            except (KeyError, TypeError):
                raise _unknown_role(raw.get("role")) from None
            if read is _result and _lists_results(raw.get("content")):
                result.extend(read({**raw, "content": content}, ledger) for content in raw["content"])
            else:
                result.append(read(raw, ledger))
    except InvalidRequest as wrong:
        raise within(wrong, f"messages[{place}]") from None
    return tuple(result)


class _Ledger:
    """The calls so far, to find the one that a result answers."""

    __slots__ = ("_again", "_answered", "_names", "_pending")

    def __init__(self) -> None:
        self._again: dict[str, list[str]] = {}
        self._names: set[str] = set()
        self._answered: dict[str, str] = {}
        self._pending: dict[str | int, str] = {}

    def check_name(self, name: Any, param: str) -> None:
        """Check that a function can be called `name`; each name is checked once."""
        if name.__class__ is not str or name not in self._names:
            self._names.add(check_name(name, param))

    def note(self, calls: tuple[Call, ...]) -> None:
        """`calls`, if there are any, now wait for their results: by id, or by position without one.

        Some servers give all calls of a message the same id: their results come in the order of the calls.
        """
        if not calls:
            return
        pending: dict[str | int, str] = {}
        self._again = {}
        for place, (call_id, name, _, _) in enumerate(calls):
            if call_id is None:
                pending[place] = name
            elif call_id in pending:
                self._again.setdefault(call_id, []).append(name)
            else:
                pending[call_id] = self._answered[call_id] = name
        self._pending = pending

    def called(self, call_id: str | None, name: str | None) -> str | None:
        """The name of the call that a result answers: the one with its id, or else the first open one (with its name)."""
        if call_id is not None:
            self._pending.pop(call_id, None)
            called = self._answered.get(call_id)
            if again := self._again.get(call_id):
                self._answered[call_id] = again.pop(0)
            return called
        key = next((key for key, called in self._pending.items() if name is None or called == name), None)
        return None if key is None else self._pending.pop(key)


def _unknown_role(role: object) -> InvalidRequest:
    message = f"{shown(role)} is not a role; the roles are system, developer, user, assistant and tool"
    return InvalidRequest(message, param=".role", code="missing" if role is None else "invalid_value")


def _said(raw: Mapping[str, Any]) -> tuple[Any, str | None]:
    """The content of a message, and the name of its speaker."""
    content, name = raw.get("content"), raw.get("name")
    if content.__class__ is not str and content is not None:
        content = _content(content)
    if name is not None:
        check_text(name, ".name")
    return content, name


def _plain(raw: Mapping[str, Any], ledger: _Ledger) -> Message:
    content, name = _said(raw)
    return _new(Message, (raw["role"], content, (), None, name, None, None, ()))


def _assistant(raw: Mapping[str, Any], ledger: _Ledger) -> Message:
    get = raw.get
    content, name = _said(raw)
    if get("refusal"):
        content = _refused(content, get("refusal"))
    if not content and get("audio") is not None:
        message = "answers in audio are not stored here: send what was said as the content"
        raise InvalidRequest(message, param=".audio", code="unsupported_content")
    calls: tuple[Call, ...] = ()
    if given := get("tool_calls"):
        calls = _calls(given, ledger)
    elif given := get("function_call"):
        calls = (_call(None, given, ".function_call", ledger),)
    ledger.note(calls)
    reasoning = get("reasoning") or get("reasoning_content") or None
    if reasoning is not None:
        check_text(reasoning, ".reasoning" if get("reasoning") else ".reasoning_content")
    responses = get("tool_responses")
    answers = _responses(responses, ledger) if responses else ()
    return _new(Message, ("assistant", content, calls, None, name, None, reasoning, answers))


def _refused(content: Content, refusal: object) -> Content:
    """The content of a message of the assistant that refused, which OpenAI's answers have in a field of its own."""
    check_text(refusal, ".refusal")
    if not content:
        return cast(str, refusal)
    parts = ({"type": "text", "text": content},) if isinstance(content, str) else content
    return (*parts, {"type": "text", "text": refusal})


_RESULT_KEYS: Final = frozenset({"name", "response"})
"""What the content of a `tool` message has in Google's guide for FunctionGemma; with several results, it is a list of such."""


def _lists_results(content: object) -> bool:
    """Whether the content of a `tool` message is the results of several calls."""
    return (
        isinstance(content, (list, tuple))
        and len(content) > 0
        and all(is_mapping(item) and item.keys() == _RESULT_KEYS for item in content)
    )


def _result(raw: Mapping[str, Any], ledger: _Ledger) -> Message:
    get = raw.get
    content, name, call_id = get("content"), get("name"), get("tool_call_id")
    if content.__class__ is not str and content is not None:
        if is_mapping(content):
            check_json(content, ".content")
            if content.keys() == _RESULT_KEYS:
                name, response = content["name"], content["response"]
                content = response if isinstance(response, str) or is_mapping(response) else {"value": response}
        else:
            content = _content(content)
    if name is not None:
        ledger.check_name(name, ".name")
    if call_id is not None:
        check_text(call_id, ".tool_call_id")
    return _new(Message, ("tool", content, (), call_id, name, ledger.called(call_id, name), None, ()))


_Reader: TypeAlias = Callable[[Mapping[str, Any], _Ledger], Message]
_READERS: Final[Mapping[Any, _Reader]] = MappingProxyType(
    {"system": _plain, "developer": _plain, "user": _plain, "assistant": _assistant, "tool": _result, "function": _result}
)


def _calls(given: object, ledger: _Ledger) -> tuple[Call, ...]:
    calls: list[Call] = []
    for raw in as_array(given, ".tool_calls"):
        try:
            raw = as_object(raw, "")
            function, call_id = raw.get("function"), raw.get("id")
            if function is None and raw.get("type") == "custom":
                function = _of_custom(raw.get("custom"))
            if function is None:
                raise InvalidRequest("the called function is missing", param=".function", code="missing")
            check_text(call_id, ".id")
            calls.append(_call(call_id, function, ".function", ledger))
        except InvalidRequest as wrong:
            raise within(wrong, f".tool_calls[{len(calls)}]") from None
    return tuple(calls)


def _of_custom(given: object) -> Mapping[str, Any]:
    """The call of a custom tool, as of a function with one string: this is how the Responses API declares them."""
    custom = as_object(given, ".custom")
    text = custom.get("input")
    if not isinstance(text, str):
        raise wrong_type("a string", text, ".custom.input")
    return {"name": custom.get("name"), "arguments": {"input": text}}


def _call(call_id: str | None, function: object, where: str, ledger: _Ledger) -> Call:
    if not is_mapping(function):
        function = as_object(function, where)
    name = function.get("name")
    ledger.check_name(name, where + ".name")
    arguments, readable = _arguments(function.get("arguments"), where)
    return _new(Call, (call_id, name, arguments, readable))


def _arguments(given: object, where: str) -> tuple[Mapping[str, Any], bool]:
    """The arguments of a call, and whether they could be read. Some clients send "null", or nothing, for no arguments."""
    if given is None:
        return {}, True
    if not isinstance(given, str):
        arguments = as_object(given, where + ".arguments")
        check_json(arguments, where + ".arguments")
        return arguments, True
    if not given or given.isspace():
        return {}, True
    try:
        read = read_json(given)
    except ValueError:
        return {"arguments": given}, False
    if read is None:
        return {}, True
    return (read, True) if read.__class__ is dict else ({"arguments": read}, False)


def _responses(given: object, ledger: _Ledger) -> tuple[ToolResponse, ...]:
    responses: list[ToolResponse] = []
    for raw in as_array(given, ".tool_responses"):
        try:
            raw = as_object(raw, "")
            name, response = raw.get("name"), raw.get("response")
            if name is not None:
                ledger.check_name(name, ".name")
            check_json(response, ".response")
        except InvalidRequest as wrong:
            raise within(wrong, f".tool_responses[{len(responses)}]") from None
        responses.append(ToolResponse(name, response))
    return tuple(responses)


_TEXT_PARTS: Final = MappingProxyType({"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"})
"""The key of the text in each kind of text part."""


def _content(content: object) -> Content:
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise wrong_type("a string or an array of parts", content, ".content")
    return tuple([_part(part, f".content[{i}]") for i, part in enumerate(content)])


def _part(raw: object, where: str) -> Part:
    if isinstance(raw, str):
        return {"type": "text", "text": raw}
    part = as_object(raw, where)
    kind = part.get("type")
    if isinstance(kind, str) and kind in MEDIA_PARTS:
        check_json(part, where)
        return part
    if not isinstance(kind, str) or kind not in _TEXT_PARTS:
        raise InvalidRequest(
            f"{shown(kind)} is not a supported part type; use text, image_url or input_audio",
            param=f"{where}.type",
            code="missing" if kind is None else "unsupported_content",
        )
    text = part.get(_TEXT_PARTS[kind])
    if not isinstance(text, str):
        raise wrong_type("a string", text, f"{where}.{_TEXT_PARTS[kind]}")
    return {"type": "text", "text": text}
