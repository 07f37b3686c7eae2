"""Where in the output the parts of a reply lie: each row of the examples, and any way of damaging them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools import get_format
from gemma_tools.inspection import inspect
from gemma_tools.inspection.spans import spans
from support.outputs import TOOLS
from support.replies import parser_of, rows


def squeezed(text: str | None) -> str:
    """Without white space, some of which parsers leave out or add, and without what breaks a spelling."""
    return "".join((text or "").split()).replace("\u2060", "")


@pytest.mark.parametrize("name", ["functiongemma", "gemma3", "gemma4"])
def test_the_parts_are_those_of_the_reply(name: str) -> None:
    for row in rows(name):
        parser = parser_of(name, row, "schema" if row.get("level") == "eager" else None)
        output = row["output"]
        found = spans(parser, output, row.get("finish", "stop"))
        reply = parser.reply
        for kind, said in (("content", reply.content), ("thought", reply.reasoning)):
            text = "".join(output[span.start : span.end] for span in found if span.kind == kind)
            assert squeezed(text) == squeezed(said), row["name"]
        assert [index for span in found for index in span.calls] == list(range(len(reply.tool_calls))), row["name"]
        assert all(a.end <= b.start for a, b in pairwise(found)), row["name"]
        for problem in reply.problems:
            if problem.text and problem.start is not None and problem.end is not None:
                for span in found:
                    apart = span.end <= problem.start or problem.end <= span.start
                    assert apart or span.kind == "call", row["name"]


@given(name=st.sampled_from(["functiongemma", "gemma3", "gemma4"]), data=st.data())
def test_all_of_the_output_is_shown_in_order(name: str, data: st.DataObject) -> None:
    format = get_format(name, recovery=data.draw(st.sampled_from(["strict", "schema", "eager"])))
    pieces = [
        *format.controls,
        "call:ping{}",
        "[ping()]",
        'ping({"a": 1})',
        '{"name": "ping", "arguments": {}}',
        "```",
        "\n",
        "a b",
    ]
    output = "".join(data.draw(st.lists(st.sampled_from(pieces) | st.text(max_size=3), max_size=12)))
    request: dict[str, Any] = {"messages": [{"role": "user", "content": "go"}], "tools": TOOLS}
    shown = inspect(request, output, format=format).output
    assert shown is not None
    assert "".join(piece.text for part in shown.parts for piece in part.pieces) == output
    numbers = [number for part in shown.parts for piece in part.pieces for number in piece.begins]
    placed = [view.number for view in shown.problems if view.problem.start is not None]
    assert sorted(numbers) == placed
    for view in shown.problems:
        start, end = view.problem.start, view.problem.end
        if start is not None and end is not None:
            over = "".join(
                piece.text for part in shown.parts for piece in part.pieces if view.number in piece.problems
            )  # fmt: skip
            assert over == output[start:end]
