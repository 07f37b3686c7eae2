"""Which notation of grammars a server takes is found out by what it refuses, and remembered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gemma_tools import FunctionGemmaModel
from gemma_tools.engines import Constraint, Engine, GenerationRequest, create_engine
from gemma_tools.errors import EngineRejected, EngineUnavailable, InvalidRequest
from support.chat import user
from support.servers.loopback import Faulty, chunked, http
from support.serving import CALL, WEATHER
from support.tiny import GREEDY, play, small_talk

BOTH = Constraint(ebnf='root ::= "yes"', lark='%llguidance {}\nstart: "yes"')
REFUSED = [http(400, b'{"error": {"message": "Invalid grammar specification.", "code": 400}}')]
IN_STREAM = [chunked(b'data: {"error": {"message": "Invalid grammar specification", "code": 400}}\n\ndata: [DONE]\n\n')]
BROKEN = [http(500, b'{"error": {"message": "EngineCore", "code": 500}}')]


def answer(text: str = "yes") -> list[bytes | str]:
    choice = {"index": 0, "text": text, "finish_reason": "stop"}
    return [chunked(b"data: %b\n\ndata: [DONE]\n\n" % json.dumps({"choices": [choice]}).encode())]


def vllm(server: Faulty) -> Engine:
    return create_engine("vllm", model="m", url=f"{server.url}/v1", probe=False, max_retries=0)


def ask(engine: Engine, constraint: Constraint = BOTH) -> str:
    return "".join(play(engine.generate(GenerationRequest(small_talk(), GREEDY, constraint=constraint)))[0])


def sent(server: Faulty) -> list[str]:
    """The notation of each request's grammar."""
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in server.requests]
    grammars = [body["structured_outputs"]["grammar"] for body in bodies]
    return ["lark" if grammar.startswith("%llguidance") else "ebnf" for grammar in grammars]


def test_ebnf_is_sent_first_and_kept() -> None:
    with Faulty(answer(), answer()) as server, vllm(server) as engine:
        assert {"ebnf", "lark"} <= engine.capabilities.constraints
        assert [ask(engine), ask(engine)] == ["yes", "yes"]
        assert engine.capabilities.constraints == {"ebnf", "json_schema"}
        assert sent(server) == ["ebnf", "ebnf"]


@pytest.mark.parametrize("refusal", [REFUSED, BROKEN, IN_STREAM])
def test_lark_is_sent_where_ebnf_is_refused(refusal: list[bytes | str]) -> None:
    # The request, then a sample of either notation, then the request again; the next one goes straight.
    with Faulty(refusal, refusal, answer(), answer(), answer()) as server, vllm(server) as engine:
        assert [ask(engine), ask(engine)] == ["yes", "yes"]
        assert engine.capabilities.constraints == {"lark", "json_schema"}
        assert sent(server) == ["ebnf", "ebnf", "lark", "lark", "lark"]


def test_an_error_not_about_the_notation_changes_nothing() -> None:
    with Faulty(REFUSED, answer(), answer()) as server, vllm(server) as engine:
        with pytest.raises(EngineRejected, match="Invalid grammar"):
            ask(engine)
        assert ask(engine) == "yes"
        assert sent(server) == ["ebnf", "ebnf", "ebnf"]


def test_a_server_that_changed_its_library_is_asked_anew() -> None:
    with Faulty(answer(), REFUSED, REFUSED, answer(), answer(), answer()) as server, vllm(server) as engine:
        assert [ask(engine), ask(engine)] == ["yes", "yes"]
        assert sent(server) == ["ebnf", "ebnf", "ebnf", "lark", "lark"]
        assert engine.capabilities.constraints == {"lark", "json_schema"}


def test_a_call_is_prefilled_where_a_server_takes_no_grammar() -> None:
    begun = CALL.removeprefix("<start_function_call>call:get_weather{")
    with Faulty(REFUSED, REFUSED, REFUSED, answer(begun)) as server, vllm(server) as engine:
        model = FunctionGemmaModel("m", engine=engine)
        engine._counts = False  # type: ignore[attr-defined]
        message = model.run(user("weather in Lisbon"), tools=[WEATHER], tool_choice="required").choices[0].message
        assert [call.function.arguments for call in message.tool_calls or ()] == ['{"city": "Lisbon"}']
        assert engine.capabilities.constraints == {"json_schema"}
        last: dict[str, Any] = json.loads(server.requests[-1].partition(b"\r\n\r\n")[2])
        assert last["prompt"].endswith("<start_function_call>call:get_weather{")


def test_a_vllm_whose_engine_has_died_is_not_available() -> None:
    error = {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause.", "code": 500}
    died = chunked(b"data: %b\n\n" % json.dumps({"error": error}).encode())
    with Faulty([died]) as server, vllm(server) as engine, pytest.raises(EngineUnavailable, match="EngineCore"):
        ask(engine)


def test_sglang_is_sent_ebnf_in_its_own_field() -> None:
    with Faulty(answer()) as server, create_engine("sglang", model="m", url=f"{server.url}/v1", probe=False) as engine:
        assert ask(engine) == "yes"
        assert b'"ebnf":"root ::= \\"yes\\""' in server.requests[0]


def test_a_grammar_that_no_server_of_the_kind_takes_is_refused() -> None:
    with Faulty() as server, vllm(server) as engine, pytest.raises(InvalidRequest):
        ask(engine, Constraint(gbnf='root ::= "yes"'))


def test_lark_alone_does_not_choose_the_library_of_a_server() -> None:
    lark = Constraint(lark=BOTH.lark)
    with Faulty(answer()) as server, vllm(server) as engine:
        with pytest.raises(EngineRejected, match="does not support grammars in lark"):
            ask(engine, lark)
        assert engine.capabilities.constraints == {"ebnf", "json_schema"}
        assert sent(server) == ["ebnf"]
    with Faulty(REFUSED, answer(), answer()) as server, vllm(server) as engine:
        assert ask(engine, lark) == "yes"
        assert sent(server) == ["ebnf", "lark", "lark"]
