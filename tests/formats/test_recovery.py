"""Level eager: calls in other notations, by strategy; and the record of attempts."""

from __future__ import annotations

import json

import pytest

from gemma_tools.bench import Gemma4ToolParser
from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from support.outputs import FORMATS

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


@pytest.mark.parametrize("text", NOTATIONS)
@pytest.mark.parametrize("name", ["functiongemma", "gemma4"])
def test_the_default_level_leaves_them_alone(name, text):
    reply = get_format(name).parse(text, TOOLS)
    assert (reply.content, reply.tool_calls) == (text, ())


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


def test_a_call_that_was_begun_and_could_not_be_read_is_no_success():
    parser = get_format("gemma4", recovery="eager").parser(TOOLS)
    parser.feed("<|tool_call>call:read_file{path}<tool_call|>")
    parser.close()
    assert [(attempt.strategy, attempt.error) for attempt in parser.attempts] == [("native", "no call found")]


def test_a_cut_answer_is_not_recovered():
    reply = get_format("gemma4", recovery="eager").parse(
        '{"name": "read_file", "arguments": {"path": "a"}}', TOOLS, finish="length"
    )
    assert (reply.tool_calls, reply.finish_reason) == ((), "length")


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
        [(None, None, "response_text"), ("a()", "a", "expected_tools"), ("a()", [{}], "expected_tools")],
    )
    def test_what_is_no_text_and_no_name_is_refused(self, text, names, param):
        parser = Gemma4ToolParser()
        with pytest.raises(InvalidRequest) as caught:
            parser.parse(text, names)
        assert (caught.value.param, parser.attempts) == (param, [])

    def test_no_text_is_no_rate(self):
        assert Gemma4ToolParser().benchmark.to_dict()["success_rate"] == 0
