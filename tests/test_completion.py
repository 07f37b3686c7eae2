"""Events and replies become OpenAI's objects, whole and streamed alike."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gemma_tools.completion import Accumulator, Answer, Heading, TokenUse, Turn, chunks, completion
from gemma_tools.reply import (
    ContentDelta,
    Event,
    Problem,
    ReasoningDelta,
    Reply,
    ToolCall,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)

HEADING = Heading(model="gemma")
TOKENS = TokenUse(prompt=7, completion=5, cached=3, reasoning=2)


def turn(events: Sequence[Event], reply: Reply, tokens: TokenUse = TOKENS) -> Turn:
    yield from events
    return Answer(reply=reply, text="", tokens=tokens)


def call(index: int, name: str, *pieces: str, ended: bool = True) -> list[Event]:
    events: list[Event] = [ToolCallStarted(index, f"call_{index}", name)]
    events += [ToolCallDelta(index, piece) for piece in pieces]
    return [*events, ToolCallEnded(index)] if ended else events


def accumulated(stream: Sequence[ChatCompletionChunk]) -> ChatCompletion:
    """What the openai package itself makes of a stream."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in stream:
        state.handle_chunk(chunk)
    return state.get_final_completion()


TALK: list[Event] = [ReasoningDelta("hm, "), ReasoningDelta("yes"), ContentDelta("It is "), ContentDelta("warm.")]
TALK_REPLY = Reply(content="It is warm.", reasoning="hm, yes")
CALLS = [*call(0, "a", "{", '"x":1}'), *call(1, "b", '{"y": [', ended=False), *call(2, "c", "{}")]
CALLS_REPLY = Reply(
    content=None,
    tool_calls=(ToolCall("call_0", "a", '{"x":1}'), ToolCall("call_2", "c", "{}")),
    finish_reason="tool_calls",
    problems=(Problem("cut", "a call was cut", "text", 1),),
)


def test_a_completion_has_openai_s_fields() -> None:
    answer = completion(HEADING, [turn(TALK, TALK_REPLY)])
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", "gemma")
    choice = answer.choices[0]
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    message = choice.message.model_dump()
    assert message["content"] == "It is warm."
    assert message["reasoning"] == message["reasoning_content"] == "hm, yes"
    assert message["refusal"] is None
    assert message["tool_calls"] is None
    assert "problems" not in message
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 5, 12)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2


def test_calls_keep_their_ids_and_problems_are_reported() -> None:
    message = completion(HEADING, [turn(CALLS, CALLS_REPLY)]).choices[0].message.model_dump()
    assert message["content"] is None
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message["tool_calls"]] == [
        ("call_0", "a", '{"x":1}'),
        ("call_2", "c", "{}"),
    ]
    assert message["problems"] == [{"kind": "cut", "message": "a call was cut", "text": "text", "call": 1}]


@pytest.mark.parametrize(("events", "reply"), [(TALK, TALK_REPLY), (CALLS, CALLS_REPLY), ([], Reply())])
def test_objects_survive_a_round_trip(events: list[Event], reply: Reply) -> None:
    answer = completion(HEADING, [turn(events, reply)])
    assert ChatCompletion.model_validate(answer.model_dump()) == answer
    assert ChatCompletion.model_validate_json(answer.model_dump_json()) == answer
    for chunk in chunks(HEADING, [turn(events, reply)], include_usage=True):
        assert ChatCompletionChunk.model_validate(chunk.model_dump()) == chunk


def test_a_stream_adds_up_to_the_completion() -> None:
    for events, reply in ((TALK, TALK_REPLY), (CALLS, CALLS_REPLY), ([], Reply())):
        whole = completion(HEADING, [turn(events, reply)])
        added = accumulated(list(chunks(HEADING, [turn(events, reply)], include_usage=True)))
        told = {"content", "tool_calls", "reasoning", "reasoning_content", "problems"}
        left = {k: v for k, v in added.choices[0].message.to_dict().items() if k in told and v is not None}
        right = {k: v for k, v in whole.choices[0].message.to_dict().items() if k in told and v is not None}
        for each in (left, right):
            for one in each.get("tool_calls", ()):  # the stream state keeps its own bookkeeping fields
                one.pop("index", None)
                one["function"].pop("parsed_arguments", None)
        assert left == right
        assert added.choices[0].finish_reason == whole.choices[0].finish_reason
        assert added.usage == whole.usage
        assert added.id == whole.id


def test_whole_calls_have_no_gap_and_no_half() -> None:
    sent = [c for chunk in chunks(HEADING, [turn(CALLS, CALLS_REPLY)]) for c in (chunk.choices[0].delta.tool_calls or ())]
    assert [(c.index, c.id, c.function and c.function.name, c.function and c.function.arguments) for c in sent] == [
        (0, "call_0", "a", '{"x":1}'),
        (1, "call_2", "c", "{}"),
    ]


def test_live_calls_are_sent_as_they_are_read() -> None:
    sent = [
        (c.index, c.function and c.function.name, c.function and c.function.arguments)
        for chunk in chunks(HEADING, [turn(CALLS, CALLS_REPLY)], calls="live")
        for c in (chunk.choices[0].delta.tool_calls or ())
    ]
    assert sent == [
        (0, "a", ""),
        (0, None, "{"),
        (0, None, '"x":1}'),
        (1, "b", ""),
        (1, None, '{"y": ['),
        (2, "c", ""),
        (2, None, "{}"),
    ]


def test_a_stream_begins_with_the_role_and_ends_with_the_reason() -> None:
    for events, reply in ((TALK, TALK_REPLY), ([], Reply())):
        stream = list(chunks(HEADING, [turn(events, reply)]))
        assert stream[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].finish_reason for chunk in stream[:-1]] == [None] * (len(stream) - 1)
        assert stream[-1].choices[0].finish_reason == "stop"
        assert {chunk.id for chunk in stream} == {HEADING.id}


def test_usage_comes_last_and_only_on_request() -> None:
    plain = list(chunks(HEADING, [turn(TALK, TALK_REPLY)]))
    assert all(chunk.usage is None and chunk.choices for chunk in plain)
    last = list(chunks(HEADING, [turn(TALK, TALK_REPLY)], include_usage=True))[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 12


def test_several_choices_count_their_prompt_once() -> None:
    turns = [turn(TALK, TALK_REPLY), turn(CALLS, CALLS_REPLY)]
    answer = completion(HEADING, turns)
    assert [(c.index, c.finish_reason) for c in answer.choices] == [(0, "stop"), (1, "tool_calls")]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 10)
    stream = list(chunks(HEADING, [turn(TALK, TALK_REPLY), turn(CALLS, CALLS_REPLY)]))
    assert [c.choices[0].index for c in stream if c.choices[0].finish_reason] == [0, 1]


def test_an_estimate_says_so() -> None:
    guess = TokenUse(prompt=1, completion=1, estimated=True)
    usage = completion(HEADING, [turn([], Reply(), guess)]).usage
    assert usage is not None
    assert usage.model_dump()["estimated"] is True


def test_logprobs_and_warnings_are_passed_on() -> None:
    def spoken() -> Turn:
        yield ContentDelta("Hi")
        entry = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
        return Answer(reply=Reply(content="Hi"), text="Hi", tokens=TOKENS, logprobs=(entry,), warnings=("a type was lost",))

    answer = completion(HEADING, [spoken()])
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert logprobs.content[0].token == "Hi"
    assert answer.model_dump()["warnings"] == ["a type was lost"]
    last = list(chunks(HEADING, [spoken()]))[-1]
    assert last.choices[0].logprobs is not None
    assert last.choices[0].logprobs.model_dump() == logprobs.model_dump()
    assert last.model_dump()["warnings"] == ["a type was lost"]


def test_chunks_join_to_the_completion_with_its_warnings_and_stop_sequence() -> None:
    def stopped() -> Turn:
        yield ContentDelta("Hi")
        return Answer(reply=Reply(content="Hi"), text="Hi", tokens=TOKENS, stopped="!", warnings=("a type was lost",))

    whole = Accumulator()
    for chunk in chunks(HEADING, [stopped()]):
        whole.add(chunk)
    joined = whole.completion()
    assert joined.model_dump()["warnings"] == ["a type was lost"]
    assert joined.choices[0].model_dump()["stop_reason"] == "!"
    assert joined.choices == completion(HEADING, [stopped()]).choices


def test_requests_with_functions_get_a_function_call() -> None:
    legacy = Heading(model="gemma", legacy=True)
    one = Reply(tool_calls=(ToolCall("call_0", "a", '{"x":1}'),), finish_reason="tool_calls")
    events = call(0, "a", "{", '"x":1}')
    choice = completion(legacy, [turn(events, one)]).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert (choice.message.function_call.name, choice.message.function_call.arguments) == ("a", '{"x":1}')
    assert choice.message.tool_calls is None
    for calls in ("whole", "live"):
        stream = list(chunks(legacy, [turn(events, one)], calls=calls))
        parts = [c.choices[0].delta.function_call for c in stream if c.choices[0].delta.function_call]
        assert parts[0].name == "a"
        assert "".join(part.arguments or "" for part in parts) == '{"x":1}'
        assert stream[-1].choices[0].finish_reason == "function_call"


def test_leaving_a_stream_closes_its_turn() -> None:
    left = []

    def endless() -> Turn:
        try:
            while True:
                yield ContentDelta("on ")
        finally:
            left.append(True)

    stream = chunks(HEADING, [endless()])
    for _ in zip(range(5), stream, strict=False):
        pass
    assert not left
    stream.close()
    assert left == [True]


@given(st.lists(st.tuples(st.booleans(), st.lists(st.text(), max_size=4)), max_size=6))
def test_complete_calls_only_and_in_order(drawn: list[tuple[bool, list[str]]]) -> None:
    events: list[Event] = []
    for index, (ended, texts) in enumerate(drawn):
        events += call(index, f"f{index}", json.dumps(texts), ended=ended)
    complete = [i for i, (ended, _) in enumerate(drawn) if ended]
    sent = [c for chunk in chunks(HEADING, [turn(events, Reply())]) for c in (chunk.choices[0].delta.tool_calls or ())]
    assert [c.index for c in sent] == list(range(len(complete)))
    assert [c.function and c.function.name for c in sent] == [f"f{i}" for i in complete]
    assert [json.loads(c.function.arguments or "") for c in sent if c.function] == [drawn[i][1] for i in complete]
