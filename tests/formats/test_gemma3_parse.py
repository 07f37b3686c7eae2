"""What Gemma 3 writes, and what is made of it: each repair, each refusal, and what streams when."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.formats import get_format
from gemma_tools.reply import ContentDelta, Problem, ToolCallDelta, ToolCallEnded, ToolCallStarted

FERRY = {
    "type": "object",
    "properties": {
        "port": {"type": "string"},
        "seats": {"type": "integer"},
        "price": {"type": "number"},
        "car": {"type": "boolean"},
        "stops": {"type": "array", "items": {"type": "string"}},
        "extra": {"type": "object"},
        "code": {"type": ["string", "null"]},
    },
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "book_ferry", "parameters": FERRY}},
    {"type": "function", "function": {"name": "tide.level", "parameters": {"type": "object", "properties": {"at": {}}}}},
    {"type": "function", "function": {"name": "ping"}},
]


def read(text: str, tools: list[dict[str, Any]] | None = TOOLS, finish: Any = "stop", **options: Any) -> Any:
    return get_format("gemma3", **options).parse(text, tools, finish=finish)


def called(reply: Any) -> list[tuple[str, Any]]:
    return [(call.name, call.arguments) for call in reply.tool_calls]


def kinds(reply: Any) -> list[str]:
    return [problem.kind for problem in reply.problems]


PORT = [("book_ferry", {"port": "Brest"})]
EXACT = {
    "[book_ferry(port='Brest')]": PORT,
    '[book_ferry(port="Brest")]': PORT,
    '{"name": "book_ferry", "parameters": {"port": "Brest"}}': PORT,
    "[ping()]": [("ping", {})],
    "[tide.level(at='noon'), ping()]": [("tide.level", {"at": "noon"}), ("ping", {})],
    '[{"name": "ping", "parameters": {}}, {"name": "ping", "parameters": {}}]': [("ping", {}), ("ping", {})],
    "[book_ferry(seats=2, price=-1.50, car=True, code=None)]": [
        ("book_ferry", {"seats": 2, "price": -1.5, "car": True, "code": None})
    ],
    "[book_ferry(stops=['a, b', \"c]\", 'd)'], extra={'k': [1, {'n': None}], 'e': {}})]": [
        ("book_ferry", {"stops": ["a, b", "c]", "d)"], "extra": {"k": [1, {"n": None}], "e": {}}})
    ],
    r"[book_ferry(port='it\'s\n\x41\u00e9\U0001f600\t\\', code=r'\d+')]": [
        ("book_ferry", {"port": "it's\nAé😀\t\\", "code": "\\d+"})
    ],
    '[book_ferry(port="""two\nlines "here" """)]': [("book_ferry", {"port": 'two\nlines "here" '})],
    "[tide.level(at=(1, 2, ()))]": [("tide.level", {"at": [1, 2, []]})],
    r'{"name": "book_ferry", "parameters": {"port": "\u00e9\ud83d\ude00\/\n", "seats": 12345678901234567890123}}': [
        ("book_ferry", {"port": "é😀/\n", "seats": 12345678901234567890123})
    ],
}


@pytest.mark.parametrize("recovery", ["strict", "schema"])
@pytest.mark.parametrize("text", EXACT)
def test_the_exact_notations_are_read_at_every_level_in_either_style(text: str, recovery: str) -> None:
    for style in ("pythonic", "json"):
        reply = read(text, recovery=recovery, tool_style=style)
        assert called(reply) == EXACT[text]
        assert reply.content is None
        assert reply.finish_reason == "tool_calls"
        assert reply.problems == ()


@pytest.mark.parametrize("text", EXACT)
def test_without_a_list_of_tools_any_name_in_the_exact_notation_is_a_call(text: str) -> None:
    assert called(read(text, None)) == EXACT[text]
    assert read(text, []).tool_calls == ()
    assert read(text, []).content == text


SPANNED = {
    # Around calls that are read without a repair.
    "Sure.\n\n[ping()]\nDone.": ([("ping", {})], "Sure.\n\n\nDone."),
    "I ask now. [ping(), tide.level(at=1)]": ([("ping", {}), ("tide.level", {"at": 1})], "I ask now."),
    "Sure:\n```tool_code\n[ping()]\n```": ([("ping", {})], "Sure:"),
    '```json\n{\n  "name": "ping",\n  "parameters": {}\n}\n```\n': ([("ping", {})], None),
    "```\nping()\ntide.level(at='a')\n```": ([("ping", {}), ("tide.level", {"at": "a"})], None),
    "```[ping()]```": ([("ping", {})], None),
    "[ping()]\n[ping()]": ([("ping", {}), ("ping", {})], None),
    '{"name": "ping", "parameters": {}},\n{"name": "ping", "parameters": {}}': ([("ping", {}), ("ping", {})], None),
    "[\n  book_ferry(\n    port = 'Brest'\n  )\n]": (PORT, None),
    "[ping()]<end_of_turn>": ([("ping", {})], None),
}


@pytest.mark.parametrize("text", SPANNED)
def test_calls_may_be_among_text_and_in_fences(text: str) -> None:
    reply = read(text)
    assert (called(reply), reply.content) == SPANNED[text]
    assert reply.problems == ()


REPAIRED = {
    "book_ferry(port='Brest')": (PORT, ["bare_call"]),
    "ping(), tide.level(at=1)": ([("ping", {}), ("tide.level", {"at": 1})], ["bare_call"]),
    "ping();\n": ([("ping", {})], ["bare_call"]),
    "[book_ferry(port='Brest')": (PORT, ["bracket_missing"]),
    "[book_ferry(port='Brest']": (PORT, ["bracket_missing"]),
    "[book_ferry(stops=['a', 'b')]": ([("book_ferry", {"stops": ["a", "b"]})], ["bracket_missing"]),
    "[book_ferry(port='Brest'})]": (PORT, ["bracket_surplus"]),
    "[book_ferry(stops=['a']], seats=1)]": ([("book_ferry", {"stops": ["a"], "seats": 1})], ["bracket_surplus"]),
    '```json\n{"name": "book_ferry", "parameters": {"port": "Brest"}\n```': (PORT, ["bracket_missing"]),
    '[{"name": "ping", "parameters": {}]': ([("ping", {})], ["bracket_missing"]),
    "[ping())]": ([("ping", {})], ["bracket_surplus"]),
    "[ping()]]": ([("ping", {})], ["bracket_surplus"]),
    "ping()]": ([("ping", {})], ["bare_call", "bracket_surplus"]),
    '```json\n{"name": "ping", "parameters": {}}}\n```': ([("ping", {})], ["bracket_surplus"]),
    "[ping() ping()]": ([("ping", {}), ("ping", {})], ["comma_missing"]),
    "```json\n[ping()]": ([("ping", {})], ["fence_open"]),
    "```tool_code\nprint(book_ferry(port='Brest'))\n```": (PORT, ["print"]),
    '[TOOL_REQUEST]{"name": "ping", "parameters": {}}[END_TOOL_REQUEST]': ([("ping", {})], ["wrapper"]),
    '<tool_call>\n{"name": "ping", "parameters": {}}\n</tool_call>': ([("ping", {})], ["wrapper"]),
    "[default_api.book_ferry(port='Brest')]": (PORT, ["head"]),
    "functions.tide.level(at=1)": ([("tide.level", {"at": 1})], ["bare_call", "head"]),
    "[book_ferry(port='Brest',)]": (PORT, ["comma_surplus"]),
    "[ping(),]": ([("ping", {})], ["comma_surplus"]),
    "[book_ferry(port='Brest' seats=2)]": ([("book_ferry", {"port": "Brest", "seats": 2})], ["comma_missing"]),
    "[book_ferry(car=true, code=null)]": ([("book_ferry", {"car": True, "code": None})], ["literal"]),
    "[book_ferry(price=+3, seats=007)]": ([("book_ferry", {"price": 3, "seats": 7})], ["literal"]),
    "[book_ferry(code=02134)]": ([("book_ferry", {"code": "02134"})], ["type"]),
    "[book_ferry(seats='2', car='true')]": ([("book_ferry", {"seats": 2, "car": True})], ["type"]),
    "[book_ferry(port=Saint Malo, Brittany, seats=2)]": (
        [("book_ferry", {"port": "Saint Malo, Brittany", "seats": 2})],
        ["string_bare"],
    ),
    "[book_ferry('Brest', 2)]": ([("book_ferry", {"port": "Brest", "seats": 2})], ["positional"]),
    "[book_ferry('Brest', price=2)]": ([("book_ferry", {"port": "Brest", "price": 2})], ["positional"]),
    "[book_ferry(**{'port': 'Brest'})]": (PORT, ["spread"]),
    '[book_ferry({"port": "Brest"})]': (PORT, ["spread"]),
    "[book_ferry(port='it's late', seats=2)]": ([("book_ferry", {"port": "it's late", "seats": 2})], ["quote_in_string"]),
    '[book_ferry(port="say "hi" now")]': ([("book_ferry", {"port": 'say "hi" now'})], ["quote_in_string"]),
    r"[book_ferry(port='\d\n', code='C:\new')]": ([("book_ferry", {"port": "\\d\\n", "code": "C:\\new"})], ["backslashes"]),
    "[book_ferry('port'='Brest')]": (PORT, ["key_quoted"]),
    "[book_ferry(port: 'Brest')]": (PORT, ["equals"]),
    "[book_ferry(extra={k: 1})]": ([("book_ferry", {"extra": {"k": 1}})], ["key_bare"]),
    "[book_ferry(port='Nantes', port='Brest')]": (PORT, ["key_twice"]),
    "{'name': 'book_ferry', 'parameters': {'port': 'Brest'}}": (PORT, ["quotes"]),
    '{"name": "book_ferry", "arguments": {"port": "Brest"}}': (PORT, ["argument_key"]),
    '{"args": {"port": "Brest"}, "name": "book_ferry"}': (PORT, ["argument_key"]),
    '{"name": "book_ferry", "parameters": "{\\"port\\": \\"Brest\\"}"}': (PORT, ["argument_text"]),
    '{"name": "book_ferry", "parameters": {"port": "Brest"}, "why": "to see"}': (PORT, ["extra_key"]),
}


@pytest.mark.parametrize("text", REPAIRED)
def test_what_has_drifted_is_read_and_reported(text: str) -> None:
    reply = read(text)
    assert (called(reply), kinds(reply)) == REPAIRED[text]
    assert reply.content is None
    assert reply.finish_reason == "tool_calls"


AROUND = {"bracket_missing", "wrapper", "head", "type"}
"""Departures around a call that is exact itself, or that only a schema shows."""


@pytest.mark.parametrize(
    "text", [text for text, (_, kinds) in REPAIRED.items() if not AROUND & set(kinds) and not text.startswith("[ping()")]
)
def test_a_damaged_call_is_not_a_call_at_level_strict_or_with_unknown_tools(text: str) -> None:
    assert called(read(text, recovery="strict")) == []
    assert read(text, None).tool_calls == ()


PROSE = [
    "Hello!",
    "[1, 2, 3]",
    "See [the docs](https://x.y/z) and [ping](#ping).",
    "Use `book_ferry(port='Brest')` or `[ping()]` to ask.",
    "Write ``[ping()]`` here.",
    "You could call book_ferry(port='Brest') here.",
    "book_ferry(port='Brest') books a ferry.",
    "book_ferry(port, seats)",
    'The list "[ping()]" is a call.',
    "Use [ping()] to ask.",
    "- [ ] to do\n- [x] done",
    "ping",
    "```python\nprint('hello')\n```",
    "```python\nping()\nprint('done')\n```",
    "```python\nx = ping()\n```",
    "```tool_output\n[ping()]\n```",
    "```text\nsome text\n[ping()]\n```\n",
    '```json\n[{"name": "Ann", "age": 30}]\n```',
    '{"name": "Ann", "age": 3}',
    '{"name": "book_ferry", "description": "Books.", "parameters": {"type": "object"}}',
    '{"name": "book_ferry"}',
    '{"port": "Brest"}',
    "[nobody(x=1)]",
    "nobody(x=1)",
    "[pin",
    '{"name": "pi',
]


@pytest.mark.parametrize("text", PROSE)
@pytest.mark.parametrize("recovery", ["strict", "schema"])
def test_prose_stays_prose(text: str, recovery: str) -> None:
    reply = read(text, recovery=recovery)
    assert reply.tool_calls == ()
    assert reply.content == text
    assert reply.problems == ()
    assert reply.finish_reason == "stop"


UNREADABLE = {
    "[book_ferry(port=find_port())]": ("unreadable", "[book_ferry(port=find_port())"),
    "[book_ferry(port='Brest', 2)]": ("unreadable", "[book_ferry(port='Brest', 2)"),
    "[book_ferry(port=)]": ("unreadable", "[book_ferry(port=)"),
    '{"name": "book_ferry", "parameters": [1]}': ("unreadable", '{"name": "book_ferry", "parameters": [1]}'),
    '{"name": "ping", "parameters": "{} and more"}': ("unreadable", '{"name": "ping", "parameters": "{} and more"}'),
    "[ping(), nobody(x=[1, ')'])]": ("undeclared", ", nobody(x=[1, ')'])"),
}


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_call_that_cannot_be_read_is_a_problem_and_no_call(text: str) -> None:
    reply = read(text)
    assert [name for name, _ in called(reply)] == (["ping"] if text.startswith("[ping()") else [])
    assert [(problem.kind, problem.text) for problem in reply.problems] == [UNREADABLE[text]]
    assert reply.content is None


CUT = {
    "[book_ferry(": [],
    "[book_ferry(po": [],
    "[book_ferry(port='Bre": [],
    "[book_ferry(port='Brest', seats=": [],
    "[ping(), book_ferry(port='Bre": [("ping", {})],
    "[ping(), boo": [("ping", {})],
    '```json\n{"name": "book_ferry", "parameters": {"port": "Bre': [],
    '{"name": "book_ferry", "parameters": {"port": "Brest"}': [],
    '{"name": "book_ferry"': [],
    "[book_ferry(port='Brest', seats=2<end_of_turn": [],
}


@pytest.mark.parametrize("text", CUT)
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_a_cut_call_is_not_a_call_and_no_content(text: str, finish: str) -> None:
    reply = read(text, finish=finish)
    assert called(reply) == CUT[text]
    assert reply.content is None
    assert reply.finish_reason == "length"
    assert kinds(reply) == ["cut"]
    assert text.endswith(reply.problems[0].text)


@pytest.mark.parametrize("text", ["```tool_code\nping()", "ping()", "Now: [ping()]"])
def test_a_cut_answer_has_no_call_that_the_whole_one_may_not_have(text: str) -> None:
    reply = read(text, finish="length")
    assert (called(reply), reply.content, reply.finish_reason, kinds(reply)) == ([], text, "length", [])
    assert called(read(text)) == [("ping", {})]


def test_special_tokens_are_never_content() -> None:
    reply = read("<bos>One.<end_of_turn>\n<start_of_turn>user\nTwo?")
    assert reply.content == "One."
    assert [(p.kind, p.text) for p in reply.problems] == [("after_end", "\n<start_of_turn>user\nTwo?")]
    assert read("<start_of_turn>model\nOne.<eos>").content == "One."
    assert read("See ```\ncode<eos>").content == "See ```\ncode"
    assert read("Write `<eos>` there.").content == "Write `<eos>` there."
    assert kinds(read("a<image_soft_token>b")) == ["stray_token"]


def test_special_tokens_that_the_prompt_broke_come_back_whole() -> None:
    broken = "<\u2060end_of_turn>"
    format = get_format("gemma3")
    for text in (f"Say {broken}!", f"[book_ferry(port='a{broken}b', extra={{'{broken}': 1}})]"):
        for size in (1, 3, 1000):
            parser = format.parser(TOOLS, guarded=["<end_of_turn>"])
            for i in range(0, len(text), size):
                parser.feed(text[i : i + size])
            parser.close()
            said = (parser.reply.content or "") + json.dumps([call.arguments for call in parser.reply.tool_calls])
            assert "<end_of_turn>" in said
            assert "\u2060" not in said
    assert read(f"Say {broken}!").content == f"Say {broken}!"


def test_events_come_as_soon_as_they_are_certain() -> None:
    parser = get_format("gemma3").parser(TOOLS)
    assert parser.feed("Hello") == [ContentDelta("Hello")]
    assert parser.feed(" there\n[bo") == [ContentDelta(" there")]
    assert parser.feed("ok_ferry(port='Brest'") == []  # a call is given out once it is complete
    assert parser.feed("), pi") == []  # the first one of a list, once it is not text in square brackets
    assert parser.feed("ng(") == [
        ToolCallStarted(0, "", "book_ferry"),
        ToolCallDelta(0, '{"port": "Brest"}'),
        ToolCallEnded(0),
    ]
    assert parser.feed(")") == [ToolCallStarted(1, "", "ping"), ToolCallDelta(1, "{}"), ToolCallEnded(1)]
    assert parser.feed("]") == []
    assert parser.close() == []


def test_text_is_held_back_only_while_it_may_become_a_call() -> None:
    pieces = {
        "[": "",
        "the ": "[the",
        "docs]\n": " docs]",
        "boo": "",
        "kcase\n": "\nbookcase",
        "東京": "\n東京",
        "タワー": "タワー",
        "\n{": "",
        '"age": 1': '\n{"age": 1',
    }
    parser = get_format("gemma3").parser(TOOLS)
    said = {piece: "".join(e.text for e in parser.feed(piece) if isinstance(e, ContentDelta)) for piece in pieces}
    said['"age": 1'] += "".join(e.text for e in parser.close() if isinstance(e, ContentDelta))
    assert said == pieces


def test_a_fence_is_emitted_when_it_is_certain_to_contain_only_calls() -> None:
    parser = get_format("gemma3").parser(TOOLS)
    assert parser.feed("```tool_code\nping()\n") == []
    events = parser.feed("```")
    assert events == []  # a longer run of backticks could still follow
    assert [type(event) for event in parser.close()] == [ToolCallStarted, ToolCallDelta, ToolCallEnded]


def test_a_call_that_is_cut_is_not_started() -> None:
    parser = get_format("gemma3").parser(TOOLS)
    text = "[book_ferry(port='Brest', seats=2"
    assert parser.feed(text) == []
    (problem,) = parser.close("length")
    assert isinstance(problem, Problem)
    assert (problem.kind, problem.text, problem.start, problem.end) == ("cut", text, 0, len(text))


def test_several_repairs_of_one_kind_are_one_problem() -> None:
    assert kinds(read("[book_ferry(port=a, code=b, stops=[c, d])]")) == ["string_bare"]


def test_schemas_type_values_at_any_depth() -> None:
    schema = {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}}},
        "$defs": {"Row": {"type": "object", "properties": {"zip": {"type": "string"}, "n": {"type": "integer"}}}},
    }
    tools = [{"type": "function", "function": {"name": "put", "parameters": schema}}]
    reply = read("[put(rows=[{'zip': 02134, 'n': '7'}, {\"zip\": 1e5}])]", tools)
    assert called(reply) == [("put", {"rows": [{"zip": "02134", "n": 7}, {"zip": "1e5"}]})]


DEPTH = 10_000


@pytest.mark.parametrize(
    "text", ["[tide.level(at=" + "[" * DEPTH, '{"name": "tide.level", "parameters": {"at": ' + '{"a": ' * DEPTH]
)
def test_depth_is_safe(text: str) -> None:
    assert kinds(read(text)) == ["cut"]
    closed = text + ("]" * DEPTH + ")]" if text[0] == "[" else "1" + "}" * (DEPTH + 2))
    assert [name for name, _ in called(read(closed))] == ["tide.level"]


fragments = st.sampled_from(
    [
        *EXACT,
        *REPAIRED,
        *PROSE,
        *"[](){}'\"`\\<,:=\n #",
        "ping()",
        "book_ferry(",
        "port=",
        "```",
        "```json\n",
        '"""',
        "<eos>",
        "<\u2060eos>",
        "print(",
        '{"name": "ping", ',
        '"parameters": ',
        "[TOOL_REQUEST]",
        "\ud800",
        "\\ud83d\\ude00",
        "é",
        "2",
        "True",
    ]
)


@given(
    st.lists(fragments, max_size=8).map("".join),
    st.sampled_from([TOOLS, TOOLS, None, []]),
    st.sampled_from(["schema", "strict"]),
    st.integers(1, 9),
)
def test_every_way_of_cutting_gives_the_same_reply(text: str, tools: Any, recovery: str, size: int) -> None:
    format = get_format("gemma3", recovery=recovery)
    whole = format.parse(text, tools, guarded=["<eos>"])
    parser = format.parser(tools, guarded=["<eos>"])
    for i in range(0, len(text), size):
        parser.feed(text[i : i + size])
    parser.close()
    assert parser.reply == whole
    for call in whole.tool_calls:
        assert isinstance(json.loads(call.arguments_json), dict)
