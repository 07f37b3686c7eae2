"""Declarations with every keyword of the schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools import create_model
from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.testing import ScriptedEngine
from support.chat import user

FORMATS = ("functiongemma", "gemma4")
TAGS = {
    "functiongemma": ("<start_function_declaration>", "<end_function_declaration>"),
    "gemma4": ("<|tool>", "<tool|>"),
}
CALL_TAGS = {
    "functiongemma": ("<start_function_call>", "<end_function_call>"),
    "gemma4": ("<|tool_call>", "<tool_call|>"),
}
LEADING = {"items": False, "not": False, "allOf": True, "anyOf": True, "oneOf": True}
"""The keywords that lead to a schema, or to a list of them."""

names = st.sampled_from(["city", "Zip", "type", "description", "items", "default", "properties", "über"])
texts = st.sampled_from(["", "a text", "<escape>", '<|"|>', "},type:", "<tool|>", "02134", "null", "\x00"])
data = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
types = st.sampled_from(["string", "integer", "object", "array", "STRING"])
plain = st.fixed_dictionaries(
    {},
    optional={
        "type": types | st.lists(types, max_size=2),
        "description": texts,
        "title": texts,
        "default": data,
        "enum": st.lists(data, max_size=2),
        "const": data,
        "minimum": st.integers(0, 9),
        "pattern": texts,
        "required": st.lists(names, max_size=2),
        "nullable": st.booleans(),
        "additionalProperties": st.booleans() | st.just({"type": "string"}),
        "$ref": st.just("#/$defs/A"),
        "x-more": data,
    },
)


def nest(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    leading = {word: st.lists(inner, max_size=2) if several else inner for word, several in LEADING.items()}
    more = st.fixed_dictionaries({}, optional={"properties": st.dictionaries(names, inner, max_size=3), **leading})
    return st.builds(lambda one, other: {**one, **other}, plain, more)


schemas = st.recursive(plain, nest, max_leaves=5)


def in_capitals(schema: Any) -> Any:
    """What a declaration is to say: `schema` with the types of all schemas in capitals."""
    if not isinstance(schema, dict):
        return schema
    said = dict(schema)
    kind = said.get("type")
    if kind is not None:
        said["type"] = kind.upper() if isinstance(kind, str) else [name.upper() for name in kind]
    for word, several in LEADING.items():
        if word in said:
            said[word] = [in_capitals(one) for one in said[word]] if several else in_capitals(said[word])
    if "properties" in said:
        said["properties"] = {name: in_capitals(one) for name, one in said["properties"].items()}
    return said


@pytest.mark.parametrize("name", FORMATS)
@given(parameters=schemas, response=st.none() | schemas, description=st.sampled_from(["", "acts", "<tool|>"]))
def test_a_full_declaration_says_the_whole_schema(
    name: str, parameters: dict[str, Any], response: dict[str, Any] | None, description: str
) -> None:
    form = get_format(name, declarations="full")
    function = {"name": "act", "description": description, "parameters": parameters, "response": response}
    tool = {"type": "function", "function": function}
    prompt = form.render(user("hi"), [tool])
    assert not prompt.warnings
    # A declaration is written as a call is, so that the parser of calls can read it.
    opening, closing = TAGS[name]
    body = prompt.text.split(f"{opening}declaration:")[1].split(closing)[0]
    start, end = CALL_TAGS[name]
    reply = form.parse(f"{start}call:{body}{end}", guarded=prompt.guarded)
    expected = {"description": description, "parameters": in_capitals(parameters), "response": in_capitals(response)}
    [call] = reply.tool_calls
    assert call.arguments == {key: value for key, value in expected.items() if value is not None and value != ""}


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_declaration_leaves_out_what_is_not_there(name: str) -> None:
    form = get_format(name, declarations="full")
    opening, closing = TAGS[name]
    for function, written in (
        ({"name": "ping"}, "{}"),
        ({"name": "ping", "description": None, "parameters": None}, "{}"),
        ({"name": "ping", "parameters": {}}, "{parameters:{}}"),
        (
            {"name": "ping", "parameters": {"$schema": "x", "properties": {"$schema": {"$schema": "x"}}}},
            "{parameters:{properties:{$schema:{}}}}",
        ),
    ):
        assert form.declaration({"type": "function", "function": function}) == f"{opening}declaration:ping{written}{closing}"


@pytest.mark.parametrize("name", FORMATS)
def test_deep_schemas_are_declared_in_full(name: str) -> None:
    deep: dict[str, Any] = {"type": "string"}
    for word in ("items", "properties", "anyOf", "additionalProperties") * 2_500:
        deep = {word: {"a": deep} if word == "properties" else [deep] if word == "anyOf" else deep}
    tool = {"type": "function", "function": {"name": "act", "parameters": deep}}
    assert get_format(name, declarations="full").declaration(tool).count("anyOf:[{") == 2_500


def test_backends_take_the_option() -> None:
    tool = {"type": "function", "function": {"name": "act", "parameters": {"type": "object", "minProperties": 1}}}
    for model in ("functiongemma", "gemma4"):
        engine = ScriptedEngine(["done"])
        answer = create_model(model, engine=engine, declarations="full").run(user("hi"), tools=[tool])
        assert "minProperties:1" in engine.asked[0].prompt.text
        assert not hasattr(answer, "warnings")
    with pytest.raises(InvalidRequest, match="'all' is not one of 'template', 'full'"):
        create_model("gemma4", engine=ScriptedEngine([]), declarations="all")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="does not have this option"):
        create_model("gemma3", engine=ScriptedEngine([]), declarations="full")
