"""Regular expressions and string formats of JSON Schema, as far as a grammar can express them.

Supported are literals, `.`, classes, `\\d \\w \\s` and their opposites, groups, alternation, greedy and lazy repetition, and
`^` and `$` at the ends of an alternative; a pattern without them may match anywhere in the string, as in JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Final

from gemma_tools.grammar.charset import ALL, SPACES, Ranges, chars, common, each, minus, union
from gemma_tools.grammar.nodes import EMPTY, Chars, Lit, Node, Repeat, Seq, alt, repeat, seq, walk

LONGEST_REPEAT: Final = 4096
_DEEPEST: Final = 16

_DIGITS: Final = chars("09")
_WORD: Final = chars("09", "AZ", "az", "_")
_SPACE: Final = each(" \t\n\r\f\v")
# The opposites contain only what ECMAScript and Python agree on: no digit, word character or space of any script.
_CLASSES: Final = {
    "d": _DIGITS, "w": _WORD, "s": _SPACE,
    "D": minus(((1, 0x65F),), _DIGITS), "W": minus(((1, 0x7F),), _WORD), "S": minus(ALL, SPACES),
}  # fmt: skip
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_CODE: Final = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})")
_TIMES: Final = re.compile(r"\{(\d{1,6})(?:(,)(\d{0,6}))?\}")
_GROUP: Final = re.compile(r"\?:|\?P?<[A-Za-z_]\w*>|(?!\?)")

_DAY: Final = "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))"
_DATE: Final = f"[1-9][0-9]{{3}}-{_DAY}"
_TIME: Final = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_LABEL: Final = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_OCTET: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PATH: Final = "([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2}){1,2048}(#[A-Za-z0-9._~/?=&-]{0,256})?"
FORMATS: Final = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "email": rf"^[A-Za-z0-9_+-]{{1,32}}(\.[A-Za-z0-9_+-]{{1,32}}){{0,3}}@{_LABEL}(\.{_LABEL}){{1,4}}$",
    "hostname": rf"^{_LABEL}(\.{_LABEL}){{0,4}}$",
    "ipv4": rf"^{_OCTET}(\.{_OCTET}){{3}}$",
    "uuid": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    "uri": rf"^[A-Za-z][A-Za-z0-9+.-]{{1,15}}:(//{_LABEL}(\.{_LABEL}){{0,8}}(:[0-9]{{1,5}})?)?{_PATH}$",
}
"""The enforced formats, as patterns (RFC 3339 dates and times, which need a zone; years from 1000)."""


class Unsaid(Exception):
    """A pattern that a grammar cannot express; the message is the reason."""


def read_pattern(pattern: str, spell: Callable[[Ranges], Node | None], longest: int) -> Node:
    """The strings that contain a match of `pattern`, written by `spell`; `longest` limits unlimited repetitions.

    Raises:
        Unsaid: the pattern uses something that is not supported.
    """
    reader = _Reader(pattern, spell, longest)
    node = reader.alternatives(0)
    if reader.pos < len(pattern):
        raise Unsaid("a bracket without an opening one")
    return node


def _ambiguous(item: Node, high: int) -> bool:
    """Whether repeating `item` could split one text in very many ways, which an engine would all keep in memory."""
    items = item.items if isinstance(item, Seq) else (item,)
    fixed = [part for part in items if isinstance(part, Chars | Lit)]
    loops = [part for part in walk(item) if isinstance(part, Repeat) and part.high != part.low]
    if not fixed:
        return bool(loops) or item == EMPTY
    outside = union(*map(_characters, fixed))
    return high > 8 and any(common(outside, _characters(inner)) for loop in loops for inner in walk(loop))


def _characters(node: Node) -> Ranges:
    match node:
        case Chars(ranges):
            return ranges
        case Lit(text):
            return each(text)
        case _:
            return ()


def _single(character: str) -> Ranges:
    return ((ord(character), ord(character)),)


class _Reader:
    def __init__(self, pattern: str, spell: Callable[[Ranges], Node | None], longest: int) -> None:
        self.pattern = pattern
        self.pos = 0
        self._spell = cache(spell)
        self._longest = longest

    def alternatives(self, depth: int) -> Node:
        """The text up to the closing bracket or the end."""
        if depth > _DEEPEST:
            raise Unsaid("groups nested too deep")
        branches = [self._branch(depth)]
        while self._take("|"):
            branches.append(self._branch(depth))
        return alt(*branches)

    def _branch(self, depth: int) -> Node:
        items: list[Node] = []
        if depth == 0 and not self._take("^"):
            items.append(repeat(self._one(ALL), 0, self._longest))
        while self.pos < len(self.pattern) and self.pattern[self.pos] not in "|)":
            if depth == 0 and self.pattern[self.pos] == "$" and self.pattern[self.pos + 1 : self.pos + 2] in ("", "|"):
                self.pos += 1
                return seq(*items)
            items.append(self._repeated(self._atom(depth)))
        if depth == 0:
            items.append(repeat(self._one(ALL), 0, self._longest))
        return seq(*items)

    def _atom(self, depth: int) -> Node:
        character = self._next()
        if character == "(":
            kind = _GROUP.match(self.pattern, self.pos)
            if not kind:
                raise Unsaid("a lookahead, a lookbehind, or a group with flags")
            self.pos = kind.end()
            node = self.alternatives(depth + 1)
            if not self._take(")"):
                raise Unsaid("an unclosed group")
            return node
        if character == "[":
            return self._one(self._class())
        if character == ".":
            return self._one(minus(ALL, each("\n\r\u2028\u2029")))
        if character == "\\":
            return self._one(self._escape())
        if character in "^$":
            raise Unsaid(f"{character} in the middle")
        if character in "*+?{":
            raise Unsaid(f"{character} without something to repeat")
        return self._one(_single(character))

    def _repeated(self, item: Node) -> Node:
        character = self.pattern[self.pos : self.pos + 1]
        if not character or character not in "*+?{":
            return item
        low, high = {"*": (0, self._longest), "+": (1, self._longest), "?": (0, 1)}.get(character, (0, 0))
        if character == "{":
            times = _TIMES.match(self.pattern, self.pos)
            if not times:
                raise Unsaid("{ that is not a repetition count")
            low = int(times[1])
            high = int(times[3]) if times[3] else max(low, self._longest) if times[2] else low
            self.pos = times.end()
        else:
            self.pos += 1
        if low > high or high > LONGEST_REPEAT:
            raise Unsaid(f"{low} to {high} times")
        self._take("?")
        if self.pattern[self.pos : self.pos + 1] in ("*", "+", "?", "{"):
            raise Unsaid("a repetition of a repetition")
        if high > 1 and _ambiguous(item, high):
            raise Unsaid("nested repetitions that cannot be separated")
        return repeat(item, low, high)

    def _class(self) -> Ranges:
        negated = self._take("^")
        members: list[Ranges] = []
        while not self._take("]"):
            member = self._member()
            if self.pattern[self.pos : self.pos + 1] == "-" and self.pattern[self.pos + 1 : self.pos + 2] not in ("]", ""):
                self.pos += 1
                last = self._member()
                if len(member) != 1 or len(last) != 1 or member[0][0] > last[0][1]:
                    raise Unsaid("a range without two valid ends")
                member = ((member[0][0], last[0][1]),)
            members.append(member)
        inside = union(*members)
        return minus(ALL, inside) if negated else inside

    def _member(self) -> Ranges:
        character = self._next()
        return self._escape() if character == "\\" else _single(character)

    def _escape(self) -> Ranges:
        code = _CODE.match(self.pattern, self.pos)
        if code:
            self.pos = code.end()
            return each(chr(int(code[1] or code[2], 16)))
        character = self._next()
        if character in _CLASSES:
            return _CLASSES[character]
        if character in _CONTROLS:
            return each(_CONTROLS[character])
        if character.isalnum():
            raise Unsaid(f"\\{character}")
        return each(character)

    def _one(self, ranges: Ranges) -> Node:
        node = self._spell(ranges)
        if node is None:
            raise Unsaid("a character that is not allowed here")
        return node

    def _next(self) -> str:
        if self.pos == len(self.pattern):
            raise Unsaid("it is not complete")
        self.pos += 1
        return self.pattern[self.pos - 1]

    def _take(self, character: str) -> bool:
        if self.pattern.startswith(character, self.pos):
            self.pos += 1
            return True
        return False
