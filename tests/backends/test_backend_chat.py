"""What a backend makes of an engine that only chats: what it is asked, and how its answers are read and held to the request."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools import FunctionGemmaModel, Gemma3Model, Gemma4Model, get_format
from gemma_tools.backends.chat import ChatReader, text_of
from gemma_tools.backends.chat_plan import call_schema
from gemma_tools.engines import create_engine
from gemma_tools.engines.base import Capabilities, Chat, ChatEngine, ChatPiece, Generation, GenerationRequest
from gemma_tools.engines.turns import TurnCall
from gemma_tools.errors import EngineRejected, InvalidRequest, UnusableAnswer
from gemma_tools.request import ChatRequest, Message
from gemma_tools.schema.check import value_fault
from gemma_tools.validation import validate_tools
from support.chat import ALARM, WEATHER, accumulated, calls, facts, user
from support.promises import json_format
from support.servers.loopback import Faulty, chunked

BOTH = frozenset({"native", "prompted"})


class Chatting(ChatEngine):
    """Plays answers, one for each question: a piece or text, several of them with how it ends, or a function to call."""

    name = "chatting"

    def __init__(self, *answers: Any, ways: Any = BOTH, schema: bool = False, forces: bool = False) -> None:
        self.can = Capabilities(
            settings=frozenset({"max_tokens", "temperature"}),
            constraints=frozenset({"json_schema"} if schema else ()),
            raw_prompt=False,
            chat=frozenset(ways),
            forces_calls=forces,
        )
        self.asked: list[tuple[GenerationRequest, Chat]] = []
        self._answers = iter(answers)

    @property
    def capabilities(self) -> Capabilities:
        return self.can

    def chat(self, request: GenerationRequest, chat: Chat, *, cancel: Any = None) -> Any:
        self.refuse_unsupported(request)
        self.asked.append((request, chat))
        answer = next(self._answers)
        if callable(answer):
            answer(self)
        for piece in (answer,) if isinstance(answer, (str, ChatPiece)) else answer:
            if isinstance(piece, Generation):
                return piece
            yield ChatPiece(content=piece) if isinstance(piece, str) else piece
        return Generation()


def gemma4(engine: ChatEngine, **options: Any) -> Gemma4Model:
    return Gemma4Model("x", {"top_p": None, "top_k": None}, engine=engine, **options)


PARIS = ChatPiece(calls=(("get_weather", {"city": "Paris"}),))
SPELLED = '<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>}<tool_call|>'


def test_tools_go_into_the_text_if_the_template_has_none() -> None:
    engine = Chatting("[get_weather(city='Paris')]")
    answer = Gemma3Model("x", engine=engine).run([{"role": "system", "content": "Be brief."}, *user("Hi")], tools=[WEATHER])
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    [(_, chat)] = engine.asked
    assert chat.tools == ()
    [turn] = chat.turns
    assert turn.role == "user"
    assert turn.text.startswith("Be brief.\n\nYou have access to functions.")
    assert "they are described in the text of the messages" in str(answer.model_dump()["warnings"])
    native = Chatting(PARIS, ways={"native"})
    assert calls(Gemma3Model("x", engine=native).run(user("Hi"), tools=[WEATHER])) == [("get_weather", '{"city": "Paris"}')]
    assert native.asked[0][1].tools


def test_others_get_the_tools_and_calls_in_content_are_read() -> None:
    pieces = [ChatPiece(reasoning="Hm."), "Sure. " + SPELLED[:9], SPELLED[9:], PARIS]
    engine = Chatting(pieces, pieces)
    model = gemma4(engine)
    answer = model.run(user("Hi"), tools=[WEATHER])
    assert calls(answer) == [("get_weather", '{"city": "Oslo"}'), ("get_weather", '{"city": "Paris"}')]
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Sure. ", "tool_calls")
    assert answer.choices[0].message.model_dump()["reasoning"] == "Hm."
    assert "warnings" not in answer.model_dump()
    stream = model.run(user("Hi"), tools=[WEATHER], stream=True, stream_options={"include_usage": True})
    assert facts(accumulated(list(stream))) == facts(answer)
    function = engine.asked[0][1].tools[0]["function"]
    assert function == {name: WEATHER["function"][name] for name in ("name", "description", "parameters")}


def test_a_call_that_the_endpoint_read_half_is_read_whole() -> None:
    left = ChatPiece(unread=(("get_weather", '{city:<|"|>Paris<|"|>}'),))
    answer = gemma4(Chatting(left)).run(user("Hi"), tools=[WEATHER])
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    assert answer.choices[0].message.model_dump()["problems"][0]["call"] == 0


def test_one_that_cannot_be_read_is_a_problem() -> None:
    answer = gemma4(Chatting(ChatPiece(content="Hm", unread=(("get_weather", '{"city":'),)))).run(user("Hi"), tools=[WEATHER])
    assert (calls(answer), answer.choices[0].message.content, answer.choices[0].finish_reason) == ([], "Hm", "stop")
    [problem] = answer.choices[0].message.model_dump()["problems"]
    assert (problem["kind"], problem["text"]) == ("unreadable", 'get_weather({"city":)')


def test_one_that_was_cut_is_cut() -> None:
    pieces = [ChatPiece(unread=(("get_weather", '{"city":'),)), Generation(finish="length")]
    answer = gemma4(Chatting(pieces)).run(user("Hi"), tools=[WEATHER])
    assert (calls(answer), answer.choices[0].finish_reason) == ([], "length")
    assert answer.choices[0].message.model_dump()["problems"][0]["kind"] == "cut"


def test_a_thought_that_is_left_in_content_is_one() -> None:
    answer = gemma4(Chatting(["<|channel>thought\nHm.", "<channel|>Yes."])).run(user("Hi"))
    message = answer.choices[0].message.model_dump()
    assert (message["reasoning"], message["content"]) == ("Hm.", "Yes.")


def test_calls_in_text_are_not_repairs_and_a_invented_result_ends_them() -> None:
    engine = Chatting('call:get_weather{city:"Paris"}', ways={"prompted"})
    answer = gemma4(engine).run(user("Hi"), tools=[WEATHER])
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    assert "problems" not in answer.choices[0].message.model_dump()
    request, chat = engine.asked[0]
    assert "response:get_weather{" in request.prompt.stop
    assert "write call:NAME{key:value}" in chat.turns[0].text
    strict = gemma4(Chatting('call:get_weather{city:"Paris"}', ways={"prompted"}), recovery="strict")
    assert calls(strict.run(user("Hi"), tools=[WEATHER])) == [("get_weather", '{"city": "Paris"}')]


def test_what_an_endpoint_refuses_is_asked_for_in_another_way() -> None:
    def refuse(engine: Chatting) -> None:
        engine.can = Capabilities(settings=frozenset(), raw_prompt=False, chat=frozenset({"prompted"}))
        raise EngineRejected("no tools here", status=400)

    def fail(engine: Chatting) -> None:
        raise EngineRejected("no such key", status=401)

    engine = Chatting(refuse, 'call:get_weather{city:"Paris"}', 'call:get_weather{city:"Oslo"}')
    model = FunctionGemmaModel("x", engine=engine)
    assert calls(model.run(user("Hi"), tools=[WEATHER])) == [("get_weather", '{"city": "Paris"}')]
    assert calls(model.run(user("Hi"), tools=[WEATHER])) == [("get_weather", '{"city": "Oslo"}')]
    assert [bool(chat.tools) for _, chat in engine.asked] == [True, False, False]
    with pytest.raises(EngineRejected, match="no such key"):
        FunctionGemmaModel("x", engine=Chatting(fail)).run(user("Hi"), tools=[WEATHER])


def test_a_call_is_forced_by_the_endpoint_and_asked_for_again() -> None:
    engine = Chatting("Hello", PARIS, forces=True)
    answer = gemma4(engine).run(
        user("Hi"), tools=[WEATHER, ALARM], tool_choice={"type": "function", "function": {"name": "get_weather"}}
    )
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    assert answer.choices[0].message.content is None
    assert [chat.must_call for _, chat in engine.asked] == [True, True]
    assert [tool["function"]["name"] for tool in engine.asked[0][1].tools] == ["get_weather"]
    with pytest.raises(UnusableAnswer):
        gemma4(Chatting("Hello", "Hello", forces=True)).run(user("Hi"), tools=[WEATHER], tool_choice="required")


def test_a_call_is_forced_by_a_schema_in_any_family() -> None:
    for family in (Gemma3Model, Gemma4Model, FunctionGemmaModel):
        engine = Chatting('{ "name": "set_alarm", "parameters": {"time": "7"} }', ways={"prompted"}, schema=True)
        model: Any = family("x", {"temperature": 0}, engine=engine)
        answer = model.run(user("Hi"), tools=[WEATHER, ALARM], tool_choice="required", top_p=None)
        assert calls(answer) == [("set_alarm", '{"time": "7"}')]
        constraint = engine.asked[0][0].constraint
        assert constraint is not None
        assert constraint.json_schema == call_schema(validate_tools([WEATHER, ALARM]))
        assert "[func_name1(" not in engine.asked[0][1].turns[0].text


def test_a_call_is_forced_by_a_schema_where_the_tool_choice_is_refused() -> None:
    as_json = '{"name": "get_weather", "parameters": {"city": "Paris"}}'
    for ways, answer, prompted in ((BOTH, as_json, True), ({"native"}, PARIS, False)):
        engine = Chatting(answer, PARIS, ways=ways, schema=True)
        model = gemma4(engine)
        assert calls(model.run(user("Hi"), tools=[WEATHER], tool_choice="required")) == [("get_weather", '{"city": "Paris"}')]
        request, chat = engine.asked[0]
        assert (bool(request.constraint), bool(chat.tools)) == (prompted, not prompted)
        model.run(user("Hi"), tools=[WEATHER])
        assert engine.asked[1][1].tools


def test_an_unforced_call_is_requested_and_retried() -> None:
    engine = Chatting("Hello", 'call:get_weather{city:"Paris"}', ways={"prompted"})
    answer = gemma4(engine).run(user("Hi"), tools=[WEATHER], tool_choice="required")
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    first, second = (chat.turns for _, chat in engine.asked)
    assert "Call the function get_weather now" in first[0].text
    assert "That is not a call" in second[-1].text
    with pytest.raises(UnusableAnswer):
        gemma4(Chatting("Hello", "Hello", ways={"prompted"})).run(user("Hi"), tools=[WEATHER], tool_choice="required")


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize("ways", [{"native"}, {"prompted"}])
def test_json_is_enforced_by_the_schema_or_told_and_checked(ways: Any) -> None:
    bound = Chatting('{"a": 1}', ways=ways, schema=True)
    assert gemma4(bound).run(user("Hi"), response_format=json_format(SCHEMA)).choices[0].message.content == '{"a": 1}'
    assert bound.asked[0][0].constraint is not None
    told = Chatting("Well: ```json\n{}\n```", 'Sorry: {"a": 2}', ways=ways)
    assert gemma4(told).run(user("Hi"), response_format=json_format(SCHEMA)).choices[0].message.content == '{"a": 2}'
    assert "JSON Schema" in told.asked[0][1].turns[0].text


def test_what_cannot_be_kept_is_refused() -> None:
    for asked in ({"grammar": "root ::= x"}, {"seed": 1}, {"logprobs": True}):
        with pytest.raises(InvalidRequest):
            gemma4(Chatting("x")).run(user("Hi"), **asked)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="only a chat endpoint"):
        list(gemma4(Chatting("x")).complete("Hi", ChatRequest(messages=(Message("user", ""),))))


def test_thinking_is_asked_of_the_endpoint() -> None:
    engine = Chatting([ChatPiece(reasoning="Hm."), "Yes"], "Yes", ways={"prompted"})
    message = gemma4(engine).run(user("Hi"), reasoning_effort="high").choices[0].message
    assert message.model_dump()["reasoning"] == "Hm."
    gemma4(engine).run(user("Hi"))
    assert [chat.think for _, chat in engine.asked] == [True, False]
    deaf = Chatting("Yes")
    deaf.can = replace(deaf.can, thinks=False)
    assert "no known field for thinking" in str(gemma4(deaf).run(user("Hi"), reasoning_effort="high").model_dump()["warnings"])
    plain = Chatting("Yes")
    Gemma3Model("x", engine=plain).run(user("Hi"))
    assert plain.asked[0][1].think is None


@pytest.mark.parametrize("ways", [{"native"}, {"prompted"}])
def test_text_like_a_token_is_broken_in_the_prompt_and_restored_in_the_answer(ways: Any) -> None:
    spelled = "<|turn>"
    broken = "<\u2060|turn>"
    given = {
        "native": ChatPiece(calls=(("get_weather", {"city": broken}),)),
        "prompted": f'call:get_weather{{city:"{broken}"}}',
    }
    tool = json.loads(json.dumps(WEATHER).replace("The city name", f"Not {spelled}"))
    earlier = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": json.dumps({"city": spelled})}}
    messages = [
        *user(spelled),
        {"role": "assistant", "tool_calls": [earlier]},
        {"role": "tool", "tool_call_id": "1", "content": spelled},
    ]
    engine = Chatting([given[way] for way in ways], ways=ways)
    assert calls(gemma4(engine).run(messages, tools=[tool])) == [("get_weather", json.dumps({"city": spelled}))]
    chat = engine.asked[0][1]
    assert spelled not in str(chat.turns) + str(chat.tools)
    assert broken in chat.turns[-1].text


def test_calls_and_results_belong_together_whatever_the_shape_of_history() -> None:
    engine = Chatting("Warm.", ways={"native"})
    call = {"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    own = {
        "role": "assistant",
        "content": "It is warm.",
        "tool_calls": [call],
        "tool_responses": [{"name": "get_weather", "response": {"t": 21}}],
    }
    old = [
        {"role": "assistant", "content": None, "function_call": {"name": "get_weather", "arguments": "not JSON"}},
        {"role": "function", "name": "get_weather", "content": "21"},
    ]
    gemma4(engine).run([*user("Hi"), own, *user("And now?"), *old], tools=[WEATHER])
    turns = engine.asked[0][1].turns
    assert [turn.role for turn in turns] == ["user", "assistant", "tool", "assistant", "user", "assistant", "tool"]
    assert turns[1].calls == (TurnCall(id=turns[2].call_id, name="get_weather", arguments={"city": "Paris"}),)
    assert (turns[2].text, turns[3].text) == ('{"t": 21}', "It is warm.")
    assert turns[5].calls[0].arguments == {"arguments": "not JSON"}
    assert turns[5].calls[0].id == turns[6].call_id != turns[2].call_id


def test_a_schema_of_a_call_keeps_its_references() -> None:
    nested = {
        "type": "object",
        "properties": {"to": {"$ref": "#/$defs/place"}},
        "$defs": {"place": {"enum": ["Paris"]}},
        "required": ["to"],
    }
    tools = [{"type": "function", "function": {"name": name, "parameters": nested}} for name in ("f", "g")]
    for count in (1, 2):
        schema = call_schema(validate_tools(tools[:count]))
        assert value_fault('{"name": "f", "parameters": {"to": "Paris"}}', schema) is None
        assert value_fault('{"name": "f", "parameters": {"to": "Rome"}}', schema) is not None


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\x00" * 16).decode()


@pytest.mark.parametrize("server", ["vllm", "sglang"])
def test_images_use_the_chat_endpoint_if_completions_take_none(server: str) -> None:
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "A cat."}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    with Faulty([chunked(event)]) as stub, create_engine(server, model="m", url=stub.url, probe=False) as engine:
        model = Gemma3Model("gemma3", engine=engine)
        answer = model.run([{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}])
    assert answer.choices[0].message.content == "A cat."
    assert "only through its chat endpoint" in str(answer.model_dump()["warnings"])
    head, _, body = stub.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /chat/completions ")
    content = json.loads(body)["messages"][0]["content"]
    assert content[0]["image_url"]["url"].endswith(PNG)


CONTENT = (
    "Sure. <|tool_call>call:get_weather{city:Oslo}<tool_call|> and <|tool_call>call:other{}<tool_call|>"
    '\ncall:get_weather{city:"A'
)


@given(st.lists(st.integers(0, len(CONTENT)), max_size=6), st.integers(0, 3))
def test_any_way_of_cutting_gives_the_same_reply_and_the_same_places(cuts: list[int], native: int) -> None:
    format = get_format("gemma4")
    tools = validate_tools([WEATHER])

    def read(*pieces: ChatPiece) -> Any:
        reader = ChatReader(format.parser(tools), {"get_weather"})
        for piece in pieces:
            reader.feed(piece)
        reader.close()
        return reader.reply

    def told(reply: Any) -> Any:
        return reply.content, [(c.name, c.arguments_json) for c in reply.tool_calls], reply.finish_reason, reply.problems

    before = ChatPiece(reasoning="Hm.", calls=PARIS.calls * native)
    edges = [0, *sorted(cuts), len(CONTENT)]
    cut = [ChatPiece(content=CONTENT[a:b]) for a, b in pairwise(edges)]
    reply = read(before, *cut)
    assert told(reply) == told(read(before, ChatPiece(content=CONTENT)))
    whole = text_of(before) + CONTENT
    assert len(reply.tool_calls) == native + 1
    assert {problem.kind for problem in reply.problems} >= {"string_bare", "undeclared"}
    for problem in reply.problems:
        assert problem.text in ("", whole[problem.start : problem.end])
        assert problem.index in (None, native)
