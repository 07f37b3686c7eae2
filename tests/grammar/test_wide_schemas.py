"""Grammars and declarations cost work in proportion to the schemas, whatever these hold much of."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from gemma_tools.formats import get_format
from gemma_tools.formats.base import Format
from support.wide_schemas import BRANCHED, WIDE
from support.work import more_than_linear

NOTATIONS = ("gbnf", "lark", "ebnf")
FORMATS = ("functiongemma", "gemma3", "gemma4")
ALL = "GEMMA_TOOLS_EXAMPLES" in os.environ
WAYS = [(name, NOTATIONS if ALL else (own,)) for name, own in zip(FORMATS, NOTATIONS, strict=True)]
"""Each notation is printed for one format, and so each format is tried with one; `nox -s laws` tries all with all."""
SIZE = 16


def make(format: Format, parameters: Mapping[str, Any], *notations: str) -> None:
    """The declaration that is made of a tool's schema, and its grammar in these notations."""
    tools = [{"type": "function", "function": {"name": "tool", "parameters": parameters}}]
    grammar = format.grammar(tools, tool_choice="required")
    assert all(getattr(grammar, notation) for notation in notations)
    assert format.render([{"role": "user", "content": "x"}], tools).text


@pytest.mark.parametrize("wide", WIDE.values(), ids=WIDE)
@pytest.mark.parametrize(("name", "notations"), WAYS)
def test_work_grows_with_the_schema(name: str, notations: tuple[str, ...], wide: Callable[[int], dict[str, Any]]) -> None:
    format = get_format(name)
    makes = [partial(make, format, wide(SIZE * times), *notations) for times in (1, 2, 4)]
    assert more_than_linear(*makes, slack=40 * SIZE) is None


LARGE = {
    "required names without properties": 60_000,
    "required properties": 5_000,
    "enum": 40_000,
    "pattern of alternatives": 10_000,
    "allOf of closed objects": 5_000,
}
"""Sizes at which looking through what was seen before, once for each part, would take minutes."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("wide", "size"), LARGE.items())
def test_a_large_schema_is_read_in_seconds(wide: str, size: int) -> None:
    make(get_format("gemma3"), WIDE[wide](size), "gbnf")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("branched", BRANCHED.values(), ids=BRANCHED)
def test_what_is_shown_next_to_many_branches_is_read_in_seconds(branched: Callable[[int], dict[str, Any]]) -> None:
    make(get_format("functiongemma"), branched(3_000), "lark")
