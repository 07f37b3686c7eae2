"""How the formats write JSON values: the brace notation, Python literals, and JSON."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias

from gemma_tools.grammar.charset import ALL, SPACES, Ranges, chars, each, holds, minus, union
from gemma_tools.grammar.nodes import (
    EMPTY,
    Chars,
    Free,
    Lark,
    Lit,
    Node,
    Rules,
    Token,
    alt,
    optional,
    repeat,
    seq,
)

LONGEST_KEY: Final = 40
"""Characters of a key that the schema does not name."""

_Tree: TypeAlias = "dict[str, _Tree]"
_END: Final = "\0"

_SURROGATE: Final = frozenset(map(chr, range(0xD800, 0xE000)))
_HEX: Final = chars("09", "af", "AF")
_CONTROL_CHARACTERS: Final = each("".join(map(chr, range(1, 0x20))) + "\x7f")
_NAMED: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _code(letter: str, digits: int) -> Node:
    return seq(Lit("\\" + letter), repeat(Chars(_HEX), digits, digits))


# Half of a surrogate pair is not a character, so codes from D800 to DFFF are left out.
_UNICODE: Final = seq(
    Lit("\\u"),
    alt(
        seq(Chars(chars("09", "ac", "AC", "e", "f", "E", "F")), repeat(Chars(_HEX), 3, 3)),
        seq(Chars(chars("d", "D")), Chars(chars("07")), repeat(Chars(_HEX), 2, 2)),
    ),
)


_KEY_CHARACTERS: Final = minus(ALL, union(_CONTROL_CHARACTERS, SPACES, each(":={}[](),\"'`<>\\")))


@dataclass(frozen=True)
class Notation(ABC):
    """One way to write JSON values. Its terminals are added to `rules`."""

    rules: Rules
    forbidden: tuple[str, ...]
    """The special tokens that a string must not contain, even letter by letter."""

    separator: ClassVar[str]
    key_characters: ClassVar[Ranges] = _KEY_CHARACTERS
    key_space: ClassVar[Node] = optional(Lit(" "))
    constants: ClassVar[Mapping[object, str]]

    @abstractmethod
    def key(self, name: str) -> str | None:
        """A key and the text between it and its value; None if the notation cannot write it."""

    @abstractmethod
    def other_key(self, taken: Collection[str]) -> Node:
        """Any key except `taken`, and the text between it and its value: a node for a terminal."""

    @abstractmethod
    def text(self, low: int, high: int, *, exact: bool) -> Node:
        """A string of any characters; see `Free`."""

    @abstractmethod
    def string(self, body: Node) -> Node:
        """A string with the content `body`, which `spell` has written."""

    @abstractmethod
    def spell(self, ranges: Ranges) -> Node | None:
        """One character of a set as it is written inside a string; None if it cannot be written."""

    @abstractmethod
    def literal(self, text: str) -> Node | None:
        """One string value; None if the notation cannot write it."""

    def lark(self, grammar: str) -> Node | None:
        """A string whose content follows the request's own Lark grammar; None if the notation uses escapes in strings."""
        return None

    def order(self, names: Collection[str]) -> list[str]:
        """The order in which the format writes the properties of an object."""
        return list(names)

    def _unnamed(self, taken: Collection[str]) -> Node:
        """A key of visible characters with single spaces between them, not in `taken`: a node for terminals."""
        rest = self.rules.add("KEY", repeat(seq(self.key_space, Chars(self.key_characters)), 0, LONGEST_KEY - 1))
        tree: _Tree = {}
        for name in taken:
            if len(name) < 2 * LONGEST_KEY:
                branch = tree
                for character in name:
                    branch = branch.setdefault(character, {})
                branch[_END] = {}
        return self._unlike(tree, rest, begun=False)

    def _unlike(self, tree: _Tree, rest: Node, *, begun: bool) -> Node:
        """What can follow so that no path through the tree reaches an `_END`; `begun` if a space may follow."""
        ways: list[Node] = [EMPTY] if begun and _END not in tree else []
        ways.append(seq(Chars(minus(self.key_characters, each("".join(tree)))), rest))
        spaced = begun and self.key_space != EMPTY
        if spaced and " " not in tree:
            ways.append(seq(Lit(" "), Chars(self.key_characters), rest))
        for character, branch in tree.items():
            if holds(self.key_characters, character) or (spaced and character == " "):
                way = self._unlike(branch, rest, begun=character != " ")
                ways.append(seq(Lit(character), self.rules.add("KEY", way)))
        return alt(*ways)

    def constant(self, value: Any, depth: int = 16) -> Node | None:
        """One JSON value; None if the notation cannot write it, or it nests deeper than `depth`."""
        if isinstance(value, str):
            return self.literal(value)
        if value is None or isinstance(value, bool):
            return Lit(self.constants[value])
        if isinstance(value, int | float):
            return Lit(str(value))
        if depth == 0:
            return None
        pieces: list[Node | None] = [Lit("{" if isinstance(value, Mapping) else "[")]
        if isinstance(value, Mapping):
            for i, name in enumerate(self.order(value)):
                key = self.key(name)
                inside = self.constant(value[name], depth - 1)
                pieces += [Lit(self.separator * bool(i)), None if key is None else Lit(key), inside]
        else:
            for i, item in enumerate(value):
                pieces += [Lit(self.separator * bool(i)), self.constant(item, depth - 1)]
        pieces.append(Lit("}" if isinstance(value, Mapping) else "]"))
        known = [piece for piece in pieces if piece is not None]
        return seq(*known) if len(known) == len(pieces) else None


_BARE_KEY: Final = re.compile(r"[^\s:={}\[\](),\"'`<>](?:[^:={}\[\],\"'`<>\n]*[^\s:={}\[\],\"'`<>])?")


@dataclass(frozen=True)
class Brace(Notation):
    """The notation of FunctionGemma and Gemma 4: bare keys in order, strings between two delimiter tokens, no escapes."""

    delimiter: str

    separator = ","
    constants: ClassVar[Mapping[object, str]] = {None: "null", True: "true", False: "false"}

    def order(self, names: Collection[str]) -> list[str]:
        """Jinja's `dictsort`: case-insensitive, equal names in the order given."""
        return sorted(names, key=str.lower)

    def key(self, name: str) -> str | None:
        return f"{name}:" if _BARE_KEY.fullmatch(name) else None

    def other_key(self, taken: Collection[str]) -> Node:
        return seq(self._unnamed(taken), Lit(":"))

    def text(self, low: int, high: int, *, exact: bool) -> Node:
        body = self.rules.add("TEXT", Free(ALL, (), max(low, 1), high, self.forbidden, exact)) if high else EMPTY
        return self.string(body if low else optional(body))

    def string(self, body: Node) -> Node:
        return seq(Token(self.delimiter), body, Token(self.delimiter))

    def lark(self, grammar: str) -> Node | None:
        other = self.rules.add("TEXT", Free(ALL, (), 1, None, self.forbidden))
        return self.string(self.rules.add("lark", Lark(grammar, optional(other))))

    def spell(self, ranges: Ranges) -> Node | None:
        return _chars(minus(ranges, each("<")))

    def literal(self, text: str) -> Node | None:
        return None if "\0" in text or _spells(self.forbidden, text) else self.string(Lit(text))


class _Quoted(Notation):
    """Strings in quotes, with backslash escapes."""

    quote: ClassVar[str] = '"'
    codes: ClassVar[tuple[Node, ...]]

    def text(self, low: int, high: int, *, exact: bool) -> Node:
        return self._text(self.quote, low, high, exact=exact)

    def _text(self, quote: str, low: int, high: int, *, exact: bool) -> Node:
        plain = minus(ALL, union(_CONTROL_CHARACTERS, each("\\" + quote)))
        escapes = (seq(Lit("\\"), Chars(each('\\"ntr' + quote))), *self.codes)
        body = self.rules.add("TEXT", Free(plain, escapes, low, high, self.forbidden, exact)) if high else EMPTY
        return self.rules.add("STRING", seq(Lit(quote), body, Lit(quote)))

    def string(self, body: Node) -> Node:
        return self.rules.add("STRING", seq(Lit(self.quote), body, Lit(self.quote)))

    def spell(self, ranges: Ranges) -> Node | None:
        special = union(_CONTROL_CHARACTERS, each("<\\" + self.quote))
        ways = [Lit(_NAMED.get(c, "\\" + c)) for c in ("\n", "\t", "\r", "\\", self.quote) if holds(ranges, c)]
        plain = _chars(minus(ranges, special))
        return alt(*([plain] if plain else []), *ways) if plain or ways else None


@dataclass(frozen=True)
class Json(_Quoted):
    """JSON as `json.dumps(..., ensure_ascii=False)` writes it."""

    separator = ", "
    constants: ClassVar[Mapping[object, str]] = {None: "null", True: "true", False: "false"}
    codes = (_UNICODE,)

    def key(self, name: str) -> str | None:
        return None if _spells(self.forbidden, name) else json.dumps(name, ensure_ascii=False) + ": "

    def other_key(self, taken: Collection[str]) -> Node:
        return seq(Lit('"'), self._unnamed(taken), Lit('": '))

    def literal(self, text: str) -> Node | None:
        return None if _spells(self.forbidden, text) else Lit(json.dumps(text, ensure_ascii=False))


@dataclass(frozen=True)
class Python(_Quoted):
    """Python literals as `repr` writes them; strings in either kind of quotes."""

    separator = ", "
    constants: ClassVar[Mapping[object, str]] = {None: "None", True: "True", False: "False"}
    quote = "'"
    codes = (_code("x", 2), _UNICODE)

    def key(self, name: str) -> str | None:
        return None if _spells(self.forbidden, name) else f"{name!r}: "

    def other_key(self, taken: Collection[str]) -> Node:
        return seq(Lit("'"), self._unnamed(taken), Lit("': "))

    def text(self, low: int, high: int, *, exact: bool) -> Node:
        return alt(*(self._text(quote, low, high, exact=exact) for quote in "'\""))

    def literal(self, text: str) -> Node | None:
        return None if _spells(self.forbidden, text) else alt(Lit(repr(text)), Lit(json.dumps(text, ensure_ascii=False)))


_KEYWORD: Final = re.compile(r"[^\s,()\[\]{}<`\"'=:*]+")


@dataclass(frozen=True)
class Keywords(Python):
    """The arguments of a call: `name=value`. Those that no schema names are letters and underscores."""

    key_characters = chars("az", "AZ", "_")
    key_space = EMPTY

    def key(self, name: str) -> str | None:
        return f"{name}=" if _KEYWORD.fullmatch(name) else None

    def other_key(self, taken: Collection[str]) -> Node:
        return seq(self._unnamed(taken), Lit("="))


def _spells(forbidden: tuple[str, ...], text: str) -> bool:
    return any(spelling in text for spelling in forbidden) or not _SURROGATE.isdisjoint(text)


def _chars(ranges: Ranges) -> Chars | None:
    return Chars(ranges) if ranges else None
