"""What a request says about calls is kept on every engine, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gemma_tools import BaseModelBackend, FunctionGemmaModel, Gemma3Model, Gemma4Model, create_model
from gemma_tools.engines.base import Capabilities
from gemma_tools.engines.llama_cpp import LlamaCppEngine
from gemma_tools.errors import EngineUnavailable, InvalidRequest, UnusableAnswer
from gemma_tools.testing import Script, ScriptedEngine
from support.chat import ALARM, OSLO, PARIS, WEATHER, accumulated, calls, facts, scripted, user

ALARM_ONLY = {"type": "function", "function": {"name": "set_alarm"}}
OFF_TOPIC = ["hello", "what is the weather in Paris?", "thank you", "how are you?", "2 + 2?"]
PREFILL_ONLY = Capabilities(settings=frozenset({"temperature", "max_tokens"}))
CHAT_ONLY = Capabilities(settings=frozenset(), raw_prompt=False)


class PlainEngine(LlamaCppEngine):
    """The real engine without its grammars, as most servers are."""

    capabilities = PREFILL_ONLY


@pytest.fixture(
    scope="module",
    params=[(name, plain) for name in ("tiny", "tiny-gemma4") for plain in (False, True)],
    ids=lambda param: f"{param[0]}-{'begun' if param[1] else 'grammar'}",
)
def tiny(request: pytest.FixtureRequest) -> Iterator[BaseModelBackend]:
    name, plain = request.param
    with (PlainEngine if plain else LlamaCppEngine)("tiny") as engine:
        yield create_model(name, engine=engine, temperature=0, max_tokens=60)


@pytest.mark.parametrize("text", OFF_TOPIC)
def test_a_named_function_is_called_whatever_is_said(tiny: BaseModelBackend, text: str) -> None:
    answer = tiny.run(user(text), tools=[WEATHER, ALARM], tool_choice=ALARM_ONLY)
    assert {name for name, _ in calls(answer)} == {"set_alarm"} or answer.choices[0].finish_reason == "length"


def test_allowed_tools_leave_out_the_others(tiny: BaseModelBackend) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [ALARM_ONLY]}}
    answer = tiny.run(user("what is the weather in Paris?"), tools=[WEATHER, ALARM], tool_choice=choice)
    assert {name for name, _ in calls(answer)} == {"set_alarm"}


def test_one_of_several_tools_is_required(tiny: BaseModelBackend) -> None:
    answer = tiny.run(user("what is the weather in Paris?"), tools=[WEATHER, ALARM], tool_choice="required")
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_forced_call_that_is_cut_is_a_length(tiny: BaseModelBackend) -> None:
    answer = tiny.run(user("hello"), tools=[WEATHER], tool_choice="required", max_tokens=2)
    assert calls(answer) == []
    assert answer.choices[0].finish_reason == "length"


def test_forced_calls_stream_as_they_are_answered(tiny: BaseModelBackend) -> None:
    request: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required"}
    whole = tiny.run(user("what is the weather in Paris?"), **request)
    stream = tiny.run(user("what is the weather in Paris?"), stream=True, stream_options={"include_usage": True}, **request)
    assert facts(accumulated(list(stream))) == facts(whole)


def test_none_means_none(tiny: BaseModelBackend) -> None:
    answer = tiny.run(user("what is the weather in Paris?"), tools=[WEATHER], tool_choice="none")
    assert calls(answer) == []
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_one_call_at_a_time(tiny: BaseModelBackend) -> None:
    answer = tiny.run(
        user("what is the weather in Paris and set an alarm for 07:30"), tools=[WEATHER, ALARM], parallel_tool_calls=False
    )
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_none_declares_no_tool_and_reads_no_call() -> None:
    model = scripted(PARIS)
    assert calls(model.run(user("hi"), tools=[WEATHER], tool_choice="none")) == []
    assert "get_weather" not in model.engine.asked[0].prompt.text


def test_a_call_of_a_tool_that_is_not_allowed_is_a_problem() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [ALARM_ONLY]}}
    answer = scripted(PARIS).run(user("hi"), tools=[WEATHER, ALARM], tool_choice=choice)
    assert calls(answer) == []
    assert PARIS in answer.choices[0].message.model_dump()["problems"][0]["text"]


def test_the_answer_is_prefilled_where_no_grammar_is_taken() -> None:
    engine = ScriptedEngine(["city:<escape>Oslo<escape>}<end_function_call>"], capabilities=PREFILL_ONLY)
    answer = FunctionGemmaModel("x", engine=engine).run(user("hi"), tools=[WEATHER], tool_choice="required")
    assert calls(answer) == [("get_weather", '{"city": "Oslo"}')]
    prompt = engine.asked[0].prompt
    assert prompt.text.endswith("<start_of_turn>model\n<start_function_call>call:get_weather{")
    assert [segment.text for segment in prompt.segments if segment.control][-1] == "<start_function_call>"


@pytest.mark.parametrize(
    ("style", "begun", "written"),
    [("pythonic", "[get_weather(", "city='Oslo')]"), ("json", '{"name": "get_weather", "parameters": {', '"city": "Oslo"}}')],
)
def test_gemma_3_is_prefilled_in_either_style(style: Any, begun: str, written: str) -> None:
    engine = ScriptedEngine([written], capabilities=PREFILL_ONLY)
    model = Gemma3Model("x", engine=engine, tool_style=style)
    answer = model.run(user("hi"), tools=[WEATHER], tool_choice="required")
    assert [(name, json.loads(arguments)) for name, arguments in calls(answer)] == [("get_weather", {"city": "Oslo"})]
    assert engine.asked[0].prompt.text.endswith(f"<start_of_turn>model\n{begun}")


def test_a_prefilled_call_has_no_thought_before_it() -> None:
    engine = ScriptedEngine(['city:<|"|>Oslo<|"|>}<tool_call|>'], capabilities=PREFILL_ONLY)
    model = Gemma4Model("x", {"enable_thinking": True, "top_p": None, "top_k": None}, engine=engine)
    answer = model.run(user("hi"), tools=[WEATHER], tool_choice="required")
    assert calls(answer) == [("get_weather", '{"city": "Oslo"}')]
    assert "<|think|>" not in engine.asked[0].prompt.text


def test_an_engine_that_can_do_neither_is_refused() -> None:
    engine = ScriptedEngine(["a"], capabilities=CHAT_ONLY)
    with pytest.raises(InvalidRequest) as caught:
        FunctionGemmaModel("x", engine=engine).run(user("hi"), tools=[WEATHER], tool_choice="required")
    assert caught.value.param == "tool_choice"
    assert engine.asked == []


def test_a_forced_call_that_does_not_come_is_an_error_with_the_text() -> None:
    engine = ScriptedEngine(["invented{}<end_function_call>"], capabilities=PREFILL_ONLY)
    with pytest.raises(UnusableAnswer) as caught:
        FunctionGemmaModel("x", engine=engine).run(user("hi"), tools=[WEATHER, ALARM], tool_choice="required")
    assert "call:invented{}" in caught.value.text


def test_functions_of_old_get_one_call_in_their_own_shape() -> None:
    answer = scripted(PARIS + OSLO).run(user("hi"), functions=[WEATHER["function"]])
    choice = answer.choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.tool_calls is None
    assert choice.message.function_call is not None
    assert choice.message.function_call.arguments == '{"city": "Paris"}'


BAD = "<start_function_call>call:get_weather{town:<escape>Paris<escape>}<end_function_call>"


def test_arguments_that_break_their_schema_are_reported() -> None:
    answer = scripted(BAD).run(user("hi"), tools=[WEATHER])
    assert calls(answer) == [("get_weather", '{"town": "Paris"}')]
    [problem] = answer.choices[0].message.model_dump()["problems"]
    assert problem["kind"] == "invalid_arguments"
    assert '"city" is a required property' in problem["message"]
    assert problem["call"] == 0


@pytest.mark.parametrize("city", [{"allOf": [{"type": "string"}]}, {"type": "STRING"}, {"pattern": "^[0-9]+$"}])
def test_the_library_reports_no_fault_of_its_own_reading(city: dict[str, Any]) -> None:
    declared = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": declared}}]
    answer = scripted(PARIS.replace("<escape>Paris<escape>", "60155")).run(user("hi"), tools=tools)
    assert calls(answer) == [("get_weather", '{"city": "60155"}')]
    assert "invalid_arguments" not in str(answer.choices[0].message.model_dump())


def test_arguments_that_break_their_schema_may_be_an_error() -> None:
    with pytest.raises(UnusableAnswer, match='"city" is a required property') as caught:
        scripted(BAD, on_invalid="raise").run(user("hi"), tools=[WEATHER])
    assert caught.value.text == BAD


def test_the_model_is_shown_its_error() -> None:
    model = scripted(BAD, PARIS, on_invalid="retry")
    answer = model.run(user("hi"), tools=[WEATHER])
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    second = model.engine.asked[1].prompt.text
    assert BAD in second
    assert '"city" is a required property' in second
    assert answer.usage is not None
    tokens = [len(asked.prompt.text) for asked in model.engine.asked]
    assert answer.usage.prompt_tokens == sum(-(-length // 3) for length in tokens)


def test_asking_again_is_bounded() -> None:
    model = scripted(BAD, BAD, BAD, PARIS, on_invalid="retry")
    with pytest.raises(UnusableAnswer):
        model.run(user("hi"), tools=[WEATHER])
    assert len(model.engine.asked) == 3


def test_a_refused_call_is_never_streamed_and_the_text_before_it_is_kept() -> None:
    def model() -> FunctionGemmaModel:
        return scripted("Wait. " + BAD, "Now. " + PARIS, on_invalid="retry")

    usage = {"stream_options": {"include_usage": True}}
    answer = accumulated(list(model().run(user("hi"), tools=[WEATHER], stream=True, **usage)))
    assert (answer.choices[0].message.content or "").split() == ["Wait.", "Now."]
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    assert facts(answer) == facts(model().run(user("hi"), tools=[WEATHER]))


def test_text_is_streamed_at_once_though_calls_are_checked() -> None:
    model = scripted(Script(["It ", "is "], error=EngineUnavailable("gone")), on_invalid="retry")
    stream = model.run(user("hi"), tools=[WEATHER], stream=True)
    assert [next(stream).choices[0].delta.content for _ in range(3)] == [None, "It ", "is "]


def strict(tool: dict[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {**tool["function"], "strict": True}}


def test_a_strict_tool_is_bound_by_a_grammar_or_asked_again() -> None:
    bound = ScriptedEngine([PARIS], capabilities=Capabilities(settings=frozenset(), constraints=frozenset({"gbnf"})))
    FunctionGemmaModel("x", engine=bound).run(user("hi"), tools=[strict(WEATHER)])
    assert bound.asked[0].constraint is not None
    assert bound.asked[0].constraint.gbnf
    unbound = scripted(BAD, PARIS)
    assert calls(unbound.run(user("hi"), tools=[strict(WEATHER)])) == [("get_weather", '{"city": "Paris"}')]
    assert len(unbound.engine.asked) == 2


def test_an_uncheckable_schema_is_refused_if_validation_was_requested() -> None:
    broken = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": "city"}}}
    with pytest.raises(InvalidRequest, match=r"tools\[0\].function.parameters"):
        scripted("a", on_invalid="raise").run(user("hi"), tools=[broken])
