"""Prints rules as GBNF, llama.cpp's grammar notation, with special tokens as token literals (`<escape>` without quotes).

GBNF matches the text of a token, not the token, so free text leaves out the text of every special token. Long repetitions are
printed as blocks of 64, because llama.cpp makes one rule for each count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gemma_tools.grammar.bnf import Dialect, expression, rule_name
from gemma_tools.grammar.free import without_free
from gemma_tools.grammar.nodes import Node
from gemma_tools.grammar.regex import times

_BLOCK: Final = 64
_NAMED: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "[": "\\[", "]": "\\]"}


def print_gbnf(bodies: Mapping[str, Node], controls: tuple[str, ...]) -> str:
    """The rules as GBNF. The rule `root` comes first; free text leaves out `controls`."""
    plain = without_free(bodies, lambda free: controls)
    return "".join(f"{rule_name(name)} ::= {expression(body, _GBNF)}\n" for name, body in plain.items())


def _repeat(atom: str, low: int, high: int | None) -> str:
    if high is None or high <= 2 * _BLOCK:
        return atom + times(low, high)
    # Whole blocks are required first, then whole blocks are optional, then a rest of up to 64 that fits no block.
    pieces = [f"({atom}{{{_BLOCK}}}){{{low // _BLOCK}}}"] if low >= _BLOCK else []
    if low % _BLOCK:
        pieces.append(f"{atom}{{{low % _BLOCK}}}")
    blocks, rest = divmod(high - low, _BLOCK)
    if blocks > 1:
        pieces.append(f"({atom}{{{_BLOCK}}}){{0,{blocks - 1}}}")
        rest += _BLOCK
    elif blocks:
        rest += _BLOCK
    if rest:
        pieces.append(f"{atom}{{0,{rest}}}")
    return f"({' '.join(pieces)})"


def _escape(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


_GBNF: Final = Dialect(token=str, escape=_escape, repeat=_repeat)
