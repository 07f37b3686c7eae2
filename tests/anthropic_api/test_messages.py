"""The Messages API, asked by Anthropic's own SDK: in process, in asyncio, and over a real socket."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from gemma_tools import BaseModelBackend, FunctionGemmaModel, anthropic_client, async_anthropic_client
from gemma_tools.errors import ContextExceeded, EngineUnavailable
from gemma_tools.openai_api.wire import ApiRequest
from gemma_tools.routes import handle
from gemma_tools.testing import Script, ScriptedEngine
from support.serving import CALL, EndlessEngine, scripted, serving, thinker

TOOL: Any = {
    "name": "get_weather",
    "description": "Gets the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ASKED: Any = [{"role": "user", "content": "What is the weather in Lisbon?"}]
CALLED: Any = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Lisbon"}}
RESULT: Any = {"type": "tool_result", "tool_use_id": "toolu_1"}
FAILED_WITH_IMAGE: Any = {
    **RESULT,
    "is_error": True,
    "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}],
}
THOUGHT = "<|channel>thought\nNo rain is seen.<channel|>It is sunny."

Create = Callable[..., Any]


@pytest.fixture(params=["process", "asyncio", "socket"])
def create(request: pytest.FixtureRequest) -> Create:
    """Ask a model for a message, streamed or not; a stream is given as its final message."""

    def ask(client: anthropic.Anthropic, fields: dict[str, Any], stream: bool) -> Any:
        if not stream:
            return client.messages.create(**fields)
        with client.messages.stream(**fields) as events:
            return events.get_final_message()

    async def aask(model: BaseModelBackend, fields: dict[str, Any], stream: bool) -> Any:
        async with async_anthropic_client(model) as client:
            if not stream:
                return await client.messages.create(**fields)
            async with client.messages.stream(**fields) as events:
                return await events.get_final_message()

    def create(model: BaseModelBackend, /, *, stream: bool = False, **fields: Any) -> Any:
        fields = {"model": "m", "max_tokens": 50, "messages": ASKED, **fields}
        if request.param == "asyncio":
            return asyncio.run(aask(model, fields, stream))
        if request.param == "process":
            with anthropic_client(model) as client:
                return ask(client, fields, stream)
        with serving(model, api_keys=["sesame"]) as url:
            address = url.removesuffix("/v1")
            with anthropic.Anthropic(base_url=address, api_key="sesame", max_retries=0) as client:
                return ask(client, fields, stream)

    return create


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def blocks(message: Any) -> list[dict[str, Any]]:
    return [block.model_dump(exclude_none=True) for block in message.content]


def test_text(create: Create, stream: bool) -> None:
    message = create(scripted("It is sunny."), stream=stream)
    assert blocks(message) == [{"type": "text", "text": "It is sunny."}]
    assert (message.role, message.model, message.stop_reason, message.stop_sequence) == ("assistant", "m", "end_turn", None)
    assert message.usage.input_tokens > 0 < message.usage.output_tokens


def test_the_stop_sequence_that_ended_it(create: Create, stream: bool) -> None:
    message = create(scripted("One, two, three."), stream=stream, stop_sequences=["nine", ", three"])
    assert blocks(message) == [{"type": "text", "text": "One, two"}]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", ", three")
    message = create(scripted("One."), stream=stream, stop_sequences=["nine"])
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)


BEGUN: Any = [{"role": "user", "content": "Tell a story."}, {"role": "assistant", "content": "Once <end_of_turn>"}]


def test_the_last_message_of_the_assistant_is_continued(create: Create, stream: bool) -> None:
    model = scripted(" upon a time.")
    message = create(model, stream=stream, messages=BEGUN)
    assert blocks(message) == [{"type": "text", "text": " upon a time."}]
    prompt = model.engine.asked[0].prompt  # type: ignore[attr-defined]
    assert prompt.text.endswith("<start_of_turn>model\nOnce <\u2060end_of_turn>")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, "tool_choice"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}, "output_config.format"),
        ({"messages": BEGUN[1:]}, "messages"),
    ],
)
def test_what_a_prefilled_answer_leaves_no_room_for_is_refused(create: Create, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=param):
        create(scripted("x"), **{"messages": BEGUN, **fields})


def test_calls(create: Create, stream: bool) -> None:
    message = create(scripted(CALL + CALL.replace("Lisbon", "Porto")), stream=stream, tools=[TOOL])
    assert [(block.type, block.name, block.input) for block in message.content] == [
        ("tool_use", "get_weather", {"city": "Lisbon"}),
        ("tool_use", "get_weather", {"city": "Porto"}),
    ]
    assert message.stop_reason == "tool_use"
    assert len({block.id for block in message.content}) == 2


def test_a_thought(create: Create, stream: bool) -> None:
    message = create(thinker(THOUGHT), stream=stream, thinking={"type": "enabled", "budget_tokens": 1024})
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert (message.content[0].thinking, message.content[1].text) == ("No rain is seen.", "It is sunny.")


def test_a_cut_answer(create: Create, stream: bool) -> None:
    message = create(scripted(Script(["It is"], finish="length")), stream=stream)
    assert message.stop_reason == "max_tokens"


def test_what_was_repaired_is_reported(create: Create, stream: bool) -> None:
    message = create(scripted(CALL.replace("<end_function_call>", "")), stream=stream, tools=[TOOL])
    assert message.stop_reason == "tool_use"
    if not stream:  # the SDK's own accumulator drops what it does not know
        assert message.problems


def test_a_conversation_is_the_one_of_chat_completions() -> None:
    """Thought, text, calls, results and errors of results reach the model as the same request of OpenAI's kind would."""
    model = thinker("done", "done")
    history: Any = [
        *ASKED,
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Look it up.", "signature": "s"}, CALLED]},
        {
            "role": "user",
            "content": [
                {**RESULT, "content": [{"type": "text", "text": "offline"}], "is_error": True},
                {"type": "text", "text": "Try again."},
            ],
        },
    ]
    with anthropic_client(model) as client:
        client.messages.create(
            model="m", max_tokens=50, system=[{"type": "text", "text": "Be brief."}], messages=history, tools=[TOOL]
        )
    function = {"name": "get_weather", "arguments": '{"city":"Lisbon"}'}
    model.run(
        [
            {"role": "system", "content": "Be brief."},
            *ASKED,
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "Look it up.",
                "tool_calls": [{"id": "toolu_1", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": '{"error": "offline"}'},
            {"role": "user", "content": "Try again."},
        ],
        tools=[{"type": "function", "function": {**TOOL, "parameters": TOOL["input_schema"]}}],
        max_tokens=50,
    )
    ours, theirs = engine(model).asked
    assert ours.prompt.text == theirs.prompt.text
    assert ours.sampling == theirs.sampling


def engine(model: BaseModelBackend) -> ScriptedEngine:
    found: Any = model
    assert isinstance(found.engine, ScriptedEngine)
    return found.engine


@pytest.mark.parametrize(
    ("choice", "chat"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "get_weather"}, {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
    ],
)
def test_tool_choice(choice: Any, chat: Any) -> None:
    model = scripted(CALL, CALL)
    with anthropic_client(model) as client:
        client.messages.create(model="m", max_tokens=50, messages=ASKED, tools=[TOOL], tool_choice=choice)
    tools = [{"type": "function", "function": {**TOOL, "parameters": TOOL["input_schema"]}}]
    model.run(ASKED, tools=tools, max_tokens=50, **chat)
    ours, theirs = engine(model).asked
    assert (ours.prompt.text, ours.prompt.prefill) == (theirs.prompt.text, theirs.prompt.prefill)


def test_a_schema_for_the_answer() -> None:
    schema = {"type": "object", "properties": {"sunny": {"type": "boolean"}}, "required": ["sunny"]}
    with anthropic_client(scripted('{"sunny": true}')) as client:
        message = client.messages.create(
            model="m", max_tokens=50, messages=ASKED, output_config={"format": {"type": "json_schema", "schema": schema}}
        )
    assert json.loads(blocks(message)[0]["text"]) == {"sunny": True}


def test_pictures_and_documents() -> None:
    model = thinker("done")
    content: Any = [
        {"type": "document", "title": "Notes", "source": {"type": "text", "media_type": "text/plain", "data": "It rains."}},
        {"type": "search_result", "title": "Sky", "source": "s.example", "content": [{"type": "text", "text": "Blue."}]},
        {"type": "text", "text": "So?"},
    ]
    with anthropic_client(model) as client:
        client.messages.create(model="m", max_tokens=50, messages=[{"role": "user", "content": content}])
    prompt = engine(model).asked[0].prompt.text
    places = [prompt.index(text) for text in ("Notes", "It rains.", "Sky (s.example)", "Blue.", "So?")]
    assert places == sorted(places)


@pytest.mark.parametrize("kind", ["base64", "url"])
def test_a_picture_is_asked_of_the_engine(kind: str) -> None:
    source = (
        {"type": "base64", "media_type": "image/png", "data": "aGk="}
        if kind == "base64"
        else {"type": "url", "url": "http://a/b"}
    )
    with anthropic_client(thinker("never")) as client, pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(
            model="m",
            max_tokens=50,
            messages=[{"role": "user", "content": [{"type": "image", "source": source}]}],  # type: ignore[typeddict-item, list-item]
        )
    assert "takes no image" in caught.value.message


def test_what_cannot_be_offered_is_left_out_and_reported() -> None:
    tools: Any = [{"type": "web_search_20250305", "name": "web_search"}, TOOL]
    with anthropic_client(scripted(CALL)) as client:
        message = client.messages.create(
            model="m", max_tokens=50, messages=ASKED, tools=tools, extra_body={"mcp_servers": [], "metadata": {"user_id": "a"}}
        )
    told = (message.model_extra or {})["warnings"]
    assert [warning.split(":")[0] for warning in told] == ["tools[0]", "mcp_servers"]
    assert message.stop_reason == "tool_use"


def test_what_was_left_out_cannot_be_chosen() -> None:
    tools: Any = [{"type": "web_search_20250305", "name": "web_search"}]
    with anthropic_client(scripted("never")) as client, pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(
            model="m", max_tokens=50, messages=ASKED, tools=tools, tool_choice={"type": "tool", "name": "web_search"}
        )
    assert fault(caught.value) == ("invalid_request_error", "tool_choice.name")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "poem"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{**RESULT, "content": False}]}]}, "messages[0].content[0].content"),
        ({"messages": [{"role": "user", "content": [FAILED_WITH_IMAGE]}]}, "messages[0].content[0].content"),
        ({"tools": [{"name": "a b"}]}, "tools[0].name"),
        ({"tools": [{"name": "a", "input_schema": 5}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tool_choice": {"type": ["auto"]}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool", "name": ["get_weather"]}}, "tool_choice.name"),
        ({"thinking": {"type": "maybe"}}, "thinking.type"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ],
)
def test_a_wrong_request_names_its_place(fields: Any, param: str) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": ASKED, **fields}
    response = handle(ApiRequest("POST", "/v1/messages", json.dumps(body).encode()), {"m": scripted("never")})
    assert isinstance(response.body, bytes)
    told = json.loads(response.body)
    assert (response.status, told["type"], told["error"]["param"]) == (400, "error", param)


def fault(error: anthropic.APIStatusError) -> tuple[str, str | None]:
    body: Any = error.body
    return body["error"]["type"], body["error"]["param"]


def test_errors_have_the_sdk_s_own_classes(create: Create, stream: bool) -> None:
    with pytest.raises(anthropic.NotFoundError):
        create(scripted("never"), stream=stream, model="other")
    with pytest.raises(anthropic.BadRequestError):
        create(scripted(ContextExceeded("too long", engine="e")), stream=stream)
    with pytest.raises(anthropic.InternalServerError):
        create(scripted(EngineUnavailable("down", engine="e")), stream=stream)


def test_a_fault_in_the_middle_ends_the_stream(create: Create) -> None:
    broken = scripted(Script(["It is"], error=EngineUnavailable("down", engine="e")))
    with pytest.raises(anthropic.APIStatusError):
        create(broken, stream=True)


def streamed(model: BaseModelBackend, **fields: Any) -> Iterator[tuple[str, Any]]:
    body = {"model": "m", "max_tokens": 50, "stream": True, "messages": ASKED, **fields}
    response = handle(ApiRequest("POST", "/v1/messages", json.dumps(body).encode()), {"m": model})
    for frame in b"".join(response.body).decode().split("\n\n")[:-1]:  # type: ignore[arg-type]
        name, data = frame.split("\n")
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_the_events_of_a_stream() -> None:
    told = list(streamed(thinker(f'{THOUGHT}<|tool_call>call:get_weather{{city:<|"|>Lisbon<|"|>}}<tool_call|>'), tools=[TOOL]))
    assert all(name == event["type"] for name, event in told)
    kinds = [f"{name} {event.get('delta', {}).get('type', '')}".strip() for name, event in told]
    block = ["content_block_start", "content_block_delta {}", "content_block_stop"]
    assert [kind for i, kind in enumerate(kinds) if kind != kinds[i - 1]] == [
        "message_start",
        "ping",
        block[0],
        block[1].format("thinking_delta"),
        block[1].format("signature_delta"),
        *(block[2], block[0], block[1].format("text_delta")),
        *(block[2], block[0], block[1].format("input_json_delta")),
        block[2],
        "message_delta",
        "message_stop",
    ]
    starts = [(event["index"], event["content_block"]["type"]) for name, event in told if name == block[0]]
    assert starts == [(0, "thinking"), (1, "text"), (2, "tool_use")]
    json_text = "".join(event["delta"].get("partial_json", "") for name, event in told if name == "content_block_delta")
    assert json.loads(json_text) == {"city": "Lisbon"}


def test_leaving_a_stream_stops_the_engine() -> None:
    endless = EndlessEngine()
    with anthropic_client(FunctionGemmaModel("m", engine=endless)) as client:
        with client.messages.stream(model="m", max_tokens=50, messages=ASKED) as stream:
            assert next(iter(stream.text_stream))
        assert endless.stopped.wait(20)


def test_counting_tokens(create: Create) -> None:
    model = scripted("It is sunny.", "It is sunny.")
    with anthropic_client(model) as client:
        counted = client.messages.count_tokens(model="m", messages=ASKED, tools=[TOOL]).input_tokens
        asked = client.messages.create(model="m", max_tokens=50, messages=ASKED, tools=[TOOL]).usage.input_tokens
    assert counted == asked > 0


def test_the_tool_runner() -> None:
    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Get the weather.

        Args:
            city: The city.
        """
        return f"rain in {city}"

    model = scripted(CALL, "Take an umbrella.")
    with anthropic_client(model) as client:
        runner = client.beta.messages.tool_runner(model="m", max_tokens=50, messages=ASKED, tools=[get_weather])
        last = runner.until_done()
    assert blocks(last) == [{"type": "text", "text": "Take an umbrella."}]
    assert "rain in Lisbon" in engine(model).asked[-1].prompt.text


def test_a_key_is_needed_where_keys_are_set() -> None:
    with serving(scripted("hello"), api_keys=["sesame"]) as url:
        body = {"model": "m", "max_tokens": 5, "messages": ASKED}
        refused = httpx.post(f"{url}/messages", json=body, headers={"x-api-key": "wrong"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
        assert httpx.post(f"{url}/messages", json=body, headers={"x-api-key": "sesame"}).status_code == 200


PAGE = (Path(__file__).parents[2] / "docs" / "anthropic-client.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
def test_the_lines_of_the_page_run(block: str) -> None:
    exec(compile(block, "anthropic-client.md", "exec"), {})
