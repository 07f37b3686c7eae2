"""What grammars take and refuse, keyword by keyword, and what they report."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.formats.base import MOST_CALLS
from gemma_tools.grammar import Grammar, answer_grammar
from support.gbnf import Gbnf
from support.grammar_tools import ALL, BRACES, guided, properties, takes, tokens, tool, write
from support.schemas import SCHEMAS

FG = get_format("functiongemma")
G4 = get_format("gemma4")


read_gbnf = lru_cache(maxsize=1)(Gbnf)
read_ebnf = lru_cache(maxsize=1)(Gbnf)


def both(grammar: Grammar, text: str) -> bool:
    """Whether the printed forms take `text`; they have to agree."""
    guided_takes, gbnf_takes = takes(grammar, text), read_gbnf(grammar.gbnf).takes(text)
    assert guided_takes == gbnf_takes == read_ebnf(grammar.ebnf).takes(text), text
    return guided_takes


def taken(schema: Any, values: list[Any], *, family: str = "functiongemma") -> list[Any]:
    """Which of `values` the grammar of one required property takes for it, in both forms."""
    grammar = get_format(family).grammar([tool("put", properties("v", v=schema))], tool_choice="required")
    return [value for value in values if both(grammar, write(family, "put", {"v": value}))]


def says(schema: Any, value: Any) -> bool:
    """Whether the grammar of one required property takes `value` for it."""
    return taken(schema, [value]) == [value]


def warnings(schema: Any) -> tuple[str, ...]:
    return FG.grammar([tool("put", properties(v=schema))], tool_choice="required").warnings


@pytest.mark.parametrize(("family", "stop"), [("functiongemma", "<end_of_turn>"), ("gemma4", "<turn|>"), ("gemma3", "<eos>")])
def test_a_reply_may_end_with_a_stop_token_where_the_engine_may_not_know_it(family: str, stop: str) -> None:
    grammar = get_format(family).grammar([tool("ping")])
    for printed in (lambda text: takes(grammar, text), Gbnf(grammar.ebnf).takes):
        assert printed("Hello." + stop)
        assert not printed("Hello." + stop + "Hello.")
    assert not Gbnf(grammar.gbnf).takes("Hello." + stop)  # llama.cpp ends at it by itself


@pytest.mark.parametrize("family", BRACES)
@pytest.mark.parametrize(("schema", "good", "bad"), SCHEMAS, ids=str)
def test_a_schema_is_enforced(family: str, schema: Any, good: list[Any], bad: list[Any]) -> None:
    assert taken(schema, good, family=family) == good
    assert taken(schema, bad, family=family) == []


def test_references_resolve_and_may_recurse() -> None:
    tree = properties("name", name={"type": "string"}, children={"type": "array", "items": {"$ref": "#/$defs/tree"}})
    parameters = properties("root", root={"$ref": "#/$defs/tree"}) | {"$defs": {"tree": tree}}
    grammar = FG.grammar([tool("plant", parameters)], tool_choice="required")
    assert grammar.warnings == ()
    nested: dict[str, Any] = {"name": "leaf"}
    for _ in range(20):
        nested = {"name": "branch", "children": [{"name": "twig"}, nested]}
    assert both(grammar, write("functiongemma", "plant", {"root": nested}))
    assert not both(grammar, write("functiongemma", "plant", {"root": {"name": "x", "children": [{"children": []}]}}))


def test_a_reference_with_neighbours_holds_both() -> None:
    parameters = properties("n", n={"$ref": "#/$defs/count", "maximum": 5}) | {
        "$defs": {"count": {"type": "integer", "minimum": 2}}
    }
    grammar = FG.grammar([tool("put", parameters)], tool_choice="required")
    taken = [n for n in range(8) if both(grammar, write("functiongemma", "put", {"n": n}))]
    assert taken == [2, 3, 4, 5]


def test_unions_that_name_themselves_are_not_left_recursive() -> None:
    defs = {
        "json": {"anyOf": [{"$ref": "#/$defs/json"}, {"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/json"}}]}
    }
    grammar = FG.grammar([tool("put", properties("v", v={"$ref": "#/$defs/json"}) | {"$defs": defs})], tool_choice="required")
    assert grammar.warnings == ()
    assert both(grammar, write("functiongemma", "put", {"v": [1, [2, []]]}))
    assert not both(grammar, write("functiongemma", "put", {"v": ["x"]}))


def test_a_schema_that_requires_itself_is_given_an_end_and_reported() -> None:
    defs = {"chain": properties("next", next={"$ref": "#/$defs/chain"})}
    grammar = FG.grammar([tool("put", properties("v", v={"$ref": "#/$defs/chain"}) | {"$defs": defs})], tool_choice="required")
    assert any("requires itself" in warning for warning in grammar.warnings)
    assert both(grammar, write("functiongemma", "put", {"v": 1}))


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ({"type": "number", "multipleOf": 2}, "multipleOf"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "(?=x)y"}, "pattern"),
        ({"type": "string", "pattern": r"(a)\1"}, "pattern"),
        ({"type": "string", "pattern": "^<b>$"}, "pattern"),
        ({"type": "string", "pattern": r"^(\w+\s?)+$"}, "pattern"),
        ({"type": "string", "pattern": "(" * 40 + "a" + ")" * 40}, "pattern"),
        ({"type": "string", "pattern": "a{2"}, "pattern"),
        ({"type": "string", "format": "ipv6"}, "format"),
        ({"type": "string", "format": "date", "maxLength": 3}, "maxLength"),
        ({"type": "number", "minimum": 0.5}, "minimum"),
        ({"type": "integer", "minimum": 10**60}, "minimum"),
        ({"type": "array", "minItems": 10**6}, "minItems"),
        ({"type": "object", "patternProperties": {"^x": {}}}, "patternProperties"),
        (properties(a={}, b={}) | {"maxProperties": 1}, "maxProperties"),
        ({"not": {"type": "string"}}, "not"),
        ({"if": {}, "then": {}}, "if"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"$ref": "https://example.com/other"}, "$ref"),
        ({"type": "whatever"}, "whatever"),
        ({"enum": ["<escape>"]}, "<escape>"),
        (properties("bad:key", **{"bad:key": {"type": "string"}}), "bad:key"),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "pattern"),
    ],
    ids=str,
)
def test_what_is_not_enforced_is_reported(schema: Any, word: str) -> None:
    assert any(word in warning and warning.startswith("put") for warning in warnings(schema))


def test_a_value_of_any_size_is_reported_in_short() -> None:
    value: Any = "<escape>"
    for _ in range(3000):
        value = [value]
    (report,) = warnings({"enum": [value, "a"]})
    assert report.startswith("put.v: the value [[")
    assert report.endswith("cannot be written, and is left out")
    assert len(report) < 200


def test_arguments_may_be_a_union() -> None:
    ways = [properties("a", a={"type": "integer"}), {"$ref": "#/$defs/b"}]
    parameters = {
        "type": "object",
        "properties": {"id": True},
        "anyOf": ways,
        "$defs": {"b": properties("b", b={"type": "null"})},
    }
    grammar = FG.grammar([tool("put", parameters)], tool_choice="required")
    assert grammar.warnings == ()
    for arguments, right in (
        ({"a": 1}, True),
        ({"b": None, "id": 2}, True),
        ({}, False),
        ({"id": 1}, False),
        ({"b": 1}, False),
    ):
        assert both(grammar, write("functiongemma", "put", arguments)) == right


@pytest.mark.parametrize("family", ALL)
def test_the_branches_of_a_union_of_arguments_may_begin_alike(family: str) -> None:
    ways = [properties("a", a={"type": "integer"}), properties("b", a={"type": "integer"}, b={"type": "integer"})]
    parameters = {"type": "object", "anyOf": ways}
    name, options = ALL[family]
    grammar = get_format(name, **options).grammar(
        [tool("put", parameters), tool("put_all", parameters)], tool_choice="required"
    )
    for called in ("put", "put_all"):
        for arguments, right in (({"a": 1}, True), ({"b": 1}, True), ({"a": 1, "b": 2}, True), ({}, False)):
            assert both(grammar, write(name, called, arguments, **options)) == right


def test_answers_that_are_json() -> None:
    schema = properties("ok", ok={"type": "boolean"}, tags={"type": "array", "items": {"enum": ["a", "b"]}})
    grammar = answer_grammar(schema, G4.controls)
    assert both(grammar, '{"ok": true, "tags": ["a", "b"]}')
    assert not both(grammar, '{"tags": ["a"]}')
    assert not both(grammar, 'Sure: {"ok": true}')
    scalar = answer_grammar({"type": "string"}, G4.controls)
    assert both(scalar, '"a \\u00e9 < <b>"')
    assert not both(scalar, '"<turn|>"')
    assert answer_grammar({"enum": []}, G4.controls).warnings


def test_what_nothing_satisfies_is_reported_and_anything_is_taken() -> None:
    grammar = FG.grammar([tool("put", properties("v", v={"type": "string", "enum": [1]}))], tool_choice="required")
    assert any("no arguments can satisfy" in warning for warning in grammar.warnings)
    assert both(grammar, write("functiongemma", "put", {"v": "x"}))
    closed = {"type": "object", "properties": {}, "required": ["v"], "additionalProperties": False}
    assert FG.grammar([tool("put", closed)], tool_choice="required").warnings
    optional = FG.grammar([tool("put", properties(v=False, w=True))], tool_choice="required")
    assert both(optional, write("functiongemma", "put", {"w": 1}))
    assert not both(optional, write("functiongemma", "put", {"v": 1}))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "title": "T", "description": "D", "default": "x", "examples": ["y"], "x-order": 3},
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        properties("a", a={"type": "string", "format": "date"}) | {"additionalProperties": False, "maxProperties": 1},
    ],
    ids=str,
)
def test_what_is_enforced_is_not_reported(schema: Any) -> None:
    assert warnings(schema) == ()


@pytest.mark.parametrize("family", BRACES)
def test_tool_choice(family: str) -> None:
    format = get_format(family)
    tools = [tool(name) for name in ("one", "two.three", "four-4", "café")]
    calls = {t["function"]["name"]: write(family, t["function"]["name"], {}) for t in tools}
    required = format.grammar(tools, tool_choice="required")
    assert all(both(required, call) for call in calls.values())
    assert both(required, calls["one"] * 3)
    assert both(
        required, calls["one"] + calls["café"] + {"functiongemma": "<start_function_response>"}.get(family, "<|tool_response>")
    )
    assert not both(required, calls["one"] * (MOST_CALLS + 1))
    assert not both(required, "")
    assert not both(required, "Sure. " + calls["one"])
    assert not both(required, calls["one"] + " Done.")
    assert not both(required, write(family, "five", {}))

    assert not both(format.grammar(tools, tool_choice="required", max_calls=2), calls["one"] * 3)

    single = format.grammar(tools, tool_choice="required", parallel=False)
    assert both(single, calls["one"])
    assert not both(single, calls["one"] * 2)

    named = format.grammar(tools, tool_choice={"type": "function", "function": {"name": "four-4"}})
    assert [name for name, call in calls.items() if both(named, call)] == ["four-4"]

    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": n}} for n in ("one", "café")]}
    subset = format.grammar(tools, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert [name for name, call in calls.items() if both(subset, call)] == ["one", "café"]

    auto = format.grammar(tools)
    assert both(auto, "")
    assert both(auto, "Is 3 < 4? <b>Yes</b>, and <esc too. <")
    assert both(auto, "Let me see. " + calls["one"] + calls["café"] + " Done.")
    assert not both(auto, "Let me see. " + write(family, "five", {}))
    assert not both(auto, "An end tag alone: <" + calls["one"].rpartition("<")[2])

    none = format.grammar(tools, tool_choice="none")
    assert both(none, "Only words, 3 < 4.")
    assert not both(none, calls["one"])
    assert both(format.grammar([]), "Only words.")


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        FG.grammar([], tool_choice="required")
    with pytest.raises(InvalidRequest):
        FG.grammar([tool("one")], tool_choice={"type": "function", "function": {"name": "two"}})


def test_a_thought_may_come_first_where_the_family_thinks() -> None:
    call = write("gemma4", "one", {})
    thought = "<|channel>thought\nIs 1 < 2?\nI call one.\n<channel|>"
    grammar = G4.grammar([tool("one")], tool_choice="required")
    assert both(grammar, call)
    assert both(grammar, thought + call)
    assert both(grammar, "<|channel>thought\n<channel|>" + call)
    assert not both(grammar, thought)
    assert not both(grammar, thought.removesuffix("<channel|>") + call)
    begun = G4.grammar([tool("one")], tool_choice="required", opens="reasoning")
    assert both(begun, thought.removeprefix("<|channel>thought\n") + call)
    assert both(begun, "<channel|>" + call)
    assert not both(begun, call)
    assert both(G4.grammar([], tool_choice="none"), thought + "Hello.")


@pytest.mark.parametrize("style", ["pythonic", "json"])
def test_gemma_3_writes_calls_as_text(style: str) -> None:
    format = get_format("gemma3", tool_style=style)
    tools = [tool("put", properties("v", v={"type": "string"}, w={"type": ["boolean", "null"]})), tool("ping")]
    put, ping = (
        write("gemma3", name, args, tool_style=style)
        for name, args in (("put", {"v": 'it\'s "<b>"\n', "w": None}), ("ping", {}))
    )
    several = "[" + ", ".join(call.strip("[]") for call in (put, ping)) + "]"

    def crowd(count: int) -> str:
        return "[" + ", ".join([ping.strip("[]")] * count) + "]"

    required = format.grammar(tools, tool_choice="required", parallel=True)
    assert both(required, put)
    assert both(required, several)
    assert both(required, crowd(16))
    assert not both(required, crowd(17))
    assert not both(format.grammar(tools, tool_choice="required", parallel=True, max_calls=2), crowd(3))
    assert both(format.grammar(tools, tool_choice="required"), several) == (style == "pythonic")
    assert not both(required, put + " Done.")
    assert not both(required, put.replace("put", "pot"))
    assert not both(required, write("gemma3", "put", {"w": True}, tool_style=style))
    assert not both(required, write("gemma3", "put", {"v": "<end_of_turn>"}, tool_style=style))

    single = format.grammar(tools, tool_choice="required", parallel=False)
    assert both(single, put)
    assert not both(single, several)

    auto = format.grammar(tools)
    assert both(auto, put)
    assert both(auto, "See [1] and {2}, 3 < 4.")
    assert both(auto, "<b>Yes</b>")
    assert not both(auto, "[put(")
    assert not both(auto, '[{"name": "pot", "parameters": {}}]')

    none = format.grammar(tools, tool_choice="none")
    assert both(none, "[1, 2]")
    assert not both(none, "<start_of_turn>")


def test_the_example_of_the_documentation_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "grammar.md").read_text(encoding="utf-8")
    _, code, _, output, *_ = page.split("```")
    exec(code.removeprefix("python"), {})
    assert capsys.readouterr().out.strip() == output.strip()


@pytest.mark.parametrize("family", BRACES)
def test_no_special_token_can_be_written_in_a_string(family: str) -> None:
    """llama.cpp matches a token by its text, so GBNF must leave all spellings out, and the text that a reader sees matters."""
    format = get_format(family)
    grammar = format.grammar([tool("put", properties("v", v={"type": "string"}))], tool_choice="required")
    gbnf = Gbnf(grammar.gbnf)
    for control in format.controls:
        text = write(family, "put", {"v": "QQ"})
        assert not gbnf.takes(text.replace("QQ", f"a{control}b"))
        assert not gbnf.takes(text.replace("QQ", f"<<{control}"))
        assert gbnf.takes(text.replace("QQ", f"a{control[:-1]}<{control[:-1]}"))
    for ending in (*format.stop, "<escape>" if family == "functiongemma" else '<|"|>'):
        spelt = [
            i
            for part in write(family, "put", {"v": "QQ"}).partition("QQ")
            for i in (list(f"a{ending}b".encode()) if part == "QQ" else tokens(part, grammar.controls))
        ]
        assert not guided(grammar.lark, spelt, grammar.controls)


@pytest.mark.parametrize("family", BRACES)
def test_strings_and_arrays_end_by_themselves(family: str) -> None:
    format = get_format(family)
    grammar = format.grammar([tool("put", properties("s", s={"type": "string"}, a={"type": "array"}))], tool_choice="required")
    assert both(grammar, write(family, "put", {"s": "x" * 400, "a": [1] * 64}))
    assert not both(grammar, write(family, "put", {"s": "x" * 5000}))
    assert not both(grammar, write(family, "put", {"s": "", "a": [1] * 65}))
    deep: Any = 1
    for _ in range(4):
        deep = [deep]
    assert both(grammar, write(family, "put", {"s": "", "a": deep}))
    assert not both(grammar, write(family, "put", {"s": "", "a": [[deep]]}))


def test_hostile_schemas_cost_a_report_and_no_more() -> None:
    deep: dict[str, Any] = {"type": "integer"}
    union: dict[str, Any] = {"type": "null"}
    merged: dict[str, Any] = {"type": "null"}
    for _ in range(3000):
        deep, union, merged = {"type": "array", "items": deep}, {"anyOf": [union]}, {"allOf": [merged]}
    doubled = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"}]} for i in range(60)}
    for schema, value in ((deep, []), (union, None), (merged, None), ({"$ref": "#/$defs/d0"}, None)):
        grammar = FG.grammar([tool("put", properties("v", v=schema) | {"$defs": doubled})], tool_choice="required")
        assert bool(grammar.warnings) == (schema is not merged)
        assert grammar.gbnf
        assert takes(grammar, write("functiongemma", "put", {"v": value}))


def test_references_used_twice_do_not_double_the_grammar() -> None:
    defs = {f"d{i}": properties(a={"$ref": f"#/$defs/d{i + 1}"}, b={"$ref": f"#/$defs/d{i + 1}"}) for i in range(20)}
    defs["d20"] = {"type": "integer"}
    grammar = FG.grammar([tool("put", properties(v={"$ref": "#/$defs/d0"}) | {"$defs": defs})], tool_choice="required")
    assert grammar.warnings == ()
    assert len(grammar.rules) < 200
    assert both(grammar, write("functiongemma", "put", {"v": {"a": {"b": {}}, "b": {}}}))


def test_many_properties_stay_linear_in_size() -> None:
    def size(count: int) -> int:
        schema = properties(**{f"p{i}": {"type": "integer"} for i in range(count)})
        return len(FG.grammar([tool("put", schema)], tool_choice="required").gbnf)

    assert size(800) < 2.3 * size(400)


@pytest.mark.parametrize("family", ["functiongemma", "gemma3", "gemma4"])
@pytest.mark.parametrize("piece", ["a", "<x", "<", "</x>"])
def test_a_string_without_a_limit_ends_whatever_is_in_it(family: str, piece: str) -> None:
    format = get_format(family, longest_string=8)
    tools = [tool("put", properties("v", v={"type": "string"}))]
    grammar = format.grammar(tools, tool_choice="required")

    def call(length: int) -> str:
        if family == "gemma3":
            return f"[put(v={piece * length!r})]"
        return write(family, "put", {"v": piece * length})

    assert both(grammar, call(1))
    # A row of `<` may be longer, for it stands for itself; but it ends, too.
    assert not both(grammar, call(80 if piece == "<" else 9))


@pytest.mark.parametrize("longest", [0, -1, 5000, "a"])
def test_the_length_of_strings_is_a_number(longest: object) -> None:
    with pytest.raises(InvalidRequest, match="1 to 4096") as caught:
        get_format("gemma4", longest_string=longest)
    assert caught.value.param == "longest_string"


SUM = 'start: NUMBER ("+" NUMBER)*\nNUMBER: /[0-9]{1,3}/\n%ignore " "'


@pytest.mark.parametrize("family", ["functiongemma", "gemma4"])
def test_a_grammar_of_the_request_is_nested_in_lark(family: str) -> None:
    schema = {"type": "string", "x-lark": SUM}
    tools = [tool("put", properties("v", "w", v=schema, w={"type": "string"})), tool("get", properties("v", v=schema))]
    grammar = get_format(family).grammar(tools, tool_choice="required")
    assert grammar.needs_lark
    assert not grammar.warnings

    def text(value: str) -> str:
        return write(family, "put", {"v": value, "w": "free text"})

    assert [value for value in ("1", "12 + 5", "12+", "x", "1+1234", "") if takes(grammar, text(value))] == ["1", "12 + 5"]
    assert takes(grammar, write(family, "get", {"v": "3+4"}))
    assert Gbnf(grammar.gbnf).takes(text("anything"))  # which cannot nest it
    assert Gbnf(grammar.ebnf).takes(text("anything"))


@pytest.mark.parametrize("style", ["pythonic", "json"])
def test_a_grammar_of_the_request_is_reported_where_strings_have_escapes(style: str) -> None:
    schema = {"type": "string", "x-lark": SUM}
    grammar = get_format("gemma3", tool_style=style).grammar([tool("put", properties("v", v=schema))], tool_choice="required")
    assert not grammar.needs_lark
    assert "put.v: a Lark grammar is not enforced in a notation whose strings have escapes" in grammar.warnings
