"""What the BNF-like notations share: how nodes are combined to text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from gemma_tools.grammar.nodes import EMPTY, Alt, Chars, Lit, Node, Raw, Ref, Repeat, Seq, Token
from gemma_tools.grammar.regex import regex

_IN_CLASS: Final = '\\[]^-"'
_SPECIAL: Final = re.compile(r"[^ !#-\[\]-~]")
"""Characters that need an escape in a fixed text."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where the notations differ."""

    token: Callable[[str], str]
    """Writes a special token."""
    escape: Callable[[str], str]
    """Writes a character that needs an escape."""
    repeat: Callable[[str, int, int | None], str]
    """Writes `low` to `high` repetitions of an expression that is one factor."""

    def character(self, character: str) -> str:
        """One character in a class."""
        return character if " " <= character <= "~" and character not in _IN_CLASS else self.escape(character)


def rule_name(name: str) -> str:
    """The printed name of a rule."""
    return name.lower().replace("_", "-")


def expression(node: Node, dialect: Dialect) -> str:
    """The node as the body of a rule."""
    match node:
        case Alt(items):
            return " | ".join(_term(item, dialect) for item in items)
        case _:
            return _term(node, dialect)


def literal(text: str, dialect: Dialect) -> str:
    """A fixed text in quotes."""
    return f'"{_SPECIAL.sub(lambda found: dialect.escape(found[0]), text)}"'


def _term(node: Node, dialect: Dialect) -> str:
    match node:
        case Seq(items):
            return " ".join(factor(item, dialect) for item in _joined(items)) or '""'
        case _:
            return factor(node, dialect)


def _joined(items: tuple[Node, ...]) -> list[Node]:
    """The items of a sequence, with neighbouring texts joined."""
    joined: list[Node] = []
    for fixed, run in groupby(items, lambda item: isinstance(item, Lit)):
        found = list(run)
        joined += [Lit("".join([item.text for item in found if isinstance(item, Lit)]))] if fixed else found
    return joined


def factor(node: Node, dialect: Dialect) -> str:
    """The node in a form that can be next to others, or be repeated, if it is not a repetition itself."""
    match node:
        case Lit(text):
            return literal(text, dialect)
        case Seq(items) if len(joined := _joined(items)) == 1:
            return factor(joined[0], dialect)
        case Token(spelling):
            return dialect.token(spelling)
        case Chars():
            return regex(node, dialect.character)
        case Ref(name):
            return rule_name(name)
        case Raw(text):
            return text
        case Repeat(item, low, high):
            once = isinstance(item, Repeat) or item == EMPTY
            return dialect.repeat(f"({expression(item, dialect)})" if once else factor(item, dialect), low, high)
        case _:
            return f"({expression(node, dialect)})"
