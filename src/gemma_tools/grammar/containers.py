"""Builds arrays and objects from their parts: where the commas are, and what may be left out."""

from __future__ import annotations

from dataclasses import dataclass

from gemma_tools.grammar.nodes import EMPTY, Lit, Node, Rules, Seq, alt, optional, repeat, seq
from gemma_tools.grammar.notation import Notation


@dataclass(frozen=True, slots=True)
class Brackets:
    """The text around the pairs of an object, and the form of their keys."""

    opening: Node
    closing: Node
    keys: Notation


@dataclass(frozen=True, slots=True)
class Pair:
    """A declared property: its written key, with the text after it, and its value."""

    key: str
    value: Node
    required: bool


def write_array(heads: list[Node], tail: Node | None, low: int, high: int, separator: str) -> Node:
    """An array of `low` to `high` items: `heads` in order, then repetitions of `tail`."""
    comma = Lit(separator)
    end: Node = EMPTY
    if tail is not None and high > len(heads):
        more = max(low - len(heads), 0)
        again = seq(comma, tail)
        if heads:
            end = repeat(again, more, high - len(heads))
        else:
            end = seq(tail, repeat(again, max(more - 1, 0), high - 1))
            end = end if low else optional(end)
    for i in range(len(heads) - 1, low - 1, -1):
        end = optional(seq(comma, heads[i], end) if i else seq(heads[i], end))
    needed = [part for head in heads[:low] for part in (comma, head)][1:]
    return seq(Lit("["), *needed, end, Lit("]"))


def write_map(more: tuple[Node, Node], low: int, high: int, brackets: Brackets) -> Node:
    """`low` to `high` pairs that the schema does not name; `more` is such a pair first in the object, and one after a comma."""
    first, following = more
    inside = seq(first, repeat(following, max(low - 1, 0), high - 1)) if high else EMPTY
    return seq(brackets.opening, inside if low else optional(inside), brackets.closing)


def write_pairs(
    pairs: list[Pair],
    brackets: Brackets,
    rules: Rules,
    more: tuple[Node, Node] | None = None,
    most: int = 0,
    *,
    may_be_empty: bool = True,
) -> Node:
    """Declared pairs in order, some of them optional, and in every gap up to `most` of `more`, as in `write_map`.

    The first pair that is written has no comma before it: up to the first required pair, each may be that one.
    """
    comma = Lit(brackets.keys.separator)
    gap = rules.add("more", repeat(more[1], 0, most)) if more else EMPTY
    lead = next((i for i, pair in enumerate(pairs) if pair.required), len(pairs))
    behind: list[Node] = [gap]
    for pair in pairs[lead + 1 :]:
        following = seq(comma, Lit(pair.key), pair.value)
        behind += [following if pair.required else optional(following), gap]
    rest = seq(*behind, brackets.closing)
    ways = [brackets.closing] if lead == len(pairs) and may_be_empty else []
    for pair in reversed(pairs[: lead + 1]):
        if isinstance(rest, Seq) and (ways or pair is not pairs[0]):
            rest = rules.add("rest", rest)
        here = seq(Lit(pair.key), pair.value)
        ways.append(seq(here, rest))
        following = seq(comma, here)
        rest = seq(gap, following if pair.required else optional(following), rest)
    if more:
        ways.append(seq(more[0], rest))
    return seq(brackets.opening, alt(*reversed(ways)))
