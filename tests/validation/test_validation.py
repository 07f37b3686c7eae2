"""What is accepted, what is refused, and at which place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessage

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.jsontext import check_json, read_json
from gemma_tools.policy import FIELD_POLICY
from gemma_tools.request import Call, Message, Tool, ToolChoice
from gemma_tools.validation import parse_request, validate, validate_tools

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "act"}}


def call(arguments: Any = "{}", name: Any = "act", call_id: Any = "1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def assistant(*calls: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **more}


def refused(body: Any) -> tuple[str | None, str]:
    """The place and the kind of what `parse_request` refuses."""
    with pytest.raises(InvalidRequest) as wrong:
        parse_request(body)
    return wrong.value.param, wrong.value.code


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
@pytest.mark.parametrize(
    "content", [{}, {"content": None}, {"content": ""}, {"content": "x"}, {"content": [{"type": "text", "text": "x"}]}]
)
def test_content_in_every_shape_on_every_role(role: str, content: dict[str, Any]) -> None:
    messages = validate([USER, {"role": role, **content}]).messages
    expected = content.get("content")
    assert messages[1].content == (tuple(expected) if isinstance(expected, list) else expected)


def test_other_kinds_of_text_parts() -> None:
    parts = [
        "a",
        {"type": "input_text", "text": "b"},
        {"type": "output_text", "text": "c"},
        {"type": "refusal", "refusal": "d"},
    ]
    content = validate([{"role": "user", "content": parts}]).messages[0].content
    assert isinstance(content, tuple)
    assert [part["text"] for part in content] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "No."), ("", "No."), ("Well.", ("Well.", "No.")), ([{"type": "text", "text": "Well."}], ("Well.", "No."))],
)
def test_a_refusal_is_said(content: Any, expected: Any) -> None:
    content = validate([USER, {"role": "assistant", "content": content, "refusal": "No."}]).messages[1].content
    assert (content if isinstance(content, str) else tuple(part["text"] for part in content or ())) == expected


def test_a_reference_to_audio_is_refused_unless_there_is_a_text() -> None:
    answer = {"role": "assistant", "audio": {"id": "audio_1"}}
    assert refused({"messages": [USER, answer]}) == ("messages[1].audio", "unsupported_content")
    assert validate([USER, {**answer, "content": "Hi"}]).messages[1].content == "Hi"


def test_a_call_of_a_custom_tool_is_a_call_with_one_text() -> None:
    custom = {"id": "1", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    messages = validate([USER, assistant(custom), {"role": "tool", "tool_call_id": "1", "content": "1"}]).messages
    assert messages[1].tool_calls == (Call("1", "sql", {"input": "SELECT 1"}),)
    assert messages[2].called == "sql"
    for part, place in (({}, ".input"), ({"input": "x"}, ".name")):
        param, _ = refused({"messages": [USER, assistant({**custom, "custom": part})]})
        assert (param or "").startswith("messages[1].tool_calls[0].")
        assert (param or "").endswith(place)


@pytest.mark.parametrize("arguments", ["", " ", "{}", {}, None, " {} ", "null", "\n null "])
def test_no_arguments_in_every_shape(arguments: Any) -> None:
    assert validate([USER, assistant(call(arguments))]).messages[1].tool_calls == (Call("1", "act", {}),)


def test_arguments_as_text_and_as_an_object() -> None:
    arguments = {"a": [1, 2.5, 10**30, None], "b": {"c": True}}
    for given_arguments in (arguments, json.dumps(arguments), MappingProxyType(arguments)):
        assert validate([USER, assistant(call(given_arguments))]).messages[1].tool_calls[0].arguments == arguments


@pytest.mark.parametrize("text", ['{"a": 1', "[1]", "3", '"{}"', "[null]", '{"a": NaN}', '{"a": 1e999}', "a=1", "{'a': 1}"])
def test_arguments_that_are_not_a_json_object_are_kept(text: str) -> None:
    made = validate([USER, assistant(call(text))]).messages[1].tool_calls[0]
    assert not made.readable
    kept = made.arguments["arguments"]
    assert kept == text or kept == json.loads(text)


def test_results_get_the_name_of_their_call() -> None:
    first = assistant(call(name="f", call_id="a"), call(name="g", call_id="b"))
    results = [{"role": "tool", "tool_call_id": i, "content": "x"} for i in ("b", "a", "none")]
    again = assistant(call(name="h", call_id="a"))
    messages = validate([USER, first, *results, again, results[1]]).messages
    assert [message.called for message in messages if message.role == "tool"] == ["g", "f", None, "h"]


@pytest.mark.parametrize("call_id", ["", "call_0"])
def test_results_of_calls_with_one_id_go_to_the_calls_in_order(call_id: str) -> None:
    calls = assistant(*(call(name=name, call_id=call_id) for name in "fgh"))
    result = {"role": "tool", "tool_call_id": call_id, "content": "x"}
    later = [assistant(call(name="i", call_id=call_id)), result, result]
    messages = validate([USER, calls, *[result] * 3, *later]).messages
    assert [message.called for message in messages if message.role == "tool"] == ["f", "g", "h", "i", "i"]


def test_results_without_ids_go_to_the_calls_in_order() -> None:
    first = assistant(*(call(name=name, call_id=None) for name in "fgh"))
    results = [
        {"role": "tool", "content": "x"},
        {"role": "tool", "name": "h", "content": "x"},
        *[{"role": "tool", "content": "x"}] * 2,
    ]
    messages = validate([USER, first, *results]).messages
    assert [message.called for message in messages[2:]] == ["f", "h", "g", None]


def test_legacy_messages() -> None:
    old = [
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
        {"role": "function", "name": "f", "content": "x"},
    ]
    messages = validate(old).messages
    assert messages[1].tool_calls == (Call(None, "f", {"a": 1}),)
    assert (messages[2].role, messages[2].name, messages[2].called) == ("tool", "f", "f")


def test_objects_of_the_openai_package_and_unknown_keys() -> None:
    reply = ChatCompletionMessage.model_validate({**assistant(call('{"a": 1}')), "reasoning_content": "hm", "refusal": None})
    for message in (reply, {"role": "assistant", "tool_calls": reply.tool_calls, "reasoning": "hm", "cache_breakpoint": True}):
        made = validate([USER, message, {"role": "tool", "tool_call_id": "1", "content": "x"}]).messages
        assert made[1].tool_calls == (Call("1", "act", {"a": 1}),)
        assert made[1].reasoning == "hm"
        assert made[2].called == "act"


def test_results_in_the_shape_of_googles_guide() -> None:
    for response, content in (({"a": 1}, {"a": 1}), ("x", "x"), ([1], {"value": [1]})):
        message = {"role": "tool", "content": {"name": "act", "response": response}}
        result = validate([USER, assistant(call(call_id=None)), message]).messages[2]
        assert (result.name, result.called, result.content) == ("act", "act", content)
    for name in ("(", ["x"], 5):
        assert refused({"messages": [{"role": "tool", "content": {"name": name, "response": 1}}]})[0] == "messages[0].name"


def test_several_results_in_one_message_as_in_googles_guide() -> None:
    both = {"role": "tool", "content": [{"name": "act", "response": {"a": 1}}, {"name": "act", "response": "x"}]}
    calls = {
        "role": "assistant",
        "tool_calls": [*assistant(call())["tool_calls"], *assistant(call(call_id=None))["tool_calls"]],
    }
    [*_, first, second] = validate([USER, calls, both]).messages
    assert [(result.name, result.called, result.content) for result in (first, second)] == [
        ("act", "act", {"a": 1}),
        ("act", "act", "x"),
    ]
    assert refused({"messages": [USER, calls, both, {"role": "user", "content": 5}]})[0] == "messages[3].content"


def test_results_in_gemmas_own_shape() -> None:
    responses = [{"name": "act", "response": {"a": 1}}, {"response": None}]
    [_, message] = validate([USER, {"role": "assistant", "tool_responses": responses, "name": "bot"}]).messages
    assert message.tool_responses == (("act", {"a": 1}), (None, None))
    assert message.name == "bot"


def test_media_parts_stay_as_they_are() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    for role in ("user", "tool"):
        assert validate([{"role": role, "content": [image, "What is it?"]}]).messages[0].content == (
            image,
            {"type": "text", "text": "What is it?"},
        )
    bad = {"type": "image_url", "image_url": {"url": math.inf}}
    assert refused({"messages": [{"role": "user", "content": [bad]}]}) == (
        "messages[0].content[0].image_url.url",
        "invalid_value",
    )


def test_text_of_a_class_that_is_separate() -> None:
    class Text(str):
        pass

    assert validate([{"role": "user", "content": Text("hi")}]).messages[0].content == "hi"


def test_raw_results_after_validated_calls() -> None:
    asked = validate([USER, assistant(call(name="f", call_id="a"))]).messages
    assert validate([*asked, {"role": "tool", "tool_call_id": "a", "content": "x"}]).messages[2].called == "f"


def test_what_is_validated_passes_as_it_is() -> None:
    conversation = validate([USER, assistant(call())], [TOOL], "required")
    assert validate(*conversation) == conversation
    assert conversation.tools[0] == validate_tools([TOOL])[0]


@pytest.mark.parametrize(
    ("messages", "param", "code"),
    [
        (None, "messages", "empty_array"),
        ([], "messages", "empty_array"),
        ("hi", "messages", "invalid_type"),
        ({"role": "user"}, "messages", "invalid_type"),
        ([{"role": "assistant", "name": 5}], "messages[0].name", "invalid_type"),
        ([None], "messages[0]", "invalid_type"),
        ([USER, "hi"], "messages[1]", "invalid_type"),
        ([{"content": "x"}], "messages[0].role", "missing"),
        ([{"role": "robot"}], "messages[0].role", "invalid_value"),
        ([{"role": ["user"]}], "messages[0].role", "invalid_value"),
        ([{"role": "user", "content": 5}], "messages[0].content", "invalid_type"),
        ([{"role": "user", "content": {"a": 1}}], "messages[0].content", "invalid_type"),
        ([{"role": "user", "content": [5]}], "messages[0].content[0]", "invalid_type"),
        ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content[0].type", "missing"),
        ([{"role": "user", "content": [{"type": []}]}], "messages[0].content[0].type", "unsupported_content"),
        ([{"role": "user", "content": [{"type": "file"}]}], "messages[0].content[0].type", "unsupported_content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text", "invalid_type"),
        ([{"role": "user", "content": "x", "name": 5}], "messages[0].name", "invalid_type"),
        ([{"role": "assistant", "reasoning": 5}], "messages[0].reasoning", "invalid_type"),
        ([{"role": "assistant", "reasoning_content": [1]}], "messages[0].reasoning_content", "invalid_type"),
        ([{"role": "assistant", "tool_calls": {"a": 1}}], "messages[0].tool_calls", "invalid_type"),
        ([{"role": "assistant", "tool_calls": ["x"]}], "messages[0].tool_calls[0]", "invalid_type"),
        ([{"role": "assistant", "tool_calls": [{"id": "1"}]}], "messages[0].tool_calls[0].function", "missing"),
        ([assistant(call(), call(name=None))], "messages[0].tool_calls[1].function.name", "missing"),
        ([assistant(call(name=["a"]))], "messages[0].tool_calls[0].function.name", "invalid_type"),
        ([assistant(call(name="a b"))], "messages[0].tool_calls[0].function.name", "invalid_name"),
        ([assistant(call(call_id=1))], "messages[0].tool_calls[0].id", "invalid_type"),
        ([assistant(call(arguments=[1]))], "messages[0].tool_calls[0].function.arguments", "invalid_type"),
        ([assistant(call(arguments={"a": [math.nan]}))], "messages[0].tool_calls[0].function.arguments.a[0]", "invalid_value"),
        ([assistant(call(arguments={"a": {1}}))], "messages[0].tool_calls[0].function.arguments.a", "invalid_type"),
        ([assistant(call(arguments={"a": {1: 2}}))], "messages[0].tool_calls[0].function.arguments.a", "invalid_type"),
        ([assistant(call(arguments={"a": 10**5000}))], "messages[0].tool_calls[0].function.arguments.a", "invalid_value"),
        ([{"role": "tool", "tool_call_id": 5, "content": "x"}], "messages[0].tool_call_id", "invalid_type"),
        ([{"role": "tool", "name": "a,b", "content": "x"}], "messages[0].name", "invalid_name"),
        ([{"role": "tool", "content": {"a": math.inf}}], "messages[0].content.a", "invalid_value"),
        ([{"role": "assistant", "tool_responses": "x"}], "messages[0].tool_responses", "invalid_type"),
        (
            [{"role": "assistant", "tool_responses": [{"name": "(", "response": 1}]}],
            "messages[0].tool_responses[0].name",
            "invalid_name",
        ),
        ([{"role": "assistant", "function_call": "f"}], "messages[0].function_call", "invalid_type"),
    ],
)
def test_bad_messages(messages: Any, param: str, code: str) -> None:
    assert refused({"messages": messages}) == (param, code)


@pytest.mark.parametrize(
    ("tools", "param", "code"),
    [
        ({}, "tools", "invalid_type"),
        ("x", "tools", "invalid_type"),
        ([5], "tools[0]", "invalid_type"),
        ([{"name": "f"}], "tools[0].function", "missing"),
        ([{"type": "function", "function": "f"}], "tools[0].function", "invalid_type"),
        ([{"type": "custom", "custom": {}}], "tools[0].type", "unsupported_tool"),
        ([{"type": "function", "function": {}}], "tools[0].function.name", "missing"),
        ([TOOL, {"type": "function", "function": {"name": 5}}], "tools[1].function.name", "invalid_type"),
        ([{"type": "function", "function": {"name": "x" * 129}}], "tools[0].function.name", "invalid_name"),
        ([TOOL, TOOL], "tools[1].function.name", "duplicate_name"),
        ([{"type": "function", "function": {"name": "f", "description": 5}}], "tools[0].function.description", "invalid_type"),
        ([{"type": "function", "function": {"name": "f", "parameters": []}}], "tools[0].function.parameters", "invalid_type"),
        (
            [{"type": "function", "function": {"name": "f", "parameters": {"a": math.inf}}}],
            "tools[0].function.parameters.a",
            "invalid_value",
        ),
        (
            [{"type": "function", "function": {"name": "f", "parameters": {"a": b"x"}}}],
            "tools[0].function.parameters.a",
            "invalid_type",
        ),
    ],
)
def test_bad_tools(tools: Any, param: str, code: str) -> None:
    assert refused({"messages": [USER], "tools": tools}) == (param, code)
    assert refused({"messages": [USER], "tools": tools}) == (param, code)  # and again: nothing wrong is remembered


@pytest.mark.parametrize("character", [*" \t\n\u3000[](){}<>\"'`,"])
def test_names_that_no_call_can_carry(character: str) -> None:
    tool = {"type": "function", "function": {"name": f"a{character}b"}}
    assert refused({"messages": [USER], "tools": [tool]}) == ("tools[0].function.name", "invalid_name")


@pytest.mark.parametrize("name", ["a.b", "a-b", "a/b", "a:b", "größe", "x" * 128])
def test_names_that_calls_can_carry(name: str) -> None:
    assert validate_tools([{"type": "function", "function": {"name": name}}])[0].name == name


def test_an_object_that_contains_itself_is_refused() -> None:
    arguments: dict[str, Any] = {}
    arguments["a"] = [arguments]
    assert refused({"messages": [assistant(call(arguments))]})[0] == "messages[0].tool_calls[0].function.arguments.a[0]"
    assert refused({"messages": [USER], "tools": [{"function": {"name": "f", "parameters": arguments}}]})[0] is not None


class Colour(str, Enum):  # noqa: UP042 - str() of a StrEnum would hide what is tested
    RED = "red"


def test_tools_that_are_not_plain_python() -> None:
    parameters = MappingProxyType({"type": "object", "properties": {"c": {"type": "string", "enum": [Colour.RED]}}})
    tools = validate_tools([{"type": "function", "function": {"name": "f", "parameters": parameters}}])
    assert tools[0].key is None
    assert "enum:[<escape>red<escape>]" in get_format("functiongemma").declaration(tools[0])


def test_the_memory_of_tools_goes_by_content() -> None:
    function: dict[str, Any] = {"name": "f", "description": "one"}
    first = validate_tools([{"type": "function", "function": function}])[0]
    assert validate_tools([{"type": "function", "function": dict(function)}])[0] is first
    function["description"] = "two"
    assert first.description == "one"
    assert validate_tools([{"type": "function", "function": function}])[0].description == "two"
    # Equal to Python, and different JSON.
    kinds = [validate_tools([{"function": {"name": "f", "parameters": {"default": value}}}])[0] for value in (1, 1.0, True)]
    assert len({tool.key for tool in kinds}) == 3


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice()),
        ("auto", ToolChoice()),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "act"}}, ToolChoice("required", frozenset({"act"}))),
        ({"type": "function", "name": "act"}, ToolChoice("required", frozenset({"act"}))),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "act"}}]},
            },
            ToolChoice("auto", frozenset({"act"})),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "act"}]},
            ToolChoice("required", frozenset({"act"})),
        ),
    ],
)
def test_tool_choices(choice: Any, expected: ToolChoice) -> None:
    assert parse_request({"messages": [USER], "tools": [TOOL], "tool_choice": choice}).tool_choice == expected


@pytest.mark.parametrize(
    ("choice", "param", "code"),
    [
        ("any", "tool_choice", "invalid_value"),
        (5, "tool_choice", "invalid_value"),
        ({"type": "custom"}, "tool_choice.type", "invalid_value"),
        ({"type": "function"}, "tool_choice.function.name", "missing"),
        ({"type": "function", "function": {"name": "other"}}, "tool_choice", "unknown_tool"),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": [TOOL]}},
            "tool_choice.allowed_tools",
            "invalid_value",
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            "tool_choice.allowed_tools",
            "invalid_value",
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [5]}},
            "tool_choice.allowed_tools.tools",
            "missing",
        ),
    ],
)
def test_bad_tool_choices(choice: Any, param: str, code: str) -> None:
    assert refused({"messages": [USER], "tools": [TOOL], "tool_choice": choice}) == (param, code)


def test_a_call_cannot_be_required_without_tools() -> None:
    assert refused({"messages": [USER], "tool_choice": "required"}) == ("tool_choice", "missing_tools")
    assert refused({"messages": [USER], "tools": [], "tool_choice": "required"}) == ("tool_choice", "missing_tools")


def test_legacy_functions() -> None:
    body = {"messages": [USER], "functions": [{"name": "f", "parameters": {"type": "object"}}], "function_call": {"name": "f"}}
    request = parse_request(body)
    assert [tool.name for tool in request.tools] == ["f"]
    assert request.tool_choice == ToolChoice("required", frozenset({"f"}))
    assert request.legacy_functions
    assert parse_request({**body, "function_call": "none"}).tool_choice.mode == "none"
    assert not parse_request({"messages": [USER], "tools": [TOOL]}).legacy_functions
    assert refused({**body, "tools": [TOOL]})[0] == "functions"
    assert refused({**body, "tool_choice": "auto"})[0] == "function_call"
    assert refused({**body, "functions": {}})[0] == "functions"
    assert refused({**body, "functions": [{}]})[0] == "functions[0].name"
    assert refused({**body, "functions": ["f"]})[0] == "functions[0]"
    assert refused({**body, "functions": [*body["functions"], {"name": "f"}]})[0] == "functions[1].name"
    assert refused({**body, "function_call": {"name": "g"}}) == ("function_call", "unknown_tool")
    assert refused({**body, "function_call": "always"})[0] == "function_call"


def test_a_whole_request() -> None:
    schema = {"type": "object"}
    request = parse_request(
        {
            "model": "tiny",
            "messages": [USER],
            "tools": [{"type": "function", "function": {"name": "act", "strict": True, "response": {"type": "object"}}}],
            "parallel_tool_calls": False,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}},
            "stream": True,
            "stream_options": {"include_usage": True, "include_obfuscation": False},
            "max_tokens": 20,
            "max_completion_tokens": 10,
            "temperature": 0,
            "top_p": 0.5,
            "top_k": 0,
            "min_p": 0.1,
            "seed": -3,
            "stop": ["a", "b"],
            "n": 2,
            "logprobs": True,
            "top_logprobs": 0,
            "logit_bias": {"5": -100},
            "frequency_penalty": 1,
            "presence_penalty": -1.5,
            "reasoning_effort": "high",
            "chat_template_kwargs": {"enable_thinking": False},
            "user": "u",
            "metadata": {"a": "b"},
            "store": True,
            "modalities": ["text"],
            "audio": None,
        }
    )
    assert request.tools[0].strict
    assert request.tools[0].response == {"type": "object"}
    assert request.response_format is not None
    assert (request.response_format.schema, request.response_format.name, request.response_format.strict) == (schema, "n", True)
    assert (request.max_tokens, request.temperature, request.top_k, request.seed) == (10, 0, 0, -3)
    assert request.stop == ("a", "b")
    assert (request.include_usage, request.parallel_tool_calls, request.enable_thinking) == (True, False, False)
    assert request.logit_bias == {"5": -100.0}


@pytest.mark.parametrize(
    ("effort", "thinks"),
    [(None, None), ("none", False), ("minimal", False), ("low", True), ("medium", True), ("high", True), ("xhigh", True)],
)
def test_thinking_from_the_effort(effort: str | None, thinks: bool | None) -> None:
    assert parse_request({"messages": [USER], "reasoning_effort": effort}).enable_thinking is thinks


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 5}, "model"),
        ({"temperature": True}, "temperature"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"min_p": 2}, "min_p"),
        ({"top_k": -2}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"seed": 1.5}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"top_k": 10**30}, "top_k"),
        ({"seed": 10**30}, "seed"),
        ({"seed": -(10**30)}, "seed"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", 5]}, "stop"),
        ({"stream": 1}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"logit_bias": {"5": None}}, "logit_bias.5"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"presence_penalty": "1"}, "presence_penalty"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": {"preserve_thinking": "yes"}}, "chat_template_kwargs.preserve_thinking"),
        ({"chat_template_kwargs": {"other": 1}}, "chat_template_kwargs.other"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}, "response_format.json_schema.schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": {1}}}}},
            "response_format.json_schema.schema.a",
        ),
        ({"no_such_field": 1}, "no_such_field"),
        ({"modalities": ["text", "audio"]}, "modalities"),
    ],
)
def test_bad_fields(fields: dict[str, Any], param: str) -> None:
    assert refused({"messages": [USER], **fields})[0] == param


@pytest.mark.parametrize("name", [name for name, policy in FIELD_POLICY.items() if policy.treatment in ("refused", "left out")])
def test_refused_fields_are_named(name: str) -> None:
    assert refused({"messages": [USER], name: {"a": 1}}) == (name, "unsupported_parameter")
    assert parse_request({"messages": [USER], name: None})


@pytest.mark.parametrize("name", [name for name, policy in FIELD_POLICY.items() if policy.treatment == "accepted"])
def test_accepted_fields_change_nothing(name: str) -> None:
    assert parse_request({"messages": [USER], name: "x"}) == parse_request({"messages": [USER]})


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"temperature": "0.5"}, "temperature: must be a number, got '0.5'"),
        ({"temperature": 2.5}, "temperature: must be from 0 to 2, got 2.5"),
        ({"max_tokens": 1.5}, "max_tokens: must be an integer, got 1.5"),
        ({"n": True}, "n: must be an integer, got true"),
        ({"top_k": 10**5000}, "top_k: must be from 0 to 2147483647, got a very large integer"),
        ({"stream": "yes"}, "stream: must be a boolean, got 'yes'"),
        ({"model": ["a"]}, "model: must be a string, got an array"),
        ({"user_name": "me"}, "user_name: unrecognized request argument"),
        ({"top_logprobs": 3}, "top_logprobs: requires logprobs=true"),
        ({"logit_bias": {"5": None}}, "logit_bias.5: must be a number, got null"),
        ({"response_format": "json"}, "response_format: must be an object, got 'json'"),
        ({"tools": {"a": 1}}, "tools: must be an array, got an object"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content: must be a string or an array of parts, got 5"),
        ({"messages": [USER, "x" * 100]}, f"messages[1]: must be an object, got '{'x' * 80}'..."),
        ({"messages": [USER, {"role": "user", "content": [{1, 2}]}]}, "messages[1].content[0]: must be an object, got set"),
        ({"messages": [{"role": "user", "name": 5}]}, "messages[0].name: must be a string, got 5"),
        (
            {"messages": [{"role": 10**5000}]},
            "messages[0].role: a very large integer is not a role; the roles are system, developer,",
        ),
        ({"messages": [assistant(call(name=5))]}, "messages[0].tool_calls[0].function.name: must be a string, got 5"),
    ],
)
def test_errors_say_what_a_field_must_be(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        parse_request({"messages": [USER], **fields})
    assert str(wrong.value).startswith(error)
    assert str(wrong.value) == error or error.endswith(",")


def test_a_body_that_is_not_an_object() -> None:
    assert refused([1]) == (None, "invalid_type")
    assert refused({}) == ("messages", "empty_array")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["user", "tool", "assistant", "function"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "id",
                    "type",
                    "text",
                    "tool_call_id",
                    "parameters",
                    "properties",
                    "a",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
bodies = st.fixed_dictionaries(
    {"messages": anything | st.lists(anything, max_size=3)}, optional={"tools": anything, "tool_choice": anything}
)


@given(body=bodies)
def test_any_json_is_rendered_or_refused(body: Mapping[str, Any]) -> None:
    for name in ("functiongemma", "gemma4"):
        try:
            prompt = get_format(name).render(**body)
        except InvalidRequest:
            continue
        assert prompt.text.startswith("<bos>")


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda v: st.lists(v) | st.dictionaries(st.text(max_size=3), v),
        max_leaves=10,
    )
)
def test_check_json_agrees_with_the_standard_library(value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        with pytest.raises(InvalidRequest):
            check_json(value, "p")
    else:
        check_json(value, "p")
        assert read_json(json.dumps(value, indent=1)) == value


MANY = 20_000


@pytest.mark.parametrize(
    "text",
    [
        "[" * MANY,
        "[" * MANY + "]" * (MANY - 1),
        "[" * MANY + "]" * (MANY + 1),
        "[" * MANY + "1 2" + "]" * MANY,
        "[" * MANY + "1," + "]" * MANY,
        "[" * MANY + ",1" + "]" * MANY,
        "[" * MANY + "}" + "]" * (MANY - 1),
        "[" * MANY + "nul" + "]" * MANY,
        '{"a":' * MANY + "}" * MANY,
        '{"a":' * MANY + '{"a" 1}' + "}" * MANY,
        '{"a":' * MANY + "{1: 1}" + "}" * MANY,
    ],
)
def test_deep_json_that_is_wrong(text: str) -> None:
    with pytest.raises(ValueError, match="character"):
        read_json(text)


def test_deep_json_that_is_right() -> None:
    inside = '[ -1.5e3 , "x\\n" , null , [] , {} , {"b" : true, "c": [0] } ] '
    value = read_json(' [ {"a":\n' * MANY + inside + "} ] " * MANY)
    for _ in range(MANY):
        value = value[0]["a"]
    assert value == json.loads(inside)


def test_tools_and_messages_are_values() -> None:
    assert Tool("f") == Tool("f", key=b"x")
    assert Message("user", "x") == Message("user", "x")


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "Hi"}],
        [{"role": "assistant", "content": "Once"}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": "text", "text": "Once"}]}],
        [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": "Once",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
        ],
    ],
)
def test_only_a_text_of_the_assistant_is_continued(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({"messages": messages, "continue_final_message": True})
    assert refused.value.param == "continue_final_message"
    assert not parse_request({"messages": messages, "continue_final_message": False}).continues


@pytest.mark.parametrize("token", ["-5", "99999999999", "1.5", "word", "", "1\n", "٣"])
def test_a_bias_is_for_a_token_id(token: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_request({"messages": [{"role": "user", "content": "hi"}], "logit_bias": {token: 1}})
    assert caught.value.param == "logit_bias"
