"""What chat endpoints stream is read whatever their manner: thoughts in any of their places, and calls in any pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.engines.base import ChatPiece
from gemma_tools.engines.deltas import DeltaReader
from gemma_tools.engines.thoughts import ThoughtReader
from gemma_tools.errors import EngineProtocolError

MARK = {"extra_content": {"google": {"thought": True}}}


def told(*pieces: Any) -> tuple[str, str]:
    """Content and thought of pieces: texts, or texts with fields beside them."""
    reader = ThoughtReader()
    read = [reader.feed(*(piece if isinstance(piece, tuple) else (piece, {}))) for piece in pieces]
    read.append(reader.close())
    return "".join(content for content, _ in read), "".join(thought for _, thought in read)


@pytest.mark.parametrize(
    ("pieces", "content", "thought"),
    [
        (["Yes"], "Yes", ""),
        ([("", {"reasoning_content": "Hm"}), "Yes"], "Yes", "Hm"),
        ([("", {"reasoning": "Hm"}), "Yes"], "Yes", "Hm"),
        ([("", {"reasoning": "Hm", "reasoning_content": "Hm"}), "Yes"], "Yes", "Hm"),
        ([("", {"reasoning": "Hm", "reasoning_details": [{"text": "Hm"}]}), "Yes"], "Yes", "Hm"),
        ([("", {"reasoning_details": [{"type": "reasoning.text", "text": "H"}, {"summary": "m"}]}), "Yes"], "Yes", "Hm"),
        ([("", {"reasoning": 5, "reasoning_details": ["?"]}), "Yes"], "Yes", ""),
        (["<thought>Hm</thought>\n\nYes"], "Yes", "Hm"),
        (["\n<think>Hm</think>Yes"], "Yes", "Hm"),
        ([("<thought>Hm", MARK), (", well", MARK), ("</thought>Yes", {})], "Yes", "Hm, well"),
        ([("Hm", MARK), ("Yes", {})], "Yes", "Hm"),
        ([("<thought>Hm", MARK), ("Yes", {})], "Yes", "Hm"),
        ([("<thought>Hm", MARK), ("</tho", {}), ("ught>Yes", {})], "Yes", "Hm"),
        (["<thought>Hm"], "", "Hm"),
        (["Yes <thought>no</thought>"], "Yes <thought>no</thought>", ""),
        (["<th"], "<th", ""),
        (["<b>Yes</b>"], "<b>Yes</b>", ""),
    ],
)
def test_a_thought_is_separated_from_content(pieces: list[Any], content: str, thought: str) -> None:
    assert told(*pieces) == (content, thought)


@given(
    st.lists(st.sampled_from(["<thought>", "</thought>", "<think>", "</think>", "<", "/th", ">", "a", "\n", " "])).map("".join),
    st.data(),
)
def test_any_way_of_cutting_gives_the_same(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    assert told(text[:cut], text[cut:]) == told(text) == told(*text)


def calls(*deltas: dict[str, Any]) -> ChatPiece:
    reader = DeltaReader()
    for delta in deltas:
        assert reader.feed({"tool_calls": [delta]}) == ChatPiece()
    return reader.close()


def part(arguments: Any = None, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **more}


BOTH = (("f", {"a": 1}), ("g", {"b": "x"}))


@pytest.mark.parametrize(
    "deltas",
    [
        [
            part("", "f", index=0, id="1"),
            part('{"a"', index=0),
            part(": 1}", index=0),
            part('{"b": "x"}', "g", index=1, id="2"),
        ],
        [part('{"a": 1}', "f", id="1"), part('{"b": "x"}', "g", id="2")],
        [part('{"a": 1}', "f", id=""), part('{"b": "x"}', "g", id="")],
        [part('{"a": 1}', "f", index=0), part('{"b": "x"}', "g", index=0)],
        [part('{"a": 1}', "f", index=0, id="1"), part('{"b": ', "g", index=0, id="2"), part('"x"}', index=0)],
        [part('{"a"', "f", index=0, id="1"), part(": 1}", "f", index=0, id="1"), part({"b": "x"}, "g", index=1)],
        [part('{"b', "g", index=7, id="2"), part('{"a": 1}', "f", index=3, id="1"), part('": "x"}', index=7, id="2")][::1],
    ],
)
def test_calls_are_put_together(deltas: list[dict[str, Any]]) -> None:
    assert sorted(calls(*deltas).calls, key=str) == sorted(BOTH, key=str)


def test_a_call_without_arguments() -> None:
    assert calls(part(None, "f", id="1")).calls == (("f", {}),)


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", "city:Paris", '{"a": NaN}', "[" * 100_000])
def test_arguments_that_are_not_an_object_are_kept_as_they_came(arguments: str) -> None:
    piece = calls(part(arguments, "f", id="1"))
    assert (piece.calls, piece.unread) == ((), (("f", arguments),))


@pytest.mark.parametrize("content", [5, True, {"text": "x"}, ["x"]])
def test_a_text_of_another_type_is_not_an_answer(content: Any) -> None:
    with pytest.raises(EngineProtocolError):
        DeltaReader().feed({"content": content})


def test_content_in_parts_is_text() -> None:
    assert DeltaReader().feed({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}).content == "ab"
