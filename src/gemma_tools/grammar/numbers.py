"""Numbers in JSON and Python notation, with or without limits.

Digits are limited so that a model cannot write on without end: 24 before the decimal point, 24 after it, exponents below 300.
That includes every double as `str` writes it, except those of 1e300 and above.
"""

from __future__ import annotations

from typing import Final

from gemma_tools.grammar.charset import Ranges, chars
from gemma_tools.grammar.nodes import EMPTY, Chars, Lit, Node, alt, optional, repeat, seq

DIGITS: Final = 24
LONGEST_LIMIT: Final = 10**48
"""Larger limits, positive or negative, are ignored."""

_DIGIT: Final = Chars(chars("09"))
_NONZERO: Final = Chars(chars("19"))
_MINUS: Final = Lit("-")
_NATURAL: Final = alt(Lit("0"), seq(_NONZERO, repeat(_DIGIT, 0, DIGITS - 1)))
_FRACTION: Final = seq(Lit("."), repeat(_DIGIT, 1, DIGITS))
_EXPONENT: Final = seq(
    Chars(chars("e", "E")), optional(Chars(chars("+", "-"))), alt(repeat(_DIGIT, 1, 2), seq(Chars(chars("12")), _DIGIT, _DIGIT))
)

INTEGER: Final = seq(optional(_MINUS), _NATURAL)
NUMBER: Final = seq(optional(_MINUS), alt(seq(_NATURAL, optional(_FRACTION)), seq(_DIGIT, optional(_FRACTION), _EXPONENT)))


def integers(low: int | None, high: int | None) -> Node | None:
    """Integers from `low` to `high`, both included; None if there is none."""
    signed: list[Node] = []
    if low is None or low < 0:
        negative = _naturals(1 if high is None else max(1, -high), None if low is None else -low)
        signed += [seq(_MINUS, negative)] if negative else []
    natural = _naturals(max(low or 0, 0), high)
    signed += [natural] if natural else []
    return alt(*signed) if signed else None


def decimals(low: int | None, high: int | None, *, above: bool = False, below: bool = False) -> Node | None:
    """Numbers without exponent from `low` to `high`; `above` and `below` exclude the limits. None if there is none."""
    signed: list[Node] = []
    if low is None or low < 0:
        least = 0 if high is None else max(0, -high)
        most = None if low is None else -low
        negative = _magnitudes(least, most, above=below and high is not None and high <= 0, below=above)
        signed += [seq(_MINUS, negative)] if negative else []
    if high is None or high >= 0:
        positive = _magnitudes(max(low or 0, 0), high, above=above and low is not None and low >= 0, below=below)
        signed += [positive] if positive else []
    return alt(*signed) if signed else None


def _magnitudes(low: int, high: int | None, *, above: bool, below: bool) -> Node | None:
    """Unsigned decimals from `low` to `high`."""
    if high is not None and (low > high or (low == high and (above or below))):
        return None
    whole = _naturals(low + 1 if above else low, None if high is None else high - 1)
    kinds: list[Node] = [seq(whole, optional(_FRACTION))] if whole else []
    if above and (high is None or low < high):
        some = seq(repeat(Lit("0"), 0, DIGITS - 1), _NONZERO, repeat(_DIGIT, 0, DIGITS))
        kinds.append(seq(Lit(f"{low}."), some))
    if high is not None and not below:
        kinds.append(seq(Lit(str(high)), optional(seq(Lit("."), repeat(Lit("0"), 1, DIGITS)))))
    return alt(*kinds) if kinds else None


def _naturals(low: int, high: int | None) -> Node | None:
    """Unsigned integers from `low` to `high`, by their number of digits."""
    if high is None:
        high = max(10**DIGITS, 10 ** (len(str(low)) + 1)) - 1
    if low > high:
        return None
    lengths = range(len(str(low)), len(str(high)) + 1)
    free = [n for n in lengths if low <= 10 ** (n - 1) and 10**n <= high + 1 and n > 1]
    kinds: list[Node] = []
    if free:
        kinds.append(seq(_NONZERO, repeat(_DIGIT, free[0] - 1, free[-1] - 1)))
    for n in lengths:
        if n not in free:
            kinds.append(_between(str(max(low, 10 ** (n - 1) if n > 1 else 0)), str(min(high, 10**n - 1))))
    return alt(*kinds)


def _between(low: str, high: str) -> Node:
    """Digit strings of one length from `low` to `high`."""
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=True)) if a != b), len(low))
    if same == len(low):
        return Lit(low)
    first, last = low[same], high[same]
    rest = len(low) - same - 1
    kinds: list[Node] = []
    if low[same + 1 :].strip("0"):
        kinds.append(seq(Lit(first), _edge(low[same + 1 :], up=True)))
        first = chr(ord(first) + 1)
    ends = bool(high[same + 1 :].strip("9"))
    if ends:
        last = chr(ord(last) - 1)
    if first <= last:
        kinds.append(seq(_digits(first, last), repeat(_DIGIT, rest, rest)))
    if ends:
        kinds.append(seq(Lit(high[same]), _edge(high[same + 1 :], up=False)))
    return seq(Lit(low[:same]), alt(*kinds))


def _edge(limit: str, *, up: bool) -> Node:
    """Digit strings with the length of `limit`, not below it (`up`) or not above it."""
    node: Node = EMPTY
    for i in range(len(limit) - 1, -1, -1):
        digit, rest = limit[i], len(limit) - i - 1
        inside = (chr(ord(digit) + 1), "9") if up else ("0", chr(ord(digit) - 1))
        kinds = [seq(Lit(digit), node)]
        if inside[0] <= inside[1]:
            kinds.append(seq(_digits(*inside), repeat(_DIGIT, rest, rest)))
        node = alt(*kinds)
    return node


def _digits(first: str, last: str) -> Node:
    span: Ranges = ((ord(first), ord(last)),)
    return Lit(first) if first == last else Chars(span)
