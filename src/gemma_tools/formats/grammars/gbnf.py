"""Print rules as GBNF, llama.cpp's grammar notation, with control tokens as token literals (`<escape>` without quotes).

GBNF matches the text of a token, not the token, so free text has to leave out the spelling of every control token: see
`_free`. Long repetitions are printed as blocks of 64, because llama.cpp makes one rule of each count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

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
    Rules,
    Seq,
    Token,
    alt,
    optional,
    repeat,
    seq,
)

_BLOCK: Final = 64
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "[": "\\[", "]": "\\]"}


def print_gbnf(bodies: Mapping[str, Node], controls: Sequence[str]) -> str:
    """The rules as GBNF. The rule `root` comes first; `controls` are the spellings that free text leaves out."""
    rules = Rules()
    tree = _tree(controls)
    lines = [f"{_name(name)} ::= {_expression(_lower(body, tree, rules))}" for name, body in bodies.items()]
    lines += [f"{_name(name)} ::= {_expression(body)}" for name, body in rules.bodies.items()]
    return "\n".join(lines) + "\n"


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


_Tree = Mapping[str, "_Tree"]


def _tree(spellings: Sequence[str]) -> _Tree:
    """The spellings, without their `<`, as a tree of characters; a leaf ends a spelling."""
    root: dict[str, dict[str, object]] = {}
    for spelling in spellings:
        branch = root
        for character in spelling[1:]:
            branch = branch.setdefault(character, {})  # type: ignore[assignment]
    return root  # type: ignore[return-value]


def _lower(node: Node, tree: _Tree, rules: Rules) -> Node:
    match node:
        case Free():
            return _free(node, tree, rules)
        case Seq(items):
            return seq(*(_lower(item, tree, rules) for item in items))
        case Alt(items):
            return alt(*(_lower(item, tree, rules) for item in items))
        case Repeat(item, low, high):
            return repeat(_lower(item, tree, rules), low, high)
        case _:
            return node


def _free(free: Free, tree: _Tree, rules: Rules) -> Node:
    """Free text as rules.

    Without a limit of the schema's own: runs without `<`, and between them a `<` that goes on in a way that no control
    token does, or stops. With one, every character has to count: a `<` is followed by one that begins no control token,
    and a text that has one is at most half as long.
    """
    unit = alt(Chars(minus(free.plain, each("<"))), *free.escapes)
    if not holds(free.plain, "<") or not tree:
        return repeat(alt(Chars(free.plain), *free.escapes), free.low, free.high)
    harmless = seq(Lit("<"), alt(Chars(minus(free.plain, each("<" + "".join(tree)))), *free.escapes))
    if free.exact and free.high is not None:
        kinds = [repeat(unit, free.low, free.high)]
        if free.low <= free.high // 2:
            kinds.append(repeat(alt(unit, harmless), free.low, free.high // 2))
        return alt(*kinds)
    run = rules.add("run", repeat(unit, 0, free.high))
    stray, begun = rules.add("stray", _stray(free, tree)), rules.add("begun", _begun(free, tree))
    angle = rules.add("angle", seq(Lit("<"), alt(seq(stray, run), begun)))
    if not free.low:
        return seq(run, repeat(angle, 0, free.high))
    nonempty = alt(seq(unit, run, repeat(angle, 0, free.high)), repeat(angle, 1, free.high))
    return seq(repeat(alt(unit, harmless), free.low - 1, free.low - 1), nonempty)


def _stray(free: Free, tree: _Tree) -> Node:
    """What may follow a `<`: any part of a control token, then a character that does not go on with it."""
    other = minus(free.plain, each("<" + "".join(tree)))
    ways: list[Node] = [Chars(other), *free.escapes]
    ways += [seq(Lit(c), _stray(free, branch)) for c, branch in tree.items() if branch and holds(free.plain, c)]
    return alt(*ways)


def _begun(free: Free, tree: _Tree) -> Node:
    """What may follow a `<` at the end, or before another `<`: any part of a control token, or nothing."""
    ways = [seq(Lit(c), _begun(free, branch)) for c, branch in tree.items() if branch and holds(free.plain, c)]
    return optional(alt(*ways)) if ways else EMPTY
