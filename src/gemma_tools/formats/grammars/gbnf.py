"""Print rules as GBNF, llama.cpp's grammar notation, with control tokens as token literals (`<escape>` without quotes).

GBNF matches the text of a token, not the token, so free text has to leave out the spelling of every control token: see
`_Lowering`. Long repetitions are printed as blocks of 64, because llama.cpp makes one rule of each count.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeAlias

from gemma_tools.formats.grammars.charset import ALL, Ranges, each, holds, minus
from gemma_tools.formats.grammars.nodes import (
    EMPTY,
    Alt,
    Chars,
    Free,
    Lit,
    Node,
    Ref,
    Repeat,
    Seq,
    Token,
    alt,
    optional,
    repeat,
    seq,
)

_BLOCK: Final = 64
_ANGLE: Final = each("<")
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "[": "\\[", "]": "\\]"}


def print_gbnf(bodies: Mapping[str, Node], controls: tuple[str, ...]) -> str:
    """The rules as GBNF. The rule `root` comes first; `controls` are the spellings that free text leaves out."""
    lower = _Lowering(controls)
    lines = [f"{_name(name)} ::= {_expression(lower.node(body))}" for name, body in bodies.items()]
    return "\n".join([*lines, *lower.lines.values()]) + "\n"


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


class _Lowering:
    """Turns free text into plainer nodes, and collects the rules that it needs for that."""

    def __init__(self, controls: tuple[str, ...]) -> None:
        self._controls = controls
        self.lines: dict[str, str] = {}

    def node(self, node: Node) -> Node:
        """`node` without `Free` in it."""
        match node:
            case Free():
                return self._free(node)
            case Seq(items):
                return seq(*map(self.node, items))
            case Alt(items):
                return alt(*map(self.node, items))
            case Repeat(item, low, high):
                return repeat(self.node(item), low, high)
            case _:
                return node

    def _free(self, free: Free) -> Node:
        """Free text as rules.

        Without a limit of the schema's own: runs without `<`, and between them a `<` that goes on in a way that no control
        token does, or stops. With one every character has to count: a `<` is followed by a character that begins no control
        token, and a text that has one is at most half as long.
        """
        plain = minus(free.plain, _ANGLE)
        escapes = (self._rule("escape", _expression(alt(*free.escapes))),) if free.escapes else ()
        unit = alt(Chars(plain), *escapes)
        if plain == free.plain:
            return repeat(unit, free.low, free.high)
        if free.exact and free.high is not None:
            harmless = alt(Chars(minus(plain, each("".join(control[1] for control in self._controls)))), *escapes)
            ways = [repeat(unit, free.low, free.high)]
            if free.low <= free.high // 2:
                ways.append(repeat(alt(unit, seq(Lit("<"), harmless)), free.low, free.high // 2))
            return alt(*ways)
        stray, begun = map(self._rule, ("stray", "begun"), _angles(plain, escapes, self._controls))
        run = self._rule("run", _expression(repeat(unit, 0, free.high)))
        angle = self._rule("angle", _expression(seq(Lit("<"), alt(seq(stray, run), begun))))
        if not free.low:
            return seq(run, repeat(angle, 0, free.high))
        before = repeat(alt(unit, seq(Lit("<"), stray)), free.low - 1, free.low - 1)
        return seq(before, alt(seq(unit, run, repeat(angle, 0, free.high)), repeat(angle, 1, free.high)))

    def _rule(self, kind: str, text: str) -> Ref:
        name = next((name for name, line in self.lines.items() if line == f"{name} ::= {text}"), f"{kind}{len(self.lines)}")
        self.lines[name] = f"{name} ::= {text}"
        return Ref(name)


_Tree: TypeAlias = "dict[str, _Tree]"


@lru_cache(maxsize=64)
def _angles(plain: Ranges, escapes: tuple[Ref, ...], controls: tuple[str, ...]) -> tuple[str, str]:
    """What may follow a `<` in text, printed: all that goes on unlike a control token, and what only begins like one."""
    tree: _Tree = {}
    for spelling in controls:
        branch = tree
        for character in spelling[1:]:
            branch = branch.setdefault(character, {})
    return _expression(_stray(tree, plain, escapes)), _expression(_begun(tree, plain))


def _stray(tree: _Tree, plain: Ranges, escapes: tuple[Ref, ...]) -> Node:
    """Any part of a control token, then a character that does not go on with it."""
    ways: list[Node] = [Chars(minus(plain, each("".join(tree)))), *escapes]
    ways += [seq(Lit(c), _stray(branch, plain, escapes)) for c, branch in tree.items() if branch and holds(plain, c)]
    return alt(*ways)


def _begun(tree: _Tree, plain: Ranges) -> Node:
    """Any part of a control token, or nothing: at the end of a text, or before another `<`."""
    ways = [seq(Lit(c), _begun(branch, plain)) for c, branch in tree.items() if branch and holds(plain, c)]
    return optional(alt(*ways)) if ways else EMPTY
