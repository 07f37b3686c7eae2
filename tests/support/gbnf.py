"""A small reader of llama.cpp's GBNF and of xgrammar's EBNF: what does a printed grammar take? No engine is needed.

A special token matches by its text, as in llama.cpp; there a token literal takes only the token, here also its spelling.
Of EBNF it knows what is printed: `Regex`, `TagDispatch` without tags, and the options of a rule. It counts a budget of tokens
in characters, and cuts a text where the budget ends.
"""

from __future__ import annotations

import re
from functools import cache
from random import Random
from typing import Any

_LEXEME = re.compile(
    r"""\s+|(?P<regex>Regex\("(?:[^"\\]|\\.)*"\))|(?P<free>TagDispatch\((?:[^"()]|\(|"(?:[^"\\]|\\.)*")*\)\))|(?P<name>[a-z][a-z0-9-]*)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<set>\[(?:[^\]\\]|\\.)*\])"""
    r"""|(?P<token><[^\s>]*>)|(?P<times>[?*+]|\{\d+(?:,\d*)?\})|(?P<sign>::=|[|()])""",
    re.S,
)
_ESCAPED = re.compile(r"\\(?:x([0-9A-F]{2})|u([0-9A-F]{4})|U([0-9A-F]{8})|(.))", re.S)
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_OPTION = re.compile(r"\[max_(?:chars|tokens)=(\d+)\]")
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}
_SAMPLE = "aZ09 _-.,:;<>|\"'\\{}[]()\n\té🌊bcestopn"

Node = tuple[Any, ...]
"""("alt", nodes), ("seq", nodes), ("repeat", node, low, high), ("name", rule), ("text", text), ("set", pattern),
("regex", pattern), ("free", pattern of what is excluded) or ("budget", node, characters)."""


class Gbnf:
    """A printed grammar. Raises ValueError where it is no GBNF, or a rule is missing."""

    def __init__(self, text: str) -> None:
        self._rules: dict[str, Node] = {}
        self._memo: dict[tuple[str, int], frozenset[int]] = {}
        wanted = {"root"}
        for line in text.splitlines():
            name, _, body = line.partition(" ::= ")
            option = _OPTION.search(name)
            name = name[: option.start()] if option else name
            if name in self._rules:
                raise ValueError(f"two rules {name}")
            self._lexemes = _lexemes(body)
            wanted |= {lexeme for kind, lexeme in self._lexemes if kind == "name"}
            self._rules[name] = ("budget", self._alternatives(), int(option[1])) if option else self._alternatives()
            if self._lexemes:
                raise ValueError(f"{name}: left over {self._lexemes}")
        if missing := wanted - self._rules.keys():
            raise ValueError(f"no rules {missing}")

    def takes(self, text: str) -> bool:
        """Whether the whole of `text` is in the language."""
        self._memo = {}
        return len(text) in self._ends(("name", "root"), text, 0)

    def draw(self, random: Random) -> str:
        """A text of the language. Alternatives are as likely as they are many; recursion is left by the last one."""
        out: list[str] = []
        stack: list[tuple[Node, int]] = [(("name", "root"), 0)]
        while stack:
            node, depth = stack.pop()
            kind, value = node[:2]
            if kind == "text":
                out.append(value)
            elif kind == "set":
                out.append(random.choice(_members(value)))
            elif kind == "name":
                stack.append((self._rules[value], depth + 1))
            elif kind == "seq":
                stack.extend((item, depth) for item in reversed(value))
            elif kind == "alt":
                stack.append((random.choice(value), depth))
            else:
                low, high = node[2:]
                most = low if depth > 40 else min(high, low + random.choice((0, 1, 1, 2, 5)))
                stack.extend([(value, depth)] * random.randint(low, most))
        return "".join(out)

    def _alternatives(self) -> Node:
        ways = [self._sequence()]
        while self._lexemes and self._lexemes[-1][1] == "|":
            self._lexemes.pop()
            ways.append(self._sequence())
        return ("alt", ways)

    def _sequence(self) -> Node:
        items: list[Node] = []
        while self._lexemes and self._lexemes[-1][1] not in ("|", ")"):
            item = self._item()
            if self._lexemes and self._lexemes[-1][0] == "times":
                times = self._lexemes.pop()[1]
                least, comma, most = {"?": "0,1", "*": "0,", "+": "1,"}.get(times, times.strip("{}")).partition(",")
                item = ("repeat", item, int(least), int(most or (10**9 if comma else least)))
            items.append(item)
        if not items:
            raise ValueError("an empty alternative")
        return ("seq", items)

    def _item(self) -> Node:
        kind, lexeme = self._lexemes.pop()
        if kind == "name":
            return ("name", lexeme)
        if kind == "text":
            return ("text", _plain(lexeme[1:-1]))
        if kind == "regex":
            return ("regex", re.compile(_python_regex(_plain(lexeme[7:-2])), re.S))
        if kind == "free":
            excludes = map(re.escape, map(_plain, _TEXT.findall(lexeme)))
            return ("free", re.compile("|".join(excludes)))
        if kind == "token":
            return ("text", lexeme)
        if kind == "set":
            return ("set", re.compile(_python_set(lexeme), re.S))
        if lexeme != "(":
            raise ValueError(f"unexpected {lexeme}")
        inside = self._alternatives()
        if self._lexemes.pop()[1] != ")":
            raise ValueError("an unclosed group")
        return inside

    def _ends(self, node: Node, text: str, at: int) -> frozenset[int]:
        """Where a match of `node` that begins at `at` may end."""
        kind, value = node[:2]
        if kind == "text":
            return frozenset((at + len(value),) if text.startswith(value, at) else ())
        if kind == "set":
            return frozenset((at + 1,) if value.match(text, at) else ())
        if kind == "regex":
            return frozenset(end for end in range(at, len(text) + 1) if value.fullmatch(text, at, end))
        if kind == "free":
            spelt = value.search(text, at)
            return frozenset(range(at, spelt.end() if spelt else len(text) + 1))
        if kind == "budget":
            return frozenset(end for end in self._ends(value, text, at) if end - at <= node[2])
        if kind == "name":
            known = self._memo.get((value, at))
            if known is None:
                known = self._memo[value, at] = self._ends(self._rules[value], text, at)
            return known
        if kind == "alt":
            return frozenset().union(*(self._ends(way, text, at) for way in value))
        if kind == "seq":
            reached = frozenset((at,))
            for item in value:
                reached = frozenset().union(*(self._ends(item, text, i) for i in reached))
            return reached
        low, high = node[2:]
        new, found, count = frozenset((at,)), set((at,) if low == 0 else ()), 0
        while new and count < high:
            count += 1
            new = frozenset().union(*(self._ends(value, text, i) for i in new))
            if count > low:
                new -= found
            if count >= low:
                found |= new
        return frozenset(found)


def _lexemes(body: str) -> list[tuple[str, str]]:
    pos, found = 0, []
    while pos < len(body):
        lexeme = _LEXEME.match(body, pos)
        if not lexeme:
            raise ValueError(f"unreadable: {body[pos : pos + 40]!r}")
        if lexeme.lastgroup:
            found.append((lexeme.lastgroup, lexeme[0]))
        pos = lexeme.end()
    return found[::-1]


def _plain(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        code = found[1] or found[2] or found[3]
        return chr(int(code, 16)) if code else _NAMED.get(found[4], found[4])

    return _ESCAPED.sub(one, text)


def _python_set(lexeme: str) -> str:
    inside = lexeme[1:-1]
    negated = inside.startswith("^")
    pieces = re.findall(r"\\(?:x..|u.{4}|U.{8}|.)|.", inside[negated:], re.S)
    return f"[{'^' if negated else ''}{''.join(piece if piece == '-' else re.escape(_plain(piece)) for piece in pieces)}]"


def _python_regex(pattern: str) -> str:
    """A regular expression of xgrammar in Python's words."""
    return re.sub(r"\\u\{([0-9A-F]+)\}", lambda found: re.escape(chr(int(found[1], 16))), pattern)


@cache
def _members(pattern: re.Pattern[str]) -> list[str]:
    """Some characters of a set."""
    return [c for c in _SAMPLE if pattern.match(c)] or [chr(i) for i in range(0x3000) if pattern.match(chr(i))]
