"""Prints rules in llguidance's dialect of Lark, with special tokens by name.

llguidance distinguishes a special token from text that looks like it, so free text leaves out only the tokens that would end a
string or a turn for a reader of the text. Terminals are lexemes: greedy, and at least one character long.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from gemma_tools.grammar.free import without_free
from gemma_tools.grammar.nodes import Alt, Chars, Lark, Lit, Node, Ref, Repeat, Seq, Token, stopping, walk
from gemma_tools.grammar.regex import regex, times

_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ ,:;=!@%<>'\"")


def print_lark(bodies: Mapping[str, Node], stop: tuple[str, ...]) -> str:
    """The rules as Lark; the rule `root` is printed as `start`, and may end with one of the tokens in `stop`."""
    plain = without_free(stopping(bodies, stop), lambda free: free.forbidden)
    rules = [f"{_name(name)}: {_terminal(body) if name.isupper() else _expression(body)}\n" for name, body in plain.items()]
    return "".join(["%llguidance {}\n", *rules])


def _name(name: str) -> str:
    return "start" if name == "root" else name


def _terminal(node: Node) -> str:
    return _expression(node) if any(isinstance(part, Ref) for part in walk(node)) else f"/{regex(node, _character)}/"


def _expression(node: Node) -> str:
    match node:
        case Alt(items):
            return " | ".join(map(_factor, items))
        case Seq(items):
            return " ".join(map(_factor, items)) or '""'
        case _:
            return _factor(node)


def _factor(node: Node) -> str:
    match node:
        case Lit(text):
            return json.dumps(text, ensure_ascii=False)
        case Token(spelling):
            return spelling
        case Chars():
            return f"/{regex(node, _character)}/"
        case Ref(name):
            return _name(name)
        case Lark(text):
            return f"%lark {{\n{text}\n}}"
        case Repeat(item, low, high):
            return _factor(item) + times(low, high)
        case _:
            return f"({_expression(node)})"


def _character(character: str) -> str:
    return character if character in _PLAIN else f"\\x{{{ord(character):X}}}"
