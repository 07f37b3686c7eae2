"""The server runs calls of its own tools, and the caller sees only the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gemma_tools import FunctionGemmaModel
from gemma_tools.testing import ScriptedEngine
from support.serving import CALL, QUESTION, WEATHER, scripted, serving

BODY = {"model": "m", "messages": QUESTION}
INFO = "<start_function_call>call:get_system_info{info_type:<escape>cpu<escape>}<end_function_call>"
RUN = INFO.replace("get_system_info", "execute_python").replace(
    "info_type:<escape>cpu", "arguments:<escape>test<escape>,script_name:<escape>hello.py"
)
Ask = Callable[..., Any]


@pytest.fixture(params=["whole", "stream"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask a server, and give message, finish reason and usage, whichever way it answers."""

    def ask(url: str, **fields: Any) -> tuple[dict[str, Any], str, dict[str, int]]:
        if request.param == "whole":
            response = httpx.post(f"{url}/chat/completions", json={**BODY, **fields}, timeout=60)
            assert response.status_code == 200, response.text
            answer = response.json()
            return answer["choices"][0]["message"], answer["choices"][0]["finish_reason"], answer["usage"]
        options = {"stream": True, "stream_options": {"include_usage": True}}
        response = httpx.post(f"{url}/chat/completions", json={**BODY, **fields, **options}, timeout=60)
        assert response.status_code == 200, response.text
        *told, done = [event.removeprefix("data: ") for event in response.text.removesuffix("\n\n").split("\n\n")]
        assert done == "[DONE]"
        *chunks, last = [json.loads(one) for one in told]
        assert len({chunk["id"] for chunk in chunks}) == 1
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        assert [delta.get("role") for delta in deltas] == ["assistant", *[None] * (len(deltas) - 1)]
        message: dict[str, Any] = {"content": "".join(delta.get("content") or "" for delta in deltas) or None}
        calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
        if calls:
            assert [call["index"] for call in calls] == list(range(len(calls)))
            message["tool_calls"] = calls
        for delta in deltas:
            message |= {"function_call": delta["function_call"]} if delta.get("function_call") else {}
        (finish,) = [f for chunk in chunks if (f := chunk["choices"][0]["finish_reason"])]
        return message, finish, last["usage"]

    return ask


def test_a_call_is_run_and_its_result_answered_from(ask: Ask) -> None:
    engine = ScriptedEngine([INFO, "The processor is idle."])
    with serving(FunctionGemmaModel("x", engine=engine), run_tools=["get_system_info"]) as url:
        message, finish, usage = ask(url)
    assert (message["content"], finish) == ("The processor is idle.", "stop")
    assert not message.get("tool_calls")
    first, second = engine.asked
    assert "declaration:get_system_info" in first.prompt.text
    assert "response:get_system_info" in second.prompt.text
    assert "percent" in second.prompt.text
    assert usage["completion_tokens"] == sum(engine.count_tokens(text) for text in (INFO, "The processor is idle."))


def test_a_request_may_declare_the_servers_tool_itself(ask: Ask) -> None:
    function = {"name": "get_system_info", "description": "Mine.", "parameters": {"type": "object", "properties": {}}}
    engine = ScriptedEngine([INFO, "Idle."])
    with serving(FunctionGemmaModel("x", engine=engine), run_tools=["get_system_info"]) as url:
        message, finish, _ = ask(url, functions=[function])
    assert (message["content"], finish) == ("Idle.", "stop")
    assert "Mine." not in engine.asked[0].prompt.text


def test_a_script_is_run(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("import sys\nprint('hello', *sys.argv[1:])", encoding="utf-8")
    engine = ScriptedEngine([RUN, "It said hello."])
    with serving(FunctionGemmaModel("x", engine=engine), run_tools=["execute_python"], scripts_dir=str(tmp_path)) as url:
        assert ask(url)[0]["content"] == "It said hello."
    assert "hello test" in engine.asked[1].prompt.text


def test_the_request_tools_go_to_the_caller(ask: Ask) -> None:
    with serving(scripted(INFO, CALL), run_tools=["get_system_info"]) as url:
        message, finish, _ = ask(url, tools=[WEATHER])
    (call,) = message["tool_calls"]
    assert (call["function"]["name"], finish) == ("get_weather", "tool_calls")
    assert json.loads(call["function"]["arguments"]) == {"city": "Lisbon"}


def test_legacy_callers_get_their_own_shape(ask: Ask) -> None:
    with serving(scripted(INFO, CALL), run_tools=["get_system_info"]) as url:
        message, finish, _ = ask(url, functions=[WEATHER["function"]])
    assert (message["function_call"]["name"], finish) == ("get_weather", "function_call")
    assert not message.get("tool_calls")


def test_a_reply_with_calls_of_both_kinds_goes_to_the_client(ask: Ask) -> None:
    engine = ScriptedEngine([INFO + CALL])
    with serving(FunctionGemmaModel("x", engine=engine), run_tools=["get_system_info"]) as url:
        message, finish, _ = ask(url, tools=[WEATHER])
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["get_weather"]
    assert finish == "tool_calls"
    assert len(engine.asked) == 1


def test_a_model_that_calls_for_ever_must_answer(ask: Ask) -> None:
    engine = ScriptedEngine([*[INFO] * 4, "Enough."])
    with serving(FunctionGemmaModel("x", engine=engine), run_tools=["get_system_info"]) as url:
        message, finish, _ = ask(url)
    assert (message["content"], finish) == ("Enough.", "stop")
    assert "declaration:" not in engine.asked[-1].prompt.text


def test_no_tools_means_none(ask: Ask) -> None:
    engine = ScriptedEngine(["Hello."])
    with serving(FunctionGemmaModel("x", engine=engine), run_tools=["get_system_info"]) as url:
        assert ask(url, tool_choice="none")[0]["content"] == "Hello."
    assert "declaration:" not in engine.asked[0].prompt.text


def test_a_forced_choice_holds_for_the_first_reply_only(ask: Ask) -> None:
    engine = ScriptedEngine([INFO.removeprefix("<start_function_call>call:"), "Idle."])
    with serving(FunctionGemmaModel("x", engine=engine), run_tools=["get_system_info"]) as url:
        message, finish, _ = ask(url, tools=[WEATHER], tool_choice="required")
    assert (message["content"], finish) == ("Idle.", "stop")


def test_the_text_of_all_rounds_is_one_answer(ask: Ask) -> None:
    with serving(scripted(f"I look.{INFO}", "Idle."), run_tools=["get_system_info"]) as url:
        assert ask(url)[0]["content"] == "I look.\n\nIdle."


def test_an_answer_that_must_be_json_has_no_text_of_earlier_rounds(ask: Ask) -> None:
    with serving(scripted(f"I look.{INFO}", '{"idle": true}'), run_tools=["get_system_info"]) as url:
        assert ask(url, response_format={"type": "json_object"})[0]["content"] == '{"idle": true}'


def test_whole_calls_have_no_place_in_a_stream() -> None:
    with serving(scripted(CALL), run_tools=["get_system_info"]) as url:
        (call,) = httpx.post(f"{url}/chat/completions", json={**BODY, "tools": [WEATHER]}).json()["choices"][0]["message"][
            "tool_calls"
        ]
    assert set(call) == {"id", "type", "function"}


def test_more_than_one_answer_is_refused() -> None:
    with serving(scripted(), run_tools=["get_system_info"]) as url:
        response = httpx.post(f"{url}/chat/completions", json={**BODY, "n": 2})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "n")


def test_responses_work_with_it_too() -> None:
    with serving(scripted(INFO, "Idle."), run_tools=["get_system_info"]) as url:
        response = httpx.post(f"{url}/responses", json={"model": "m", "input": "Busy?"}).json()
    assert [item["content"][0]["text"] for item in response["output"]] == ["Idle."]
