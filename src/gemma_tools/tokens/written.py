"""Sends the model's output back with its original ids, without tokenizing it again, so the engine can use its whole cache."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from threading import Lock
from typing import Final

from gemma_tools.prompt import Prompt, Tokenizer, quote

_KEPT: Final = 16


class WrittenIds:
    """The last prompts and their outputs, as token ids. Thread-safe.

    A model may split a word differently from its tokenizer. A prompt that begins with a text stored here gets the ids that were
    sent and generated then; only the rest is tokenized.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, array[int]] = OrderedDict()
        self._lock = Lock()

    def recall(self, prompt: Prompt, tokenizer: Tokenizer) -> Prompt:
        """`prompt` with its ids, which begin with those of the longest stored text. Raises what `token_ids` raises."""
        with self._lock:
            begun = max(filter(prompt.marked.startswith, self._kept), key=len, default="")
            known: tuple[str, Sequence[int]] = ("", ())
            if begun:
                self._kept.move_to_end(begun)
                known = (begun, self._kept[begun])
        return replace(prompt, known=(prompt.marked, replace(prompt, known=known).token_ids(tokenizer)))

    def add(self, prompt: Prompt, ids: Iterable[int], tokenizer: Tokenizer) -> None:
        """Store the model's output after a prompt from `recall`, without the token that ended it."""
        controls = prompt.control_ids(tokenizer)
        ends = {controls[stop] for stop in prompt.stop if stop in controls}
        written = array("i", takewhile(lambda number: number not in ends, ids))
        if not written:
            return
        decoder = tokenizer.decoder()
        segments = [*decoder.feed(written), *decoder.close()]
        text = "".join(s.text if s.control and s.text in controls else quote(s.text) for s in segments)
        with self._lock:
            self._kept[prompt.marked + text] = array("i", prompt.known[1]) + written
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
