"""Counting tokens: what a conversation costs before it is sent.

The engine's own count is exact and is used where an engine can tell. Elsewhere there is an estimate, which says that it is
one. The encodings that come with tiktoken are no help: they are another model's, and are downloaded on first use.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from gemma_tools.engines.base import Engine
from gemma_tools.errors import EngineProtocolError
from gemma_tools.formats.base import Format


class BaseTokenCounter(ABC):
    """Counts the tokens of texts and conversations in one format. Subclass it to bring a tokenizer of your own."""

    exact: bool
    """Whether `count` is the model's own count."""

    def __init__(self, format: Format) -> None:
        self._format = format

    @abstractmethod
    def count(self, text: str) -> int:
        """The number of tokens in `text`, each control token of the format counted as one."""

    def count_tokens_from_messages(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> int:
        """The number of tokens in the prompt for `messages` and `tools`, OpenAI dicts. Images and audio count nothing.

        Raises:
            InvalidRequest: the messages or tools are not OpenAI's.
        """
        return self.count(self._format.render(messages, tools).text)


class EngineTokenCounter(BaseTokenCounter):
    """Asks an engine that can count."""

    exact = True

    def __init__(self, format: Format, engine: Engine) -> None:
        super().__init__(format)
        self._engine = engine

    def count(self, text: str) -> int:
        """The engine's own count.

        Raises:
            EngineError: the engine failed, or cannot count after all.
        """
        count = self._engine.count_tokens(text)
        if count is None:
            raise EngineProtocolError("this engine cannot count tokens", engine=self._engine.name)
        return count


class EstimatedTokenCounter(BaseTokenCounter):
    """Guesses from the text alone, a little high: a token for every digit, mark, and eight letters of a word.

    Gemma's tokenizer splits digits one by one and joins a space to the word that follows it.
    """

    exact = False

    def __init__(self, format: Format) -> None:
        super().__init__(format)
        controls = "|".join(map(re.escape, sorted(format.controls, key=len, reverse=True)))
        self._piece = re.compile(rf"{controls}|[A-Za-z]{{1,8}}|\n+|[^\S\n]{{2,}}|\S")

    def count(self, text: str) -> int:
        """An estimate for `text`."""
        return sum(1 for _ in self._piece.finditer(text))


def token_counter(format: Format, engine: Engine) -> BaseTokenCounter:
    """The engine's counter where it has one, else an estimate."""
    if engine.count_tokens("") is None:
        return EstimatedTokenCounter(format)
    return EngineTokenCounter(format, engine)
