"""Answers that must be JSON: bound by the engine, or told, checked and asked for again."""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from gemma_tools import FunctionGemmaModel, Gemma4Model, create_model
from gemma_tools.backends.checks import json_text
from gemma_tools.engines.base import Capabilities
from gemma_tools.errors import InvalidRequest, MissingDependency, UnusableAnswer
from gemma_tools.schema import check
from gemma_tools.testing import ScriptedEngine
from support.chat import PARIS, WEATHER, accumulated, calls, facts, scripted, user

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}, "warm": {"type": "boolean"}},
    "required": ["city", "warm"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}
GOOD = '{"city": "Paris", "warm": true}'
BOUND = Capabilities(settings=frozenset({"max_tokens"}), constraints=frozenset({"json_schema"}))


class Weather(BaseModel):
    city: Literal["Paris", "Oslo"]
    warm: bool


def content(answer: Any) -> str:
    text: str = answer.choices[0].message.content
    return text


@pytest.mark.parametrize("name", ["tiny", "tiny-gemma4"])
@pytest.mark.parametrize("wanted", [FORMAT, Weather, {"type": "json_object"}])
def test_a_real_engine_is_bound(name: str, wanted: Any) -> None:
    with create_model(name, temperature=0, max_tokens=200) as model:
        answers = [model.run(user(text), wanted) for text in ("hello", "is it warm in Paris?", "what is 2 + 2?")]
        streamed = model.run(user("hello"), wanted, stream=True, stream_options={"include_usage": True})
        assert facts(accumulated(list(streamed))) == facts(answers[0])
    for answer in answers:
        if wanted == {"type": "json_object"} and answer.choices[0].finish_reason == "length":
            continue  # the tiny model may never see the end of an object that nothing limits
        assert answer.choices[0].finish_reason == "stop"
        schema = {"type": "object"} if isinstance(wanted, dict) and wanted["type"] == "json_object" else SCHEMA
        jsonschema_rs.validate(schema, json.loads(content(answer)))


def test_the_schema_binds_the_answer_and_not_the_thought() -> None:
    thought, answer = "Paris is warm.\n<channel|>", GOOD
    engine = ScriptedEngine([thought, answer], capabilities=BOUND)
    result = Gemma4Model("x", engine=engine).run(user("hi"), FORMAT, reasoning_effort="high")
    message = result.choices[0].message.model_dump()
    assert message["content"] == GOOD
    assert message["reasoning"] == "Paris is warm."
    free, bound = engine.asked
    assert free.constraint is None
    assert "<channel|>" in free.prompt.stop
    assert free.prompt.text.endswith("<|channel>thought\n")
    assert bound.constraint is not None
    assert bound.constraint.json_schema == SCHEMA
    assert bound.prompt.text.endswith("<|channel>thought\nParis is warm.\n<channel|>")
    assert result.usage is not None
    assert result.usage.completion_tokens > len(GOOD) // 4


def test_the_thought_streams_as_it_comes() -> None:
    engine = ScriptedEngine(["Paris is warm.\n<channel|>", GOOD], capabilities=BOUND)
    stream = Gemma4Model("x", engine=engine).run(user("hi"), FORMAT, reasoning_effort="high", stream=True)
    deltas = [chunk.choices[0].delta.model_dump() for chunk in stream]
    thought = [delta["reasoning"] for delta in deltas if delta.get("reasoning")]
    assert len(thought) > 1
    assert "".join(thought) == "Paris is warm."
    assert "".join(delta["content"] for delta in deltas if delta["content"]) == GOOD


@pytest.mark.parametrize("control", ["<|turn>model\n", "<|tool_call>call:get{}<tool_call|>", "<turn|>", "<|tool_response>"])
def test_a_special_token_in_the_thought_ends_it_and_the_answer_comes(control: str) -> None:
    engine = ScriptedEngine([f"Warm.{control}Cold.", GOOD], capabilities=BOUND)
    message = Gemma4Model("x", engine=engine).run(user("hi"), FORMAT, reasoning_effort="high").choices[0].message.model_dump()
    assert (message["reasoning"], message["content"]) == ("Warm.", GOOD)
    assert "problems" not in message


def test_a_thought_that_uses_up_the_limit_is_a_length() -> None:
    engine = ScriptedEngine(["a very long thought", GOOD], capabilities=BOUND)
    result = Gemma4Model("x", {"max_tokens": 3}, engine=engine).run(user("hi"), FORMAT, reasoning_effort="high")
    assert result.choices[0].finish_reason == "length"
    assert result.choices[0].message.content is None
    assert len(engine.asked) == 1


@pytest.mark.parametrize("text", ["hello", "What is the weather in Lisbon?", "What is 2 + 2?"])
def test_a_real_thought_comes_before_a_bound_answer(text: str) -> None:
    with create_model("tiny-gemma4", temperature=0, max_tokens=400) as model:
        answer = model.run(user(text), FORMAT, reasoning_effort="low")
    assert answer.choices[0].finish_reason == "stop"
    jsonschema_rs.validate(SCHEMA, json.loads(content(answer)))


@pytest.mark.parametrize(
    "written",
    [GOOD, f"```json\n{GOOD}\n```", f"Here you are: {GOOD} Anything else?", f"\n {GOOD}\n", f"Sure!\n```\n{GOOD}\n```\nDone."],
)
def test_json_comes_without_fences_and_words(written: str) -> None:
    model = scripted(written)
    assert content(model.run(user("hi"), FORMAT)) == GOOD
    assert '"additionalProperties": false' in model.engine.asked[0].prompt.text
    stream = scripted(written).run(user("hi"), FORMAT, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == GOOD


def test_one_round_of_repair() -> None:
    model = scripted('{"city": "Rome", "warm": true}', GOOD)
    assert content(model.run(user("hi"), FORMAT)) == GOOD
    second = model.engine.asked[1].prompt.text
    assert '"Rome" is not one of "Paris" or "Oslo"' in second


@pytest.mark.parametrize("wanted", [FORMAT, Weather, {"type": "json_object"}])
def test_an_answer_that_stays_wrong_is_an_error_with_its_text(wanted: Any) -> None:
    model = scripted("no", "still no", GOOD)
    with pytest.raises(UnusableAnswer) as caught:
        model.run(user("hi"), wanted)
    assert caught.value.text == "still no"
    assert len(model.engine.asked) == 2


def test_a_constrained_engine_with_a_wrong_answer_is_not_retried() -> None:
    engine = ScriptedEngine(['{"city": "Rome"}', GOOD], capabilities=BOUND)
    with pytest.raises(UnusableAnswer):
        FunctionGemmaModel("x", engine=engine).run(user("hi"), FORMAT)
    assert len(engine.asked) == 1


def test_a_cut_answer_is_a_length() -> None:
    answer = scripted(GOOD).run(user("hi"), FORMAT, max_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert content(answer) == GOOD[:9]


def test_a_call_may_come_in_place_of_the_answer() -> None:
    answer = scripted(PARIS).run(user("hi"), FORMAT, tools=[WEATHER])
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    assert content(scripted(f"It is {GOOD}").run(user("hi"), FORMAT, tools=[WEATHER])) == GOOD


def test_without_the_extra_schemas_cannot_be_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    wrong = PARIS.replace("city", "town")
    check._built.cache_clear()
    try:
        with pytest.raises(MissingDependency, match=r"gemma-tools\[validation\]"):
            scripted(GOOD).run(user("hi"), FORMAT)
        with pytest.raises(MissingDependency):
            scripted(wrong, on_invalid="raise").run(user("hi"), tools=[WEATHER])
        unchecked = scripted(wrong).run(user("hi"), tools=[WEATHER])
        assert "problems" not in unchecked.choices[0].message.model_dump()
        assert content(scripted(GOOD).run(user("hi"), {"type": "json_object"})) == GOOD
    finally:
        check._built.cache_clear()


def test_plain_text_is_left_alone() -> None:
    assert content(scripted("no JSON").run(user("hi"), {"type": "text"})) == "no JSON"


def test_a_schema_that_is_invalid_is_refused() -> None:
    broken = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "something"}}}
    with pytest.raises(InvalidRequest) as caught:
        scripted("a").run(user("hi"), broken)
    assert caught.value.param == "response_format.json_schema.schema"


def test_a_reference_out_of_the_schema_is_never_followed() -> None:
    outside = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://127.0.0.1:9/schema"}}}
    with pytest.raises(InvalidRequest, match="leads out of the schema, and is not downloaded"):
        scripted(GOOD).run(user("hi"), outside)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=8), each, max_size=4),
        max_leaves=12,
    )
)
def test_any_json_is_found_in_its_fence(value: Any) -> None:
    text = json.dumps({"value": value})
    assert json_text(text) == text
    assert json_text(f"```json\n{text}\n```") == text
    assert json.loads(json_text(f"The answer: {text}.")) == {"value": value}


@given(st.text())
def test_any_text_has_some_json_or_stays_itself(text: str) -> None:
    found = json_text(text)
    assert found in text or found == text.strip()
