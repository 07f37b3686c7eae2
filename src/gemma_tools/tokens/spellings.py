"""One pattern that finds the longest of many words at a position."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_DEEPEST: Final = 48
"""Longer words are written unchanged in the pattern: nested groups cost the compiler a stack frame each."""


def longest_of(spellings: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern for `spellings`, in one group, longest first; None if there are none.

    An alternation of thousands of words tries word after word at every character. Here words share their beginnings, as in a
    trie, so only one branch is tried per character, and runs of one character are counted.
    """
    runs: dict[str, set[int]] = {}
    words: set[str] = set()
    long: list[str] = []
    for spelling in set(spellings):
        if not spelling:
            continue
        if len(spelling) > _DEEPEST:
            long.append(spelling)
        elif len(set(spelling)) == 1:
            runs.setdefault(spelling[0], set()).add(len(spelling))
        else:
            words.add(spelling)
    first = {word[0] for word in words}
    parts = [re.escape(spelling) for spelling in sorted(long, key=len, reverse=True)]
    for char, lengths in sorted(runs.items()):
        if char in first or len(lengths) != max(lengths) - min(lengths) + 1:
            words.update(char * length for length in lengths)
        else:
            parts.append(f"{re.escape(char)}{{{min(lengths)},{max(lengths)}}}")
    if words:
        parts.append(_trie(words))
    return re.compile("(" + "|".join(parts) + ")") if parts else None


def _trie(words: Iterable[str]) -> str:
    """The pattern of a trie; nodes are written from the leaves, so there is no recursion."""
    children: list[dict[str, int]] = [{}]
    ends: set[int] = set()
    for word in sorted(words):
        node = 0
        for char in word:
            if char not in children[node]:
                children[node][char] = len(children)
                children.append({})
            node = children[node][char]
        ends.add(node)
    written = [""] * len(children)
    for node in range(len(children) - 1, -1, -1):  # a child is made after its parent
        tails: dict[str, list[str]] = {}
        for char, child in children[node].items():
            tails.setdefault(written[child], []).append(char)
        branches = [_any_of(chars) + tail for tail, chars in tails.items()]
        body = branches[0] if len(branches) == 1 else "(?:" + "|".join(branches) + ")" if branches else ""
        written[node] = f"(?:{body})?" if body and node in ends else body
    return written[0]


def _any_of(chars: list[str]) -> str:
    return re.escape(chars[0]) if len(chars) == 1 else "[" + "".join(map(re.escape, chars)) + "]"
