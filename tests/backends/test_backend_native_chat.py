"""An engine that hides special tokens is asked by its own chat endpoint, where that is the only way to see calls."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest

from gemma_tools import FunctionGemmaModel, Gemma4Model
from gemma_tools.engines.base import Capabilities, Chat, ChatPiece, Generation, Usage
from gemma_tools.engines.turns import ChatTurn, TurnCall
from gemma_tools.testing import ScriptedEngine
from support.chat import ALARM, WEATHER, accumulated, calls, facts, user

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 8


class Hiding(ScriptedEngine):
    """Hides special tokens as Ollama does, and has a chat endpoint that plays `pieces`."""

    def __init__(self, *pieces: ChatPiece, raw: Sequence[str] = (), shows: bool | None = False) -> None:
        can = Capabilities(settings=frozenset({"max_tokens", "temperature"}), chat=frozenset({"native"}), images=True)
        super().__init__(raw, capabilities=can)
        self.chats: list[Chat] = []
        self._pieces, self._shows = pieces, shows

    def shows_markers(self, prompt: object) -> bool | None:
        return self._shows

    def chat(self, request: Any, chat: Any, *, cancel: Any = None) -> Any:
        self.chats.append(chat)
        yield from self._pieces
        return Generation(usage=Usage(prompt_tokens=9, completion_tokens=4))


PARIS = ("get_weather", {"city": "Paris"})
SEVEN = ("set_alarm", {"time": "7"})
BOTH = ChatPiece(content="Sure. ", calls=(PARIS, SEVEN))


def test_calls_come_from_the_chat_endpoint() -> None:
    engine = Hiding(ChatPiece(content="Sure. "), ChatPiece(calls=(PARIS,)), ChatPiece(calls=(SEVEN,)))
    model = FunctionGemmaModel("x", engine=engine)
    answer = model.run(user("hi"), tools=[WEATHER, ALARM])
    assert calls(answer) == [("get_weather", '{"city": "Paris"}'), ("set_alarm", '{"time": "7"}')]
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Sure. ", "tool_calls")
    assert "chat endpoint" in answer.model_dump()["warnings"][0]
    assert [tool["function"]["name"] for tool in engine.chats[0].tools] == ["get_weather", "set_alarm"]
    assert engine.asked == []
    stream = model.run(user("hi"), tools=[WEATHER, ALARM], stream=True, stream_options={"include_usage": True})
    assert facts(accumulated(list(stream))) | {"warnings": None} == facts(answer) | {"warnings": None}


@pytest.mark.parametrize("shows", [True, None])
def test_an_engine_that_shows_them_is_asked_in_the_raw(shows: bool | None) -> None:
    engine = Hiding(raw=["Hello"], shows=shows)
    answer = FunctionGemmaModel("x", engine=engine).run(user("hi"), tools=[WEATHER])
    assert answer.choices[0].message.content == "Hello"
    assert engine.chats == []


def test_without_tools_or_thought_nothing_is_hidden() -> None:
    engine = Hiding(raw=["Hello"])
    assert FunctionGemmaModel("x", engine=engine).run(user("hi")).choices[0].message.content == "Hello"


def test_a_forced_call_is_prefilled_in_raw_text() -> None:
    engine = Hiding(raw=["city:Paris}"])
    answer = FunctionGemmaModel("x", engine=engine).run(user("hi"), tools=[WEATHER], tool_choice="required")
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]


def test_what_was_not_offered_is_a_problem() -> None:
    answer = FunctionGemmaModel("x", engine=Hiding(BOTH)).run(user("hi"), tools=[WEATHER])
    assert [name for name, _ in calls(answer)] == ["get_weather"]
    [problem] = answer.choices[0].message.model_dump()["problems"]
    assert (problem["kind"], problem["text"]) == ("undeclared", 'set_alarm({"time": "7"})')


def test_one_call_at_a_time() -> None:
    model = FunctionGemmaModel("x", engine=Hiding(BOTH))
    answer = model.run(user("hi"), tools=[WEATHER, ALARM], parallel_tool_calls=False)
    assert [name for name, _ in calls(answer)] == ["get_weather"]


def test_thoughts_and_the_switch_for_them() -> None:
    engine = Hiding(ChatPiece(reasoning="Hm."), ChatPiece(content="Yes."))
    model = Gemma4Model("x", {"top_p": None, "top_k": None}, engine=engine)
    message = model.run(user("hi"), reasoning_effort="high").choices[0].message.model_dump()
    assert (message["reasoning"], message["content"]) == ("Hm.", "Yes.")
    model.run(user("hi"), tools=[WEATHER])
    assert [chat.think for chat in engine.chats] == [True, False]


def test_a_conversation_in_turns() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(PNG).decode()}}
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    engine = Hiding(ChatPiece(content="Warm."))
    Gemma4Model("x", {"top_p": None, "top_k": None}, engine=engine).run(
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Where is this?"}, image]},
            {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "Paris."},
            {"role": "tool", "tool_call_id": "1", "content": "21"},
        ],
        tools=[WEATHER],
    )
    assert engine.chats[0].turns == (
        ChatTurn(role="system", parts=("Be brief.",)),
        ChatTurn(role="user", parts=("Where is this?", {"type": "image", "data": PNG, "format": "image/png"})),
        ChatTurn(
            role="assistant", calls=(TurnCall(id="1", name="get_weather", arguments={"city": "Paris"}),), reasoning="Paris."
        ),
        ChatTurn(role="tool", parts=("21",), call_id="1", name="get_weather"),
    )


def test_calls_end_at_the_limit_and_at_the_fifth_that_is_the_same() -> None:
    for pieces, asked, names, kinds in (
        ([BOTH], {"parallel_tool_calls": False}, ["get_weather"], ["call_limit"]),
        ([ChatPiece(calls=BOTH.calls[:1])] * 9, {}, ["get_weather"] * 4, ["repeated_call"]),
        ([ChatPiece(calls=BOTH.calls[:1] * 9)], {}, ["get_weather"] * 4, ["repeated_call"] * 5),
        ([BOTH] * 99, {}, ["get_weather", "set_alarm"] * 8, []),
    ):
        answer = FunctionGemmaModel("x", engine=Hiding(*pieces)).run(user("hi"), tools=[WEATHER, ALARM], **asked)
        assert [name for name, _ in calls(answer)] == names
        assert [p["kind"] for p in answer.choices[0].message.model_dump().get("problems", [])] == kinds
        assert answer.choices[0].finish_reason == "tool_calls"
