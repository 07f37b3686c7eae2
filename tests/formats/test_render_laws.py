"""Laws 2, 6 and 8 of rendering, over random requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.formats import get_format

FORMATS = ("functiongemma", "gemma4")
DEEP = 2_000
"""Twice as deep as Python calls functions."""

USER = {"role": "user", "content": "hi"}
TOOLS = [{"type": "function", "function": {"name": "act", "parameters": {"type": "object"}}}]

texts = st.text(max_size=8) | st.sampled_from(
    [
        "<escape>",
        '<|"|>',
        "<end_of_turn>",
        "<|tool_call>",
        "<end_function_call>",
        "<tool_call|>",
        "}",
        "]",
        ",a:",
        "02134",
        "true",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
arguments = st.dictionaries(st.text(max_size=5), values, max_size=4)


def called(given: Any, name: str = "act", call_id: str = "1") -> dict[str, Any]:
    function = {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": call_id, "type": "function", "function": function}]}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("recovery", ["strict", "schema"])
@given(given_arguments=arguments)
def test_what_is_written_reads_back(name: str, recovery: str, given_arguments: dict[str, Any]) -> None:
    if "\u2060" in json.dumps(given_arguments, ensure_ascii=False):
        return  # a text with the guard's own character in it is not promised to come back
    form = get_format(name, recovery=recovery)
    before, prompt = form.render([USER]), form.render([USER, called(given_arguments)])
    written = prompt.text.removeprefix(before.text)
    assert written != prompt.text
    for tools in (None, TOOLS):
        reply = form.parse(written, tools, guarded=prompt.guarded)
        if not any("cannot be read back" in warning for warning in prompt.warnings):
            assert [call.name for call in reply.tool_calls] == ["act"]
            assert json.dumps(reply.tool_calls[0].arguments, sort_keys=True) == json.dumps(given_arguments, sort_keys=True)
            assert not reply.problems


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("key", ["a:b", "", " a", "a ", "{", "a]", "a,b", 'a"', "a=b", "<escape>"])
def test_keys_that_cannot_be_read_back_are_reported(name: str, key: str) -> None:
    for given_arguments in ({key: 1}, {"a": [{"b": {key: 1}}]}):
        warnings = get_format(name).render([USER, called(given_arguments)]).warnings
        assert any(f"the key {key!r}, which cannot be read back" in warning for warning in warnings)
    assert not any("read back" in warning for warning in get_format(name).render([USER, called({"a b-c.d/é": 1})]).warnings)


words = st.sampled_from(["yes", " no ", "", "a\nb", "<end_of_turn>", "<|turn>", "<|channel>x<channel|>y"])
results = words | st.sampled_from(['{"a": 1}', "[1]"])


@st.composite
def exchanges(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What follows a conversation that waits for the model: calls and results, or an answer and the next question."""
    number = draw(st.integers(0, 2))
    if not number:
        return [{"role": "assistant", "content": draw(words)}, {"role": "user", "content": draw(words)}]
    ids = [f"{draw(st.integers(0, 10**9))}-{i}" for i in range(number)]
    calls = [{"id": i, "type": "function", "function": {"name": "act", "arguments": json.dumps(draw(arguments))}} for i in ids]
    answers = [{"role": "tool", "tool_call_id": i, "content": draw(results)} for i in draw(st.permutations(ids))]
    return [{"role": "assistant", "content": draw(words | st.none()), "tool_calls": calls}, *answers]


@pytest.mark.parametrize("name", FORMATS)
@given(start=st.sampled_from([[], [{"role": "system", "content": "s"}]]), more=st.lists(exchanges(), min_size=1, max_size=4))
def test_a_longer_conversation_begins_with_the_shorter_one(
    name: str, start: list[dict[str, Any]], more: list[list[dict[str, Any]]]
) -> None:
    form = get_format(name)
    messages = [*start, USER]
    before = form.render(messages, TOOLS).text
    for exchange in more:
        messages = messages + exchange
        after = form.render(messages, TOOLS).text
        assert after.startswith(before)
        before = after


@pytest.mark.parametrize("name", FORMATS)
@given(more=st.lists(exchanges(), max_size=3))
def test_the_model_is_left_where_it_can_go_on(name: str, more: list[list[dict[str, Any]]]) -> None:
    messages = [USER, *(message for exchange in more for message in exchange)]
    prompt = get_format(name).render(messages)
    opener, closers = {
        "functiongemma": ("<start_of_turn>", ("<end_of_turn>",)),
        "gemma4": ("<|turn>", ("<turn|>",)),
    }[name]
    controls = [segment.text for segment in prompt.segments if segment.control]
    turns = [control for control in controls if control == opener or control in closers]
    assert turns == [opener, *closers] * (len(turns) // 2) + [opener]
    last = prompt.segments[-1]
    assert last.text == "model\n" if not last.control else last.text in ("<end_function_response>", "<tool_response|>")


@pytest.mark.parametrize("name", FORMATS)
@given(given_arguments=arguments)
def test_rendering_changes_nothing_that_it_is_given(name: str, given_arguments: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}}, "$defs": {"A": {}}}
    request: dict[str, Any] = {
        "messages": [
            USER,
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "act", "arguments": given_arguments}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "act", "parameters": schema}}],
    }
    before = json.dumps(request)
    first = get_format(name).render(**request).text
    assert json.dumps(request) == before
    schema["properties"]["a"] = {"type": "integer"}
    assert get_format(name).render(**request).text != first


def nested(wrap: Callable[[Any], Any], inside: Any) -> Any:
    for _ in range(DEEP):
        inside = wrap(inside)
    return inside


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("tool_content", ["string", "json_object"])
def test_deep_arguments_and_results(name: str, tool_content: str) -> None:
    text = '{"a":[' * DEEP + "1" + "]}" * DEEP
    form = get_format(name, tool_content=tool_content)
    as_text = form.render([USER, called(text), {"role": "tool", "tool_call_id": "1", "content": text}])
    assert as_text.text.count("{a:[") >= DEEP
    call = called("")
    call["tool_calls"][0]["function"]["arguments"] = nested(lambda value: {"a": [value]}, 1)
    result = {"role": "tool", "tool_call_id": "1", "content": nested(lambda value: {"a": value}, 1)}
    assert form.render([USER, call, result]).text.count("{a:") >= 2 * DEEP
    assert form.value(nested(lambda value: [value], 1)) == "[" * DEEP + "1" + "]" * DEEP


SHAPES: dict[str, Callable[[Any], Any]] = {
    "properties": lambda inner: {"type": "object", "properties": {"a": inner}},
    "untyped": lambda inner: {"properties": {"a": inner, "b": {}}},
    "items": lambda inner: {"type": "array", "items": inner},
    "items with properties": lambda inner: {"type": "array", "items": {"type": "object", "properties": {"a": inner}}},
    "anyOf": lambda inner: {"anyOf": [inner, {"type": "null"}]},
    "allOf": lambda inner: {"allOf": [inner]},
    "enum": lambda inner: {"type": "string", "enum": [inner]},
    "not": lambda inner: {"type": "string", "not": inner},
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("exact", [False, True])
def test_deep_schemas(name: str, shape: str, exact: bool) -> None:
    schema = {"type": "object", "properties": {"p": nested(SHAPES[shape], {"type": "string"})}}
    tools = [{"type": "function", "function": {"name": "act", "parameters": schema}}]
    prompt = get_format(name, exact=exact).render([USER], tools)
    assert "declaration:act{" in prompt.text
    assert sum(map(len, prompt.warnings)) < 100_000


@pytest.mark.parametrize("name", FORMATS)
def test_references_are_bounded(name: str) -> None:
    chain = {f"D{i}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/D{i + 1}"}}} for i in range(DEEP)}
    fork = {f"D{i}": {"properties": {k: {"$ref": f"#/$defs/D{i + 1}"} for k in "ab"}} for i in range(60)}
    for definitions in (chain, fork):
        schema = {"type": "object", "properties": {"p": {"$ref": "#/$defs/D0"}}, "$defs": definitions}
        prompt = get_format(name).render([USER], [{"type": "function", "function": {"name": "act", "parameters": schema}}])
        assert len(prompt.text) < 200_000
        assert prompt.warnings


@pytest.mark.parametrize("name", FORMATS)
def test_one_format_serves_threads_and_equal_options_are_equal(name: str) -> None:
    assert get_format(name) == get_format(name)
    assert hash(get_format(name)) == hash(get_format(name))
    assert get_format(name) != get_format(name, exact=True)
