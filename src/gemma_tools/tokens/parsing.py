"""Replies read from token ids, where an engine gives them: a special token is one by its id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from gemma_tools.formats.base import Format, Opens
from gemma_tools.prompt import TextGuard, Tokenizer
from gemma_tools.reply import Event, Reply


class TokenParser:
    """Reads a generation by its ids. Text that merely spells a special token is text, and no hidden token is missed.

    ```python
    parser = TokenParser(get_format("gemma4"), tokenizer, tools)
    for ids in stream:
        events = parser.feed_ids(ids)
    parser.close()
    parser.reply
    ```

    The arguments are those of `Format.parser`; `prefill` is `Prompt.prefill`, which counts as written by the model.
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
        """Take the next ids and return what is certain by now.

        Raises:
            InvalidRequest: an id is not in the vocabulary.
        """
        return self._parser.feed(self._guard.feed(self._decoder.feed(ids)))

    def close(self, finish: Literal["stop", "length"] = "stop") -> list[Event]:
        """The ids have ended, and how; return what was held back."""
        rest = self._guard.feed(self._decoder.close()) + self._guard.close()
        events = self._parser.feed(rest) if rest else []
        return events + self._parser.close(finish)

    @property
    def finished(self) -> bool:
        """Whether no more will be read: stop the engine."""
        return self._parser.finished

    @property
    def reply(self) -> Reply:
        """Everything read so far; complete after `close`."""
        return self._parser.reply
