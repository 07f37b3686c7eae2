"""Stop strings for engines that have none of their own."""

from __future__ import annotations

from collections.abc import Generator, Iterable


def until(pieces: Iterable[str], stop: tuple[str, ...]) -> Generator[str, None, bool]:
    """Yield `pieces` up to the stop string that is complete first, and no part of it; return whether one came.

    An end of the text that may yet become a stop string is held back until the next piece decides.
    """
    stop = tuple(filter(None, stop))
    held = ""
    for piece in pieces:
        text = held + piece
        if found := [(at + len(word), at) for word in stop if (at := text.find(word)) >= 0]:
            if shown := text[: min(found)[1]]:
                yield shown
            return True
        keep = max((_overlap(text, word) for word in stop), default=0)
        held = text[len(text) - keep :]
        if shown := text[: len(text) - keep]:
            yield shown
    if held:
        yield held
    return False


def _overlap(text: str, word: str) -> int:
    """How many characters at the end of `text` begin `word`."""
    longest = min(len(text), len(word) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(word[:n])), 0)
