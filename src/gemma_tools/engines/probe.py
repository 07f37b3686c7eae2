"""Find out how an engine treats control tokens, by tiny prompts."""

from __future__ import annotations

from collections import Counter

from gemma_tools.engines.base import Cancellation, Engine, Sampling
from gemma_tools.prompt import Prompt

_WORD = "Paris"


def turn_marker(prompt: Prompt) -> str | None:
    """The first control token of `prompt` that is not its BOS."""
    return next((s.text for i, s in enumerate(prompt.segments) if i and s.control), None)


def adds_bos(engine: Engine, prompt: Prompt, marker: str, cancel: Cancellation | None, *, otherwise: bool) -> bool:
    """Whether `engine` puts a BOS before a prompt; `otherwise` if it does not count tokens, or `marker` is not one.

    Raises:
        EngineError: the engine failed.
    """
    times = 8
    pieces = engine.generate(Prompt(marker * times, prompt.controls), Sampling(max_tokens=1), cancel=cancel)
    try:
        while True:
            next(pieces)
    except StopIteration as end:
        counted = end.value.usage.prompt_tokens
    return counted == times + 1 if counted in (times, times + 1) else otherwise


def inner_marker(prompt: Prompt) -> str | None:
    """The control token that `prompt` uses most, besides those that begin and end turns: the one around strings."""
    turns = {*prompt.stop, *(segment.text for segment in prompt.segments[:2])}
    seen = Counter(s.text for s in prompt.segments if s.control and s.text not in turns)
    return seen.most_common(1)[0][0] if seen else None


def markers_survive(engine: Engine, prompt: Prompt, marker: str, cancel: Cancellation | None = None) -> bool | None:
    """Whether `engine` shows the control tokens that the model generates; None if the model did not generate any.

    The model is shown a pattern in which `marker` stands before a word, up to the next marker. If the word comes without
    one, the marker was stripped.

    Raises:
        EngineError: the engine failed.
    """
    bos = prompt.segments[0].text if prompt.segments[0].control else ""
    pattern = f"city:{marker}{_WORD}{marker},"
    question = Prompt(f"{bos}{pattern * 8}city:", prompt.controls)
    text = "".join(engine.generate(question, Sampling(temperature=0, max_tokens=3), cancel=cancel))
    if any(control in text for control in prompt.controls):
        return True
    return False if text and _WORD.startswith(text[: len(_WORD)]) else None
