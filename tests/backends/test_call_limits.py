"""How many calls one answer holds: what the grammar allows, and an engine that is stopped where reading ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count
from typing import Any, cast

import pytest
from openai.types.chat import ChatCompletion

from gemma_tools import FunctionGemmaModel, Gemma3Model, Gemma4Model
from gemma_tools.engines.base import Cancellation, Capabilities, GenerationRequest, Pieces
from gemma_tools.testing import ScriptedEngine
from support.chat import WEATHER, accumulated, calls, user

FORCED = Capabilities(settings=frozenset({"temperature", "max_tokens"}), constraints=frozenset({"gbnf"}))


@pytest.mark.parametrize(
    ("style", "asked", "most"),
    [
        ("json", {}, 1),
        ("json", {"parallel_tool_calls": None}, 1),
        ("json", {"parallel_tool_calls": False}, 1),
        ("json", {"parallel_tool_calls": True}, 16),
        ("pythonic", {}, 16),
        ("pythonic", {"parallel_tool_calls": False}, 1),
    ],
)
def test_gemma_3_json_style_has_one_call_by_default(style: Any, asked: Any, most: int) -> None:
    once = '{"name": "get_weather", "parameters": {"city": "Paris"}}' if style == "json" else '[get_weather(city="Paris")]'
    engine = ScriptedEngine([once], capabilities=FORCED)
    model = Gemma3Model("gemma-3-4b-it", {"top_p": None, "top_k": None}, engine=engine, tool_style=style)
    answer = model.run(user("go"), tools=[WEATHER], tool_choice="required", **asked)
    assert len(calls(answer)) == 1
    constraint = engine.asked[0].constraint
    grammar = model.format.grammar([WEATHER], tool_choice="required", parallel=True, max_calls=most)
    assert constraint is not None
    assert constraint.gbnf == grammar.gbnf


class Endless(ScriptedEngine):
    """Plays `pieces` for as long as it is let."""

    def __init__(self, pieces: Iterable[str]) -> None:
        super().__init__([], capabilities=Capabilities(settings=frozenset({"temperature", "top_p", "top_k", "max_tokens"})))
        self._endless = pieces
        self.played: list[str] = []
        self.left = False

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        try:
            for piece in self._endless:
                self.played.append(piece)
                yield piece
        finally:
            self.left = True
        raise AssertionError("the text has no end")


def played(text: Callable[[int], str], cut: int | None) -> Iterator[str]:
    """The texts for 0, 1, 2 and so on, in pieces of `cut` characters; None for ten texts a piece."""
    if cut is None:
        return ("".join(text(10 * number + i) for i in range(10)) for number in count())
    return (text(number)[start : start + cut] for number in count() for start in range(0, len(text(number)), cut))


FAMILIES: dict[str, tuple[Callable[..., Any], Callable[[str], str]]] = {
    "functiongemma": (
        FunctionGemmaModel,
        lambda city: f"<start_function_call>call:get_weather{{city:<escape>{city}<escape>}}<end_function_call>",
    ),
    "gemma4": (Gemma4Model, lambda city: f'<|tool_call>call:get_weather{{city:<|"|>{city}<|"|>}}<tool_call|>'),
    "gemma3": (Gemma3Model, lambda city: f'[get_weather(city="{city}")]\n'),
    "gemma3, JSON": (
        partial(Gemma3Model, tool_style="json"),
        lambda city: f'{{"name": "get_weather", "parameters": {{"city": "{city}"}}}}\n',
    ),
}


def ask(model: Any, how: str, **asked: Any) -> ChatCompletion:
    """Run the model whole or streaming, in this thread or in a loop."""

    async def gathered() -> list[Any]:
        return [chunk async for chunk in await model.arun(user("go"), stream=True, **asked)]

    if how == "stream":
        return accumulated(list(model.run(user("go"), stream=True, **asked)))
    if how == "async stream":
        return accumulated(asyncio.run(gathered()))
    if how == "async":
        return cast(ChatCompletion, asyncio.run(model.arun(user("go"), **asked)))
    return cast(ChatCompletion, model.run(user("go"), **asked))


@pytest.mark.parametrize("how", ["whole", "stream", "async", "async stream"])
@pytest.mark.parametrize("cut", [1, 7, None])
@pytest.mark.parametrize(
    ("asked", "same", "taken", "kind"),
    [
        ({"parallel_tool_calls": False}, True, 1, None),
        ({"parallel_tool_calls": False}, False, 1, None),
        ({"parallel_tool_calls": True}, True, 4, "repeated_call"),
        ({"parallel_tool_calls": True}, False, 16, None),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_engine_that_calls_for_ever_is_stopped(
    family: str, asked: dict[str, Any], same: bool, taken: int, kind: str | None, cut: int | None, how: str
) -> None:
    create, write = FAMILIES[family]
    engine = Endless(played(lambda number: write("Paris" if same else f"Paris {number}"), cut))
    answer = ask(create("a model", engine=engine), how, tools=[WEATHER], **asked)
    cities = ["Paris"] * taken if same else [f"Paris {number}" for number in range(taken)]
    assert calls(answer) == [("get_weather", f'{{"city": "{city}"}}') for city in cities]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert engine.left
    # No more was asked for than the calls, and what came in one piece with them.
    assert len("".join(engine.played[:-1])) < len(write("Paris 000")) * (taken + 1)
    kinds = {problem["kind"] for problem in answer.choices[0].message.model_dump().get("problems", [])}
    # What was in one piece with the last call and is not read is told of.
    assert kinds <= ({kind} if kind else set()) | {"call_limit"}
    assert kind is None or kind in kinds
    assert cut is None or "call_limit" not in kinds


@pytest.mark.parametrize("cut", [1, 7, None])
def test_gemma_3_s_json_style_stops_after_its_one_object(cut: int | None) -> None:
    create, write = FAMILIES["gemma3, JSON"]
    engine = Endless(played(lambda _: write("Paris"), cut))
    answer = ask(create("a model", engine=engine), "whole", tools=[WEATHER])
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    assert engine.left
