"""`gemma-tools bench parse`: counts over recorded outputs, of the calls that `gemma-tools parse` reads at level eager."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.chat import tool
from support.cli import Ran, lines

CLOCK = tool("set_clock", "Sets a clock.", hour="The hour")
CLOCK["function"]["parameters"]["properties"]["hour"]["type"] = "integer"
NATIVE = "<|tool_call>call:set_clock{hour:7}<tool_call|>"
FENCED = '```json\n{"name": "set_clock", "arguments": {"hour": "7"}}\n```'


def figures(run: Callable[..., Ran], *items: dict[str, Any]) -> dict[str, Any]:
    ran = run("bench", "parse", "--json", "-", stdin="\n".join(map(json.dumps, items)))
    assert (ran.status, ran.err) == (0, "")
    result: dict[str, Any] = json.loads(ran.out)
    return result


LINES: list[tuple[dict[str, Any], dict[str, int]]] = [
    ({"raw": NATIVE, "tools": [CLOCK]}, {"native": 1}),
    ({"text": NATIVE, "tools": []}, {"none": 1}),
    ({"response_text": FENCED, "tools": [CLOCK]}, {"json_block": 1}),
    ({"output": FENCED, "expected_tools": ["set_clock", "set_clock"]}, {"json_block": 1}),
    ({"raw": FENCED, "tools": [CLOCK], "expected_tools": ["other"]}, {"none": 1}),
    ({"raw": FENCED, "tools": [CLOCK], "context": {"finish": "length"}}, {"none": 1}),
    ({"raw": FENCED, "tools": [CLOCK], "context": {"reasoning_open": True}}, {"none": 1}),
    ({"raw": '{"hour": 7}', "tools": [CLOCK]}, {"fallback": 1}),
    ({"raw": "Seven."}, {"none": 1}),
]


@pytest.mark.parametrize(("line", "strategies"), LINES)
def test_a_line_is_read_as_parse_reads_it_at_level_eager(
    run: Callable[..., Ran], line: dict[str, Any], strategies: dict[str, int]
) -> None:
    found = figures(run, line)
    assert found["strategies_used"] == strategies
    if "raw" in line and "expected_tools" not in line:
        ran = run("parse", "--jsonl", "-f", "gemma4", "-o", "recovery=eager", stdin=json.dumps(line))
        assert (found["success_rate"] == 1) == bool(lines(ran.out)[0]["result"]["tool_calls"])


def test_the_report_names_the_level(run: Callable[..., Ran]) -> None:
    ran = run("bench", "parse", "-", stdin=json.dumps({"raw": FENCED, "tools": [CLOCK]}))
    assert "Recovery level:   eager" in ran.out
    assert "json_block: 1" in ran.out


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ({"tools": []}, "raw"),
        ({"raw": "a", "tools": 3}, "expected_tools"),
        ({"raw": "a", "expected_tools": "set_clock"}, "expected_tools"),
        ({"raw": "a", "expected_tools": [{}]}, "expected_tools[0].function"),
        ({"raw": "a", "context": 3}, "context"),
    ],
)
def test_a_wrong_line_is_reported_with_its_place(run: Callable[..., Ran], line: dict[str, Any], place: str) -> None:
    ran = run("bench", "parse", "-", stdin=json.dumps({"raw": "fine"}) + "\n" + json.dumps(line))
    assert ran.status == 1
    assert f"line 2: {place}" in ran.err
