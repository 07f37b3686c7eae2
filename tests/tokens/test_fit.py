"""Conversations are kept within the context by leaving out whole exchanges, the oldest first."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.errors import ContextExceeded, InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.tokens import BaseTokenCounter, fit

Message = dict[str, Any]


class Characters(BaseTokenCounter):
    """A model whose tokens are characters."""

    exact = True

    def count(self, text: str) -> int:
        return len(text)


COUNTER = Characters(get_format("gemma4"))
SYSTEM: Message = {"role": "system", "content": "You keep the harbour's log."}


def call(name: str, number: int, result: str) -> list[Message]:
    made = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": f"call_{number}", "content": result},
    ]


def exchange(number: int, *, calls: int = 0, size: int = 40) -> list[Message]:
    rounds = [message for k in range(calls) for message in call("tide", number * 100 + k, "m" * size)]
    question = {"role": "user", "content": f"Question {number} " + "q" * size}
    return [question, *rounds, {"role": "assistant", "content": f"Answer {number} " + "a" * size}]


def conversation(exchanges: int, **options: Any) -> list[Message]:
    return [SYSTEM, *(m for n in range(exchanges) for m in exchange(n, **options)), {"role": "user", "content": "And now?"}]


def test_what_fits_is_left_alone() -> None:
    messages = conversation(3)
    fitted = fit(messages, counter=COUNTER, limit=10_000)
    assert (list(fitted.messages), fitted.dropped) == (messages, ())
    assert fitted.tokens == COUNTER.count_tokens_from_messages(messages)


def test_the_oldest_exchanges_go_first() -> None:
    messages = conversation(10, calls=1)
    fitted = fit(messages, counter=COUNTER, limit=1500, reserve=300)
    assert fitted.tokens == COUNTER.count_tokens_from_messages(fitted.messages) <= 1200
    assert fitted.messages[0] == SYSTEM
    assert fitted.messages[1]["role"] == "user"
    assert [SYSTEM, *fitted.dropped, *fitted.messages[1:]] == messages


def test_of_a_long_exchange_the_oldest_calls_go_with_their_results() -> None:
    loop = [message for n in range(20) for message in call("tide", n, "m" * 50)]
    messages = [SYSTEM, {"role": "user", "content": "Go on until it is high."}, *loop]
    fitted = fit(messages, counter=COUNTER, limit=900)
    assert fitted.messages[:2] == tuple(messages[:2])
    assert fitted.messages[2]["role"] == "assistant"
    assert fitted.messages[-2:] == tuple(loop[-2:])
    assert 0 < len(fitted.dropped) < len(loop)


def test_what_must_stay_and_is_too_long_is_refused_with_both_numbers() -> None:
    messages = [SYSTEM, *exchange(1), {"role": "user", "content": "x" * 500}]
    with pytest.raises(ContextExceeded, match="there is room for only 150") as caught:
        fit(messages, counter=COUNTER, limit=200, reserve=50)
    assert (caught.value.prompt_tokens or 0) > 500
    assert caught.value.context == 200


def test_a_reserve_that_leaves_no_room() -> None:
    with pytest.raises(InvalidRequest) as caught:
        fit(conversation(1), counter=COUNTER, limit=100, reserve=100)
    assert caught.value.param == "reserve"


def test_the_beginning_stays_the_same_for_many_turns() -> None:
    beginnings = [fit(conversation(n), counter=COUNTER, limit=2000).messages[1] for n in range(1, 60)]
    changes = sum(before != after for before, after in pairwise(beginnings))
    assert 1 < changes < 15


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 120)), max_size=12),
    st.integers(0, 3),
    st.booleans(),
    st.integers(60, 2500),
)
def test_laws(exchanges: list[tuple[int, int]], running: int, system: bool, limit: int) -> None:
    messages = [SYSTEM] * system + [m for n, (calls, size) in enumerate(exchanges) for m in exchange(n, calls=calls, size=size)]
    newest = {"role": "user", "content": "And now?"}
    messages += [newest, *(m for k in range(running) for m in call("tide", 9000 + k, "ok"))]
    try:
        fitted = fit(messages, counter=COUNTER, limit=limit)
    except ContextExceeded:
        return
    kept = list(fitted.messages)
    assert COUNTER.count_tokens_from_messages(kept) == fitted.tokens <= limit
    assert newest in kept
    assert (SYSTEM in kept) is system
    left = iter(messages)
    assert all(message in left for message in kept)
    assert len(kept) + len(fitted.dropped) == len(messages)
    made = [call["id"] for message in kept for call in message.get("tool_calls", ())]
    assert made == [message["tool_call_id"] for message in kept if message["role"] == "tool"]
