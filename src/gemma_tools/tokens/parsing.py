"""Parses replies from token ids, if an engine returns them: a special token is recognised by its id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from gemma_tools.formats.base import Format, Opens
from gemma_tools.prompt import TextGuard, Tokenizer
from gemma_tools.reply import Event, Reply


class TokenParser:
    """Parses a generation by its ids. Text that only looks like a special token is text, and no hidden token is missed.

    ```python
    parser = TokenParser(get_format("gemma4"), tokenizer, tools)
    for ids in stream:
        events = parser.feed_ids(ids)
    parser.close()
    parser.reply
    ```

    The arguments are those of `Format.parser`; `prefill` is `Prompt.prefill`, which counts as the model's output.
    """

    def __init__(
        self,
        format: Format,
        tokenizer: Tokenizer,
        tools: Sequence[Any] | None = None,
        *,
        opens: Opens = "content",
        prefill: str = "",
        max_calls: int | None = None,
    ) -> None:
        known = tokenizer.controls.intersection(format.controls)
        self._parser = format.parser(tools, opens=opens, guarded=known, max_calls=max_calls)
        self._decoder = tokenizer.decoder()
        self._guard = TextGuard(known)
        self._parser.feed(prefill)

    def feed_ids(self, ids: Iterable[int]) -> list[Event]:
        """Take the next ids and return the events that are certain so far.

        Raises:
            InvalidRequest: an id is not in the vocabulary.
        """
        return self._parser.feed(self._guard.feed(self._decoder.feed(ids)))

    def close(self, finish: Literal["stop", "length"] = "stop") -> list[Event]:
        """The ids have ended; return the events that were held back."""
        rest = self._guard.feed(self._decoder.close()) + self._guard.close()
        events = self._parser.feed(rest) if rest else []
        return events + self._parser.close(finish)

    @property
    def finished(self) -> bool:
        """Whether nothing more will be read: stop the engine."""
        return self._parser.finished

    @property
    def reply(self) -> Reply:
        """Everything read so far; complete after `close`."""
        return self._parser.reply
