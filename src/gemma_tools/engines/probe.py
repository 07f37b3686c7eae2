"""Finds out with tiny prompts how a server treats special tokens.

`ask` generates from a prompt on the server. The prompts consist of special tokens from a real prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TypeAlias

from gemma_tools.engines.base import Cancellation, GenerationRequest, Pieces, Sampling
from gemma_tools.errors import EngineError
from gemma_tools.generators import drain
from gemma_tools.prompt import Prompt

Ask: TypeAlias = Callable[[GenerationRequest], Pieces]

_TIMES = 8
_WORD = "Paris"


class Probe:
    """What tiny prompts have shown about a server. Each question is asked until it is answered once.

    Nobody waits for another's question: two simultaneous first prompts both ask. `stripped` is called once if the server
    removes special tokens from the text.
    """

    def __init__(self, stripped: Callable[[], None]) -> None:
        self._stripped = stripped
        self._answers: dict[str, bool | None] = {}
        self._lock = Lock()

    @property
    def adds_bos(self) -> bool | None:
        """Whether the server adds a BOS to a prompt; None: not known."""
        return self._answers.get("bos")

    def learn(self, prompt: Prompt, ask: Ask, cancel: Cancellation | None = None) -> None:
        """Ask what is not known yet, as far as `prompt` has the tokens for it.

        A failure is ignored here (the prompt itself will fail), and an answer that `cancel` cut shows nothing.
        """
        with suppress(EngineError):
            if "bos" not in self._answers and (marker := turn_marker(prompt)):
                self._keep("bos", adds_bos(ask, prompt, marker), cancel)
            if "markers" not in self._answers and (marker := inner_marker(prompt)):
                shown = shows_markers(ask, prompt, marker)
                if self._keep("markers", shown, cancel) and shown is False:
                    self._stripped()

    def _keep(self, question: str, answer: bool | None, cancel: Cancellation | None) -> bool:
        """Store the first answer to `question`; return whether this was the first."""
        with self._lock:
            first = question not in self._answers and not (cancel and cancel.cancelled)
            if first:
                self._answers[question] = answer
        return first


def turn_marker(prompt: Prompt) -> str | None:
    """The first special token of `prompt` that is not its BOS."""
    return next((s.text for i, s in enumerate(prompt.segments) if i and s.control), None)


def adds_bos(ask: Ask, prompt: Prompt, marker: str) -> bool | None:
    """Whether the server adds a BOS to a prompt; None if it does not count tokens, or `marker` is not one token.

    Raises:
        EngineError: the server failed.
    """
    question = Prompt(marker * _TIMES, prompt.controls)
    generation = drain(ask(GenerationRequest(question, Sampling(max_tokens=1))))
    extra = (generation.usage.prompt_tokens or 0) - _TIMES
    return bool(extra) if extra in (0, 1) else None


def inner_marker(prompt: Prompt) -> str | None:
    """The most frequent special token in `prompt`, besides those that begin and end turns: the one around strings."""
    turns = {*prompt.stop, *(segment.text for segment in prompt.segments[:2])}
    seen = Counter(s.text for s in prompt.segments if s.control and s.text not in turns)
    return seen.most_common(1)[0][0] if seen else None


def shows_markers(ask: Ask, prompt: Prompt, marker: str) -> bool | None:
    """Whether the text shows the special tokens that the model generates; None if the model did not generate any.

    The model sees a pattern in which `marker` comes before a word, up to the next marker. If the word arrives without a marker,
    the server removed it. The pattern begins with the prompt's turn token, which shows a model with two notations which one is
    meant.

    Raises:
        EngineError: the server failed.
    """
    bos = prompt.segments[0].text if prompt.segments[0].control else ""
    pattern = f"city:{marker}{_WORD}{marker},"
    question = Prompt(f"{bos}{turn_marker(prompt) or ''}{pattern * _TIMES}city:", prompt.controls)
    text = "".join(ask(GenerationRequest(question, Sampling(temperature=0, max_tokens=3))))
    if any(control in text for control in prompt.controls):
        return True
    return False if text and _WORD.startswith(text[: len(_WORD)]) else None
