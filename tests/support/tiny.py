"""Prompts that the tiny model is known to answer well, and a way to play them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, TypeVar

from gemma_tools.engines import Engine, Generation, GenerationRequest, Sampling
from gemma_tools.formats import get_format
from gemma_tools.generators import Returning
from gemma_tools.prompt import Prompt, quote

CONTROLS = (
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_function_declaration>",
    "<end_function_declaration>",
    "<start_function_call>",
    "<end_function_call>",
    "<start_function_response>",
    "<end_function_response>",
    "<escape>",
)
GREEDY = Sampling(temperature=0)
PARIS = "<start_function_call>call:get_weather{city:<escape>Paris<escape>}<end_function_call>"
"""What the tiny model answers to `weather()`."""
WEATHER_TOKENS = 124
"""How many tokens the prompt `weather()` has, its one BOS included."""

_TURNS = get_format("functiongemma").render([{"role": "user", "content": "hi"}]).turns
_WEATHER = (
    "<bos><start_of_turn>developer\nYou are a model that can do function calling with the following functions"
    "<start_function_declaration>declaration:get_weather{description:<escape>Gets the current weather for a city.<escape>,"
    "parameters:{properties:{city:{description:<escape>The city name<escape>,type:<escape>STRING<escape>}},"
    "required:[<escape>city<escape>],type:<escape>OBJECT<escape>}}<end_function_declaration><end_of_turn>\n"
    "<start_of_turn>user\n%s<end_of_turn>\n<start_of_turn>model\n"
)


def weather(text: str = "what is the weather in Paris?") -> Prompt:
    """A FunctionGemma prompt with one tool and `text` from the user."""
    stop = ("<start_function_response>", "<end_of_turn>", "<eos>")
    return Prompt(_WEATHER.replace("%s", quote(text)), CONTROLS, stop=stop, turns=_TURNS)


def small_talk(text: str = "how is the weather?") -> Prompt:
    """A prompt without tools."""
    marked = f"<bos><start_of_turn>user\n{quote(text)}<end_of_turn>\n<start_of_turn>model\n"
    return Prompt(marked, CONTROLS, stop=("<end_of_turn>", "<eos>"), turns=_TURNS)


def endless() -> Prompt:
    """A prompt after which the tiny model repeats itself until something stops it."""
    return Prompt("<bos>" + "en" * 60, CONTROLS)


def endless_chat() -> Prompt:
    """The same by a chat endpoint: a call without special tokens around its declaration, and then a result without an end."""
    return replace(weather(), stop=())


P = TypeVar("P")


def play(pieces: Generator[P, None, Generation]) -> tuple[list[P], Generation]:
    """All pieces, and how the generation ended."""
    running = Returning(pieces)
    return list(running), running.value


def written(engine: Engine, prompt: Prompt, sampling: Sampling = GREEDY, **more: Any) -> str:
    """The text that `engine` makes of `prompt`."""
    return "".join(engine.generate(GenerationRequest(prompt, sampling, **more)))
