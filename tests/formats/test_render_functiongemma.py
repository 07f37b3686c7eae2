"""What FunctionGemma's renderer does with the cases that its official template gets wrong, and its options."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format

USER = {"role": "user", "content": "hi"}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "ok"}
OPEN = "<start_function_call>call:act{}<end_function_call>"
ANSWERED = OPEN + "<start_function_response>response:act{value:<escape>ok<escape>}<end_function_response>"


def calls(*ids: str, **more: Any) -> dict[str, Any]:
    made = [{"id": i, "type": "function", "function": {"name": "act", "arguments": "{}"}} for i in ids or ("1",)]
    return {"role": "assistant", "content": None, "tool_calls": made, **more}


def tool(parameters: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "act", "parameters": parameters, **more}}


def turn(role: str, text: str) -> str:
    return f"<start_of_turn>{role}\n{text}<end_of_turn>\n"


START = "<bos>" + turn("user", "hi") + "<start_of_turn>model\n"


def text_of(messages: list[dict[str, Any]], tools: Any = None, *, options: dict[str, Any] | None = None, **more: Any) -> str:
    return get_format("functiongemma", **(options or {})).render(messages, tools, **more).text


def declared(property_schema: Any, **options: Any) -> tuple[str, tuple[str, ...]]:
    """How a property `p` is declared, and the warnings."""
    prompt = get_format("functiongemma", **options).render(
        [USER], [tool({"type": "object", "properties": {"p": property_schema}})]
    )
    text = prompt.text
    return text[text.index("properties:{p:") + 12 : text.index("},type:<escape>OBJECT<escape>}}<end_f")], prompt.warnings


def test_open_calls_leave_the_model_where_it_can_go_on() -> None:
    assert text_of([USER, calls()]) == START + OPEN
    assert text_of([USER, calls()], add_generation_prompt=False) == START + OPEN + "<start_function_response>"
    assert text_of([USER, calls()], options={"exact": True}) == START + OPEN + "<start_function_response><start_of_turn>model\n"


@pytest.mark.parametrize("role", ["user", "system", "developer"])
def test_a_turn_after_a_result_is_a_turn_that_is_separate(role: str) -> None:
    messages = [USER, calls(), RESULT, {"role": role, "content": "go"}]
    after = turn(role, "go") + "<start_of_turn>model\n"
    assert text_of(messages) == START + ANSWERED + "<end_of_turn>\n" + after
    exact = START + ANSWERED + "go<end_of_turn>\n<start_of_turn>model\n"
    assert text_of(messages, options={"exact": True}) == exact
    assert "its own turn" in get_format("functiongemma").render(messages).warnings[0]


def test_an_answer_after_results_goes_on_in_their_turn() -> None:
    messages = [USER, calls(), RESULT, {"role": "assistant", "content": " fine "}]
    assert text_of(messages) == START + ANSWERED + "fine<end_of_turn>\n<start_of_turn>model\n"
    again = [*messages[:3], calls(content="more"), RESULT]
    assert text_of(again) == START + ANSWERED + "more" + ANSWERED


@pytest.mark.parametrize(("content", "body"), [("", "<escape><escape>"), (None, "null"), ([], "<escape><escape>")])
def test_an_empty_result_is_still_a_response(content: Any, body: str) -> None:
    messages = [USER, calls(), {**RESULT, "content": content}]
    assert text_of(messages) == START + OPEN + f"<start_function_response>response:act{{value:{body}}}<end_function_response>"
    assert text_of(messages, options={"exact": True}) == START + OPEN
    assert get_format("functiongemma").render(messages).warnings


def test_results_without_calls_are_in_a_model_turn() -> None:
    response = "<start_function_response>response:{}{{value:<escape>ok<escape>}}<end_function_response>"
    assert text_of([USER, RESULT]) == START + response.format("unknown")
    assert text_of([USER, {**RESULT, "name": "f"}]) == START + response.format("f")
    late = [USER, calls(), USER, RESULT]
    expected = START + OPEN + "<end_of_turn>\n" + turn("user", "hi") + "<start_of_turn>model\n" + response.format("act")
    assert text_of(late) == expected


def test_missing_results_are_counted() -> None:
    warnings = get_format("functiongemma").render([USER, calls("1", "2", "3"), RESULT, USER, calls()]).warnings
    assert "before messages[3]: calls without a result: 2" in warnings
    assert "at the end: calls without a result: 1" in warnings


def test_results_that_are_objects() -> None:
    result = {**RESULT, "content": ' {"b": [1, null], "A": {"x": "y"}} '}
    written = "<start_function_response>response:act{A:{x:<escape>y<escape>},b:[1,null]}<end_function_response>"
    assert text_of([USER, calls(), result]) == START + OPEN + written
    assert text_of([USER, calls(), {**result, "content": {"b": [1, None], "A": {"x": "y"}}}]) == START + OPEN + written
    as_text = text_of([USER, calls(), result], options={"tool_content": "string"})
    assert as_text.endswith('{value:<escape> {"b": [1, null], "A": {"x": "y"}} <escape>}<end_function_response>')


@pytest.mark.parametrize("content", ["[1]", "1", "true", "null", '{"a": NaN}', '{"a": 1e999}', "{'a': 1}", '{"a": 1', '"x"'])
def test_other_results_stay_text(content: str) -> None:
    assert f"{{value:<escape>{content}<escape>}}" in text_of([USER, calls(), {**RESULT, "content": content}])


def test_parts_are_trimmed_and_joined_and_those_of_a_result_only_joined() -> None:
    parts = [{"type": "text", "text": " a "}, {"type": "text", "text": " b "}]
    assert text_of([{"role": "user", "content": parts}], add_generation_prompt=False) == "<bos>" + turn("user", "ab")
    assert "{value:<escape> a  b <escape>}" in text_of([USER, calls(), {**RESULT, "content": parts}])


@pytest.mark.parametrize("kind", ["image_url", "image", "input_audio", "video"])
@pytest.mark.parametrize("role", ["user", "system", "tool"])
def test_anything_but_text_is_refused(kind: str, role: str) -> None:
    messages = [USER, calls(), {"role": role, "tool_call_id": "1", "content": [{"type": "text", "text": "x"}, {"type": kind}]}]
    with pytest.raises(InvalidRequest) as wrong:
        text_of(messages)
    assert (wrong.value.param, wrong.value.code) == ("messages[2].content[1]", "unsupported_content")


def test_the_default_instruction() -> None:
    sentence = "You are a model that can do function calling with the following functions"
    declaration = "<start_function_declaration>declaration:act{description:<escape><escape>}<end_function_declaration>"
    options = {"default_instruction": True}
    start = "<bos><start_of_turn>developer\n"
    assert text_of([USER], [tool()], options=options).startswith(start + sentence + declaration + "<end_of_turn>\n")
    assert text_of([{"role": "system", "content": " "}, USER], [tool()], options=options).startswith(
        start + sentence + declaration
    )
    assert text_of([{"role": "system", "content": "s"}, USER], [tool()], options=options).startswith(start + "s" + declaration)
    assert text_of([USER], options=options) == START


def test_with_tool_choice_none_no_tool_is_declared() -> None:
    assert text_of([USER], [tool()], tool_choice="none") == START
    assert text_of([USER], []) == START


def test_what_the_family_has_no_place_for_is_reported() -> None:
    form = get_format("functiongemma")
    messages = [{**USER, "name": "Bo"}, {"role": "assistant", "content": "x", "reasoning": "hm"}, USER]
    warnings = form.render(messages, [tool(response={"type": "object"})], enable_thinking=True).warnings
    assert [warning.split(":")[0] for warning in warnings] == [
        "enable_thinking",
        "tool act",
        "messages[0].name",
        "messages[1].reasoning",
    ]
    assert not form.render(
        [USER], [tool({"type": "object", "title": "T", "additionalProperties": False, "properties": {}})]
    ).warnings


def test_a_property_named_like_a_schema_keyword_is_declared() -> None:
    schema = {
        "type": "object",
        "properties": {"type": {"type": "string"}, "required": {"type": "string"}, "b": {"type": "string"}},
    }
    prompt = get_format("functiongemma").render([USER], [tool(schema)])
    written = "{description:<escape><escape>,type:<escape>STRING<escape>}"
    assert f"properties:{{b:{written},required:{written},type:{written}}}" in prompt.text
    assert len(prompt.warnings) == 2
    exact = get_format("functiongemma", exact=True).render([USER], [tool(schema)])
    assert f"properties:{{b:{written}}}" in exact.text
    assert len(exact.warnings) == 2


@pytest.mark.parametrize(
    ("schema", "expected", "exact"),
    [
        ({"type": ["string", "null"], "enum": ["a", None]}, "enum:[<escape>a<escape>],type:<escape>STRING<escape>", None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "type:<escape>INTEGER<escape>", "type:<escape><escape>"),
        ({"type": "object", "additionalProperties": False}, "properties:{},type:<escape>OBJECT<escape>", None),
        ({"type": "string", "enum": ["a", None]}, "enum:[<escape>a<escape>,null],type:<escape>STRING<escape>", None),
        ({"type": "array", "items": {}}, "type:<escape>ARRAY<escape>", "type:<escape>ARRAY<escape>"),
        ({"type": "array", "items": {"default": None, "x": {"B": 1, "a": [None]}}}, None, None),
    ],
)
def test_schemas_that_the_template_prints_badly(schema: dict[str, Any], expected: str | None, exact: str | None) -> None:
    start = "p:{description:<escape><escape>,"
    if expected:
        assert declared(schema)[0] == f"{start}{expected}}}"
    else:
        assert (
            declared(schema)[0]
            == start + "items:{x:{<escape>a<escape>:[null],<escape>B<escape>:1}},type:<escape>ARRAY<escape>}"
        )
    if exact:
        assert declared(schema, exact=True)[0] == f"{start}{exact}}}"


def test_a_null_description_is_python_s_none_in_the_template_only() -> None:
    null = {"type": "string", "description": None}
    nested = {"type": "object", "properties": {"q": null}}
    for options, written in (({}, "<escape><escape>"), ({"exact": True}, "<escape>None<escape>")):
        assert declared(null, **options)[0] == f"p:{{description:{written},type:<escape>STRING<escape>}}"
        assert f"q:{{description:{written}," in declared(nested, **options)[0]
        declaration = get_format("functiongemma", **options).declaration(tool(description=None))
        assert declaration.endswith(f"declaration:act{{description:{written}}}<end_function_declaration>")
    assert "{description:<escape><escape>}" in get_format("functiongemma", exact=True).declaration(
        {"type": "function", "function": {"name": "act"}}
    )


@pytest.mark.parametrize("arguments", ["null", " null\n", None])
@pytest.mark.parametrize("name", ["functiongemma", "gemma3", "gemma4"])
def test_null_arguments_mean_no_arguments(name: str, arguments: str | None) -> None:
    asked = calls()
    form = get_format(name)
    expected = form.render([USER, calls()]).text
    asked["tool_calls"][0]["function"]["arguments"] = arguments
    prompt = form.render([USER, asked])
    assert prompt.text == expected
    assert not any("arguments" in warning for warning in prompt.warnings)


def test_parameters_without_a_type_are_closed() -> None:
    declaration = get_format("functiongemma").declaration(tool({"properties": {"a": {"type": "string"}}, "required": ["a"]}))
    assert declaration.endswith("required:[<escape>a<escape>],type:<escape>OBJECT<escape>}}<end_function_declaration>")
    exact = get_format("functiongemma", exact=True).declaration(tool({"required": ["a"]}))
    assert exact.endswith(",parameters:{required:[<escape>a<escape>],}<end_function_declaration>")


def test_null_is_written_as_json_writes_it() -> None:
    form = get_format("functiongemma")
    assert form.value({"b": None, "A": [True, 1.0, "x"]}) == "{A:[true,1.0,<escape>x<escape>],b:null}"
    assert get_format("functiongemma", exact=True).value([None]) == "[None]"


def test_parts_on_their_own() -> None:
    form = get_format("functiongemma")
    assert (
        form.declaration(tool())
        == "<start_function_declaration>declaration:act{description:<escape><escape>}<end_function_declaration>"
    )
    assert form.turn({"role": "user", "content": "<escape>"}) == turn("user", "<escape>")
    assert form.turn(calls()) == "<start_of_turn>model\n" + OPEN + "<start_function_response>"
    with pytest.raises(InvalidRequest):
        form.value({1: 2})
    with pytest.raises(InvalidRequest):
        form.value(object())


def test_the_prompt_says_how_to_go_on() -> None:
    prompt = get_format("functiongemma").render([USER])
    assert prompt.opens == "content"
    assert prompt.prefill == ""
    assert prompt.stop == ("<end_of_turn>", "<eos>", "<start_function_response>")


@pytest.mark.parametrize(
    "options", [{"exact": 2}, {"recovery": "lax"}, {"tool_content": "xml"}, {"default_instruction": "x"}, {"variant": "small"}]
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        get_format("functiongemma", **options)
