"""Stop sequences for engines that have none themselves."""

from __future__ import annotations

from collections.abc import Generator, Iterable


class Watch:
    """Finds the stop sequence that is complete first, in text that arrives in chunks."""

    def __init__(self, stop: Iterable[str]) -> None:
        self._stop = tuple(filter(None, stop))
        self._held = ""
        self.stopped = ""
        """The stop sequence that was found; empty if none yet. Nothing more may be fed then."""

    def feed(self, piece: str) -> str:
        """The text to show now: up to a stop sequence, and without an end that may become one."""
        text = self._held + piece
        if found := [(at + len(word), at, word) for word in self._stop if (at := text.find(word)) >= 0]:
            _, at, self.stopped = min(found)
            self._held = ""
            return text[:at]
        keep = max((_overlap(text, word) for word in self._stop), default=0)
        shown = len(text) - keep
        self._held = text[shown:]
        return text[:shown]

    def close(self) -> str:
        """The text that was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def until(pieces: Iterable[str], stop: tuple[str, ...]) -> Generator[str, None, str]:
    """Yield `pieces` up to the stop sequence that is complete first, and no part of it; return it, or an empty string.

    An end of the text that may become a stop sequence is held back until the next chunk decides.
    """
    watch = Watch(stop)
    for piece in pieces:
        if shown := watch.feed(piece):
            yield shown
        if watch.stopped:
            return watch.stopped
    if held := watch.close():
        yield held
    return ""


def _overlap(text: str, word: str) -> int:
    """How many characters at the end of `text` begin `word`."""
    longest = min(len(text), len(word) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(word[:n])), 0)
