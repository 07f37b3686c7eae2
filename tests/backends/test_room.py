"""Prompts that are too long for the context: conversations are fitted where that is wished, and the rest is refused early."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from gemma_tools import create_model
from gemma_tools.engines import Capabilities, create_engine
from gemma_tools.errors import ContextExceeded, InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.testing import ScriptedEngine
from gemma_tools.tokens import EstimatedTokenCounter

ASKED = {"llama-server": ("url",), "vllm": ("model", "url"), "sglang": ("model", "url"), "openai-chat": ("model", "url")}
QUESTION = {"role": "user", "content": "And now, is the harbour open?"}


class Small(ScriptedEngine):
    """An engine whose context is small. A token is a character."""

    def __init__(self, *answers: str, context: int | None = 1000) -> None:
        super().__init__(answers, cut=1)
        self.context = context

    @property
    def context_length(self) -> int | None:
        return self.context

    @property
    def longer_context(self) -> str:
        return "turn the dial"


def exchange(number: int) -> list[dict[str, Any]]:
    call = {"id": f"c{number}", "type": "function", "function": {"name": "tide", "arguments": '{"port": "Brest"}'}}
    return [
        {"role": "user", "content": f"Question {number}: how high is the tide?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": "4 m"},
        {"role": "assistant", "content": f"Answer {number}: 4 m."},
    ]


LONG = [{"role": "system", "content": "You keep the log."}, *(m for n in range(20) for m in exchange(n)), QUESTION]


def ask(engine: Small, messages: list[dict[str, Any]], how: str, **settings: Any) -> Any:
    """The warnings of the answer, asked for in one of four ways."""
    model = create_model("gemma4", engine=engine, **settings)

    async def last() -> Any:
        if how == "astream":
            return [chunk async for chunk in await model.arun(messages, stream=True)][-1]
        return await model.arun(messages)

    if how in ("arun", "astream"):
        return getattr(asyncio.run(last()), "warnings", [])
    answer = list(model.run(messages, stream=True))[-1] if how == "stream" else model.run(messages)
    return getattr(answer, "warnings", [])


@pytest.mark.parametrize("how", ["run", "stream", "arun", "astream"])
def test_the_oldest_exchanges_are_left_out_and_it_is_said(how: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gemma_tools")
    engine = Small("It is.")
    [warning] = ask(engine, LONG, how, fit="drop-oldest", max_tokens=100)
    assert "messages were left out to fit the context of 1000 tokens" in warning
    assert warning in caplog.messages
    prompt = engine.asked[0].prompt.text
    assert 400 < len(prompt) <= 900
    assert "You keep the log." in prompt
    assert "Question 19" in prompt
    assert "Question 0:" not in prompt
    assert "is the harbour open?" in prompt
    assert prompt.count("call:tide") == prompt.count("response:tide") > 0


@pytest.mark.parametrize("how", ["run", "stream", "arun", "astream"])
def test_what_fits_is_sent_whole(how: str) -> None:
    engine = Small("It is.", "It is.")
    assert ask(engine, LONG[-5:], how, fit="drop-oldest", max_tokens=100) == []
    assert ask(engine, LONG[-5:], how) == []
    assert engine.asked[0].prompt == engine.asked[1].prompt


@pytest.mark.parametrize("how", ["run", "stream", "arun", "astream"])
@pytest.mark.parametrize("fit", [None, "drop-oldest"])
def test_what_cannot_fit_never_reaches_the_engine(how: str, fit: str | None) -> None:
    engine = Small("It is.")
    messages = [*LONG[:5], {"role": "user", "content": "x" * 1200}]
    with pytest.raises(ContextExceeded) as caught:
        ask(engine, messages, how, fit=fit)
    assert engine.asked == []
    assert caught.value.context == 1000
    assert fit or str(caught.value).endswith("the context is only 1000: turn the dial")
    assert 1200 < (caught.value.prompt_tokens or 0) < 1600


def test_room_is_kept_for_the_answer_but_no_more_than_half_the_context() -> None:
    def prompt(**settings: Any) -> int:
        engine = Small("It is.")
        ask(engine, LONG, "run", fit="drop-oldest", **settings)
        return len(engine.asked[0].prompt.text)

    assert prompt(max_tokens=1) > prompt(max_tokens=400) > 0
    assert 250 < prompt(max_tokens=100_000) <= 500
    assert prompt() <= 750


def test_an_estimate_refuses_nothing() -> None:
    engine = Small("It is.")
    model = create_model("gemma4", engine=engine)
    estimating = create_model("gemma4", engine=engine, token_counter=EstimatedTokenCounter(model.format))  # type: ignore[attr-defined]
    assert estimating.run([{"role": "user", "content": "8 " * 3000}]).choices[0].message.content == "It is."


def test_what_the_engine_refuses_is_reported_with_the_same_advice() -> None:
    """As the tiny model, one by its option, one by its own limit; and a server."""
    for options, advice in (({"context": 256}, "with context=..., on the command line with --context"), ({}, "maximum")):
        with create_model("tiny", token_counter=EstimatedTokenCounter(get_format("functiongemma")), **options) as model:
            for stream in (False, True):
                with pytest.raises(ContextExceeded, match=advice) as caught:
                    list(model.run([{"role": "user", "content": "8 " * 9000}], stream=stream))
                assert str(caught.value).count(advice) == 1
    engine = ScriptedEngine([ContextExceeded("too long")])
    with create_model("gemma4", engine=engine) as model, pytest.raises(ContextExceeded, match=r"^too long$"):
        model.run([QUESTION])


@pytest.mark.parametrize(
    ("engine", "advice"),
    [("llama-server", "--ctx-size"), ("vllm", "--max-model-len"), ("sglang", "--context-length"), ("openai-chat", "")],
)
def test_servers_are_started_with_more(engine: str, advice: str) -> None:
    with create_engine(
        engine, **{option: "http://127.0.0.1:9" if option == "url" else "m" for option in ASKED[engine]}
    ) as made:
        assert made.longer_context.endswith(advice)
        assert bool(made.longer_context) == bool(advice)


def test_a_context_that_has_grown_is_used() -> None:
    engine = Small("It is.", "It is.")
    model = create_model("gemma4", engine=engine)
    with pytest.raises(ContextExceeded):
        model.run(LONG)
    engine.context = 100_000
    assert model.run(LONG).choices[0].message.content == "It is."


def test_an_engine_that_does_not_tell_its_context() -> None:
    with pytest.raises(InvalidRequest, match="does not report its context") as caught:
        ask(Small("It is.", context=None), LONG, "run", fit="drop-oldest")
    assert caught.value.param == "model_config_dict.fit"
    assert ask(Small("It is.", context=None), LONG, "run") == []


def test_fit_has_one_way() -> None:
    with pytest.raises(InvalidRequest, match=r"model_config_dict\.fit"):
        create_model("gemma4", engine=Small(), fit=True)  # type: ignore[arg-type]


class Seeing(Small):
    """It takes images, too."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, images=True)


def test_images_are_refused_early_by_the_least_that_they_take() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}

    def asked(images: int, name: str) -> int:
        engine = Seeing("A wall.")
        with create_model(name, engine=engine) as model:
            model.run([{"role": "user", "content": [image] * images}])
        return len(engine.asked)

    assert asked(3, "gemma3") == 1  # 768 tokens and a few characters, in a context of 1,000
    with pytest.raises(ContextExceeded) as caught:
        asked(4, "gemma3")
    assert 1024 < (caught.value.prompt_tokens or 0) < 1200
    assert asked(4, "gemma4") == 1  # which may take fewer
