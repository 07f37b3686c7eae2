"""One prompt to a model and its output, recorded for inspection; answers never use it."""

from __future__ import annotations

import time as clock
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from sys import getsizeof
from typing import Literal

from gemma_tools.completion import TokenUse
from gemma_tools.formats.base import Format
from gemma_tools.jsontext import to_json
from gemma_tools.prompt import Prompt
from gemma_tools.reply import Reply
from gemma_tools.request import Tool
from gemma_tools.tokens import GemmaTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A prompt and the model's output. An answer that took several rounds has one exchange for each."""

    model: str
    format: Format
    prompt: Prompt
    """As it was sent, without the images and audio."""
    declared: tuple[Tool, ...] = ()
    """The tools that were declared to the model."""
    tools: tuple[Tool, ...] | None = ()
    """The tools whose calls count; None: any name."""
    max_calls: int | None = None
    guarded: frozenset[str] = frozenset()
    """The special tokens that are text if they are broken by U+2060: see `Format.parser`."""
    text: str | None = None
    """The model's output, with the prefill (`Prompt.prefill`); None if the model was not asked."""
    finish: Literal["stop", "length"] = "stop"
    """How the text ended."""
    reply: Reply | None = None
    tokens: TokenUse | None = None
    warnings: tuple[str, ...] = ()
    error: str = ""
    """The error, if the engine failed."""
    tokenizer: GemmaTokenizer | None = None
    """The model's tokenizer, if it is known."""
    time: float = field(default_factory=clock.time)
    """When it ended, in seconds since the epoch."""

    @property
    def size(self) -> int:
        """Its approximate size in memory, in bytes, without the model's tokenizer."""
        known: Sequence[int] = self.prompt.known[1]
        ids = known.itemsize * len(known) if isinstance(known, array) else 8 * len(known)
        tools = sum(len(tool.key) if tool.key else len(to_json(tool.function)) for tool in self.declared)
        return getsizeof(self.prompt.marked) + 2 * getsizeof(self.text or "") + ids + tools
