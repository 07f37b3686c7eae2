"""Free text in simpler nodes: text without special tokens, without negations, which no engine handles well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, TypeAlias

from gemma_tools.grammar.charset import Ranges, each, holds, minus
from gemma_tools.grammar.nodes import EMPTY, Chars, Free, Lit, Node, Rules, alt, optional, repeat, rewrite, seq

_ANGLE: Final = each("<")
_ROW: Final = 64
"""How many `<` may follow each other."""
_Tree: TypeAlias = "dict[str, _Tree]"


def without_free(bodies: Mapping[str, Node], spellings: Callable[[Free], tuple[str, ...]]) -> dict[str, Node]:
    """The rules without `Free`, and the rules for it; `spellings` are the tokens that a text leaves out.

    They begin with a `<` and have no other.
    """
    rules = Rules()

    def lower(node: Node) -> Node | None:
        return _free(node, rules, spellings(node)) if isinstance(node, Free) else None

    plain = {name: rewrite(body, lower) for name, body in bodies.items()}
    return plain | rules.bodies


def _free(free: Free, rules: Rules, spellings: tuple[str, ...]) -> Node:
    """Characters, where a `<` and the text after it count as one: it continues in a way that no token does, or stops.

    If the schema sets a limit, every character must count. Then a character that begins no token follows a `<`, and a text with
    a `<` is at most half as long.
    """
    plain = minus(free.plain, _ANGLE)
    escapes: tuple[Node, ...] = (rules.add("ESCAPE", alt(*free.escapes)),) if free.escapes else ()
    unit = alt(Chars(plain), *escapes)
    if plain == free.plain:
        return repeat(unit, free.low, free.high)
    if free.exact and free.high is not None:
        harmless = alt(Chars(minus(plain, each("".join(spelling[1] for spelling in spellings)))), *escapes)
        ways = [repeat(unit, free.low, free.high)]
        if free.low <= free.high // 2:
            ways.append(repeat(alt(unit, seq(Lit("<"), harmless)), free.low, free.high // 2))
        return alt(*ways)
    stray, part = map(rules.add, ("STRAY", "PART"), _after_angle(spellings, plain))
    onward = alt(stray, *(seq(part, escape) for escape in escapes))
    begun = rules.add("BEGUN", seq(Lit("<"), part))
    # Every character counts, otherwise a model that writes tokens of another format would find no end.
    item = rules.add("UNIT", alt(unit, seq(repeat(begun, 0, _ROW), Lit("<"), onward)))
    if not free.low:
        return seq(repeat(item, 0, free.high), repeat(begun, 0, _ROW))
    more = None if free.high is None else free.high - free.low + 1
    ends = alt(seq(repeat(item, 1, more), repeat(begun, 0, _ROW)), repeat(begun, 1, _ROW))
    return seq(repeat(item, free.low - 1, free.low - 1), ends)


@lru_cache(maxsize=64)
def _after_angle(spellings: tuple[str, ...], plain: Ranges) -> tuple[Node, Node]:
    """`_stray` and `_begun`: they are large, and the same in all grammars of a format."""
    tree = _tree(spellings)
    return _stray(tree, plain), _begun(tree, plain)


def _tree(spellings: tuple[str, ...]) -> _Tree:
    """The tokens without their `<`, as a tree of characters; a leaf ends a token."""
    tree: _Tree = {}
    for spelling in spellings:
        branch = tree
        for character in spelling[1:]:
            branch = branch.setdefault(character, {})
    return tree


def _stray(tree: _Tree, plain: Ranges) -> Node:
    """After a `<`: any part of a token, then a character that does not continue it."""
    ways: list[Node] = [Chars(minus(plain, each("".join(tree))))]
    ways += [seq(Lit(c), _stray(branch, plain)) for c, branch in tree.items() if branch and holds(plain, c)]
    return alt(*ways)


def _begun(tree: _Tree, plain: Ranges) -> Node:
    """After a `<` at the end of a text, or before another `<`: any part of a token, or nothing."""
    ways = [seq(Lit(c), _begun(branch, plain)) for c, branch in tree.items() if branch and holds(plain, c)]
    return optional(alt(*ways)) if ways else EMPTY
