"""Engines that only chat: what goes over the wire to each provider, and what is learned of an endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gemma_tools.engines import Constraint, GenerationRequest, Sampling, create_engine
from gemma_tools.engines.base import Chat, ChatPiece, Generation
from gemma_tools.engines.openai_chat import OpenAIChatEngine
from gemma_tools.engines.providers import PROVIDERS, model_name
from gemma_tools.engines.turns import ChatTurn, TurnCall
from gemma_tools.errors import (
    AnswerBlocked,
    EngineProtocolError,
    EngineRejected,
    InvalidRequest,
    RateLimited,
)
from gemma_tools.prompt import Prompt
from support.chat import ALARM, WEATHER
from support.servers.loopback import Faulty, chunked, http
from support.tiny import GREEDY, play, small_talk, weather

HI = (ChatTurn(role="user", parts=("Hi",)),)
ASKED = GenerationRequest(small_talk())


def events(*deltas: dict[str, Any], finish: str | None = "stop", **last: Any) -> bytes:
    """An answer in chunks."""
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    chunks = [{"choices": [choice]} for choice in choices]
    chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], **last}] if finish else []
    return chunked(*(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks), b"data: [DONE]\n\n")


YES = events({"content": "Yes"})


def sent(server: Faulty, index: int = -1) -> dict[str, Any]:
    """What a request held, but for what all of them hold."""
    body: dict[str, Any] = json.loads(server.requests[index].partition(b"\r\n\r\n")[2])
    assert body.pop("stream") is True
    assert body.pop("stream_options") == {"include_usage": True}
    return body


def asked(request: GenerationRequest = ASKED, chat: Chat | None = None, answer: bytes = YES, **options: Any) -> dict[str, Any]:
    """What is sent for a question."""
    with Faulty([answer]) as server, engine(server.url, **options) as made:
        play(made.chat(request, chat or Chat(turns=HI)))
    return sent(server)


def engine(url: str, name: str = "openai-chat", **options: Any) -> OpenAIChatEngine:
    made = create_engine(name, **{"model": "m", "url": url, "max_retries": 0, **options})
    assert isinstance(made, OpenAIChatEngine)
    return made


def test_a_conversation_in_openai_s_shape() -> None:
    picture = {"type": "image", "data": b"png", "format": "image/png"}
    sound = {"type": "audio", "data": b"wav", "format": "wav"}
    call = TurnCall(id="1", name="f", arguments={"city": "Zürich"})
    turns = (
        ChatTurn(role="system", parts=("Be brief.",)),
        ChatTurn(role="user", parts=("Where is ", picture, sound)),
        ChatTurn(role="assistant", calls=(call,), reasoning="Hm."),
        ChatTurn(role="tool", parts=("21",), call_id="1", name="f"),
        ChatTurn(role="assistant", parts=("Warm.",), reasoning="Well."),
    )
    body = asked(chat=Chat(turns=turns, tools=(WEATHER,)), server="llama-server")
    assert body["model"] == "m"
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Where is "},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}},
                {"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"city": "Zürich"}'}}],
            "reasoning_content": "Hm.",
        },
        {"role": "tool", "content": "21", "tool_call_id": "1", "name": "f"},
        {"role": "assistant", "content": "Warm.", "reasoning_content": "Well."},
    ]
    assert body["tools"] == [WEATHER]
    assert "tool_choice" not in body


@pytest.mark.parametrize(
    ("tools", "choice"),
    [((WEATHER,), {"type": "function", "function": {"name": "get_weather"}}), ((WEATHER, ALARM), "required")],
)
def test_a_call_is_forced_by_the_endpoint_s_tool_choice(tools: Any, choice: Any) -> None:
    assert asked(chat=Chat(turns=HI, tools=tools, must_call=True))["tool_choice"] == choice


def test_an_answer_must_match_a_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    body = asked(GenerationRequest(small_talk(), constraint=Constraint(json_schema=schema)), name="openrouter", api_key="k")
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": True},
    }
    assert body["provider"] == {"require_parameters": True}
    anything = asked(GenerationRequest(small_talk(), constraint=Constraint(json_schema={"type": "object"})))
    assert anything["response_format"] == {"type": "json_object"}
    with pytest.raises(InvalidRequest):
        asked(GenerationRequest(small_talk(), constraint=Constraint(json_schema=schema)), json_schema=False)


def test_settings_go_by_the_provider_s_names() -> None:
    sampling = Sampling(max_tokens=9, repeat_penalty=1.5, logprobs=2, extra={"route": "fallback"})
    body = asked(GenerationRequest(small_talk(), sampling, stop=("a", "b", "c", "d", "e")), name="openrouter", api_key="k")
    del body["messages"], body["model"]
    assert body == {
        "max_tokens": 9,
        "repetition_penalty": 1.5,
        "logprobs": True,
        "top_logprobs": 2,
        "stop": ["a", "b", "c", "d"],
        "route": "fallback",
    }
    with pytest.raises(InvalidRequest) as caught:
        asked(GenerationRequest(small_talk(), Sampling(seed=1)), name="gemini", api_key="k")
    assert caught.value.param == "seed"


@pytest.mark.parametrize("name", ["gemini", "openrouter", "openai-chat"])
@pytest.mark.parametrize("think", [True, False])
def test_each_is_asked_to_think_in_its_own_way(name: str, think: bool) -> None:
    body = asked(chat=Chat(turns=HI, think=think), name=name, api_key="k")
    provider = PROVIDERS["other" if name == "openai-chat" else name]
    assert {field: value for field, value in body.items() if field not in ("model", "messages")} == provider.thinking.get(
        think, {}
    )


def test_the_prompt_s_own_stops_end_the_answer_here() -> None:
    with Faulty([events({"content": "Yes<end_of_"}, {"content": "turn>and on"})]) as server, engine(server.url) as made:
        pieces, generation = play(made.chat(ASKED, Chat(turns=HI)))
    assert (pieces, generation) == ([ChatPiece(content="Yes")], Generation())
    assert "stop" not in sent(server)


def test_a_call_before_a_stop_counts() -> None:
    """vLLM's parser goes on after a call that it has read, and so does a model whose end it does not know."""
    calls = {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}]}
    with Faulty([events(calls, {"content": "<end_of_turn>and"}, {"content": " on"})]) as server, engine(server.url) as made:
        pieces, generation = play(made.chat(ASKED, Chat(turns=HI)))
    assert (pieces, generation) == ([ChatPiece(calls=(("f", {}),))], Generation())


def test_vllm_is_told_what_ends_an_answer() -> None:
    answer = chunked(
        b'data: {"choices": [{"index": 0, "delta": {"content": "Yes"}, "finish_reason": "stop", "stop_reason": "q"}]}\n\n',
        b"data: [DONE]\n\n",
    )
    with Faulty([answer]) as server, engine(server.url, server="vllm") as made:
        pieces, generation = play(made.chat(GenerationRequest(small_talk(), stop=("q",)), Chat(turns=HI)))
    assert (pieces, generation.stopped) == ([ChatPiece(content="Yes")], "q")
    body = sent(server)
    assert body["skip_special_tokens"] is False
    assert body["stop"] == [*small_talk().stop, "q"]


@pytest.mark.parametrize(
    ("tokens", "more", "refused"),
    [(9, {}, True), (1, {}, False), (9, {"server": "other"}, False), (9, {"tools": (WEATHER,)}, False)],
)
def test_an_answer_that_the_server_s_parser_has_taken_is_refused(tokens: int, more: dict[str, Any], refused: bool) -> None:
    chat = Chat(turns=HI, tools=more.get("tools", ()))
    answer = events({"content": ""}, usage={"completion_tokens": tokens})
    with Faulty([answer]) as server, engine(server.url, server=more.get("server", "vllm"), way="prompted") as made:
        if not refused:
            assert play(made.chat(ASKED, chat))[0] == []
            return
        with pytest.raises(EngineRejected, match="wrote 9 tokens and gave none of them"):
            play(made.chat(ASKED, chat))


def test_what_only_looks_like_a_stop_is_text() -> None:
    with Faulty([events({"content": "Yes<end_"})]) as server, engine(server.url) as made:
        assert "".join(piece.content for piece in play(made.chat(ASKED, Chat(turns=HI)))[0]) == "Yes<end_"


def test_an_answer_that_the_provider_stopped_is_not_one() -> None:
    answer = events({"content": "Y"}, finish="MALFORMED_FUNCTION_CALL")
    with Faulty([answer]) as server, engine(server.url) as made, pytest.raises(EngineRejected, match="MALFORMED"):
        play(made.chat(ASKED, Chat(turns=HI)))


def test_an_answer_that_is_not_streamed() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Wait.", "reasoning": "Hm.", "tool_calls": [call]}
    answer = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 3}}
    with Faulty([http(200, json.dumps(answer).encode())]) as server, engine(server.url) as made:
        pieces, generation = play(made.chat(ASKED, Chat(turns=HI)))
    assert pieces == [ChatPiece(content="Wait.", reasoning="Hm."), ChatPiece(calls=(("f", {}),))]
    assert generation.usage.prompt_tokens == 3


def test_a_thought_in_a_prompt_s_answer_is_between_its_tokens() -> None:
    answer = events({"reasoning": "Hm"}, {"reasoning": "."}, {"content": "Yes"})
    with Faulty([answer]) as server, engine(server.url) as made:
        prompt = small_talk()
        assert prompt.turns is not None
        object.__setattr__(prompt.turns, "thought", ("<t>", "</t>"))
        try:
            pieces, _ = play(made.generate(GenerationRequest(prompt)))
        finally:
            object.__setattr__(prompt.turns, "thought", ("", ""))
    assert pieces == ["<t>Hm", ".", "</t>Yes"]


def test_a_prompt_is_asked_in_turns() -> None:
    with Faulty([YES]) as server, engine(server.url) as made:
        assert play(made.generate(GenerationRequest(weather("Hi"), GREEDY)))[0] == ["Yes"]
        with pytest.raises(InvalidRequest):
            play(made.generate(GenerationRequest(Prompt("Hi", ()), GREEDY)))
    assert [message["role"] for message in sent(server)["messages"]] == ["system", "user"]


REFUSED = http(400, b'[{"error": {"code": 400, "message": "Developer instruction is not enabled for models/m"}}]')


def test_system_text_goes_into_the_first_turn_where_none_is_taken() -> None:
    turns = (ChatTurn(role="system", parts=("Be brief.",)), *HI)
    with Faulty([REFUSED], [YES]) as server, engine(server.url) as made:
        for _ in range(2):
            assert play(made.chat(ASKED, Chat(turns=turns)))[0] == [ChatPiece(content="Yes")]
    assert [len(sent(server, index)["messages"]) for index in range(3)] == [2, 1, 1]
    assert sent(server)["messages"] == [{"role": "user", "content": "Be brief.\n\nHi"}]


def test_counts_are_not_asked_for_where_that_is_refused() -> None:
    refused = http(400, b'{"error": {"message": "Unknown parameter: \'stream_options\'."}}')
    turns = (ChatTurn(role="system", parts=("Be brief.",)), *HI)
    with Faulty([refused], [REFUSED], [YES]) as server, engine(server.url) as made:
        assert play(made.chat(ASKED, Chat(turns=turns)))[0] == [ChatPiece(content="Yes")]
    assert b"stream_options" not in server.requests[-1]
    assert len(server.requests) == 3


def test_tools_that_are_refused_are_remembered() -> None:
    refused = http(404, b'{"error": {"code": 404, "message": "No endpoints found that support tool use."}}')
    with Faulty([refused]) as server:
        for way, left in (("auto", {"prompted"}), ("native", {"native"})):
            with engine(server.url, way=way) as made:
                assert "native" in made.capabilities.chat
                with pytest.raises(EngineRejected, match="does not support tools"):
                    play(made.chat(ASKED, Chat(turns=HI, tools=(WEATHER,))))
                assert made.capabilities.chat == left
    with engine("http://127.0.0.1:9", way="prompted") as made:
        assert made.capabilities.chat == {"prompted"}


def test_what_is_refused_besides_is_no_longer_promised() -> None:
    choice = http(404, b'{"error": {"message": "No endpoints found that support the provided \'tool_choice\' value."}}')
    form = http(400, b'{"error": {"message": "response_format is not supported"}}')
    schema = GenerationRequest(small_talk(), constraint=Constraint(json_schema={"type": "object"}))
    with Faulty([choice], [form]) as server, engine(server.url) as made:
        with pytest.raises(EngineRejected):
            play(made.chat(ASKED, Chat(turns=HI, tools=(WEATHER,), must_call=True)))
        assert not made.capabilities.forces_calls
        with pytest.raises(EngineRejected):
            play(made.chat(schema, Chat(turns=HI)))
        assert made.capabilities.constraints == frozenset()


def test_a_call_that_the_endpoint_broke_is_not_asked_for_again() -> None:
    broken = events({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": '{"city":'}}]})
    cut = events({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": '{"city":'}}]}, finish="length")
    begun = events({"content": "Well"}, {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{"}}]})
    unread = ChatPiece(unread=(("f", '{"city":'),))
    tools = Chat(turns=HI, tools=(WEATHER,))
    for answer, way, pieces in (
        (broken, "native", [unread]),
        (cut, "auto", [unread]),
        (begun, "auto", [ChatPiece(content="Well"), ChatPiece(unread=(("f", "{"),))]),
    ):
        with Faulty([answer]) as server, engine(server.url, way=way) as made:
            assert play(made.chat(ASKED, tools))[0] == pieces
            assert "native" in made.capabilities.chat
    with Faulty([broken]) as server, engine(server.url) as made:
        with pytest.raises(EngineRejected, match="parses calls incorrectly"):
            play(made.chat(ASKED, tools))
        assert made.capabilities.chat == {"prompted"}


@pytest.mark.parametrize(
    "words", ['Invalid JSON payload received. Unknown name \\"top_p\\": Cannot find field.', "Unknown parameter: 'top_p'."]
)
def test_a_setting_that_is_not_known_is_named(words: str) -> None:
    refused = http(400, b'[{"error": {"code": 400, "message": "%b"}}]' % words.encode())
    with Faulty([refused]) as server, engine(server.url) as made, pytest.raises(InvalidRequest) as caught:
        play(made.chat(GenerationRequest(small_talk(), Sampling(top_p=0.5)), Chat(turns=HI)))
    assert caught.value.param == "top_p"


@pytest.mark.parametrize("finish", ["content_filter", "SAFETY", "PROHIBITED_CONTENT"])
def test_a_blocked_answer_is_an_error_with_what_had_come(finish: str) -> None:
    answer = events({"content": "How to"}, finish=finish)
    with Faulty([answer]) as server, engine(server.url) as made, pytest.raises(AnswerBlocked) as caught:
        play(made.chat(ASKED, Chat(turns=HI)))
    assert caught.value.text == "How to"


def test_an_error_with_a_good_status() -> None:
    error = b'{"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": "busy"}}}'
    for answer in (http(200, error), chunked(b"data: %b\n\n" % error)):
        with Faulty([answer]) as server, engine(server.url) as made, pytest.raises(RateLimited, match="busy"):
            play(made.chat(ASKED, Chat(turns=HI)))


def test_a_short_limit_is_waited_for_and_a_long_one_is_reported() -> None:
    soon = http(429, b"{}").replace(b"Connection: close", b"Retry-After: 0\r\nConnection: close")
    late = soon.replace(b"Retry-After: 0", b"Retry-After: 3600")
    with Faulty([soon], [YES]) as server, engine(server.url, max_retries=1) as made:
        assert play(made.chat(ASKED, Chat(turns=HI)))[0] == [ChatPiece(content="Yes")]
    for answer in (late, http(429, b'{"error": {"message": "You used up your daily allocation"}}')):
        with Faulty([answer]) as server, engine(server.url, max_retries=3) as made, pytest.raises(EngineRejected):
            play(made.chat(ASKED, Chat(turns=HI)))
        assert len(server.requests) == 1


def test_an_answer_without_an_end_is_not_one() -> None:
    with (
        Faulty([events({"content": "Y"}, finish=None)]) as server,
        engine(server.url) as made,
        pytest.raises(EngineProtocolError),
    ):
        play(made.chat(ASKED, Chat(turns=HI)))


def test_logprobs_and_counts() -> None:
    entry = {"token": "Yes", "logprob": -0.5, "bytes": [89], "top_logprobs": [{"token": "No", "logprob": -1.5, "bytes": None}]}
    choice = {"index": 0, "delta": {"content": "Yes"}, "finish_reason": "length", "logprobs": {"content": [entry]}}
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}
    chunk = b"data: %b\n\n" % json.dumps({"choices": [choice], "usage": usage}).encode()
    with Faulty([chunked(chunk)]) as server, engine(server.url) as made:
        _, generation = play(made.chat(ASKED, Chat(turns=HI)))
    assert (generation.finish, generation.usage.cached_tokens) == ("length", 4)
    assert generation.logprobs[0]["bytes"] == list(b"Yes")
    assert generation.logprobs[0]["top_logprobs"][0]["token"] == "No"


def test_the_context_is_what_the_list_of_models_says() -> None:
    for body in (b'{"data": [{"id": "m", "context_length": 8192}]}', b'[{"id": "m", "context_length": 8192}]'):
        with Faulty([http(200, body)]) as server, engine(server.url) as made:
            assert made.context_length == 8192
    with Faulty([http(404, b"{}")]) as server, engine(server.url) as made:
        assert made.context_length is None
    with engine("http://127.0.0.1:9", context=4096) as made:
        assert made.context_length == 4096


@pytest.mark.parametrize("name", [name for name, provider in PROVIDERS.items() if provider.url])
def test_a_provider_has_its_address_and_its_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = PROVIDERS[name].keys
    for key in keys:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a1")
    with pytest.raises(InvalidRequest, match=keys[0]) as caught:
        create_engine(name, model="gemma-3-27b-it")
    assert caught.value.param == "api_key"
    monkeypatch.setenv(keys[-1], "secret")
    with create_engine(name, model="gemma-3-27b-it") as made:
        assert made.name == name
    with Faulty([YES]) as server, engine(server.url, name) as made:
        play(made.chat(ASKED, Chat(turns=HI)))
    assert b"secret" not in server.requests[0], "another address is not told the provider's key"


def test_an_address_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOUDFLARE_ACCOUNT_ID", raising=False)
    for name in ("openai-chat", "cloudflare"):
        with pytest.raises(InvalidRequest) as caught:
            create_engine(name, model="m", api_key="k")
        assert caught.value.param == "url"


@pytest.mark.parametrize(
    ("option", "value"), [("server", "nowhere"), ("way", "both"), ("model", ""), ("max_line_bytes", 0), ("tools", [])]
)
def test_an_option_that_is_invalid(option: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        engine("http://127.0.0.1:9", **{option: value})
    assert caught.value.param == option


@pytest.mark.parametrize(
    ("server", "given", "name"),
    [
        ("gemini", "google/gemma-3-27b-it", "gemma-3-27b-it"),
        ("gemini", "gemma-3-27b-it", "gemma-3-27b-it"),
        ("openrouter", "gemma-3-27b-it:free", "google/gemma-3-27b-it:free"),
        ("huggingface", "google/gemma-3-27b-it", "google/gemma-3-27b-it"),
        ("huggingface", "me/my-gemma-3-4b", "me/my-gemma-3-4b"),
        ("cloudflare", "google/gemma-3-12b-it", "@cf/google/gemma-3-12b-it"),
        ("cloudflare", "@cf/google/gemma-3-12b-it", "@cf/google/gemma-3-12b-it"),
        ("other", "google/gemma-3-12b-it", "google/gemma-3-12b-it"),
    ],
)
def test_a_model_has_the_name_that_the_provider_has_for_it(server: str, given: str, name: str) -> None:
    assert model_name(given, PROVIDERS[server]) == name


COLUMNS = {"openai-chat": "other", "with `server=` vllm, sglang, llama-server": "vllm"}
ROWS = {
    "max_tokens, temperature, top_p": {"max_tokens", "temperature", "top_p"},
    "seed, presence and frequency penalty": {"seed", "presence_penalty", "frequency_penalty"},
    "logit_bias, logprobs": {"logit_bias", "logprobs"},
    "top_k, repeat_penalty": {"top_k", "repeat_penalty"},
    "min_p": {"min_p"},
}


def test_the_table_of_the_page_says_what_each_takes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "hosted.md").read_text(encoding="utf-8")
    lines = page.partition("## What each provider supports\n\n")[2].partition("\n\n")[0].splitlines()
    names, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    taken: dict[str, set[str]] = {name: set() for name in names[1:]}
    for row, *cells in rows:
        for name, cell in zip(names[1:], cells, strict=True):
            provider = PROVIDERS[COLUMNS.get(name, name)]
            if row in ROWS:
                taken[name] |= ROWS[row] if cell == "yes" else set()
            elif row.startswith("JSON schema"):
                assert (cell == "yes") == provider.json_schema
            elif row.startswith("stop"):
                assert int(cell) == provider.most_stops
            else:
                assert (cell == "yes") == bool(provider.thinking)
    assert taken == {name: set(PROVIDERS[COLUMNS.get(name, name)].settings) for name in taken}
    assert {COLUMNS.get(name, name) for name in taken} | {"sglang", "llama-server"} == set(PROVIDERS)
    for name, provider in PROVIDERS.items():
        assert provider.keys[0] in page, name
