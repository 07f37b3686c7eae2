"""Model outputs for tests: valid ones as a format's own writer prints them, and damaged ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from gemma_tools.formats import get_format
from gemma_tools.formats.base import Format
from gemma_tools.reply import Reply

FORMATS = ("functiongemma", "gemma4", "gemma3")

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "book_table",
            "description": "Reserve a table.",
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "guests": {"type": "integer"},
                    "budget": {"type": "number"},
                    "outside": {"type": "boolean"},
                    "dishes": {"type": "array", "items": {"type": "string"}},
                    "contact": {"type": "object", "properties": {"phone": {"type": "string"}, "vip": {"type": "boolean"}}},
                    "note": {"type": ["string", "null"]},
                },
                "required": ["name"],
            },
        },
    },
    {
        "type": "function",
        "function": {"name": "tide.level", "parameters": {"type": "object", "properties": {"port": {"type": "string"}}}},
    },
    {"type": "function", "function": {"name": "ping"}},
]

words = st.text("abz XYZ.,:;-_'\"`\\/{}[]()<>|=#\n\t0123456789éß東😀", max_size=24).filter(lambda text: '<|"|>' not in text)
"""Text without special tokens, full of what the notations use themselves."""

_contact = st.fixed_dictionaries({}, optional={"phone": words, "vip": st.booleans()})
_bookings = st.fixed_dictionaries(
    {"name": words},
    optional={
        "guests": st.integers(),
        "budget": st.floats(allow_nan=False, allow_infinity=False),
        "outside": st.booleans(),
        "dishes": st.lists(words, max_size=3),
        "contact": _contact,
        "note": st.none() | words,
    },
)
calls = st.one_of(
    st.tuples(st.just("book_table"), _bookings),
    st.tuples(st.just("tide.level"), st.fixed_dictionaries({"port": words})),
    st.tuples(st.just("ping"), st.just({})),
)
"""A call of one of `TOOLS`: its name and its arguments, typed as the schema says."""


def output(format: Format, made: list[tuple[str, dict[str, Any]]], text: str = "") -> str:
    """What a model that writes the exact notation would generate: `text`, then the calls."""
    tool_calls = [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(made)
    ]
    message = {"role": "assistant", "content": text, "tool_calls": tool_calls}
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in tool_calls]
    user = {"role": "user", "content": "go"}
    before = format.render([user]).text
    prompt = format.render([user, message, *results], add_generation_prompt=False).text
    rest = prompt[len(before) :]
    end = rest.index(_BEHIND_CALLS[format.name])
    return rest[:end]


_BEHIND_CALLS = {"functiongemma": "<start_function_response>", "gemma4": "<|tool_response>", "gemma3": "<end_of_turn>"}

_MARKS = {
    name: [
        *get_format(name).controls,
        "call:",
        "thought\n",
        "```",
        "```json\n",
        "`",
        "\n",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        '"',
        ",",
        ":",
        "=",
        "\ud800",
    ]
    for name in FORMATS
}


def _cut_out(text: str, random: random.Random, _: list[str]) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + text[at + random.randrange(1, 12) :]


def _put_in(text: str, random: random.Random, marks: list[str]) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + random.choice(marks) + text[at:]


def _double(text: str, random: random.Random, _: list[str]) -> str:
    at = random.randrange(len(text) + 1)
    end = at + random.randrange(1, 30)
    return text[:end] + text[at:]


def _swap_mark(text: str, random: random.Random, marks: list[str]) -> str:
    return text.replace(random.choice(marks), random.choice(["", *marks]), 1)


def _truncate(text: str, random: random.Random, _: list[str]) -> str:
    return text[: random.randrange(len(text) + 1)]


_DAMAGES: list[Callable[[str, random.Random, list[str]], str]] = [_cut_out, _put_in, _double, _swap_mark, _truncate]


def damage(format_name: str, text: str, random: random.Random) -> str:
    """`text` hurt in one to three places, in the ways that models and engines hurt it."""
    for _ in range(random.randrange(1, 4)):
        text = random.choice(_DAMAGES)(text, random, _MARKS[format_name])
    return text


def pieces(text: str, random: random.Random) -> list[str]:
    """`text` cut anywhere."""
    cut: list[str] = []
    while text:
        size = random.randrange(1, 10)
        cut.append(text[:size])
        text = text[size:]
    return cut


def letters(text: str) -> Counter[str]:
    return Counter(c for c in text if c.isalpha())


def lost(format: Format, text: str, reply: Reply) -> Counter[str]:
    """Letters of `text` that are neither said, nor in a problem, nor part of a call or a special token."""
    shown = letters("".join([reply.content or "", reply.reasoning or "", *(problem.text for problem in reply.problems)]))
    for token in format.controls:
        text = text.replace(token, " ")
    return letters(text) - shown
