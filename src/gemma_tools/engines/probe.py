"""Find out how a server treats control tokens, by tiny prompts.

`ask` is what sends a prompt there. The prompts are made of control tokens that the format has put into a real one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from gemma_tools.engines.base import Pieces, Sampling
from gemma_tools.prompt import Prompt

Ask: TypeAlias = Callable[[Prompt, Sampling], Pieces]

_TIMES = 8
_WORD = "Paris"


def turn_marker(prompt: Prompt) -> str | None:
    """The first control token of `prompt` that is not its BOS."""
    return next((s.text for i, s in enumerate(prompt.segments) if i and s.control), None)


def adds_bos(ask: Ask, prompt: Prompt, marker: str) -> bool | None:
    """Whether the server puts a BOS before a prompt; None if it does not count tokens, or `marker` is not one of them.

    Raises:
        EngineError: the server failed.
    """
    pieces = ask(Prompt(marker * _TIMES, prompt.controls), Sampling(max_tokens=1))
    try:
        while True:
            next(pieces)
    except StopIteration as end:
        extra = (end.value.usage.prompt_tokens or 0) - _TIMES
    return bool(extra) if extra in (0, 1) else None


def inner_marker(prompt: Prompt) -> str | None:
    """The control token that `prompt` uses most, besides those that begin and end turns: the one around strings."""
    turns = {*prompt.stop, *(segment.text for segment in prompt.segments[:2])}
    seen = Counter(s.text for s in prompt.segments if s.control and s.text not in turns)
    return seen.most_common(1)[0][0] if seen else None


def shows_markers(ask: Ask, prompt: Prompt, marker: str) -> bool | None:
    """Whether the text shows the control tokens that the model generates; None if the model did not generate any.

    The model is shown a pattern in which `marker` stands before a word, up to the next marker. If the word comes without
    one, the marker was stripped.

    Raises:
        EngineError: the server failed.
    """
    bos = prompt.segments[0].text if prompt.segments[0].control else ""
    pattern = f"city:{marker}{_WORD}{marker},"
    question = Prompt(f"{bos}{pattern * _TIMES}city:", prompt.controls)
    text = "".join(ask(question, Sampling(temperature=0, max_tokens=3)))
    if any(control in text for control in prompt.controls):
        return True
    return False if text and _WORD.startswith(text[: len(_WORD)]) else None
