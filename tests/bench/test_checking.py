"""The rules by which calls are right: ours beside BFCL's own, on its cases and on damaged answers; and exact cases."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from gemma_tools.bench import Case, ExpectedCall, bfcl_cases
from gemma_tools.bench.checking import MadeCall, fault_of, names_fit
from gemma_tools.bench.suites import BFCL_FILES
from support.chat import tool

needs_bfcl = pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="pip install --no-deps bfcl-eval")


def case(schema: Mapping[str, Any], accepted: Sequence[Any], **fields: Any) -> Case:
    """A case that expects one call of `put`, whose argument `x` has this schema and these values."""
    parameters = {"type": "object", "properties": {"x": schema}, "required": [] if "" in accepted else ["x"]}
    declared = {"type": "function", "function": {"name": "put", "parameters": parameters}}
    calls = (ExpectedCall("put", {"x": accepted}),)
    return Case(id="c", category="c", messages=[], tools=[declared], calls=calls, **fields)


def fits(case: Case, value: Any) -> bool:
    return fault_of(case, [MadeCall("put", {"x": value})]) is None


TEXT, LIST = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
OBJECTS = {"type": "array", "items": {"type": "object"}}
RULES: list[tuple[dict[str, Any], list[Any], list[Any], list[Any]]] = [
    (TEXT, ["San José, CA"], ["san josé CA", "San José/CA"], ["San Jose, CA", 5]),
    (TEXT, ["it's"], ['IT"S'], ["its"]),
    (TEXT, [5], [5], ["5", 5.0]),
    ({"type": "integer"}, [5], [5], [5.0, "5", True]),
    ({"type": "number"}, [5.5, 6], [5.5, 6], [5, "6"]),
    ({"type": "number"}, [5.0], [5, 5.0], ["5.0"]),
    ({"type": "boolean"}, [True], [True], [1, "true", False]),
    (LIST, [["a b", "c"]], [["A,B", "c"]], [["c", "ab"], ["ab"], "ab", [1, "c"]]),
    ({"type": "array"}, [[[1], "a"]], [[[1], "A"]], [[1, "a"]]),
    (
        {"type": "object"},
        [{"a": [1, 2], "b": ["", "x"]}],
        [{"a": 2}, {"a": 1, "b": "X"}],
        [{"b": "x"}, {"a": 3}, {"a": 1, "c": 1}],
    ),
    ({"type": "object"}, [{"a": "x", "b": 5}], [{"a": "X", "b": 5}], [{"a": "x"}, {"b": 5}, {"a": "x", "b": 6}]),
    (OBJECTS, [[{"a": [1]}, {"a": ["x"]}]], [[{"a": 1}, {"a": "X"}]], [[{"a": "x"}, {"a": 1}], [{"a": 1}], [1, 2]]),
    ({}, ["a"], ["A"], [1, ["a"]]),
    ({}, [1], [1], ["1"]),
    ({"anyOf": [TEXT, LIST]}, [["a"]], [["a"]], ["a"]),
]


@pytest.mark.parametrize(("schema", "accepted", "right", "wrong"), RULES)
def test_values_are_compared_as_bfcl_compares_them(
    schema: dict[str, Any], accepted: list[Any], right: list[Any], wrong: list[Any]
) -> None:
    asked = case(schema, accepted)
    assert [value for value in right if not fits(asked, value)] == []
    assert [value for value in wrong if fits(asked, value)] == []


EXACT: list[tuple[list[Any], list[Any], list[Any]]] = [
    (["San José, CA"], ["San José, CA"], ["san josé, CA", "San José CA"]),
    ([5], [5, 5.0], ["5", True]),
    ([True], [True], [1]),
    ([{"a": [1, {"b": None}]}], [{"a": [1, {"b": None}]}], [{"a": [1]}, {"a": [1, {}]}, [], "a"]),
]


@pytest.mark.parametrize(("accepted", "right", "wrong"), EXACT)
def test_exact_values_are_equal_to_the_last_character(accepted: list[Any], right: list[Any], wrong: list[Any]) -> None:
    asked = case({}, accepted, exact=True)
    assert [value for value in right if not fits(asked, value)] == []
    assert [value for value in wrong if fits(asked, value)] == []


ASKED = case(TEXT, ["a", ""])
TWICE = Case(id="c", category="c", messages=[], tools=ASKED.tools, calls=(ExpectedCall("put", {"x": ["a"]}), ASKED.calls[0]))
NONE = Case(id="c", category="c", messages=[], tools=ASKED.tools, says=("Done",))
FAULTS: list[tuple[Case, list[MadeCall], str, str | None]] = [
    (ASKED, [], "", "no call made, 1 call expected"),
    (ASKED, [MadeCall("put", {}), MadeCall("put", {})], "", "2 calls made, 1 call expected"),
    (ASKED, [MadeCall("get", {})], "", "get was called, but put was expected"),
    (ASKED, [MadeCall("put", None)], "", "the arguments are not a JSON object"),
    (ASKED, [MadeCall("put", {"y": 1})], "", "y should not be given"),
    (ASKED, [MadeCall("put", {"x": "b"})], "", "x is 'b', and expected is 'a' or ''"),
    (ASKED, [MadeCall("put", {})], "", None),
    (case(TEXT, ["a"]), [MadeCall("put", {})], "", "x is required, but missing"),
    (TWICE, [MadeCall("put", {}), MadeCall("put", {"x": "a"})], "", None),
    (TWICE, [MadeCall("put", {})] * 2, "", "the expected call of put is missing: x is missing"),
    (NONE, [], "it is done.", None),
    (NONE, [], "", "the answer does not contain 'Done'"),
    (NONE, [MadeCall("put", {})], "done", "1 call made, no call expected"),
]


@pytest.mark.parametrize(("asked", "calls", "content", "fault"), FAULTS)
def test_a_fault_is_reported_in_a_sentence(asked: Case, calls: list[MadeCall], content: str, fault: str | None) -> None:
    assert fault_of(asked, calls, content) == fault


def test_an_optional_argument_may_be_expected() -> None:
    optional = case({"type": "string"}, ["a"])
    function = {**optional.tools[0]["function"], "parameters": {"type": "object", "properties": {"x": TEXT}}}
    asked = Case(id="c", category="c", messages=[], tools=[{"type": "function", "function": function}], calls=optional.calls)
    assert fault_of(asked, [MadeCall("put", {})]) == "x is missing"


def test_names_fit_in_any_order() -> None:
    tools = [tool("a", "A."), tool("b", "B.")]
    asked = Case(id="c", category="c", messages=[], tools=tools, calls=(ExpectedCall("a", {}), ExpectedCall("b", {})))
    assert names_fit(asked, [MadeCall("b", {"wrong": 1}), MadeCall("a", None)])
    assert not names_fit(asked, [MadeCall("a", {}), MadeCall("a", {})])


@pytest.fixture(scope="module")
def theirs() -> Iterator[Callable[..., Any]]:
    """BFCL's checker, without what it imports for other languages and for the models that it calls."""
    package = "bfcl_eval.eval_checker.ast_eval"
    stand_ins = {
        "bfcl_eval.constants.model_config": {"MODEL_CONFIG_MAPPING": {"m": SimpleNamespace(underscore_to_dot=False)}},
        f"{package}.type_convertor.java_type_converter": {"java_type_converter": None},
        f"{package}.type_convertor.js_type_converter": {"js_type_converter": None},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, members in stand_ins.items():
            module = ModuleType(name)
            module.__dict__.update(members)
            patch.setitem(sys.modules, name, module)
        before = set(sys.modules)
        yield importlib.import_module(f"{package}.ast_checker").ast_checker
        for name in set(sys.modules) - before:
            if name.startswith("bfcl_eval"):
                del sys.modules[name]


def described(category: str) -> Mapping[str, Any]:
    """The tools of each question as BFCL's file has them."""
    from gemma_tools.bench.suites import _rows

    found = find_spec("bfcl_eval")
    assert found is not None
    assert found.submodule_search_locations
    data = Path(found.submodule_search_locations[0]) / "data"
    return {row["id"]: row["function"] for row in _rows(data / f"BFCL_v4_{BFCL_FILES[category]}.json")}


def expected_answer(asked: Case, rng: random.Random) -> list[MadeCall]:
    """Calls that should be right: of each argument one of its values."""

    def one(value: Any) -> Any:
        if isinstance(value, dict) and all(isinstance(values, list) for values in value.values()):
            given = {key: values for key, values in value.items() if values and (rng.random() < 0.8 or "" not in values)}
            return {key: one(rng.choice(values)) for key, values in given.items()}
        return [one(item) for item in value] if isinstance(value, list) else value

    made = []
    for call in asked.calls:
        given = {key: rng.choice(values) for key, values in call.arguments.items() if values}
        made.append(MadeCall(call.name, {key: one(value) for key, value in given.items() if value != "" or rng.random() < 0.3}))
    return made


OTHER: Sequence[Any] = ("", "other", 0, 1, 2.5, True, None, [], ["other"], {}, {"other": 1})


def damaged(calls: list[MadeCall], rng: random.Random) -> list[MadeCall]:
    """The same with one thing changed."""
    if not calls or rng.random() < 0.1:
        return [*calls, MadeCall("other", {})] if rng.random() < 0.5 else calls[1:]
    index = rng.randrange(len(calls))
    call = calls[index]
    arguments = dict(call.arguments or {})
    key = rng.choice([*arguments, "other"])
    match rng.randrange(6):
        case 0:
            arguments.pop(key, None)
        case 1:
            arguments[key] = rng.choice(OTHER)
        case 2:
            arguments[key] = changed(arguments.get(key), rng)
        case 3:
            call = MadeCall(call.name + "x", call.arguments)
        case 4:
            return rng.sample(calls, len(calls))
        case _:
            arguments[key] = str(arguments.get(key))
    return [*calls[:index], MadeCall(call.name, arguments), *calls[index + 1 :]]


def changed(value: Any, rng: random.Random) -> Any:
    """Nearly the same value."""
    match value:
        case str():
            return rng.choice((value.upper(), value.replace(" ", "_"), value + ".", value + "s", value[1:]))
        case bool():
            return rng.choice((not value, int(value)))
        case int():
            return rng.choice((float(value), value + 1, -value))
        case float():
            return rng.choice((int(value), value / 2))
        case list() if value:
            items = list(value)
            index = rng.randrange(len(items))
            items[index] = rng.choice((changed(items[index], rng), rng.choice(OTHER)))
            return rng.choice((items, value[::-1], value[1:]))
        case dict() if value:
            key = rng.choice(list(value))
            return {**value, key: rng.choice((changed(value[key], rng), rng.choice(OTHER)))}
    return rng.choice(OTHER)


@needs_bfcl
@pytest.mark.parametrize("category", [name for name in BFCL_FILES if "irrelevance" not in name])
def test_agrees_with_bfcls_own_checker(category: str, theirs: Callable[..., Any]) -> None:
    from bfcl_eval.constants.enums import Language  # type: ignore[import-not-found]

    rng, functions, cases = random.Random(category), described(category), bfcl_cases(category)
    right = compared = 0
    for asked in cases[:: max(1, len(cases) // 150)]:
        answer = [{call.name: call.arguments} for call in asked.calls]
        calls = expected_answer(asked, rng)
        for _ in range(12):
            output = [{call.name: call.arguments} for call in calls]
            verdict = theirs(functions[asked.id], output, answer, Language.PYTHON, category, "m")["valid"]
            assert (fault_of(asked, calls) is None) == verdict, (asked.id, output)
            right, compared = right + verdict, compared + 1
            calls = damaged(calls if rng.random() < 0.5 else expected_answer(asked, rng), rng)
    assert 0.15 < right / compared < 0.9


@needs_bfcl
def test_bfcls_data_is_read_whole() -> None:
    cases = bfcl_cases()
    assert {case.category for case in cases} == set(BFCL_FILES)
    assert len({case.id for case in cases}) == len(cases) > 3000
    for asked in cases:
        assert bool(asked.calls) == ("irrelevance" not in asked.category), asked.id
        names = {tool["function"]["name"] for tool in asked.tools}
        assert {call.name for call in asked.calls} <= names, asked.id
