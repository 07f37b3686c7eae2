"""Each example of `tests/data/replies`: read whole, character by character and in pieces, it gives what the row says."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import get_args

import pytest

from gemma_tools.reply import (
    ContentDelta,
    Event,
    Problem,
    ProblemKind,
    ReasoningDelta,
    Reply,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from support.outputs import FORMATS, pieces
from support.replies import Row, parser_of, rows

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recovery.md"
ROWS = [pytest.param(name, row, id=f"{name}: {row['name']}") for name in FORMATS for row in rows(name)]


def read(name: str, row: Row, chunks: Sequence[str], level: str | None = None) -> tuple[list[Event], Reply]:
    parser = parser_of(name, row, level)
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events + parser.close(row.get("finish", "stop")), parser.reply


def check_reply(row: Row, reply: Reply) -> None:
    assert [[call.name, call.arguments] for call in reply.tool_calls] == row.get("calls", [])
    # True is 1 to Python, and 1 is 1.0; to JSON they are not.
    assert json.dumps([call.arguments for call in reply.tool_calls]) == json.dumps([made[1] for made in row.get("calls", [])])
    if "written" in row:
        assert [call.arguments_json for call in reply.tool_calls] == row["written"]
    assert (reply.content, reply.reasoning) == (row.get("content"), row.get("reasoning"))
    assert reply.finish_reason == row.get("finish_reason", "stop")
    assert sorted(problem.kind for problem in reply.problems) == sorted(row.get("kinds", []))
    if "kept" in row:
        assert [problem.text for problem in reply.problems if problem.text] == row["kept"]
    if "where" in row:
        assert [row["output"][problem.start : problem.end] for problem in reply.problems] == row["where"]


def check_problems(row: Row, reply: Reply) -> None:
    for problem in reply.problems:
        assert re.match(r"[a-z'\"<\[]", problem.message)
        assert problem.start is not None
        assert problem.end is not None
        assert 0 <= problem.start <= problem.end <= len(row["output"])
        if problem.kind in INSIDE and len(reply.tool_calls) == 1:
            assert problem.index == 0
        if problem.text:
            assert row["output"][problem.start : problem.end] == problem.text


INSIDE = {
    "brackets_twice",
    "bracket_kind",
    "delimiter_in_string",
    "delimiter_missing",
    "delimiter_stray",
    "equals",
    "key_bare",
    "key_quoted",
    "key_twice",
    "literal",
    "positional",
    "quote_in_string",
    "quotes",
    "round_brackets",
    "spread",
    "string_bare",
    "string_open",
    "type",
    "value_missing",
    "white_space",
}
"""What is mended inside a call, and belongs to it."""


def check_events(events: list[Event], reply: Reply) -> None:
    """The events add up to the reply: calls one after another, each begun before its pieces, each piece before its end."""
    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == (reply.reasoning or "")
    assert "".join(event.text for event in events if isinstance(event, ContentDelta)).strip() == (reply.content or "").strip()
    assert [event for event in events if isinstance(event, Problem)] == list(reply.problems)
    called = [event for event in events if isinstance(event, ToolCallStarted | ToolCallDelta | ToolCallEnded)]
    complete = []
    for index, (_, group) in enumerate(groupby(called, lambda event: event.index)):
        started, *rest = group
        assert isinstance(started, ToolCallStarted)
        assert started.index == index
        if rest and isinstance(rest[-1], ToolCallEnded):
            complete.append((started.id, started.name, "".join(event.arguments for event in rest[:-1])))
        else:
            assert all(isinstance(event, ToolCallDelta) for event in rest)
    assert complete == [(call.id, call.name, call.arguments_json) for call in reply.tool_calls]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_reply_is_what_the_row_says_however_it_is_cut(name: str, row: Row) -> None:
    events, whole = read(name, row, [row["output"]])
    check_reply(row, whole)
    check_problems(row, whole)
    check_events(events, whole)
    for chunks in (list(row["output"]), pieces(row["output"], random.Random(row["name"]))):
        events, reply = read(name, row, chunks)
        assert reply == whole
        check_events(events, reply)


AROUND = {
    "end_tag_missing",
    "stray_end_tag",
    "stray_token",
    "header",
    "after_end",
    "thought_open",
    "thought_opened_again",
    "label",
    "thought_opener_missing",
    "thought_only",
    "channel_token",
    "call_limit",
    "repeated_call",
}
"""What is reported of the text around calls at every level, because no call depends on it."""
NO_CALL = {"undeclared", "unreadable", "cut"}
ALWAYS = {
    "functiongemma": {"bracket_surplus"},
    "gemma4": {"bracket_surplus"},
    "gemma3": {"bracket_surplus", "bracket_missing", "comma_surplus", "comma_missing", "type"},
}
"""What is mended at every level: what stands between calls that are exact themselves, and what only a schema shows."""


@pytest.mark.parametrize(("name", "row"), [param for param in ROWS if "level" not in param.values[1]])
def test_level_strict_repairs_nothing_inside_a_call(name: str, row: Row) -> None:
    reply = read(name, row, [row["output"]], "strict")[1]
    assert {problem.kind for problem in reply.problems} <= AROUND | NO_CALL | ALWAYS[name] | {"unread_call"}


def documented_kinds() -> dict[str, set[str]]:
    """The kinds that docs/recovery.md lists for the parsers of each format."""
    page = PAGE.read_text("utf-8").replace("\\|", "")
    _, brace, literals, eager, _ = re.split(r"^## ", page, flags=re.MULTILINE)
    found: dict[str, set[str]] = {name: set() for name in FORMATS}
    for part, names in ((brace, FORMATS[:2]), (literals, FORMATS[2:])):
        for line in part.splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) == 6:
                for name in names[1:] if "(Gemma 4)" in cells[1] else names:
                    found[name] |= set(re.findall(r"`([a-z_]+)`", cells[3]))
    found["gemma3"] |= {"header", "after_end", "stray_token"}
    strategies = {line.split("`")[1] for line in eager.splitlines() if line.startswith("| `")}
    return {name: kinds | strategies - {"native"} for name, kinds in found.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_each_documented_kind_of_problem_has_its_rows(name: str) -> None:
    documented = documented_kinds()[name]
    assert len(documented) > 20
    assert documented <= set(get_args(ProblemKind))
    assert {kind for row in rows(name) for kind in row.get("kinds", [])} == documented


@pytest.mark.parametrize("name", FORMATS)
def test_the_names_of_rows_are_their_own(name: str) -> None:
    names = [row["name"] for row in rows(name)]
    assert len(set(names)) == len(names)
