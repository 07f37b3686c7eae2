"""The intermediate representation: the parts of a grammar before it is printed.

A grammar is a set of named rules. Rules with UPPER-CASE names are terminals: they contain no special token and refer only to
terminals, so a lexer may read each as one lexeme.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gemma_tools.grammar.charset import Ranges


@dataclass(frozen=True, slots=True)
class Lit:
    """A fixed text; never a special token."""

    text: str


@dataclass(frozen=True, slots=True)
class Token:
    """One special token, by its text."""

    spelling: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to the rule with that name."""

    name: str


@dataclass(frozen=True, slots=True)
class Seq:
    """One after the other; the empty sequence is the empty text."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """Any one of these."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`item` at least `low` and at most `high` times; `high=None` means no limit."""

    item: Node
    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Free:
    """Free text without special tokens: `low` to `high` characters from `plain`, or written as one of `escapes`.

    `forbidden` are the tokens that would break it even if they were written letter by letter. `exact` means that `high` is the
    schema's own limit; otherwise it only stops a model that does not end. `free.without_free` makes simpler nodes from it,
    which accept a little less where `<` is counted.
    """

    plain: Ranges
    escapes: tuple[Node, ...]
    low: int
    high: int | None
    forbidden: tuple[str, ...]
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Raw:
    """Text that a printer has already written, in its notation."""

    text: str


@dataclass(frozen=True, slots=True)
class Lark:
    """A whole grammar in Lark, which only llguidance can nest; `other` replaces it in other notations."""

    text: str
    other: Node


Node: TypeAlias = Lit | Token | Chars | Ref | Seq | Alt | Repeat | Free | Raw | Lark

EMPTY = Seq(())


def seq(*items: Node) -> Node:
    """The items in order, with nested sequences flattened.

    Neighbouring texts stay apart. Lark's lexer is greedy: a bracket joined to the key after it would hide the bracket alone.
    """
    flat = [piece for item in items for piece in (item.items if isinstance(item, Seq) else (item,)) if piece != Lit("")]
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def alt(*items: Node) -> Node:
    """Any one of the items, each once."""
    flat = dict.fromkeys(piece for item in items for piece in (item.items if isinstance(item, Alt) else (item,)))
    if EMPTY in flat:
        del flat[EMPTY]
        return optional(alt(*flat)) if flat else EMPTY
    return next(iter(flat)) if len(flat) == 1 else Alt(tuple(flat))


def optional(item: Node) -> Node:
    """The item or nothing."""
    return item if isinstance(item, Repeat) and item.low == 0 else repeat(item, 0, 1)


def repeat(item: Node, low: int, high: int | None) -> Node:
    """The item `low` to `high` times."""
    if high == 0 or item == EMPTY:
        return EMPTY
    return item if low == high == 1 else Repeat(item, low, high)


def parts(node: Node) -> tuple[Node, ...]:
    """The direct children of `node`."""
    match node:
        case Seq(items) | Alt(items):
            return items
        case Repeat(item, _, _):
            return (item,)
        case Free():
            return node.escapes
        case Lark():
            return (node.other,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """`node` and everything in it."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(parts(node))


def rewrite(node: Node, change: Callable[[Node], Node | None]) -> Node:
    """`node` with the results of `change` for the nodes in it; if that is None a node stays, and its children are changed."""
    changed = change(node)
    if changed is not None:
        return changed
    match node:
        case Seq(items):
            return seq(*(rewrite(item, change) for item in items))
        case Alt(items):
            return alt(*(rewrite(item, change) for item in items))
        case Repeat(item, low, high):
            return repeat(rewrite(item, change), low, high)
        case _:
            return node


def without_lark(bodies: Mapping[str, Node]) -> dict[str, Node]:
    """The rules for notations that cannot nest Lark."""

    def lower(node: Node) -> Node | None:
        return rewrite(node.other, lower) if isinstance(node, Lark) else None

    return {name: rewrite(body, lower) for name, body in bodies.items()}


def stopping(bodies: Mapping[str, Node], stop: tuple[str, ...]) -> Mapping[str, Node]:
    """The rules, with a `root` that may end with one of the tokens in `stop`.

    An engine accepts what the grammar allows, and at its end the stop tokens in the model's files. If a stop token is missing
    there, a model that writes free text would find no end.
    """
    return {**bodies, "root": seq(bodies["root"], optional(alt(*map(Token, stop))))} if stop else bodies


@dataclass(slots=True)
class Rules:
    """The rules of a grammar that is being built; equal nodes share one rule."""

    bodies: dict[str, Node] = field(default_factory=dict)
    _names: dict[tuple[bool, Node], str] = field(default_factory=dict)
    _count: int = 0

    def add(self, kind: str, node: Node) -> Ref:
        """A reference to a rule for `node`. `kind` begins its name; in upper case it makes the rule a terminal."""
        if isinstance(node, Ref):
            return node
        key = (kind.isupper(), node)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self.reserve(kind).name
            self.bodies[name] = node
        return Ref(name)

    def reachable(self, *roots: str) -> dict[str, Node]:
        """These rules, and then those that they stand on."""
        names = list(roots)
        known = set(roots)
        for found in names:
            new = {part.name: None for part in walk(self.bodies[found]) if isinstance(part, Ref) and part.name not in known}
            known.update(new)
            names += new
        return {found: self.bodies[found] for found in names}

    def reserve(self, kind: str) -> Ref:
        """A reference to a rule whose body is set later, in `bodies`."""
        name = f"{kind}{self._count or ''}"
        self._count += 1
        self.bodies[name] = EMPTY
        return Ref(name)
