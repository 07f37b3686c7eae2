"""What the tests of grammars share: tools, native calls, random texts of a grammar, and llguidance with a toy vocabulary."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

import llguidance

from gemma_tools.formats import get_format
from gemma_tools.grammar import Grammar
from gemma_tools.grammar.nodes import Alt, Chars, Free, Lit, Node, Ref, Repeat, Seq, Token

BRACES = ("functiongemma", "gemma4")
ALL = {
    "functiongemma": ("functiongemma", {}),
    "gemma4": ("gemma4", {}),
    "gemma3-pythonic": ("gemma3", {"tool_style": "pythonic"}),
    "gemma3-json": ("gemma3", {"tool_style": "json"}),
}
"""Every notation: a format and its options."""


def tool(name: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A tool as OpenAI declares it."""
    function = {"name": name} if parameters is None else {"name": name, "parameters": parameters}
    return {"type": "function", "function": function}


def properties(*required: str, **schemas: Any) -> dict[str, Any]:
    """The schema of an object."""
    return {"type": "object", "properties": schemas, "required": list(required)}


def write(family: str, name: str, arguments: Mapping[str, Any], **options: Any) -> str:
    """A call as the format itself writes it."""
    format = get_format(family, **options)
    call = {"id": "1", "type": "function", "function": {"name": name, "arguments": dict(arguments)}}
    text = format.turn({"role": "assistant", "content": None, "tool_calls": [call]}).split("model\n", 1)[1]
    closing = {"functiongemma": "<end_function_call>", "gemma4": "<tool_call|>", "gemma3": ""}[family]
    return text.rpartition(closing)[0] + closing if closing else text.removesuffix("<end_of_turn>\n")


class _Vocabulary:
    """Single bytes and special tokens."""

    bos_token_id = None

    def __init__(self, controls: Sequence[str]) -> None:
        self.tokens = [bytes((i,)) for i in range(256)] + [control.encode() for control in controls]
        self.special_token_ids = list(range(256, len(self.tokens)))
        self.eos_token_id = 256 + controls.index("<eos>")

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


@cache
def _tokenizer(controls: tuple[str, ...]) -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Vocabulary(controls)))


ANGLE = "\ue000"
"""Stands for a `<` that is text, also where it begins the spelling of a special token."""


def tokens(text: str, controls: tuple[str, ...]) -> list[int]:
    """The ids of `text`: special tokens where they are spelt, bytes elsewhere."""
    pieces = re.split("(" + "|".join(map(re.escape, controls)) + ")", text)
    return [
        i
        for piece in pieces
        for i in ([256 + controls.index(piece)] if piece in controls else piece.replace(ANGLE, "<").encode())
    ]


def guided(lark: str, ids: Sequence[int], controls: tuple[str, ...]) -> bool:
    """Whether llguidance takes all of `ids` under the grammar, and could end there."""
    matcher = llguidance.LLMatcher(_tokenizer(controls), lark)
    assert not matcher.get_error(), matcher.get_error()
    return matcher.try_consume_tokens(list(ids)) == len(ids) and bool(matcher.is_accepting())


def takes(grammar: Grammar, text: str) -> bool:
    """Whether llguidance takes `text`, special tokens read as such."""
    return guided(grammar.lark, tokens(text, grammar.controls), grammar.controls)


def without_controls(text: str, controls: Sequence[str]) -> str:
    """What is left of `text` when the special tokens are taken out."""
    return re.sub("|".join(map(re.escape, controls)), "", text)


def random_text(grammar: Grammar, random: Random, root: str = "root") -> str:
    """A text of the grammar, by a random walk that soon takes the short ways out."""
    depths = _depths(grammar)
    out: list[str] = []
    stack: list[tuple[Node, int]] = [(grammar.rules[root], 0)]
    while stack:
        node, depth = stack.pop()
        match node:
            case Lit(text):
                out.append(text)
            case Token(spelling):
                out.append(spelling)
            case Chars():
                out.append(_character(node, random))
            case Ref(name):
                stack.append((grammar.rules[name], depth + 1))
            case Seq(items):
                stack.extend((item, depth) for item in reversed(items))
            case Alt(items):
                if depth > 12:
                    least = min(_depth(item, depths) for item in items)
                    items = tuple(item for item in items if _depth(item, depths) == least)
                stack.append((random.choice(items), depth))
            case Repeat(item, low, high):
                most = low if depth > 12 else low + random.choice((0, 0, 1, 1, 2, 3))
                stack.extend([(item, depth)] * (most if high is None else min(most, high)))
            case Free():
                out.append(_free(node, random, grammar.controls))
    return "".join(out)


def _character(node: Chars, random: Random) -> str:
    while True:
        low, high = random.choice(node.ranges)
        character = chr(random.randint(low, min(high, low + 80) if random.random() < 0.8 else high))
        if character != ANGLE:  # which means something else to `tokens`
            return character


def _free(node: Free, random: Random, controls: Sequence[str]) -> str:
    fragments = ["a", "B", " ", "0", "é", "<", ">", "</b>", "}", ",", "\n", "call:", "🌊", *(c[:-1] for c in controls)]
    most = min(node.high if node.high is not None else 40, node.low + 40)
    while True:
        text = ""
        while len(text) < most and (len(text) < node.low or random.random() < 0.8):
            text += random.choice(fragments)
        text = text[:most] if len(text[:most]) >= node.low else "x" * node.low
        plain = all(any(low <= ord(c) <= high for low, high in node.plain) for c in text)
        if plain and not any(control in text for control in controls):
            return text


def _depths(grammar: Grammar) -> dict[str, int]:
    """How many rules deep each rule goes at the least."""
    depths = dict.fromkeys(grammar.rules, 10**6)
    changed = True
    while changed:
        changed = False
        for name, node in grammar.rules.items():
            depth = 1 + _depth(node, depths)
            if depth < depths[name]:
                depths[name], changed = depth, True
    return depths


def _depth(node: Node, depths: Mapping[str, int]) -> int:
    match node:
        case Ref(name):
            return depths[name]
        case Seq(items):
            return max((_depth(item, depths) for item in items), default=0)
        case Alt(items):
            return min(_depth(item, depths) for item in items)
        case Repeat(item, low, _):
            return _depth(item, depths) if low else 0
        case _:
            return 0
