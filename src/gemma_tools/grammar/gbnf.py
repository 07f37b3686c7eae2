"""Print rules as GBNF, llama.cpp's grammar notation, with control tokens as token literals (`<escape>` without quotes).

GBNF matches the text of a token, not the token, so free text leaves out the spelling of every control token. Long repetitions
are printed as blocks of 64, because llama.cpp makes one rule of each count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gemma_tools.grammar.charset import ALL, Ranges, minus
from gemma_tools.grammar.free import without_free
from gemma_tools.grammar.nodes import EMPTY, Alt, Chars, Lit, Node, Ref, Repeat, Seq, Token

_BLOCK: Final = 64
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "[": "\\[", "]": "\\]"}


def print_gbnf(bodies: Mapping[str, Node], controls: tuple[str, ...]) -> str:
    """The rules as GBNF. The rule `root` comes first; `controls` are the spellings that free text leaves out."""
    plain = without_free(bodies, lambda free: controls)
    return "".join(f"{_name(name)} ::= {_expression(body)}\n" for name, body in plain.items())


def _name(name: str) -> str:
    return name.lower().replace("_", "-")


def _expression(node: Node) -> str:
    match node:
        case Alt(items):
            return " | ".join(map(_term, items))
        case _:
            return _term(node)


def _term(node: Node) -> str:
    match node:
        case Seq(items):
            return " ".join(map(_factor, items)) or '""'
        case _:
            return _factor(node)


def _factor(node: Node) -> str:
    match node:
        case Lit(text):
            return '"' + "".join(_character(c, '"\\') for c in text) + '"'
        case Token(spelling):
            return spelling
        case Chars(ranges):
            return _class(ranges)
        case Ref(name):
            return _name(name)
        case Repeat(item, low, high):
            return _repeat(item, low, high)
        case _:
            return f"({_expression(node)})"


def _repeat(item: Node, low: int, high: int | None) -> str:
    atom = _factor(item) if not isinstance(item, Repeat) and item != EMPTY else f"({_expression(item)})"
    if high is None:
        return f"{atom}{'*+'[low]}" if low < 2 else f"{atom}{{{low},}}"
    if (low, high) == (0, 1):
        return f"{atom}?"
    if high <= 2 * _BLOCK:
        return f"{atom}{{{low},{high}}}"
    # Whole blocks are needed first, then whole blocks may follow, then a rest of up to 64 and what no block holds.
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


def _class(ranges: Ranges) -> str:
    if ranges[-1][1] == 0x10FFFF:
        # A surrogate is no character of any text, so that the complement need not name them.
        return f"[^{_spans(((0, 0), *minus(ALL, ranges)))}]"
    return f"[{_spans(ranges)}]"


def _spans(ranges: Ranges) -> str:
    ends = (tuple(_character(chr(end), '\\[]"') for end in span) for span in ranges)
    return "".join(low if low == high else f"{low}-{high}" for low, high in ends)


def _character(character: str, special: str) -> str:
    code = ord(character)
    if character in special or character in "\n\r\t":
        return _ESCAPES[character]
    if character in "^-" and "[" in special:
        return f"\\x{code:02X}"
    if 0x20 <= code < 0x7F:
        return character
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
