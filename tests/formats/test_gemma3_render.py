"""Gemma 3's prompts: the laws of rendering, the vectors, and each piece on its own. Whole prompts are in golden/gemma3."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.formats.literals.writer import python_text
from gemma_tools.jsontext import MOST_INDENTED, to_json, to_json_lines
from support import vectors

USER = {"role": "user", "content": "go"}
STYLES = ("pythonic", "json")
DEEP = 4_000

texts = st.text(max_size=8) | st.sampled_from(
    ["it's", 'say "so"', "a\nb", "\\", "<end_of_turn>", ")]", "02134", "True", "\ud800"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def called(arguments: Any, name: str = "act", call_id: str = "1") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": call_id, "type": "function", "function": function}]}


def tool(parameters: dict[str, Any], name: str = "act") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def test_vectors() -> None:
    misses = []
    for case in vectors.read("render/gemma3.jsonl"):
        options = dict(case["options"])
        made_with = {key: options.pop(key) for key in ("tool_style",) if key in options}
        prompt = get_format("gemma3", **made_with).render(case["messages"], case["tools"], **options)
        if prompt.text != case["prompt"] or "".join(segment.text for segment in prompt.segments) != case["prompt"]:
            misses.append(case["id"])
    assert not misses


@given(values)
def test_values_are_written_as_the_standard_library_writes_them(value: Any) -> None:
    assert python_text(value) == repr(value)
    assert to_json(value) == dumped(value)
    assert to_json_lines(value) == dumped(value, indent=2)
    assert to_json_lines([value], 3) == dumped([value], indent=2).replace("\n", "\n" + 6 * " ")


def dumped(value: Any, **options: Any) -> str:
    """What the standard library writes, but for lone surrogates, which UTF-8 cannot carry."""
    text = json.dumps(value, ensure_ascii=False, **options)
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value


def test_depth_is_safe_and_costs_no_more_than_its_text() -> None:
    value = nested(DEEP)
    for write in (python_text, to_json, to_json_lines):
        written = write(value)
        assert re.sub(r"\s", "", written).replace("'", '"') == '{"a":[' * DEEP + "1" + "]}" * DEEP
        assert len(written) < 20 * DEEP
    shallow = nested(MOST_INDENTED // 2)
    assert to_json_lines(shallow) == json.dumps(shallow, indent=2)
    for style in STYLES:
        form = get_format("gemma3", tool_style=style, tool_content="json_object")
        result = {"role": "tool", "tool_call_id": "1", "content": '{"a":' * DEEP + "1" + "}" * DEEP}
        assert form.render([USER, called('{"a":' * DEEP + "1" + "}" * DEEP), result], [tool({"properties": value})]).text


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("recovery", ["strict", "schema"])
@given(arguments=st.dictionaries(st.sampled_from(["a", "user-id", "é", "x_1"]), values, max_size=3))
def test_what_is_written_reads_back(style: str, recovery: str, arguments: dict[str, Any]) -> None:
    form = get_format("gemma3", tool_style=style, recovery=recovery)
    before, prompt = form.render([USER]), form.render([USER, called(arguments)], add_generation_prompt=False)
    written = prompt.text.removeprefix(before.text)
    for tools in (None, [tool({"type": "object"})]):
        reply = form.parse(written, tools, guarded=prompt.guarded)
        assert [call.name for call in reply.tool_calls] == ["act"]
        # A high and a low surrogate side by side are one character in JSON.
        assert reply.tool_calls[0].arguments == json.loads(json.dumps(arguments))
        assert reply.problems == ()


@pytest.mark.parametrize("key", ["two words", "a,b", "a=b", "a(", 'a"', "", "<eos>", "*a"])
def test_keys_that_cannot_be_read_back_are_reported(key: str) -> None:
    warnings = get_format("gemma3").render([USER, called({key: 1})]).warnings
    assert any(f"the key {key!r}, which cannot be read back" in warning for warning in warnings)
    assert not any("read back" in warning for warning in get_format("gemma3").render([USER, called({"a": {key: 1}})]).warnings)
    assert not any(
        "read back" in warning for warning in get_format("gemma3", tool_style="json").render([USER, called({key: 1})]).warnings
    )


def request(text: str) -> dict[str, Any]:
    """A request that has `text` wherever a request can have text."""
    parameters = {
        "type": "object",
        "properties": {text: {"description": text, "enum": [text, {text: text}]}},
        "required": [text],
    }
    messages = [
        {"role": "developer", "content": text},
        {"role": "user", "content": [{"type": "text", "text": text}, {"type": "image"}, {"type": "text", "text": text}]},
        {**called({text: text, "l": [text, {text: text}]}), "content": text},
        {"role": "tool", "tool_call_id": "1", "content": text},
        {"role": "tool", "tool_call_id": text, "content": [{"type": "text", "text": text}, {"type": "text", "text": text}]},
        {"role": "system", "content": text},
        called(text),
    ]
    return {"messages": messages, "tools": [{**tool(parameters), "function": {**tool(parameters)["function"], text: text}}]}


hostile = st.lists(
    st.sampled_from([*get_format("gemma3").controls, "<", "<end_of_", "turn>", ">", "\x00", "\x001", "\n", "```", "a"]),
    min_size=1,
).map(lambda found: f"x{''.join(found)}x")


@pytest.mark.parametrize("style", STYLES)
@given(text=hostile)
def test_text_never_becomes_a_special_token(style: str, text: str) -> None:
    form = get_format("gemma3", tool_style=style)
    tame, prompt = form.render(**request("xyx")), form.render(**request(text))
    wanted = [segment.text for segment in tame.segments if segment.control]
    assert [segment.text for segment in prompt.segments if segment.control] == wanted
    assert re.findall("|".join(map(re.escape, form.controls)), prompt.text) == wanted


words = st.sampled_from(["yes", " no ", "", "a\nb", "<eos>"])


@st.composite
def exchanges(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What follows a conversation that waits for the model."""
    number = draw(st.integers(0, 2))
    if not number:
        return [{"role": "assistant", "content": draw(words)}, {"role": "user", "content": draw(words)}]
    calls = [called({"n": i}, call_id=str(i))["tool_calls"][0] for i in range(number)]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": draw(words)} for call in calls]
    return [{"role": "assistant", "content": draw(words), "tool_calls": calls}, *results]


@given(st.lists(exchanges(), max_size=3), exchanges(), st.sampled_from(STYLES))
def test_a_longer_conversation_begins_with_the_shorter_one(before: Any, more: Any, style: str) -> None:
    form = get_format("gemma3", tool_style=style)
    messages = [{"role": "system", "content": "s"}, USER, *[message for exchange in before for message in exchange]]
    tools = [tool({"type": "object"})]
    assert form.render(messages + more, tools).text.startswith(form.render(messages, tools).text)


def test_turns_alternate_whatever_the_messages_are() -> None:
    messages = [called({}), called({}), {"role": "tool", "content": "a"}, USER, {"role": "system", "content": "b"}, USER]
    prompt = get_format("gemma3").render(messages)
    sides = re.findall(r"<start_of_turn>(\w+)\n", prompt.text)
    assert sides == ["user", "model", "user", "model"]


def test_rendering_never_changes_its_arguments_and_sees_every_change() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    body: dict[str, Any] = {"messages": [USER, called({"a": 1})], "tools": [tool(schema)]}
    before = json.dumps(body)
    first = get_format("gemma3").render(**body).text
    assert json.dumps(body) == before
    schema["properties"] = {"b": {"type": "string"}}
    assert '"b": {' in get_format("gemma3").render(**body).text != first


def test_what_the_variant_cannot_read_is_refused_by_name() -> None:
    audio = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio", "input_audio": {}}]}
    with pytest.raises(InvalidRequest) as refused:
        get_format("gemma3").render([USER, audio])
    assert refused.value.param == "messages[1].content[1]"
    prompt = get_format("gemma3", variant="3n").render([USER, audio])
    assert [part["type"] for part in prompt.media] == ["input_audio"]


@pytest.mark.parametrize("option", [{"variant": "4"}, {"tool_style": "xml"}, {"recovery": "all"}, {"tool_content": "json"}])
def test_unknown_options_are_refused_by_name(option: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        get_format("gemma3", **option)
    assert refused.value.param == next(iter(option))


def test_parts_on_their_own() -> None:
    form, as_json = get_format("gemma3"), get_format("gemma3", tool_style="json")
    declared = tool({"type": "object", "properties": {"a": {"description": "<b>"}}})
    assert form.declaration(declared) in "".join(segment.text for segment in form.render([USER], [declared]).segments)
    assert form.turn(called({"a": True})) == "<start_of_turn>model\n[act(a=True)]<end_of_turn>\n"
    assert as_json.turn(called({"a": True})) == (
        '<start_of_turn>model\n{"name": "act", "parameters": {"a": true}}<end_of_turn>\n'
    )
    assert form.turn({"role": "system", "content": " b "}) == "<start_of_turn>user\nb<end_of_turn>\n"
    assert (form.value({"a": [None, "é"]}), as_json.value({"a": [None, "é"]})) == ("{'a': [None, 'é']}", '{"a": [null, "é"]}')


@pytest.mark.parametrize("style", STYLES)
def test_a_prefilled_call_is_read_from_where_the_prompt_began_it(style: str) -> None:
    form = get_format("gemma3", tool_style=style)
    before, after = form.call_opening or ("", "")
    prompt = form.render([USER], [tool({"type": "object"})]).begun(before + "act" + after)
    parser = form.parser([tool({"type": "object"})])
    parser.feed(prompt.prefill)
    parser.feed("a=1)]" if style == "pythonic" else '"a": 1}}')
    parser.close()
    assert [(call.name, call.arguments) for call in parser.reply.tool_calls] == [("act", {"a": 1})]
    assert parser.reply.problems == ()


@pytest.mark.parametrize("style", STYLES)
def test_the_grammar_is_that_of_the_style(style: str) -> None:
    grammar = get_format("gemma3", tool_style=style).grammar([tool({"type": "object"})], tool_choice="required")
    assert ("act(" in grammar.gbnf) == (style == "pythonic")


def test_calls_that_wait_are_counted_over_all_turns() -> None:
    form = get_format("gemma3")
    waiting = [USER, called({}), called({}, call_id="2")]
    result = {"role": "tool", "tool_call_id": "1", "content": "x"}
    assert form.render(waiting).warnings == ("at the end: calls without a result: 2",)
    assert form.render([*waiting, result]).warnings == ("at the end: calls without a result: 1",)
    assert form.render([*waiting, result, {**result, "tool_call_id": "2"}]).warnings == ()
    assert form.render([*waiting, USER]).warnings == ("before messages[3]: calls without a result: 2",)
