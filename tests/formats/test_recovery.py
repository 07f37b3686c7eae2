"""Level eager: calls in other notations, by strategy; and the record of attempts."""

from __future__ import annotations

import json
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.bench import Gemma4ToolParser
from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.formats.strategies import NAMING, OtherNotation
from gemma_tools.reply import ContentDelta, Problem
from support.outputs import FORMATS, lost

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "read_file",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "lines": {"type": "integer"}},
                "required": ["path"],
            },
        },
    },
    {
        "type": "function",
        "function": {"name": "list_dir", "parameters": {"type": "object", "properties": {"dir": {"type": "string"}}}},
    },
]

NOTATIONS = {
    '```json\n{"name": "read_file", "arguments": {"path": "a.py"}}\n```': "json_block",
    'Sure: {"tool_name": "read_file", "arguments": {"path": "a.py"}}': "json_block",
    '{"function": "read_file", "arguments": "{\\"path\\": \\"a.py\\"}"}': "json_block",
    '[{"name": "read_file", "args": {"path": "a.py"}}]': "json_block",
    '{"tool_calls": [{"id": "x", "function": {"name": "read_file", "arguments": {"path": "a.py"}}}]}': "json_block",
    'I call read_file({"path": "a.py"}) now.': "regex",
    'Then call read_file({"path": "a.py"})': "regex",
    '[tool_call] read_file: {"path": "a.py"}': "regex",
    '[function_call] read_file: {"path": "a.py"}': "regex",
    '[function_call] read_file {"path": "a.py"}': "regex",
    'With read_file I would use {"path": "a.py"} here.': "fallback",
    '{"path": "a.py"}': "inference",
}


@pytest.mark.parametrize("text", NOTATIONS)
@pytest.mark.parametrize("name", ["functiongemma", "gemma4"])
def test_eager_reads_other_notations(name, text):
    reply = get_format(name, recovery="eager").parse(text, TOOLS)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("read_file", {"path": "a.py"})]
    assert reply.finish_reason == "tool_calls"
    assert reply.problems[-1].kind == NOTATIONS[text]


@pytest.mark.parametrize("level", ["strict", "schema"])
@pytest.mark.parametrize("text", NOTATIONS)
@pytest.mark.parametrize("name", ["functiongemma", "gemma4"])
def test_the_levels_below_leave_them_alone_and_say_who_would_read_them(name, text, level):
    reply = get_format(name, recovery=level).parse(text, TOOLS)
    assert (reply.content, reply.tool_calls, reply.finish_reason) == (text, (), "stop")
    if NOTATIONS[text] == "inference":  # an answer in JSON that names no tool is an answer
        assert reply.problems == ()
        return
    (problem,) = reply.problems
    assert (problem.kind, problem.message) == ("unread_call", 'level "eager" would read a call of read_file')
    (recovered,) = get_format(name, recovery="eager").parse(text, TOOLS).problems
    assert (problem.start, problem.end) == (recovered.start, recovered.end)


@pytest.mark.parametrize("name", FORMATS)
def test_incomplete_text_without_a_declared_tool_is_not_unread(name):
    format = get_format(name)
    for text in (
        '{"name": "Ann", "arguments": {"for": "x"}}',
        'In code: f({"path": "a"})',
        "I know read_file {and} list_dir (both).",
        '{"read_file": {"path": "a"}}',
        'Use `read_file({"path": "a"})` for that.',
        'They are {"name": "read_file", "parameters": {"type": "object"}}.',
    ):
        assert format.parse(text, TOOLS).problems == (), text
        assert format.parse(text, []).problems == (), text
    call = 'So: {"name": "read_file", "arguments": {"path": "a.py"}} it is'
    assert [p.kind for p in format.parse(call, TOOLS).problems] == ["unread_call"]
    assert format.parse(call, []).problems == ()
    assert format.parse(call, TOOLS, finish="length").problems == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("functiongemma", "call:list_dir{}"),
        ("gemma4", "call:list_dir{}"),
        ("gemma3", "list_dir()"),
    ],
)
def test_level_strict_names_the_level_that_would_read_a_repaired_call(name, text):
    reply = get_format(name, recovery="strict").parse(text, TOOLS)
    assert (reply.content, reply.tool_calls) == (text, ())
    assert [(p.kind, p.message) for p in reply.problems] == [("unread_call", 'level "schema" would read a call of list_dir')]
    (call,) = get_format(name).parse(text, TOOLS).tool_calls
    assert call.arguments == {}


@pytest.mark.parametrize("name", FORMATS)
def test_eager_gates_by_the_declared_tools(name):
    format = get_format(name, recovery="eager")
    for text in ('{"name": "rm", "arguments": {"where": "/"}}', 'rm({"where": "/"})', '{"dir": "a", "path": "b"}', "{}"):
        assert format.parse(text, TOOLS).tool_calls == ()
        assert format.parse(text, []).tool_calls == ()


def test_an_id_that_the_model_wrote_is_kept():
    text = '[{"id": "abc", "type": "function", "function": {"name": "list_dir", "arguments": {"dir": "."}}}]'
    (call,) = get_format("gemma4", recovery="eager").parse(text, TOOLS).tool_calls
    assert call.id == "abc"


def test_two_tools_that_fit_are_none():
    tools = [{"function": {"name": name, "parameters": {"properties": {"q": {"type": "string"}}}}} for name in ("a", "b")]
    assert get_format("gemma4", recovery="eager").parse('{"q": "x"}', tools).tool_calls == ()


def test_a_call_of_an_undeclared_name_goes_to_the_one_tool_that_it_fits():
    text = '<|tool_call>call:open_file{lines:3,path:<|"|>a.py<|"|>}<tool_call|>'
    assert get_format("gemma4").parse(text, TOOLS).tool_calls == ()
    (call,) = get_format("gemma4", recovery="eager").parse(text, TOOLS).tool_calls
    assert (call.name, call.arguments) == ("read_file", {"lines": 3, "path": "a.py"})


def test_arguments_are_typed_by_the_schema():
    text = '{"name": "read_file", "arguments": {"path": "a", "lines": "12"}}'
    (call,) = get_format("gemma4", recovery="eager").parse(text, TOOLS).tool_calls
    assert call.arguments == {"path": "a", "lines": 12}


def test_a_call_that_was_begun_and_could_not_be_read_is_not_a_success():
    parser = get_format("gemma4", recovery="eager").parser(TOOLS)
    parser.feed("<|tool_call>call:read_file{path}<tool_call|>")
    parser.close()
    assert [(attempt.strategy, attempt.error) for attempt in parser.attempts] == [("native", "no call found")]


def test_a_cut_answer_is_not_recovered():
    reply = get_format("gemma4", recovery="eager").parse(
        '{"name": "read_file", "arguments": {"path": "a"}}', TOOLS, finish="length"
    )
    assert (reply.tool_calls, reply.finish_reason) == ((), "length")


CALL = '{"name": "read_file", "arguments": {"path": "a.py"}}'
READ = 'read_file({"path": "a.py"})'

SHOWN = [
    f"Write `{READ}` to see it.",
    f"- `{READ}`\n- `list_dir({{}})`",
    f"The log says:\n\n```output\n{CALL}\n```\n",
    f"It ran:\n~~~bash\n{READ}\n~~~",
    f"You wrote:\n\n> {CALL}\n\nDid you mean that?",
    f"> ```json\n> {CALL}\n> ```",
    f"```text\nnot closed\n{CALL}",
    f"```yaml\na: ```\n{CALL}\n```",
    'I have {"name": "read_file", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}.',
]


@pytest.mark.parametrize("text", SHOWN)
@pytest.mark.parametrize("name", ["functiongemma", "gemma4"])
def test_what_is_only_shown_is_not_a_call(name, text):
    reply = get_format(name, recovery="eager").parse(text, TOOLS)
    assert (reply.content, reply.tool_calls, reply.problems) == (text, (), ())


WRITTEN = {
    f"`{READ}`": None,
    f"```\n{READ}\n```": None,
    f"~~~json\n{CALL}\n~~~\nDone.": "\nDone.",
    f"First:\n```json\n{CALL}\n{CALL}\n```\nDone.": "First:\n\nDone.",
    f"```JSON\n{CALL} or so\n```": "```JSON\n or so\n```",
    f"Sure: ```json {CALL}``` there.": "Sure:  there.",
    f"It's `odd, but {CALL}": "It's `odd, but ",
    f"Use `it` and ``it`s``: {CALL}": "Use `it` and ``it`s``: ",
    f"```tool_code\n{CALL}": None,
    f"`open\n{CALL}\nshut`": "`open\n\nshut`",
    CALL.replace("a.py", "```\\n`a`.py"): None,
    "```json\n" + CALL.replace("a.py", "```a.py") + "\n```": None,
}


@pytest.mark.parametrize("text", WRITTEN)
def test_calls_in_code_are_read_and_the_marks_go_with_them(text):
    reply = get_format("gemma4", recovery="eager").parse(text, TOOLS)
    assert [call.name for call in reply.tool_calls] == ["read_file"] * (text.count(CALL) or 1)
    assert reply.content == WRITTEN[text]


def test_a_name_has_a_letter_where_any_name_goes():
    format = get_format("gemma4", recovery="eager")
    for text in ('{"name": "", "arguments": {}}', '{"name": "--", "arguments": {}}', '[tool_call] : {"a": 1}', '_({"a": 1})'):
        assert format.parse(text).tool_calls == (), text


def test_recovered_calls_say_where_they_are():
    call = '[{"name": "read_file", "arguments": {"path": "a"}}, {"name": "list_dir", "arguments": {}}]'
    text = f"<|channel>thought\nHm.<channel|>Sure: {call} ok"
    reply = get_format("gemma4", recovery="eager").parse(text, TOOLS)
    places = [(p.index, p.text, p.start, p.end) for p in reply.problems]
    start = text.index(call)
    assert places == [(0, call, start, start + len(call)), (1, "", start, start + len(call))]
    assert reply.content == "Sure:  ok"


def test_a_place_that_is_not_certain_is_not_reported():
    text = f"<|channel>thought\n{CALL}<channel|>{CALL}"
    (problem,) = get_format("gemma4", recovery="eager").parse(text, TOOLS).problems
    assert (problem.kind, problem.text, problem.start, problem.end) == ("json_block", CALL, None, None)


def test_a_refused_call_in_native_tags_that_is_another_notation():
    text = f"<|tool_call>{CALL}<tool_call|>"
    reply = get_format("gemma4", recovery="eager").parse(text, TOOLS)
    assert [call.arguments for call in reply.tool_calls] == [{"path": "a.py"}]


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_max_calls_bounds_recovered_calls_and_the_rest_is_a_problem(cut):
    other = CALL.replace("a.py", "b.py")
    for text, most, kept, content, rest in (
        (f"One {CALL} two {other} done", 1, 1, "One ", f" two {other} done"),
        (f"One {CALL} two {other} done", 2, 2, "One  two ", " done"),
        (f"One {CALL} two {other} done", 3, 2, "One  two  done", None),
        (f"[{CALL}, {other}]", 1, 1, None, f"[{CALL}, {other}]"),
        (f"```json\n{CALL}\n```\n", 1, 1, None, None),
    ):
        parser = get_format("gemma4", recovery="eager").parser(TOOLS, max_calls=most)
        for start in range(0, len(text), cut):
            parser.feed(text[start : start + cut])
        parser.close()
        reply = parser.reply
        assert [call.arguments["path"] for call in reply.tool_calls] == ["a.py", "b.py"][:kept]
        assert (reply.content or "").strip() == (content or "").strip()
        limits = [p for p in reply.problems if p.kind == "call_limit"]
        assert [p.text for p in limits] == ([] if rest is None else [rest])
        assert all(text[p.start : p.end] == p.text for p in limits)


def test_the_fifth_identical_call_in_a_row_is_dropped_and_ends_the_reading():
    format = get_format("gemma4", recovery="eager")
    reply = format.parse(f"{CALL}\n" * 4, TOOLS)
    assert (len(reply.tool_calls), {p.kind for p in reply.problems}) == (4, {"json_block"})
    reply = format.parse(f"{CALL}\n" * 7, TOOLS)
    assert len(reply.tool_calls) == 4
    assert reply.problems[-1].kind == "repeated_call"
    assert reply.problems[-1].text == f"\n{CALL}" * 3 + "\n"


scraps = st.lists(
    st.sampled_from(
        [
            CALL,
            READ,
            f"[{CALL}, {CALL}]",
            '{"path": "x"}',
            '{"list_dir": 1}',
            "list_dir ",
            "```json\n",
            "```\n",
            "~~~\n",
            "`",
            "\n> ",
            " so ",
            "\n",
            "<turn|>",
            "<end_of_turn>",
            "<|channel>thought\n",
            "<channel|>",
            '{"name": "list_dir", "arguments": {"dir"',
            "<|tool_call>call:open_file{path:a}<tool_call|>",
            "<start_function_call>call:open_file{path:a}<end_function_call>",
        ]
    ),
    max_size=9,
)


@given(st.sampled_from(FORMATS), scraps, st.sampled_from([None, 1, 2]), st.integers(1, 9))
def test_nothing_is_lost_and_places_hold_whatever_is_recovered(name, parts, most, cut):
    format, text = get_format(name, recovery="eager"), "".join(parts)
    reply = format.parse(text, TOOLS, max_calls=most)
    parser = format.parser(TOOLS, max_calls=most)
    events = [event for start in range(0, len(text), cut) for event in parser.feed(text[start : start + cut])]
    events += parser.close()
    assert parser.reply == reply
    content = "".join(event.text for event in events if isinstance(event, ContentDelta))
    assert (content if content.strip() else None) == reply.content or reply.content == content
    assert tuple(event for event in events if isinstance(event, Problem)) == reply.problems
    if any(problem.kind in get_args(OtherNotation) for problem in reply.problems):
        labels = "thought" * text.count("thought") + "json" * text.count("json")
        assert not lost(format, text, reply) - Counter(labels)
        assert most is None or len(reply.tool_calls) <= most
    for problem in reply.problems:
        if problem.text and problem.start is not None:
            assert text[problem.start : problem.end] == problem.text


@given(st.sampled_from(FORMATS), scraps)
def test_a_lower_level_reports_exactly_the_additional_named_calls_of_eager(name, parts):
    text = "".join(parts)
    lower, eager = (get_format(name, recovery=level).parse(text, TOOLS) for level in ("schema", "eager"))
    read_more = [p for p in eager.problems if p.kind in NAMING] if not lower.tool_calls else []
    refused = any(p.kind in ("unreadable", "undeclared") for p in lower.problems)
    unread = [p for p in lower.problems if p.kind == "unread_call"]
    assert bool(unread) == bool(read_more) or (refused and read_more)
    if name == "gemma4":
        bench = Gemma4ToolParser().parse(text, TOOLS)
        assert [call["function"]["arguments"] for call in bench] == [call.arguments_json for call in eager.tool_calls]


class TestToolParser:
    def test_native_notation_comes_first(self):
        parser = Gemma4ToolParser()
        text = 'Not {"name": "b", "arguments": {}} but <|tool_call>call:a{x:1}<tool_call|>'
        (call,) = parser.parse(text)
        assert call["type"] == "function"
        assert call["id"].startswith("call_")
        assert len(call["id"]) == 29
        assert call["function"] == {"name": "a", "arguments": '{"x": 1}'}
        assert parser.attempts[0].strategy == "native"

    def test_without_names_any_name_goes(self):
        (call,) = Gemma4ToolParser().parse('I will read_file({"path": "test.py"}) first.')
        assert json.loads(call["function"]["arguments"]) == {"path": "test.py"}

    def test_with_names_only_those_go(self):
        parser = Gemma4ToolParser()
        assert parser.parse('read_file({"path": "a"})', expected_tools=["other"]) == []
        assert len(parser.parse('With other, {"path": "a"}', expected_tools=["other"])) == 1
        assert [attempt.strategy for attempt in parser.attempts] == ["none", "fallback"]

    def test_every_text_is_counted(self):
        parser = Gemma4ToolParser()
        parser.parse("nothing here " * 100)
        parser.parse('[{"name": "a", "arguments": {}}, {"name": "b", "arguments": {}}]')
        result = parser.benchmark
        assert (result.total_calls, result.successful_parses, result.parallel_calls) == (2, 1, 1)
        assert result.strategies_used == {"none": 1, "json_block": 1}
        figures = result.to_dict()
        assert figures["success_rate"] == 0.5
        assert figures["error_count"] == len(figures["errors"]) == 1
        assert result.avg_parse_time_ms > 0
        report = result.format_report()
        assert report.startswith("Gemma 4 Tool Calling Benchmark")
        assert "json_block: 1" in report
        failed, first, second = parser.attempts
        assert (failed.parsed, failed.tool_name, len(failed.raw_text)) == (False, None, 500)
        assert (first.tool_name, second.tool_name) == ("a", "b")

    @pytest.mark.parametrize(
        ("text", "names", "param"),
        [
            (None, None, "response_text"),
            ("a()", "a", "expected_tools"),
            ("a()", 3, "expected_tools"),
            ("a()", [{}], "expected_tools[0].function"),
        ],
    )
    def test_what_is_not_text_and_no_name_is_refused(self, text, names, param):
        parser = Gemma4ToolParser()
        with pytest.raises(InvalidRequest) as caught:
            parser.parse(text, names)
        assert (caught.value.param, parser.attempts) == (param, [])

    def test_no_text_has_no_rate(self):
        assert Gemma4ToolParser().benchmark.to_dict()["success_rate"] == 0
