"""One question to a model and what it wrote, as it happened: for looking at, never for the answer itself."""

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
    """What a model was asked and what it wrote. An answer that took several rounds is one exchange for each."""

    model: str
    format: Format
    prompt: Prompt
    """As it was sent, without the images and audio themselves."""
    declared: tuple[Tool, ...] = ()
    """The tools that the model was told of."""
    tools: tuple[Tool, ...] | None = ()
    """The tools whose calls count; None: any name."""
    max_calls: int | None = None
    guarded: frozenset[str] = frozenset()
    """The control spellings that are text where they are broken by U+2060: see `Format.parser`."""
    text: str | None = None
    """What the model wrote, with the beginning that the prompt gave it (`Prompt.prefill`); None where it was not asked."""
    finish: Literal["stop", "length"] = "stop"
    """How the text ended."""
    reply: Reply | None = None
    tokens: TokenUse | None = None
    warnings: tuple[str, ...] = ()
    error: str = ""
    """What went wrong, where the engine failed."""
    tokenizer: GemmaTokenizer | None = None
    """The model's tokenizer, where it is known."""
    time: float = field(default_factory=clock.time)
    """When it ended, in seconds since the epoch."""

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory, without the tokenizer, which is the model's."""
        known: Sequence[int] = self.prompt.known[1]
        ids = known.itemsize * len(known) if isinstance(known, array) else 8 * len(known)
        tools = sum(len(tool.key) if tool.key else len(to_json(tool.function)) for tool in self.declared)
        return getsizeof(self.prompt.marked) + 2 * getsizeof(self.text or "") + ids + tools
