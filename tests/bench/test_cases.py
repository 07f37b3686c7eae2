"""Cases: read, written, sampled; and the suite that ships."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gemma_tools.bench import Case, ExpectedCall, bfcl_cases, load_suite, read_cases, sample, write_cases
from gemma_tools.bench.checking import MadeCall, fault_of
from gemma_tools.errors import InvalidRequest, MissingDependency
from gemma_tools.schema.check import value_fault
from gemma_tools.validation import validate
from support.chat import WEATHER, user
from support.cli import lines

ROW = {"messages": user("Tides?"), "tools": [WEATHER], "calls": [{"get_weather": {"city": ["Brest", ""]}}]}


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_gives_cases(tmp_path: Path) -> None:
    more = {"id": "b", "category": "talk", "messages": user("Hi"), "says": ["Hello"], "exact": True}
    first, second = read_cases(written(tmp_path / "cases.jsonl", ROW, "", more))
    assert (first.id, first.category, first.exact) == ("line 1", "all", False)
    assert first.calls == (ExpectedCall("get_weather", {"city": ["Brest", ""]}),)
    assert (second.id, second.category, second.calls, second.says, second.exact) == ("b", "talk", (), ("Hello",), True)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    cases = load_suite("own")
    write_cases(tmp_path / "cases.jsonl", cases)
    assert load_suite(str(tmp_path / "cases.jsonl")) == cases


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ("{", "line 1"),
        ("[]", "line 1"),
        ({}, "line 1: messages"),
        ({**ROW, "tool": []}, "line 1: tool: is not a member of a case"),
        ({**ROW, "tools": [3]}, "line 1: tools\\[0\\]"),
        ({**ROW, "exact": 1}, "line 1: exact: must be a boolean"),
        ({**ROW, "id": 7}, "line 1: id: must be a string"),
        ({**ROW, "says": "Hello"}, "line 1: says: must be a list"),
        ({**ROW, "says": [5]}, "line 1: says\\[0\\]: must be a string"),
        ({**ROW, "says": [""]}, "line 1: says\\[0\\]: must be a string"),
        ({**ROW, "calls": [{"get_weather": {"city": "Brest"}}]}, "line 1: calls\\[0\\]"),
        ({**ROW, "calls": ["get_weather"]}, "line 1: calls\\[0\\]"),
    ],
)
def test_a_wrong_line_is_reported_with_its_place(tmp_path: Path, row: Any, place: str) -> None:
    with pytest.raises(InvalidRequest, match=place):
        read_cases(written(tmp_path / "cases.jsonl", row))


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ({"get_wether": {"city": ["Brest"]}}, "line 1: calls\\[1\\]: 'get_wether' is not a tool of this case"),
        ({"get_weather": {"city": ["Brest"], "town": [""]}}, "line 1: calls\\[1\\]: get_weather has no parameter 'town'"),
        ({"get_weather": {"city": []}}, "line 1: calls\\[1\\].get_weather.city: must have at least one right value"),
        ({"get_weather": {}}, "line 1: calls\\[1\\]: get_weather requires 'city'"),
    ],
)
def test_an_expected_call_that_no_call_can_match_is_refused(tmp_path: Path, call: Any, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        read_cases(written(tmp_path / "cases.jsonl", {**ROW, "calls": [*ROW["calls"], call]}))


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_cases_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cases.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidRequest, match=r"cases\.jsonl: has no cases"):
        read_cases(tmp_path / "cases.jsonl")


def test_files_of_windows_editors_are_read(tmp_path: Path) -> None:
    text = "".join(f"{json.dumps({**ROW, 'id': name})}\r\n" for name in "ab")
    (tmp_path / "cases.jsonl").write_bytes(text.encode("utf-8-sig"))
    assert [case.id for case in read_cases(tmp_path / "cases.jsonl")] == ["a", "b"]
    (tmp_path / "cases.jsonl").write_bytes(text.encode("utf-16"))
    with pytest.raises(InvalidRequest, match=r"line 1: not UTF-8 \(byte 0\)"):
        read_cases(tmp_path / "cases.jsonl")


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    case = Case(id="odd \u2028 \x85 \u2029 \x0b\x1c", category="a\r\nb", messages=user("a\u2028b\x0cc\ud800"))
    write_cases(tmp_path / "cases.jsonl", [case])
    [read] = read_cases(tmp_path / "cases.jsonl")
    assert (read.id, read.category, read.messages) == (case.id, case.category, case.messages)


def test_no_tools_can_be_written_as_null(tmp_path: Path) -> None:
    [case] = read_cases(written(tmp_path / "cases.jsonl", {"messages": user("Hi"), "tools": None}))
    assert case.tools == ()


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="line 2: id: 'a' is already used by another case"):
        read_cases(written(tmp_path / "cases.jsonl", {**ROW, "id": "a"}, {**ROW, "id": "a"}))


def test_a_sample_is_even_over_the_categories() -> None:
    cases = [
        Case(id=f"{name}{i}", category=name, messages=[])
        for name, size in (("a", 10), ("b", 2), ("c", 50))
        for i in range(size)
    ]
    assert [case.id for case in sample(cases, 7)] == ["a0", "a3", "a6", "b0", "b1", "c0", "c25"]
    assert sample(cases, 100) == tuple(cases)
    assert [case.id for case in sample(cases, 1)] == ["a0"]


def test_the_suite_that_ships_is_sound() -> None:
    cases = load_suite("own")
    assert len({case.id for case in cases}) == len(cases) >= 60
    assert {"copying", "choosing", "refusing", "typing", "injection", "long"} <= {case.category for case in cases}
    for case in cases:
        _, tools, _ = validate(case.messages, case.tools)
        schemas = {tool.name: tool.parameters or {} for tool in tools}
        first = [
            MadeCall(call.name, {key: values[0] for key, values in call.arguments.items() if values[0] != ""})
            for call in case.calls
        ]
        given = [MadeCall(name, {key: nested(value) for key, value in (arguments or {}).items()}) for name, arguments in first]
        assert fault_of(case, given, " ".join(case.says)) is None, case.id
        for name, arguments in given:
            assert value_fault(json.dumps(arguments), schemas[name]) is None, case.id


def nested(value: Any) -> Any:
    """Of an object in an answer the first value of each member."""
    return {key: values[0] for key, values in value.items()} if isinstance(value, dict) else value


def test_bfcls_data_is_read_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "bfcl_eval" / "data"
    (data / "possible_answer").mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise RuntimeError('is not to be imported')")
    properties = {"n": {"type": "float"}, "t": {"type": "tuple", "items": {"type": "any"}}, "type": {"type": "dict"}}
    function = {
        "name": "put",
        "description": "Puts.",
        "parameters": {"type": "dict", "properties": properties, "required": ["n"]},
    }
    asked = {"id": "simple_python_0", "question": [user("Put 1.")], "function": [function]}
    written(data / "BFCL_v4_simple_python.json", asked)
    written(
        data / "possible_answer" / "BFCL_v4_simple_python.json", {"id": asked["id"], "ground_truth": [{"put": {"n": [1.0]}}]}
    )
    written(data / "BFCL_v4_irrelevance.json", {**asked, "id": "irrelevance_0"})
    monkeypatch.syspath_prepend(tmp_path)
    first, second = bfcl_cases("simple", "irrelevance")
    assert (first.id, first.category, first.messages, second.id) == (
        "simple_python_0",
        "simple",
        user("Put 1."),
        "irrelevance_0",
    )
    assert (first.calls, second.calls) == ((ExpectedCall("put", {"n": [1.0]}),), ())
    assert first.tools[0]["function"]["parameters"] == {
        "type": "object",
        "properties": {"n": {"type": "number"}, "t": {"type": "array", "items": {}}, "type": {"type": "object"}},
        "required": ["n"],
    }


def test_without_bfcls_data_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemma_tools.bench.suites.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"needs the data of bfcl-eval: pip install --no-deps bfcl-eval$"):
        load_suite("bfcl")


def test_a_suite_that_does_not_exist_is_refused_with_the_known_names() -> None:
    with pytest.raises(InvalidRequest, match="suite: 'onw' is not bfcl, own or an existing file"):
        load_suite("onw")


def test_the_suite_is_jsonl_of_one_case_a_line() -> None:
    from gemma_tools.data import own_suite_path

    assert len(lines(own_suite_path().read_text(encoding="utf-8"))) == len(load_suite("own"))
