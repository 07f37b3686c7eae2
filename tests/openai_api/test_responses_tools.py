"""Tools of a Responses request that chat does not have: free text, namespaces, and those that OpenAI runs itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from gemma_tools import Gemma4Model, openai_client
from gemma_tools.engines.base import Cancellation, GenerationRequest, Pieces
from gemma_tools.errors import EngineRejected
from gemma_tools.testing import Script, ScriptedEngine
from support.serving import WEATHER, serving, thinker

TOOL: Any = {"type": "function", **WEATHER["function"]}
SHELL: Any = {"type": "custom", "name": "shell", "description": "Runs a command."}
CRM: Any = {
    "type": "namespace",
    "name": "crm",
    "description": "Customers.",
    "tools": [{**TOOL, "name": "find"}, {"type": "custom", "name": "note"}, {"type": "web_search"}],
}
MCP: Any = {"type": "namespace", "name": "mcp__files__", "description": "", "tools": [{**TOOL, "name": "read"}]}


def call(name: str, **texts: str) -> str:
    arguments = ",".join(f'{key}:<|"|>{value}<|"|>' for key, value in texts.items())
    return f"<|tool_call>call:{name}{{{arguments}}}<tool_call|>"


@pytest.fixture(params=["process", "socket"])
def create(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Ask a model for a response, streamed or not; of a stream, the response that ends it."""

    def ask(client: OpenAI, fields: dict[str, Any], stream: bool) -> Any:
        if not stream:
            return client.responses.create(**fields)
        *_, last = client.responses.create(**fields, stream=True)
        assert last.type in ("response.completed", "response.incomplete")
        return last.response

    def create(model: Any, /, *, stream: bool = False, **fields: Any) -> Any:
        fields = {"model": "m", "input": "Hi", **fields}
        if request.param == "process":
            with openai_client(model) as client:
                return ask(client, fields, stream)
        with serving(model) as url, OpenAI(base_url=url, api_key="x", max_retries=0) as client:
            return ask(client, fields, stream)

    return create


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def prompt(model: Any) -> str:
    return str(model.engine.asked[-1].prompt.text)


def test_a_custom_tool_takes_free_text(create: Callable[..., Any], stream: bool) -> None:
    model = thinker(call("shell", input='ls "a b"\\n'))
    (item,) = create(model, stream=stream, tools=[SHELL]).output
    assert (item.type, item.name, item.input, item.status) == ("custom_tool_call", "shell", 'ls "a b"\\n', "completed")
    assert item.call_id.startswith("call_")
    assert "declaration:shell{description:" in prompt(model)


def test_the_events_of_free_text() -> None:
    with openai_client(thinker("I run." + call("shell", input="ls"))) as client:
        told = list(client.responses.create(model="m", input="Hi", tools=[SHELL], stream=True))
    mine = [event for event in told if "custom_tool_call" in event.type or getattr(event, "output_index", 0) == 1]
    assert [event.type.removeprefix("response.") for event in mine] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    assert [getattr(event, "delta", None) or getattr(event, "input", None) for event in mine[1:3]] == ["ls", "ls"]


def test_free_text_that_was_cut_is_not_done() -> None:
    cut = Script(('<|tool_call>call:shell{input:<|"|>ls -',), finish="length")
    model = Gemma4Model("m", engine=ScriptedEngine([cut]), stream_arguments="live")
    with openai_client(model) as client:
        told = list(client.responses.create(model="m", input="Hi", tools=[SHELL], stream=True))
    assert not any("custom_tool_call" in event.type for event in told)
    (item,) = told[-1].response.output  # type: ignore[union-attr]
    assert (item.type, item.status) == ("custom_tool_call", "incomplete")  # type: ignore[union-attr]


def test_calls_and_outputs_of_custom_tools_are_read_back(create: Callable[..., Any]) -> None:
    model = thinker("Done.")
    items = [
        {"role": "user", "content": "List"},
        {"type": "custom_tool_call", "call_id": "c", "name": "shell", "input": 'ls "x"'},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "a.txt"},
    ]
    create(model, input=items, tools=[SHELL])
    assert 'call:shell{input:<|"|>ls "x"<|"|>}' in prompt(model)
    assert "a.txt" in prompt(model)


def test_a_regular_expression_is_enforced_by_the_engine(create: Callable[..., Any]) -> None:
    can = replace(ScriptedEngine([]).capabilities, constraints=frozenset(("gbnf",)))
    model = Gemma4Model("m", engine=ScriptedEngine([call("pick", input="ab")], capabilities=can))
    tool = {"type": "custom", "name": "pick", "format": {"type": "grammar", "syntax": "regex", "definition": "^[ab]+$"}}
    (item,) = create(model, tools=[tool]).output
    assert item.input == "ab"
    asked = model.engine.asked[-1]  # type: ignore[attr-defined]
    assert "[a-b]" in asked.constraint.gbnf
    assert "must match this regular expression: ^[ab]+$" in asked.prompt.text


def test_a_regular_expression_is_checked_where_no_engine_holds_it() -> None:
    pytest.importorskip("jsonschema_rs")
    tool: Any = {"type": "custom", "name": "pick", "format": {"type": "grammar", "syntax": "regex", "definition": "[ab]+"}}
    model = thinker(call("pick", input="xaby"), call("pick", input="ab"))
    with openai_client(model) as client:
        (item,) = client.responses.create(model="m", input="Hi", tools=[tool]).output
    assert item.type == "custom_tool_call"
    assert item.input == "ab"


LARK: Any = {"type": "custom", "name": "pick", "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "a"+'}}


@pytest.mark.parametrize("takes", [("gbnf", "lark"), ("lark",)])
def test_a_lark_grammar_is_enforced_by_an_engine_that_takes_lark(takes: tuple[Any, ...]) -> None:
    can = replace(ScriptedEngine([]).capabilities, constraints=frozenset(takes))
    engine = ScriptedEngine([call("pick", input="aa")], capabilities=can)
    with openai_client(Gemma4Model("m", engine=engine)) as client:
        response = client.responses.create(model="m", input="Hi", tools=[LARK])
    assert not (response.model_extra or {}).get("warnings")
    constraint = engine.asked[-1].constraint
    assert constraint is not None
    assert constraint.gbnf is None
    assert '%lark {\nstart: "a"+\n}' in str(constraint.lark)
    assert "x-lark" not in engine.asked[-1].prompt.text


def test_an_engine_may_find_out_that_it_takes_no_lark() -> None:
    class Learning(ScriptedEngine):
        def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
            if request.constraint is not None and request.constraint.lark is not None:
                self._capabilities = replace(self._capabilities, constraints=frozenset({"gbnf"}))
                raise EngineRejected("no")
            return (yield from super().generate(request, cancel=cancel))

    can = replace(ScriptedEngine([]).capabilities, constraints=frozenset({"gbnf", "lark"}))
    engine = Learning([call("pick", input="b")], capabilities=can)
    with openai_client(Gemma4Model("m", engine=engine)) as client:
        response = client.responses.create(model="m", input="Hi", tools=[LARK])
    assert response.output[0].type == "custom_tool_call"
    assert (response.model_extra or {})["warnings"] == [NOT_HELD]


def test_a_lark_grammar_that_cannot_be_read_is_refused() -> None:
    tool = {**LARK, "format": {**LARK["format"], "definition": "start: nothing"}}
    with openai_client(thinker("Hi")) as client, pytest.raises(BadRequestError) as refused:
        client.responses.create(model="m", input="Hi", tools=[tool])
    assert refused.value.param == "tools[0].format.definition"


NOT_HELD = "pick: the Lark grammar of its input is shown to the model, but not enforced"


def test_a_lark_grammar_is_asked_for_and_reported(create: Callable[..., Any], stream: bool) -> None:
    model = thinker(call("pick", input="aa"))
    response = create(model, stream=stream, tools=[LARK])
    assert response.output[0].input == "aa"
    assert 'start: "a"+' in prompt(model)
    assert response.warnings == [NOT_HELD]


def test_the_tools_of_a_namespace_answer_to_their_own_names(create: Callable[..., Any], stream: bool) -> None:
    calls = call("crm__find", city="Lisbon") + call("crm__note", input="hm") + call("mcp__files__read", city="x")
    model = thinker(calls)
    response = create(model, stream=stream, tools=[CRM, MCP, TOOL])
    told = [(item.type, item.namespace, item.name) for item in response.output]
    assert told == [
        ("function_call", "crm", "find"),
        ("custom_tool_call", "crm", "note"),
        ("function_call", "mcp__files__", "read"),
    ]
    assert "crm: Customers." in prompt(model)
    assert any(warning.startswith("tools[0].tools[2] was left out: ") for warning in response.warnings)
    assert [[tool.name for tool in space.tools] for space in response.tools[:2]] == [["find", "note"], ["read"]]


def test_calls_of_a_namespace_are_read_back(create: Callable[..., Any]) -> None:
    model = thinker("Done.")
    items = [
        {"role": "user", "content": "Find"},
        {"type": "function_call", "call_id": "c", "namespace": "crm", "name": "find", "arguments": '{"city": "Lisbon"}'},
        {"type": "function_call_output", "call_id": "c", "output": "Ana"},
    ]
    create(model, input=items, tools=[CRM])
    assert 'call:crm__find{city:<|"|>Lisbon<|"|>}' in prompt(model)
    assert "response:crm__find{" in prompt(model)


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "custom", "name": "shell"},
        {"type": "function", "name": "shell"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}, {"type": "custom", "name": "shell"}]},
    ],
)
def test_a_custom_tool_can_be_chosen(choice: Any) -> None:
    model = thinker('input:<|"|>ls<|"|>}<tool_call|>')
    with openai_client(model) as client:
        response = client.responses.create(
            model="m", input="Hi", tools=[SHELL, TOOL, {"type": "web_search"}], tool_choice=choice
        )
    assert response.output[0].type == "custom_tool_call"
    assert prompt(model).endswith("call:shell{")


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "find", "namespace": "crm"},
        {"type": "function", "name": "find"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "find", "namespace": "crm"}]},
    ],
)
def test_a_tool_of_a_namespace_can_be_chosen(choice: Any) -> None:
    model = thinker('city:<|"|>Lisbon<|"|>}<tool_call|>')
    with openai_client(model) as client:
        client.responses.create(model="m", input="Hi", tools=[TOOL, CRM], tool_choice=choice)
    assert prompt(model).endswith("call:crm__find{")


def test_a_whole_namespace_can_be_allowed() -> None:
    model = thinker(call("get_weather", city="x") + call("crm__find", city="x"))
    choice: Any = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "namespace", "name": "crm"}]}
    with openai_client(model) as client:
        response = client.responses.create(model="m", input="Hi", tools=[TOOL, CRM], tool_choice=choice)
    assert [item.name for item in response.output if item.type == "function_call"] == ["find"]


HOSTED = [
    {"type": "web_search"},
    {"type": "mcp", "server_label": "x", "server_url": "https://example.com"},
    {"type": "file_search", "vector_store_ids": []},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "image_generation"},
    {"type": "computer_use_preview"},
    {"type": "local_shell"},
    {"type": "tool_search"},
    {"type": "apply_patch"},
]


@pytest.mark.parametrize("tool", HOSTED, ids=lambda tool: tool["type"])
def test_tools_that_openai_runs_are_left_out_unless_chosen(tool: Any) -> None:
    with openai_client(thinker("Hello.")) as client:
        response = client.responses.create(model="m", input="Hi", tools=[tool])
        assert response.output_text == "Hello."
        assert response.tools == []
        (warning,) = [
            warning for warning in (response.model_extra or {})["warnings"] if warning.startswith("tools[0] was left out: ")
        ]
        assert json.dumps(tool["type"]) in warning or tool["type"] in warning
        choices: list[Any] = [
            {"type": tool["type"]},
            "required",
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": tool["type"]}]},
        ]
        for choice in choices:
            with pytest.raises(BadRequestError, match="tool"):
                client.responses.create(model="m", input="Hi", tools=[tool], tool_choice=choice)
