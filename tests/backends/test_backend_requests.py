"""What a backend makes of a request, its configuration and its engine; answers are scripted."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gemma_tools import BaseModelBackend, FunctionGemmaModel, Gemma3Model, Gemma4Config, Gemma4Model
from gemma_tools.engines.base import Capabilities, Generation
from gemma_tools.errors import EngineUnavailable, InvalidRequest, UnknownName
from gemma_tools.formats import get_format
from gemma_tools.testing import Script, ScriptedEngine
from gemma_tools.tokens import EstimatedTokenCounter
from support.chat import PARIS, calls, scripted, user


def test_configuration_holds_where_the_request_is_silent() -> None:
    model = scripted("a", "b", model_config_dict={"temperature": 0.3, "top_k": 7, "num_predict": 99, "stop": "END"})
    model.run(user("hi"))
    model.run(user("hi"), temperature=0.9, max_tokens=5, stop=["X", "Y"])
    first, second = model.engine.asked
    assert (first.sampling.temperature, first.sampling.top_k, first.sampling.max_tokens) == (0.3, 7, 99)
    assert first.stop == ("END",)
    assert (second.sampling.temperature, second.sampling.top_k, second.sampling.max_tokens) == (0.9, 7, 5)
    assert second.stop == ("X", "Y")


def test_gemma_4_has_defaults_and_drops_those_that_an_engine_lacks() -> None:
    model = scripted("a", family=Gemma4Model)
    model.run(user("hi"))
    sampling = model.engine.asked[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (1.0, 0.95, 64)
    plain = ScriptedEngine(["a"], capabilities=Capabilities(settings=frozenset({"temperature"})))
    Gemma4Model("x", engine=plain).run(user("hi"))
    assert (plain.asked[0].sampling.temperature, plain.asked[0].sampling.top_k) == (1.0, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", 1), ("logprobs", True), ("logit_bias", {"5": 1}), ("presence_penalty", 0.5), ("top_k", 3)],
)
def test_what_an_engine_lacks_is_refused_and_not_forgotten(field: str, value: Any) -> None:
    engine = ScriptedEngine(["a"], capabilities=Capabilities(settings=frozenset()))
    with pytest.raises(InvalidRequest) as caught:
        FunctionGemmaModel("x", engine=engine).run(user("hi"), **{field: value})
    assert caught.value.param == field
    assert engine.asked == []


def test_a_penalty_of_nothing_needs_no_engine_that_has_it() -> None:
    engine = ScriptedEngine(["a"], capabilities=Capabilities(settings=frozenset()))
    answer = FunctionGemmaModel("x", engine=engine).run(user("hi"), presence_penalty=0, frequency_penalty=0.0, logit_bias={})
    assert answer.choices[0].message.content == "a"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"temprature": 1}, "temprature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 3}, "top_p"),
        ({"stream_arguments": "half"}, "stream_arguments"),
        ({"max_tokens": 5, "num_predict": 5}, "num_predict"),
        ({"enable_thinking": True}, "enable_thinking"),
    ],
)
def test_a_wrong_configuration_is_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        scripted("a", model_config_dict=given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"stream_arguments": "half"}, "stream_arguments"),
        ({"on_invalid": "ignore"}, "on_invalid"),
        ({"recovery": "brave"}, "recovery"),
        ({"varnish": 1}, "varnish"),
        ({"timeout": "long"}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"max_retries": 0.5}, "max_retries"),
        ({"max_retries": -1}, "max_retries"),
        ({"url": 11434}, "url"),
        ({"api_key": 5}, "api_key"),
        ({"engine": 5}, "engine"),
        ({"model_config_dict": "temperature"}, "model_config_dict"),
        ({"model_type": None}, "model_type"),
    ],
)
def test_a_wrong_argument_is_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        FunctionGemmaModel(**{"model_type": "functiongemma", **given})
    assert caught.value.param == named


def test_a_response_format_is_a_model_or_an_object() -> None:
    with pytest.raises(InvalidRequest) as caught:
        scripted("a").run(user("hi"), response_format=int)
    assert caught.value.param == "response_format"


def test_a_configuration_is_a_dictionary_of_what_is_set() -> None:
    config = Gemma4Config(seed=3).as_dict()
    assert config == {
        "temperature": 1.0,
        "top_p": 0.95,
        "top_k": 64,
        "seed": 3,
        "stream": False,
        "stream_arguments": "whole",
        "max_tools": 1024,
        "max_schema_size": 500_000,
        "max_grammar_size": 4_000_000,
    }
    assert Gemma4Model("x", config, engine=ScriptedEngine([])).config == Gemma4Config(seed=3)


def test_streaming_by_configuration_and_by_word() -> None:
    model = scripted("a", "b", model_config_dict={"stream": True})
    assert model.stream
    assert {chunk.object for chunk in model.run(user("hi"))} == {"chat.completion.chunk"}
    assert model.run(user("hi"), stream=False).object == "chat.completion"


def test_what_is_wrong_with_a_request_is_raised_at_the_call() -> None:
    model = scripted("a")
    with pytest.raises(InvalidRequest, match=r"messages\[0\].role"):
        model.run([{"role": "robot", "content": "hi"}], stream=True)
    with pytest.raises(InvalidRequest, match="unknown_field"):
        model.run(user("hi"), unknown_field=1)
    with pytest.raises(InvalidRequest, match=r"content\[0\]"):
        model.run([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], stream=True)
    assert model.engine.asked == []


def test_no_tools_means_no_call() -> None:
    for tools in (None, []):
        answer = scripted(PARIS).run(user("hi"), tools=tools)
        assert calls(answer) == []


def test_an_engine_s_failure_carries_what_had_arrived() -> None:
    broken = Script(["It ", "was "], error=EngineUnavailable("gone"))
    with pytest.raises(EngineUnavailable) as caught:
        scripted(broken).run(user("hi"))
    assert caught.value.text == "It was "
    seen = []

    def watch() -> None:
        for chunk in scripted(broken).run(user("hi"), stream=True):
            seen.append(chunk.choices[0].delta.content or "")

    with pytest.raises(EngineUnavailable):
        watch()
    assert "".join(seen) == "It was "


def test_a_failure_at_once_is_one_before_the_stream_begins() -> None:
    stream = scripted(EngineUnavailable("gone")).run(user("hi"), stream=True)
    with pytest.raises(EngineUnavailable):
        next(stream)


THOUGHT = "<|channel>thought\nLet me see.\n<channel|>It is 4."


def test_thoughts_are_apart_from_the_answer() -> None:
    answer = scripted(THOUGHT, family=Gemma4Model).run(user("2+2?"), reasoning_effort="high")
    message = answer.choices[0].message.model_dump()
    assert message["content"] == "It is 4."
    assert message["reasoning_content"] == message["reasoning"]
    assert "Let me see." in message["reasoning"]
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens


@pytest.mark.parametrize(
    ("configured", "asked", "thinks"),
    [
        (None, {}, False),
        (True, {}, True),
        (False, {"reasoning_effort": "low"}, True),
        (True, {"reasoning_effort": "none"}, False),
        (True, {"chat_template_kwargs": {"enable_thinking": False}}, False),
        (None, {"chat_template_kwargs": {"enable_thinking": True}}, True),
    ],
)
def test_who_says_whether_to_think(configured: bool | None, asked: dict[str, Any], thinks: bool) -> None:
    model = scripted("a", family=Gemma4Model, model_config_dict={"enable_thinking": configured})
    model.run(user("hi"), **asked)
    assert ("<|think|>" in model.engine.asked[0].prompt.text) is thinks


@pytest.mark.parametrize("preserve", [False, True])
def test_thoughts_of_the_past_are_kept_on_request(preserve: bool) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "ping", "arguments": "{}"}}
    past = [
        *user("ping it"),
        {"role": "assistant", "reasoning_content": "An old thought.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "pong"},
    ]
    model = scripted("a", family=Gemma4Model)
    model.run([*past, *user("again")], chat_template_kwargs={"preserve_thinking": preserve})
    assert ("An old thought." in model.engine.asked[0].prompt.text) is preserve


def test_estimated_reasoning_tokens_never_exceed_completion_tokens() -> None:
    engine = ScriptedEngine([Script([THOUGHT]), "hi"])
    model = Gemma4Model("x", engine=engine, token_counter=EstimatedTokenCounter(get_format("gemma4")))
    usage = model.run(user("2+2?"), reasoning_effort="high").usage.model_dump()
    assert (usage["completion_tokens"], usage["completion_tokens_details"]["reasoning_tokens"]) == (1, 1)
    assert usage["estimated"]
    assert "estimated" not in model.run(user("hi")).usage.model_dump()


def test_a_family_that_cannot_think_says_so() -> None:
    answer = scripted("a").run(user("hi"), reasoning_effort="high")
    assert any("thinking" in warning for warning in answer.model_dump()["warnings"])


def test_what_a_backend_is_given_goes_to_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    with FunctionGemmaModel("functiongemma", timeout=60, max_retries=0) as model:
        assert model.engine.name == "ollama"
        with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1:9"):
            model.run(user("hi"))
    with pytest.raises(UnknownName, match="ollama"):
        FunctionGemmaModel("functiongemma", engine="no-such-engine")
    with pytest.raises(InvalidRequest, match="url"):
        FunctionGemmaModel("tiny", url="http://127.0.0.1:9")


def test_an_engine_given_ready_made_is_not_closed() -> None:
    class Kept(ScriptedEngine):
        closed = False

        def close(self) -> None:
            self.closed = True

    engine = Kept(["a"])
    with Gemma3Model("x", engine=engine):
        pass
    assert not engine.closed


def test_without_an_exact_counter_numbers_are_marked_as_estimates() -> None:
    class Silent(ScriptedEngine):
        def count_tokens(self, text: str) -> None:  # type: ignore[override]
            return None

        def generate(self, *args: Any, **options: Any) -> Any:
            yield "Hello there"
            return Generation()

    model = FunctionGemmaModel("x", engine=Silent([]))
    usage = model.run(user("hi")).usage
    assert usage is not None
    assert usage.model_dump()["estimated"] is True
    assert usage.completion_tokens > 0
    assert not model.token_counter.exact
    assert model.count_tokens_from_messages(user("hi")) == usage.prompt_tokens


def test_an_engine_is_never_asked_to_count_an_empty_text() -> None:
    """Ray's prefix-aware router fails on one, and then does not answer."""
    counted: list[str] = []

    class Counting(ScriptedEngine):
        def count_tokens(self, text: str) -> int:
            counted.append(text)
            return len(text)

    FunctionGemmaModel("x", engine=Counting(["hello"])).run(user("hi"))
    assert counted
    assert all(counted)


def test_logs_say_what_happened_and_not_what_was_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMMA_TOOLS_LOG_CONTENT", raising=False)
    with caplog.at_level(logging.DEBUG, logger="gemma_tools"):
        scripted("a secret answer").run(user("a secret question"))
    assert "finish stop" in caplog.text
    assert "secret" not in caplog.text
    monkeypatch.setenv("GEMMA_TOOLS_LOG_CONTENT", "1")
    with caplog.at_level(logging.DEBUG, logger="gemma_tools"):
        scripted("a secret answer").run(user("a secret question"))
    assert "a secret answer" in caplog.text
    assert "a secret question" in caplog.text


def test_the_base_class_asks_for_three_things() -> None:
    assert BaseModelBackend.__abstractmethods__ == {"token_counter", "_run", "_arun"}
    with pytest.raises(TypeError):
        BaseModelBackend("x")  # type: ignore[abstract]
