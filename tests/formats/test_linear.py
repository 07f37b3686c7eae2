"""Reading costs work in proportion to the text, whatever stands there and however it is cut.

The work is what can be counted the same way on every machine: the calls of functions, Python's and C's. What one call of a
regular expression looks at cannot be counted; for that, the worst places are read at a size where looking at a run from its
beginning for every piece, or for every character, would take minutes.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import product

import pytest

from gemma_tools.formats import get_format
from gemma_tools.formats.base import Format
from support.outputs import TOOLS
from support.work import more_than_linear

ALL = "GEMMA_TOOLS_EXAMPLES" in os.environ
"""`nox -s laws` takes all pairs of a place and a run, for each format and each way of reading.

Otherwise each way takes a third of them. FunctionGemma and Gemma 4 are read by the same code: each of the two takes a half.
"""
SIZE = {"whole": 60, "by character": 12}
TOKENS = {
    "functiongemma": {"S": "<start_function_call>", "E": "<end_function_call>", "D": "<escape>", "H": "<start_function_"},
    "gemma4": {"S": "<|tool_call>", "E": "<tool_call|>", "D": '<|"|>', "H": "<|tool_"},
    "gemma3": {},
}
BRACE_RUNS = (
    *" \t\n,`~}]):\"'<{[=x\\",
    "\r\n",
    "S",
    "E",
    "D",
    "H",
    "call:",
    "x ",
    ", ",
    ",name:",
    ",name:D",
    "}] \n",
    '\\"',
    "call:ping{}\n",
    "ping{",
    "ping{\n",
    "` ``",
    "Sx",
    "call:ping{a:'",
    "Scall:ping{a:'",
    "thought\n",
)
BRACE_PLACES = (
    "",
    "S",
    "Scall:",
    "Scall:book_table",
    "Scall:book_table{",
    "Scall:book_table{name",
    "Scall:book_table{name:",
    "Scall:book_table{name:D",
    "Scall:book_table{name:Da",
    "Scall:book_table{name:D{DaD:",
    "Scall:book_table{name:a",
    "Scall:book_table{guests:1",
    'Scall:book_table{name:"',
    "Scall:book_table{dishes:[",
    "Scall:book_table{dishes:[Da",
    "Scall:book_table{contact:{",
    'Scall:book_table{"',
    "Scall:ping{}",
    "Scall:ping{}E",
    "Scall:nobody{a:",
    "call:ping",
    "call:ping{",
    "call:ping{}",
    "so ping{",
    "`a",
    "```\n",
    "thought\n",
    "<|channel>",
    "<|channel>thought",
)
LITERAL_RUNS = (
    *" \t\n,`~()[]{}:='\"\\<x",
    " \n",
    ", ",
    "\\'",
    "```\n",
    "~~~\n",
    "', ",
    "', name=",
    "'a, ",
    "'x', 'y', ",
    "ping()\n",
    "ping(), ",
    "[ping(",
    "\n[ping(",
    " [ping(",
    "print(\n",
    " [book_table(name='",
    '{"id": ',
    '\n{"id": "a',
    '{"function": {',
    "<tool_call>",
    "</tool_call>",
    "<end_of",
    "> ",
)
LITERAL_PLACES = (
    "",
    "x ",
    "[",
    "[ping(",
    "[ping()",
    "ping()",
    "[book_table(name=",
    "[book_table(name='",
    "[book_table(name=a",
    "[book_table(dishes=['a",
    "[book_table(contact={",
    " [book_table(name='",
    '{"name": "book_table", "parameters": {',
    '{"name": "book_table", "parameters": {"name": "',
    '{"name": "book_table", "parameters": "',
    '{"id": ',
    '{"a": ',
    "```\n",
    "```\nping()",
    "<tool_call>",
)
TABLES = {
    "functiongemma": (BRACE_PLACES, BRACE_RUNS),
    "gemma4": (BRACE_PLACES, BRACE_RUNS),
    "gemma3": (LITERAL_PLACES, LITERAL_RUNS),
}


HALVES = {"functiongemma": (0,), "gemma4": (1,), "gemma3": (0, 1)}


def written(name: str, text: str) -> str:
    """`text` with the tokens of the format for the capital letters."""
    return "".join(TOKENS[name].get(c, c) for c in text)


def read(format: Format, text: str, size: int) -> None:
    """Read `text` in pieces of `size`."""
    parser = format.parser(TOOLS)
    for start in range(0, len(text), size):
        parser.feed(text[start : start + size])
    parser.close()


@pytest.mark.parametrize(
    ("way", "level", "cut"), [(0, "schema", "whole"), (1, "schema", "by character"), (2, "strict", "whole")]
)
@pytest.mark.parametrize("name", list(TOKENS))
def test_work_grows_with_the_text(name: str, way: int, level: str, cut: str) -> None:
    format = get_format(name, recovery=level)
    for first in ('Scall:book_table{name:"a",dishes:[a]}E', "[book_table(name='a', dishes=['a'])]"):
        read(format, written(name, first), 1)  # patterns are compiled when first used
    wrong, size = [], SIZE[cut]
    for (row, place), (column, run) in product(*map(enumerate, TABLES[name])):
        if not (ALL or ((row + column + way) % 3 == 0 and (row + column // 3) % 2 in HALVES[name])):
            continue
        count = max(4, size // len(run))
        texts = [written(name, place + run * (count * times)) for times in (1, 2, 4)]
        reads = [partial(read, format, text, len(text) if cut == "whole" else 1) for text in texts]
        if counts := more_than_linear(*reads, slack=4 * size):
            wrong.append((place, run, counts))
    assert wrong == []


LONG = 200_000
BRACE_WORST = (
    ("S", "\n"),
    ("S", " "),
    ("S", ","),
    ("Scall:book_table{name:", " "),
    ("Scall:book_table{name:D", " }"),
    ("Scall:ping{}", " "),
    ("call:ping{}", " "),
    ("", "`"),
    ("", " "),
)
LITERAL_WORST = (
    ("[ping(", " "),
    ("[ping()", " "),
    ("ping()", "\n"),
    ("[book_table(name=", " "),
    ("[book_table(name='", "x"),
    ("[book_table(name='", " }"),
    ("[book_table(name='a'", " "),
    ("", "~"),
    ("", " "),
)
WORST = [
    *(("functiongemma", *worst) for worst in BRACE_WORST[:: 1 if ALL else 2]),
    *(("gemma4", *worst) for worst in (BRACE_WORST if ALL else BRACE_WORST[1::2])),
    *(("gemma3", *worst) for worst in LITERAL_WORST),
]
"""Runs that a look ahead passes over in one step."""


@pytest.mark.timeout(90)
@pytest.mark.parametrize(("name", "place", "run"), WORST)
def test_a_run_is_looked_at_once(name: str, place: str, run: str) -> None:
    text = written(name, place) + run * (LONG // len(run))
    parser = get_format(name).parser(TOOLS)
    parser.feed(text)
    for _ in range(LONG):
        parser.feed(run[0])
    parser.close()
    assert len(parser.reply.tool_calls) <= 1
