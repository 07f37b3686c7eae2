"""What Gemma 4's renderer does with the cases that its official template gets wrong, and its options."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format

USER = {"role": "user", "content": "hi"}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "ok"}
START = "<bos><|turn>user\nhi<turn|>\n<|turn>model\n"
OPEN = "<|tool_call>call:act{}<tool_call|>"
RESPONSE = '<|tool_response>response:act{value:<|"|>ok<|"|>}<tool_response|>'
ANSWERED = OPEN + RESPONSE
AGAIN = "<turn|>\n<|turn>user\nhi<turn|>\n<|turn>model\n"
EXACT = {"exact": True}


def calls(*ids: str | None, names: str = "act", **more: Any) -> dict[str, Any]:
    made = [
        {"id": i, "type": "function", "function": {"name": n, "arguments": "{}"}}
        for i, n in zip(ids or ("1",), names.split(), strict=False)
    ]
    return {"role": "assistant", "content": None, "tool_calls": made, **more}


def text_of(messages: list[dict[str, Any]], tools: Any = None, *, options: dict[str, Any] | None = None, **more: Any) -> str:
    return get_format("gemma4", **(options or {})).render(messages, tools, **more).text


def warnings_of(messages: list[dict[str, Any]], **options: Any) -> tuple[str, ...]:
    return get_format("gemma4", **options).render(messages).warnings


def declared(schema: Any, **options: Any) -> str:
    """How a property `p` is declared."""
    tool = {"type": "function", "function": {"name": "act", "parameters": {"type": "object", "properties": {"p": schema}}}}
    text = get_format("gemma4", **options).declaration(tool)
    return text[text.index("properties:{p:") + 12 : text.index('},type:<|"|>OBJECT<|"|>}}<tool|>')]


def test_text_beside_calls_stays_before_them() -> None:
    messages = [USER, calls(content="One moment.", reasoning="hm"), RESULT]
    thought = "<|channel>thought\nhm\n<channel|>"
    assert text_of(messages) == START + thought + "One moment." + ANSWERED
    assert text_of(messages, options=EXACT) == START + thought + ANSWERED + "One moment.<turn|>\n"
    assert "its text is written before its calls" in warnings_of(messages)[0]


def test_in_gemmas_own_shape_the_text_is_the_answer() -> None:
    own = calls(content="fine", tool_responses=[{"name": "act", "response": "ok"}])
    assert text_of([USER, own]) == START + ANSWERED + "fine<turn|>\n<|turn>model\n"
    assert text_of([USER, {**own, "content": None}]) == START + ANSWERED
    mapping = calls(tool_responses=[{"response": {"b": 1, "A": None}}])
    assert text_of([USER, mapping]) == START + OPEN + "<|tool_response>response:unknown{A:null,b:1}<tool_response|>"


def test_open_calls_leave_the_model_where_it_can_go_on() -> None:
    assert text_of([USER, calls()]) == START + OPEN
    assert text_of([USER, calls()], add_generation_prompt=False) == START + OPEN + "<|tool_response>"
    assert text_of([USER, calls()], options=EXACT) == START + OPEN + "<|tool_response>"
    assert text_of([USER, calls(), USER]) == START + OPEN + AGAIN
    assert text_of([USER, calls(), USER], options=EXACT) == START + OPEN + "<|tool_response>" + AGAIN.removeprefix("<turn|>\n")
    answered = [USER, calls(), {"role": "assistant", "content": "x"}, USER]
    assert text_of(answered) == START + OPEN + "x" + AGAIN
    assert warnings_of([USER, calls()]) == ("messages[1]: calls without a result: 1",)


def test_results_without_calls_are_in_a_model_turn() -> None:
    unknown = RESPONSE.replace("act", "unknown")
    assert text_of([USER, RESULT]) == START + unknown
    assert text_of([USER, RESULT], options=EXACT) == START
    assert text_of([USER, RESULT, USER]) == START + unknown + AGAIN
    answered = [
        USER,
        {"role": "assistant", "content": "x"},
        {**RESULT, "name": "act"},
        RESULT,
        {"role": "assistant", "content": "y"},
        USER,
    ]
    assert text_of(answered) == START + "x" + RESPONSE + unknown + "y" + AGAIN
    assert text_of(answered, options=EXACT) == START + "xy" + AGAIN
    assert warnings_of([USER, RESULT]) == ("messages[1] follows no call",)
    assert warnings_of([USER, RESULT], exact=True) == ("messages[1] follows no call and is dropped",)
    assert warnings_of([USER, calls(), RESULT, {**RESULT, "tool_call_id": "2"}]) == (
        "messages[3] does not answer an earlier call",
    )


def test_the_name_of_a_result() -> None:
    messages = [USER, calls("a", "b", names="f g"), *({**RESULT, "tool_call_id": i} for i in "ba")]
    assert [part.split("{")[0] for part in text_of(messages).split("response:")[1:]] == ["g", "f"]
    without_ids = [USER, calls(None, None, names="f g"), *[{"role": "tool", "content": "ok"}] * 2]
    assert [part.split("{")[0] for part in text_of(without_ids).split("response:")[1:]] == ["f", "g"]
    exact = text_of(without_ids, options=EXACT)
    assert [part.split("{")[0] for part in exact.split("response:")[1:]] == ["g", "g"]


def test_thoughts_of_the_past() -> None:
    thinking = {"reasoning_content": " hm "}
    messages = [
        USER,
        calls(**thinking),
        RESULT,
        {"role": "assistant", "content": "a", **thinking},
        USER,
        calls(**thinking),
        RESULT,
    ]
    thought = "<|channel>thought\n hm \n<channel|>"
    head = START + ANSWERED + "a" + AGAIN
    assert text_of(messages) == head + thought + ANSWERED
    kept = START + thought + ANSWERED + "a" + AGAIN + thought + ANSWERED
    assert text_of(messages, preserve_thinking=True) == kept


@pytest.mark.parametrize(
    ("text", "kept", "exact"),
    [
        ("a<|channel>thought\nb<channel|> c", "a c", "a c"),
        ("<|channel>x<channel|>", "", ""),
        ("a<|channel>b<|channel>c<channel|>d<channel|>e", "ade", "ade"),
        ("a<channel|>b", "ab", "ab"),
        ("a<|channel>b", "a<|channel>b", "a"),
    ],
)
def test_thoughts_in_the_text_of_the_past(text: str, kept: str, exact: str) -> None:
    for content in (text, [{"type": "text", "text": text}]):
        messages = [USER, {"role": "assistant", "content": content}, USER]
        for options, expected in (({}, kept), (EXACT, exact)):
            prompt = get_format("gemma4", **options).render(messages)
            assert "".join(segment.text for segment in prompt.segments) == START + expected + AGAIN
    assert bool(warnings_of([USER, {"role": "assistant", "content": text}])) == (kept != exact)


@pytest.mark.parametrize(
    ("variant", "thinks", "end", "after_results"),
    [
        ("small", False, "<|turn>model\n", ""),
        ("small", True, "<|turn>model\n", "<|channel>thought\n"),
        ("large", False, "<|turn>model\n<|channel>thought\n<channel|>", ""),
        ("large", True, "<|turn>model\n", "<|channel>thought\n"),
    ],
)
def test_how_the_model_begins(variant: str, thinks: bool, end: str, after_results: str) -> None:
    form = get_format("gemma4", variant=variant)
    start = "<bos><|turn>system\n<|think|>\n<turn|>\n" if thinks else "<bos>"
    prompt = form.render([USER], enable_thinking=thinks)
    assert prompt.text == start + "<|turn>user\nhi<turn|>\n" + end
    assert prompt.opens == "content"
    prompt = form.render([USER, calls(), RESULT], enable_thinking=thinks)
    assert prompt.text.endswith(RESPONSE + after_results)
    assert prompt.opens == ("reasoning" if after_results else "content")
    assert form.render([USER], enable_thinking=thinks, add_generation_prompt=False).text == start + "<|turn>user\nhi<turn|>\n"


def test_media_keep_their_order() -> None:
    def part(kind: str, number: int) -> dict[str, Any]:
        return {"type": kind, kind: {"n": number}}

    user = {
        "role": "user",
        "content": [part("image_url", 1), {"type": "text", "text": " a "}, part("input_audio", 2), part("video", 3)],
    }
    result = {**RESULT, "content": [part("image", 4), {"type": "text", "text": "ok"}, part("audio", 5)]}
    prompt = get_format("gemma4").render([user, calls(), result])
    assert prompt.text == (
        "<bos><|turn>user\n<|image|>a<|audio|><|video|><turn|>\n<|turn>model\n" + ANSWERED + "<|image|><|audio|>"
    )
    assert [next(iter(value.values())) for value in [list(part.values())[1] for part in prompt.media]] == [1, 2, 3, 4, 5]


def test_parts_of_the_system_turn_are_each_followed_by_a_space() -> None:
    parts = [{"type": "text", "text": " a"}, {"type": "image"}, {"type": "text", "text": "b "}]
    assert text_of([{"role": "system", "content": parts}, USER]).startswith("<bos><|turn>system\na <|image|> b <turn|>\n")
    assert text_of([{"role": "system", "content": []}, USER]).startswith("<bos><|turn>system\n<turn|>\n")


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {"type": "string", "description": "d", "enum": ["a"], "nullable": True},
            'description:<|"|>d<|"|>,enum:[<|"|>a<|"|>],nullable:true,type:<|"|>STRING<|"|>',
        ),
        ({"type": ["integer", "null"]}, 'nullable:true,type:<|"|>INTEGER<|"|>'),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 'nullable:true,type:<|"|>STRING<|"|>'),
        ({"type": "object", "additionalProperties": {"type": "string"}}, 'properties:{},type:<|"|>OBJECT<|"|>'),
        (
            {"type": "object", "nullable": True, "properties": {"type": {}}, "required": ["type"]},
            'nullable:true,properties:{type:{type:<|"|>STRING<|"|>}},required:[<|"|>type<|"|>],type:<|"|>OBJECT<|"|>',
        ),
        (
            {"type": "array", "items": {"type": ["string", "null"]}},
            'items:{type:[<|"|>STRING<|"|>,<|"|>NULL<|"|>]},type:<|"|>ARRAY<|"|>',
        ),
        ({"type": "integer", "enum": [1], "description": ""}, 'type:<|"|>INTEGER<|"|>'),
        (
            {"type": "string", "enum": ["a", {"k": [1]}]},
            'enum:[<|"|>a<|"|>,{<|"|>k<|"|>:[1]}],type:<|"|>STRING<|"|>',
        ),
    ],
)
def test_properties(schema: dict[str, Any], expected: str) -> None:
    assert declared(schema) == f"p:{{{expected}}}"


def test_exact_prints_schemas_as_the_template_does() -> None:
    assert declared({"type": ["string", "null"]}, exact=True) == "p:{type:<|\"|>['STRING', 'NULL']<|\"|>}"
    assert declared({"anyOf": []}, exact=True) == 'p:{type:<|"|><|"|>}'
    bogus = declared({"type": "object", "additionalProperties": False}, exact=True)
    assert bogus == 'p:{properties:{additionalProperties:{type:<|"|><|"|>}},type:<|"|>OBJECT<|"|>}'


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"type": "object", "description": "d"}, ',response:{description:<|"|>d<|"|>,type:<|"|>OBJECT<|"|>}'),
        ({"type": "string"}, ',response:{type:<|"|>STRING<|"|>}'),
        ({"description": "d"}, ',response:{description:<|"|>d<|"|>,type:<|"|>OBJECT<|"|>}'),
        (None, ""),
    ],
)
def test_the_declared_response(response: Any, expected: str) -> None:
    tool = {"type": "function", "function": {"name": "act", "response": response}}
    assert get_format("gemma4").declaration(tool) == f'<|tool>declaration:act{{description:<|"|><|"|>{expected}}}<tool|>'


def test_parts_on_their_own() -> None:
    form = get_format("gemma4")
    assert form.turn({"role": "user", "content": "<turn|>"}) == "<|turn>user\n<turn|><turn|>\n"
    assert form.turn(calls()) == "<|turn>model\n" + OPEN + "<|tool_response>"
    assert form.value({"b": None, "A": ["<"]}) == '{A:[<|"|><<|"|>],b:null}'


def test_the_prompt_says_how_to_go_on() -> None:
    assert get_format("gemma4").render([USER]).stop == ("<turn|>", "<eos>", "<|tool_response>")


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "medium"},
        {"revision": "2026-04-01"},
        {"recovery": None},
        {"tool_content": []},
        {"default_instruction": True},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        get_format("gemma4", **options)
