"""The Responses API: translated to chat and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gemma_tools import Gemma4Model, openai_client
from gemma_tools.engines.base import Capabilities
from gemma_tools.openai_api.responses_input import ACCEPTED, HONOURED, LEFT_OUT, REFUSED, items_of, to_chat
from gemma_tools.openai_api.responses_store import Memory
from gemma_tools.openai_api.wire import ApiRequest, ApiSettings
from gemma_tools.routes import handle
from gemma_tools.testing import Script, ScriptedEngine
from support.serving import CALL, WEATHER, ProbableEngine, scripted, thinker

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TOOL = {"type": "function", **WEATHER["function"]}
THOUGHT = "<|channel>thought\nHm.<channel|>"
CALL4 = '<|tool_call>call:get_weather{city:<|"|>Lisbon<|"|>}<tool_call|>'


def ask(model: Any, **fields: Any) -> Any:
    body = json.dumps({"model": "m", "input": "Hi", **fields}).encode()
    return handle(ApiRequest("POST", "/v1/responses", body), {"m": model})


def in_chat(body: dict[str, Any]) -> dict[str, Any]:
    """The chat body that a Responses body becomes where nothing is stored."""
    return to_chat(body, items_of(body, Memory(None, ""))).chat


def respond(model: Any, **fields: Any) -> Response:
    response = ask(model, **fields)
    assert response.status == 200, response.body
    return Response.model_validate_json(response.body)


def events(model: Any, **fields: Any) -> list[Any]:
    response = ask(model, stream=True, **fields)
    assert response.status == 200, response.body
    told = []
    for frame in b"".join(response.body).decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        told.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {told[-1]['type']}"
        EVENT.validate_python(told[-1])
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    return told


def test_text_comes_as_a_message() -> None:
    response = respond(scripted("It is sunny."), instructions="Be brief.", temperature=0.1, metadata={"a": "b"})
    assert response.output_text == "It is sunny."
    assert (response.status, response.error, response.incomplete_details) == ("completed", None, None)
    assert (response.instructions, response.temperature, response.metadata) == ("Be brief.", 0.1, {"a": "b"})
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0


def test_a_call_comes_as_an_item() -> None:
    (call,) = respond(scripted(CALL), tools=[TOOL]).output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.status) == ("get_weather", {"city": "Lisbon"}, "completed")
    assert call.call_id.startswith("call_")


def test_thought_text_and_calls_keep_their_order() -> None:
    response = respond(thinker(f"{THOUGHT}I look.{CALL4}"), tools=[TOOL], reasoning={"effort": "high"})
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    thought = response.output[0]
    assert thought.type == "reasoning"
    assert [part.text for part in thought.content or ()] == ["Hm."]


def test_the_events_of_text_and_a_call() -> None:
    told = events(thinker(f"{THOUGHT}I look.{CALL4}"), tools=[TOOL], reasoning={"effort": "high"})
    names = [event["type"].removeprefix("response.") for event in told]
    once = [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    assert once == [
        *("created", "in_progress"),
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    assert "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta") == "I look."
    items = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    assert told[-1]["response"]["output"] == items
    assert [event["output_index"] for event in told if event["type"] == "response.output_item.added"] == [0, 1, 2]


def test_the_stream_ends_with_what_the_whole_answer_is() -> None:
    def bare(response: dict[str, Any]) -> Any:
        return [{key: value for key, value in item.items() if key not in ("id", "call_id")} for item in response["output"]]

    text = f"{THOUGHT}I look.{CALL4}{CALL4}"
    fields = {"tools": [TOOL], "reasoning": {"effort": "high"}}
    whole = respond(thinker(text), **fields).model_dump(exclude_unset=True)
    assert bare(events(thinker(text), **fields)[-1]["response"]) == bare(whole)


def test_a_cut_answer_is_incomplete() -> None:
    model = scripted(Script(("It is",), finish="length"), Script(("It is",), finish="length"))
    response = respond(model)
    assert (response.status, response.output_text) == ("incomplete", "It is")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete"  # type: ignore[union-attr]
    assert events(model)[-1]["type"] == "response.incomplete"


def test_a_call_cut_while_it_streams_live_is_not_done() -> None:
    model = scripted(Script(("<start_function_call>call:get_weather{city:<escape>Lis",), finish="length"))
    model._calls = "live"
    told = events(model, tools=[TOOL])
    names = [event["type"] for event in told]
    assert "response.function_call_arguments.done" not in names
    item = told[-1]["response"]["output"][-1]
    assert (item["type"], item["status"]) == ("function_call", "incomplete")


def test_problems_and_warnings_are_next_to_the_answer() -> None:
    fields = {"tools": [TOOL], "reasoning": {"effort": "high"}}
    for response in (
        respond(scripted(CALL.replace("get_weather", "get_time")), **fields),
        Response.model_validate(events(scripted(CALL.replace("get_weather", "get_time")), **fields)[-1]["response"]),
    ):
        told = response.model_extra or {}
        assert [problem["kind"] for problem in told["problems"]] == ["undeclared"]
        assert "no thought channel" in told["warnings"][0]
        assert response.output_text == ""


def test_a_conversation_becomes_chat_messages() -> None:
    chat = in_chat(
        {
            "model": "m",
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
                {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city":"Lisbon"}'},
                {"type": "function_call", "call_id": "c2", "name": "get_weather", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
                {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
                {"type": "message", "role": "assistant", "content": "Sun and rain."},
                {"role": "user", "content": "Thanks"},
            ],
            "max_output_tokens": 9,
            "tool_choice": {"type": "function", "name": "get_weather"},
            "tools": [TOOL],
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
            "reasoning": {"effort": "low"},
            "store": False,
            "include": ["reasoning.encrypted_content"],
        }
    )
    call = {"type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Lisbon"}'}, "id": "c1"}
    other = {"type": "function", "function": {"name": "get_weather", "arguments": "{}"}, "id": "c2"}
    assert chat == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {
                "role": "assistant",
                "content": [{"type": "output_text", "text": "I look."}],
                "reasoning_content": "Hm.",
                "tool_calls": [call, other],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "input_text", "text": "rain"}]},
            {"role": "assistant", "content": "Sun and rain."},
            {"role": "user", "content": "Thanks"},
        ],
        "max_tokens": 9,
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "tools": [WEATHER],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
        "reasoning_effort": "low",
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"top_logprobs": 30}, "top_logprobs"),
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": ["Hi"]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].id"),
        ({"input": [{"type": 3}]}, "input[0].type"),
        ({"input": [{"type": "custom_tool_call", "call_id": "c", "name": "shell"}]}, "input[0].input"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input"),
        ({"input": [{"role": "wizard", "content": "Hi"}]}, "input"),
        ({"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]}, "input"),
        ({"input": [{"type": "reasoning", "summary": [{}]}]}, "input[0].summary[0].text"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{"type": "web_search"}, {"type": "function", "name": "a b"}]}, "tools[1].name"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "custom"}]}]}, "tools[0].tools[0].name"),
        ({"tools": [{"type": "namespace", "tools": []}]}, "tools[0].name"),
        ({"tools": [{"type": "custom", "name": "a", "format": {"type": "grammar", "syntax": "bnf"}}]}, "tools[0].format"),
        (
            {"tools": [{"type": "custom", "name": "a", "format": {"type": "grammar", "syntax": "regex"}}]},
            "tools[0].format.definition",
        ),
        ({"tools": "all"}, "tools"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"text": "plain"}, "text"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": 7}}, "reasoning.effort"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_what_cannot_be_done_is_a_400_that_names_it(fields: dict[str, Any], param: str) -> None:
    response = ask(scripted("never"), **fields)
    error = json.loads(response.body)["error"]
    assert (response.status, error["param"]) == (400, param)


def test_every_field_has_one_policy() -> None:
    policies = (HONOURED, ACCEPTED, LEFT_OUT, REFUSED.keys())
    assert sum(map(len, policies)) == len(set[str]().union(*policies))
    for name in ACCEPTED | LEFT_OUT:
        value: Any = {"any": "thing"} if name == "metadata" else "anything"
        assert in_chat({"model": "m", "input": "Hi", name: value}).keys() == {"model", "messages"}
    for name, value in REFUSED.items():
        assert in_chat({"model": "m", "input": "Hi", name: value}).keys() == {"model", "messages"}


def test_what_is_not_known_is_left_out_and_reported() -> None:
    fields: dict[str, Any] = {
        "client_metadata": {"a": "b"},
        "truncation": "auto",
        "context_management": [{"type": "compaction"}],
        "frobnicate": 1,
        "tools": [TOOL, {"type": "web_search", "external_web_access": False}],
        "input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, {"role": "user", "content": "Hi"}],
    }
    response = respond(scripted("It is sunny."), **fields)
    assert response.output_text == "It is sunny."
    warnings = (response.model_extra or {})["warnings"]
    places = {warning.partition(" was left out")[0] for warning in warnings}
    assert places == {"context_management", "frobnicate", "tools[1]", "input[0]"}
    assert [tool.type for tool in response.tools] == ["function"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"frobnicate": 1}, "frobnicate"), ({"moderation": {}}, "moderation"), ({"tools": [{"type": "mcp"}]}, "tools[0]")],
)
def test_what_is_not_known_is_refused_where_it_shall_be(fields: dict[str, Any], param: str) -> None:
    body = json.dumps({"model": "m", "input": "Hi", **fields}).encode()
    for path in ("/v1/responses", "/v1/responses/input_tokens"):
        response: Any = handle(ApiRequest("POST", path, body), {"m": scripted("never")}, settings=ApiSettings(unknown="refuse"))
        assert (response.status, json.loads(response.body)["error"]["param"]) == (400, param)


def test_fields_of_other_servers_reach_the_engine() -> None:
    model = thinker(f"{THOUGHT}Yes.")
    respond(model, enable_thinking=True, repeat_penalty=1.1, top_k=-1)
    (asked,) = model.engine.asked  # type: ignore[attr-defined]
    assert asked.sampling.repeat_penalty == 1.1
    assert "<|think|>" in asked.prompt.text


def test_a_thought_goes_along_as_encrypted_content() -> None:
    fields = {"reasoning": {"effort": "high"}, "tools": [TOOL], "include": ["reasoning.encrypted_content"]}
    thought, call = respond(thinker(THOUGHT + CALL4), **fields).output
    assert thought.type == "reasoning"
    assert thought.encrypted_content
    assert call.type == "function_call"
    sent: list[Any] = [
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "id": thought.id, "summary": [], "encrypted_content": thought.encrypted_content},
        call.model_dump(exclude_unset=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
    ]
    model = thinker("Rain.")
    respond(model, input=sent, **fields)
    assert "<|channel>thought\nHm." in model.engine.asked[0].prompt.text  # type: ignore[attr-defined]
    for foreign in ("gAAAAAB", "gemma-tools:?", 5):
        sent[1]["encrypted_content"] = foreign
        chat = in_chat({"model": "m", "input": sent})
        assert "reasoning_content" not in chat["messages"][1]


def test_who_asks_for_a_summary_gets_the_thought_there() -> None:
    fields: dict[str, Any] = {"reasoning": {"effort": "high", "summary": "auto"}, "tools": [TOOL]}
    thought, call = respond(thinker(THOUGHT + CALL4), **fields).output
    assert thought.type == "reasoning"
    assert [part.text for part in thought.summary] == ["Hm."]
    assert thought.content is None
    with openai_client(thinker(THOUGHT + CALL4)) as client:
        told = list(client.responses.create(model="m", input="Hi", stream=True, **fields))
    assert "".join(event.delta for event in told if event.type == "response.reasoning_summary_text.delta") == "Hm."
    assert not any(event.type.startswith(("response.reasoning_text", "response.content_part")) for event in told)
    sent = [thought.model_dump(exclude_unset=True), call.model_dump(exclude_unset=True)]
    assert in_chat({"model": "m", "input": sent})["messages"][0]["reasoning_content"] == "Hm."


THINKS = "<|channel>thought\nIt is sunny.<channel|>It is sunny."


@pytest.mark.parametrize("fields", [{"include": ["message.output_text.logprobs"]}, {"top_logprobs": 1}])
def test_the_probabilities_of_a_text_are_beside_it(fields: dict[str, Any]) -> None:
    def model() -> Gemma4Model:
        return Gemma4Model("m", engine=ProbableEngine(THINKS))

    response = respond(model(), reasoning={"effort": "low"}, **fields)
    part: Any = response.output[-1].content[0]  # type: ignore[union-attr, index]
    text = "".join(entry.token for entry in part.logprobs)
    assert part.text in text
    assert len(text) < len(part.text) + 8  # the tokens at its ends may say more
    assert part.logprobs[-1].logprob == -(-(-len(THINKS) // 4) - 1)
    assert part.logprobs[0].top_logprobs[0].token == "x"
    done = [
        event for event in events(model(), reasoning={"effort": "low"}, **fields) if event["type"].endswith("output_text.done")
    ]
    assert [entry["logprob"] for entry in done[-1]["logprobs"]] == [entry.logprob for entry in part.logprobs]


def test_log_probabilities_before_a_call_come_at_the_end_of_a_stream() -> None:
    engine = ProbableEngine('I look.<|tool_call>call:get_weather{city:<|"|>I look.<|"|>}<tool_call|>')
    told = events(Gemma4Model("m", engine=engine), tools=[TOOL], top_logprobs=1)
    assert [entry["token"] for entry in told[-1]["response"]["output"][0]["content"][0]["logprobs"]] == ["I lo", "ok.<"]


def test_an_engine_that_reports_no_probabilities_is_named() -> None:
    engine = ScriptedEngine(["Hi."], capabilities=Capabilities(settings=frozenset()))
    response = ask(Gemma4Model("m", engine=engine), include=["message.output_text.logprobs"])
    assert response.status == 400
    assert json.loads(response.body)["error"]["param"] == "top_logprobs"
