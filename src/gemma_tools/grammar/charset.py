"""Sets of characters as sorted, disjoint ranges of code points."""

from __future__ import annotations

from typing import Final, TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]

ALL: Final[Ranges] = ((1, 0xD7FF), (0xE000, 0x10FFFF))
"""Every character that a text can contain: no NUL, no surrogates."""


def chars(*parts: str) -> Ranges:
    """The set of single characters and of ranges, a range written as its two ends: `chars("az", "_")`."""
    return union(*(((ord(part[0]), ord(part[-1])),) for part in parts))


def each(text: str) -> Ranges:
    """The set of the characters of `text`."""
    return chars(*text)


def union(*sets: Ranges) -> Ranges:
    """What is in any of the sets."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(piece for ranges in sets for piece in ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def minus(ranges: Ranges, taken: Ranges) -> Ranges:
    """What is in the first set and not in the second."""
    left: list[tuple[int, int]] = []
    i = 0
    for low, high in ranges:
        while i < len(taken) and taken[i][0] <= high:
            cut_low, cut_high = taken[i]
            if cut_low > low:
                left.append((low, cut_low - 1))
            low = max(low, cut_high + 1)
            if cut_high > high:
                break  # the next range may begin in it, too
            i += 1
        if low <= high:
            left.append((low, high))
    return tuple(left)


def common(first: Ranges, second: Ranges) -> Ranges:
    """What is in both sets."""
    return minus(first, minus(first, second))


def holds(ranges: Ranges, character: str) -> bool:
    """Whether `character` is in the set."""
    return any(low <= ord(character) <= high for low, high in ranges)


SPACES: Final = each("".join(c for c in map(chr, range(1, 0x3001)) if c.isspace()) + "\ufeff")
"""White space of every script, as Python and ECMAScript count it."""
