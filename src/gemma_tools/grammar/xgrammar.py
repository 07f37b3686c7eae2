"""Prints rules as the EBNF of xgrammar, which vLLM and SGLang use for grammars.

Special tokens are written as text: xgrammar matches the text of a token, like llama.cpp's GBNF.

The cost with a vocabulary of 262,144 tokens decides the rest. For a repetition of anything but single characters xgrammar tries
tokens one by one while the model waits (a second for each token), and a counted one is expanded when it compiles (a tenth of a
second for each count). So free text is a `TagDispatch` without tags, any text without its `excludes`; repetitions are a `Regex`
without counts; and the options of a rule, `[max_chars=40]` and `[max_tokens=512]`, set its limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from gemma_tools.grammar.bnf import Dialect, expression, literal, rule_name
from gemma_tools.grammar.charset import ALL, each, minus
from gemma_tools.grammar.nodes import (
    Alt,
    Chars,
    Free,
    Lit,
    Node,
    Raw,
    Ref,
    Repeat,
    Seq,
    alt,
    repeat,
    rewrite,
    seq,
    stopping,
    walk,
)
from gemma_tools.grammar.regex import regex, times

_LONG: Final = 8
"""Larger numbers of repetitions are not expanded."""
_ANGLE: Final = each("<")
_NAMED: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ ,:;=!@%<>'")


def print_xgrammar(bodies: Mapping[str, Node], stop: tuple[str, ...]) -> str:
    """The rules as EBNF. The rule `root` comes first, and may end with one of the tokens in `stop`."""
    return _Printer(stopping(bodies, stop)).text()


class _Printer:
    """The rules that are used, and those that only this notation needs: both are found while rules are rewritten."""

    def __init__(self, bodies: Mapping[str, Node]) -> None:
        self._bodies = bodies
        self._used = ["root"]
        self._known = {"root"}
        self._keys: dict[str, str] = {}
        self._longest: dict[str, tuple[int, int]] = {}
        self._added: dict[tuple[str, str], str] = {}

    def text(self) -> str:
        lines = [f"{rule_name(name)} ::= {_print(self._rewrite(self._bodies[name]))}\n" for name in self._used]  # which grows
        return "".join(lines) + "".join(f"{name}{options} ::= {body}\n" for (body, options), name in self._added.items())

    def _rewrite(self, node: Node) -> Node:
        return rewrite(node, self._change)

    def _change(self, node: Node) -> Node | None:
        match node:
            case Ref(name):
                return self._reference(name)
            case Repeat(Ref(name), 0, 1) if isinstance(free := self._bodies[name], Free) and free.low == 1:
                return self._free(replace(free, low=0))
            case Repeat(Chars() as item, low, int(high)) if high - low > _LONG:
                return seq(repeat(item, low, low), self._add("run", repeat(item, 0, None), f"[max_chars={high - low}]"))
            case _:
                return None

    def _reference(self, name: str) -> Node:
        body = self._bodies[name]
        if isinstance(body, Free):
            return self._free(body)
        if name.startswith("KEY"):
            return self._key(name)
        if name.startswith("PATTERN") and (word := self._pattern(body)):
            return word
        if name not in self._known:
            self._known.add(name)
            self._used.append(name)
        return Ref(name)

    def _add(self, kind: str, body: Node, options: str = "") -> Ref:
        """A rule that only this notation needs; equal ones are one."""
        return Ref(self._added.setdefault((_print(body), options), f"{kind}-{len(self._added)}"))

    def _free(self, free: Free) -> Node:
        """Free text: its minimum, then the optional rest."""
        plain = Chars(minus(free.plain, _ANGLE))
        begun = minus(plain.ranges, each("".join(spelling[1] for spelling in free.forbidden)))
        unit = alt(plain, seq(repeat(Lit("<"), 1, None), alt(Chars(begun), *free.escapes)), *free.escapes)
        if free.exact:
            # Each character counts. With the `<` at the end the limit can apply anywhere.
            needed = repeat(alt(plain, *free.escapes), free.low, free.low)
            return self._add(
                "text", _regex(seq(needed, repeat(unit, 0, None), repeat(Lit("<"), 0, None))), f"[max_chars={free.high}]"
            )
        needed = repeat(unit, free.low, free.low)
        if free.high == free.low:
            return _regex(needed)
        outside = "".join(chr(code) for low, high in minus(ALL, free.plain) for code in range(low, high + 1))
        excludes = ", ".join(literal(text, _XGRAMMAR) for text in (*free.forbidden, *outside))
        more: Node = self._add("free", Raw(f"TagDispatch(loop_after_dispatch=false, excludes=({excludes}))"))
        if free.escapes:
            more = seq(more, repeat(seq(alt(*free.escapes), more), 0, None))
        if free.high is not None:
            more = self._add("text", more, f"[max_tokens={free.high - free.low}]")
        if not free.low:
            return more
        short = seq(repeat(unit, free.low - 1, free.low - 1), repeat(Lit("<"), 1, None))
        return alt(seq(_regex(needed), more), _regex(short))

    def _key(self, name: str) -> Node:
        """A key as one regular expression, up to the length of the longest: it may accept one that should be shorter."""
        self._read_key(name)
        body = f"Regex({literal(self._keys[name], _XGRAMMAR)})"
        return self._add("word", Raw(body), f"[max_chars={self._longest[name][1]}]")

    def _read_key(self, name: str) -> None:
        """Record the expression and the lengths of the rule `name`; each rule that it uses is read once."""
        if name in self._keys:
            return
        body = self._bodies[name]
        for part in walk(body):
            if isinstance(part, Ref):
                self._read_key(part.name)
        text = regex(_endless(body), _in_regex, self._keys, apart="()")
        self._keys[name] = f"({text})" if isinstance(body, Alt) else text
        self._longest[name] = _lengths(body, self._longest)

    def _pattern(self, body: Node) -> Node | None:
        """A pattern as one regular expression; None if that cannot enforce its lengths."""
        long = [part for part in walk(body) if _is_long(part)]
        if not long:
            return _regex(body)
        least, most = _lengths(body, {})
        # Beside things of one length, the limit of the whole is that of the one repetition.
        [only] = long if len(long) == 1 else [None]
        if not (isinstance(only, Repeat) and isinstance(only.item, Chars) and most - least == (only.high or 0) - only.low):
            return None
        return self._add("word", _regex(_endless(body)), f"[max_chars={most}]")


def _is_long(node: Node) -> bool:
    return isinstance(node, Repeat) and node.high is not None and node.high - node.low > _LONG


def _endless(node: Node) -> Node:
    """The node without limits on its long repetitions."""
    return rewrite(node, lambda part: replace(part, high=None) if isinstance(part, Repeat) and _is_long(part) else None)


def _print(node: Node) -> str:
    return expression(node, _XGRAMMAR)


def _regex(node: Node) -> Raw:
    # xgrammar 0.2.8 reads `(ab+)?` as if it were `(ab+)?|b+`, and `a|a{1,2}` as `a+`; but not where branches end in `()`.
    written = regex(node, _in_regex, apart="()")
    return Raw(f"Regex({literal(written, _XGRAMMAR)})")


def _in_regex(character: str) -> str:
    return character if character in _PLAIN else f"\\u{{{ord(character):X}}}"


def _lengths(node: Node, rules: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """The minimum and maximum number of characters in a text of `node`, which uses `rules`."""
    match node:
        case Lit(text):
            return len(text), len(text)
        case Seq(items):
            inside = [_lengths(item, rules) for item in items]
            return sum(least for least, _ in inside), sum(most for _, most in inside)
        case Alt(items):
            inside = [_lengths(item, rules) for item in items]
            return min(least for least, _ in inside), max(most for _, most in inside)
        case Repeat(item, low, int(high)):
            least, most = _lengths(item, rules)
            return low * least, high * most
        case Ref(name):
            return rules[name]
        case _:
            return 1, 1


def _escape(character: str) -> str:
    # Not `\x`, which takes any number of digits there.
    code = ord(character)
    return _NAMED.get(character) or (f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}")


def _repeat(atom: str, low: int, high: int | None) -> str:
    return atom + times(low, high)


def _token(spelling: str) -> str:
    return literal(spelling, _XGRAMMAR)


_XGRAMMAR: Final[Dialect] = Dialect(token=_token, escape=_escape, repeat=_repeat)
