"""The laws of parsing, for every format: chunking, nothing lost, nothing invented, no exception."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.formats import get_format
from gemma_tools.reply import ContentDelta, ReasoningDelta, Reply, ToolCallDelta, ToolCallEnded, ToolCallStarted
from support.outputs import FORMATS, TOOLS, calls, damage, lost, output, pieces, words

LEVELS = ("strict", "schema", "eager")
formats = st.builds(get_format, st.sampled_from(FORMATS), recovery=st.sampled_from(LEVELS))
tool_lists = st.sampled_from([TOOLS, TOOLS, TOOLS, [], None])
opens = st.sampled_from(["content", "content", "reasoning"])
finishes = st.sampled_from(["stop", "length"])


@st.composite
def outputs(draw, format):
    made = draw(st.lists(calls, max_size=3))
    text = output(format, made, draw(words)) if made else draw(words)
    if draw(st.booleans()):
        text = damage(format.name, text, draw(st.randoms(use_true_random=False)))
    return text


def read(format, chunks, tools, opens, finish):
    parser = format.parser(tools, opens=opens)
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return parser, events + parser.close(finish)


@given(st.data())
def test_any_way_of_cutting_the_text_gives_the_same_reply_and_the_deltas_add_up_to_it(data):
    format, tools = data.draw(formats), data.draw(tool_lists)
    text, opened, finish = data.draw(outputs(format)), data.draw(opens), data.draw(finishes)
    whole = format.parse(text, tools, opens=opened, finish=finish)
    for chunks in (list(text), pieces(text, data.draw(st.randoms(use_true_random=False)))):
        parser, events = read(format, chunks, tools, opened, finish)
        assert parser.reply == whole
        content = "".join(e.text for e in events if isinstance(e, ContentDelta))
        reasoning = "".join(e.text for e in events if isinstance(e, ReasoningDelta))
        assert ((content if content.strip() else None) if not whole.content else content) == whole.content
        assert (reasoning or None) == whole.reasoning
        arguments: dict[int, str] = {}
        for event in events:
            if isinstance(event, ToolCallDelta):
                arguments[event.index] = arguments.get(event.index, "") + event.arguments
        ended = [event.index for event in events if isinstance(event, ToolCallEnded)]
        assert [arguments[index] for index in ended] == [call.arguments_json for call in whole.tool_calls]


@given(st.data())
def test_calls_have_declared_names_complete_json_and_an_order(data):
    format, tools = data.draw(formats), data.draw(tool_lists)
    text = data.draw(outputs(format))
    parser, events = read(format, [text], tools, "content", data.draw(finishes))
    names = None if tools is None else {tool["function"]["name"] for tool in tools}
    for call in parser.reply.tool_calls:
        assert names is None or call.name in names
        assert isinstance(json.loads(call.arguments_json), dict)
    started = [event for event in events if isinstance(event, ToolCallStarted)]
    assert [event.index for event in started] == list(range(len(started)))
    if parser.reply.tool_calls and parser.reply.finish_reason != "length":
        assert parser.reply.finish_reason == "tool_calls"


@given(st.sampled_from(FORMATS), st.lists(calls, min_size=1, max_size=3), st.sampled_from(LEVELS))
def test_exact_calls_are_read_as_they_were_written_at_every_level(name, made, level):
    format = get_format(name, recovery=level)
    reply = format.parse(output(format, made), TOOLS)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == made
    assert reply.problems == ()


@given(st.sampled_from(FORMATS), st.lists(calls, min_size=1, max_size=2), st.data())
def test_a_cut_call_is_never_presented_as_finished(name, made, data):
    format = get_format(name)
    text = output(format, made)
    cut = data.draw(st.integers(0, len(text) - 1))
    reply = format.parse(text[:cut], TOOLS, finish="length")
    assert reply.finish_reason == "length"
    given_calls = [(call.name, call.arguments) for call in reply.tool_calls]
    assert given_calls == made[: len(given_calls)]


@given(st.data())
def test_without_a_call_every_letter_is_in_content_reasoning_or_a_problem(data):
    format = data.draw(formats)
    text = data.draw(outputs(format))
    reply = format.parse(text, TOOLS)
    if not reply.tool_calls:
        labels = text.count("thought\n") + text.count("thought<")
        assert not lost(format, text, reply) - Counter("thought" * labels)


@given(
    st.sampled_from(FORMATS),
    st.sampled_from(LEVELS),
    st.text(max_size=200) | st.text("<>|{}[]()`'\"\\:,=cal\n\ud800", max_size=200),
)
def test_no_text_raises(name, level, text):
    for tools in (TOOLS, [], None):
        reply = get_format(name, recovery=level).parse(text, tools)
        assert isinstance(reply, Reply)


@pytest.mark.parametrize("name", FORMATS)
def test_a_parser_that_is_closed_takes_no_more(name):
    parser = get_format(name).parser([])
    parser.close()
    with pytest.raises(ValueError, match="closed"):
        parser.feed("more")


@pytest.mark.parametrize("name", FORMATS)
def test_calls_quoted_in_code_are_prose(name):
    format = get_format(name)
    text = output(format, [("tide.level", {"port": "Brest"})])
    for quoted in (f"Write `{text}` for it.", f"Like this:\n\n~~~\n```text\n{text} and so on\n```\n"):
        reply = format.parse(quoted, TOOLS)
        assert not reply.tool_calls
        assert reply.content == quoted


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("depth", [10_000])
def test_depth_is_safe(name, depth):
    format = get_format(name)
    nested: object = "x"
    for _ in range(depth):
        nested = [nested]
    text = output(format, [("book_table", {"dishes": nested})])
    (call,) = format.parse(text, TOOLS).tool_calls
    value = call.arguments["dishes"]
    for _ in range(depth):
        (value,) = value
    assert value == "x"


def test_randomly_damaged_outputs_give_one_reply_whatever_the_cutting():
    rng = random.Random(7)
    for name in FORMATS:
        format = get_format(name)
        text = output(format, [("book_table", {"name": "Ann", "guests": 4, "dishes": ["a", "b"]}), ("ping", {})], "Sure.")
        for _ in range(300):
            hurt = damage(name, text, rng)
            whole = format.parse(hurt, TOOLS)
            for chunks in (list(hurt), pieces(hurt, rng)):
                assert read(format, chunks, TOOLS, "content", "stop")[0].reply == whole, hurt
