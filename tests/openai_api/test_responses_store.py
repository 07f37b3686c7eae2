"""Responses that are kept: named by later requests, looked up, listed and forgotten; bounded, and each its caller's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import BadRequestError, NotFoundError, OpenAI

from gemma_tools import async_openai_client, openai_client
from gemma_tools.openai_api.responses_store import ResponseStore
from support.serving import WEATHER, serving, thinker

THOUGHT = "<|channel>thought\nHm.<channel|>"
CALL = '<|tool_call>call:get_weather{city:<|"|>Lisbon<|"|>}<tool_call|>'
TOOL: Any = {"type": "function", **WEATHER["function"]}
ANSWERS = ("One.", "Two.", "Three.")


@pytest.fixture(params=["process", "socket"])
def clients(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes a model and a client of it."""
    if request.param == "process":

        def make(*answers: str) -> tuple[OpenAI, Any]:
            model = thinker(*answers)
            return openai_client(model), model

        yield make
        return
    open_: list[Any] = []

    def make_server(*answers: str) -> tuple[OpenAI, Any]:
        model = thinker(*answers)
        open_.append(serving(model))
        return OpenAI(base_url=open_[-1].__enter__(), api_key="x", max_retries=0), model

    yield make_server
    for server in open_:
        server.__exit__(None, None, None)


def prompt(model: Any) -> str:
    return str(model.engine.asked[-1].prompt.text)


def test_a_conversation_goes_on_from_a_response(clients: Any) -> None:
    client, model = clients(*ANSWERS)
    first = client.responses.create(model="m", input="Uno", instructions="Be brief.")
    second = client.responses.create(model="m", input="Dos", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    third = client.responses.create(model="m", input=[{"role": "user", "content": "Tres"}], previous_response_id=second.id)
    assert third.output_text == "Three."
    places = [prompt(model).index(text) for text in ("Uno", "One.", "Dos", "Two.", "Tres")]
    assert places == sorted(places)
    assert "Be brief." not in prompt(model)  # as OpenAI has it: instructions are of one request


def test_a_stream_is_kept_as_well(clients: Any) -> None:
    client, model = clients(*ANSWERS)
    *_, last = client.responses.create(model="m", input="Uno", stream=True)
    client.responses.create(model="m", input="Dos", previous_response_id=last.response.id)
    assert prompt(model).index("Uno") < prompt(model).index("One.") < prompt(model).index("Dos")
    assert client.responses.retrieve(last.response.id) == last.response


def test_items_are_referred_to_by_id(clients: Any) -> None:
    client, model = clients(THOUGHT + CALL, "Rain.")
    asked = {"role": "user", "content": "Weather?"}
    first = client.responses.create(model="m", input=[asked], tools=[TOOL], reasoning={"effort": "high"})
    thought, call = first.output
    items = [
        asked,
        {"type": "item_reference", "id": thought.id},
        {"id": call.id},
        {"type": "function_call_output", "call_id": call.call_id, "output": "wet"},
    ]
    client.responses.create(model="m", input=items, tools=[TOOL], reasoning={"effort": "high"})
    assert prompt(model).index("Hm.") < prompt(model).index("call:get_weather{city") < prompt(model).index("wet")


def test_a_response_is_looked_up_listed_and_forgotten(clients: Any) -> None:
    client, _ = clients(*ANSWERS)
    first = client.responses.create(model="m", input="Uno")
    second = client.responses.create(model="m", input=[{"role": "user", "content": "Dos"}], previous_response_id=first.id)
    assert client.responses.retrieve(second.id) == second
    listed = list(client.responses.input_items.list(second.id, order="asc", limit=1))
    assert [(item.role, item.content[0].text) for item in listed] == [("user", "Uno"), ("assistant", "One."), ("user", "Dos")]
    assert list(client.responses.input_items.list(second.id)) == listed[::-1]
    assert listed[1].id == first.output[0].id
    client.responses.delete(second.id)
    for look in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(NotFoundError):
            look(second.id)
    assert client.responses.retrieve(first.id) == first


def test_tokens_are_counted_of_the_whole_conversation(clients: Any) -> None:
    client, _ = clients(*ANSWERS)
    first = client.responses.create(model="m", input="Uno " * 50)
    alone = client.responses.input_tokens.count(model="m", input="Dos").input_tokens
    after = client.responses.input_tokens.count(model="m", input="Dos", previous_response_id=first.id).input_tokens
    assert after > alone + 50
    assert client.responses.create(model="m", input="Dos", previous_response_id=first.id).usage.input_tokens == after


def test_asyncio_clients_keep_responses_too() -> None:
    async def converse() -> str:
        async with async_openai_client(thinker(*ANSWERS)) as client:
            first = await client.responses.create(model="m", input="Uno")
            second = await client.responses.create(model="m", input="Dos", previous_response_id=first.id)
            items = [item async for item in client.responses.input_items.list(second.id)]
            assert len(items) == 3
            return second.output_text

    assert asyncio.run(converse()) == "Two."


def test_what_shall_not_be_kept_is_not(clients: Any) -> None:
    client, _ = clients(*ANSWERS)
    response = client.responses.create(model="m", input="Uno", store=False)
    assert response.model_extra["store"] is False
    assert client.responses.create(model="m", input="Uno").model_extra["store"] is True
    with pytest.raises(NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(BadRequestError, match="send the whole conversation"):
        client.responses.create(model="m", input="Dos", previous_response_id=response.id)
    with pytest.raises(NotFoundError, match="send the item itself"):
        client.responses.create(model="m", input=[{"type": "item_reference", "id": response.output[0].id}])


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "after=nothing"])
def test_a_wrong_page_is_a_400(query: str) -> None:
    with serving(thinker(*ANSWERS)) as url:
        id = httpx.post(f"{url}/responses", json={"model": "m", "input": "Uno"}).json()["id"]
        refused = httpx.get(f"{url}/responses/{id}/input_items?{query}")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, query.partition("=")[0])
        assert httpx.get(f"{url}/responses/{id}?stream=true").status_code == 400
        assert httpx.get(f"{url}/responses/{id}/poems").status_code == 404
        assert httpx.put(f"{url}/responses/{id}", json={}).status_code == 405


def test_each_key_has_responses_that_is_separate() -> None:
    with serving(thinker(*ANSWERS), api_keys=["mine", "theirs"]) as url:
        mine, theirs = (OpenAI(base_url=url, api_key=key, max_retries=0) for key in ("mine", "theirs"))
        response = mine.responses.create(model="m", input="Uno")
        assert mine.responses.retrieve(response.id).id == response.id
        for look in (theirs.responses.retrieve, theirs.responses.delete):
            with pytest.raises(NotFoundError):
                look(response.id)
        with pytest.raises(BadRequestError):
            theirs.responses.create(model="m", input="Dos", previous_response_id=response.id)
        with pytest.raises(NotFoundError):
            theirs.responses.create(model="m", input=[{"type": "item_reference", "id": response.output[0].id or ""}])
        assert mine.responses.retrieve(response.id).id == response.id


def test_a_server_that_keeps_nothing_says_so() -> None:
    with serving(thinker(*ANSWERS), stored_responses=0) as url:
        client = OpenAI(base_url=url, api_key="x", max_retries=0)
        response = client.responses.create(model="m", input="Uno")
        assert (response.model_extra or {})["store"] is False
        with pytest.raises(NotFoundError, match="not stored"):
            client.responses.retrieve(response.id)
        references: list[Any] = [
            {"input": "Dos", "previous_response_id": response.id},
            {"input": [{"type": "item_reference", "id": response.output[0].id}]},
        ]
        for fields in references:
            with pytest.raises(BadRequestError, match="not stored"):
                client.responses.create(model="m", **fields)


def answer(id: str, text: str = "") -> dict[str, Any]:
    return {"id": id, "output": [{"id": f"msg_{id}", "text": text}]}


def test_responses_leave_with_age() -> None:
    now = 0.0
    store = ResponseStore(seconds=10, clock=lambda: now)
    store.keep("me", answer("a"), [])
    now = 5.0
    store.keep("me", answer("b"), [])
    assert store.find("me", "a")
    now = 12.0
    assert (store.find("me", "a"), store.item("me", "msg_a")) == (None, None)
    assert store.item("me", "msg_b") == answer("b")["output"][0]
    assert not store.delete("me", "a")


def test_what_is_larger_than_the_space_leaves_the_others_alone() -> None:
    store = ResponseStore(most_bytes=1000)
    store.keep("me", answer("a"), [])
    store.keep("me", answer("b", "x" * 2000), [])
    assert store.find("me", "a")
    assert store.find("me", "b") is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(0, 300), st.booleans())))
def test_the_store_holds_the_last_ones_that_fit(steps: list[tuple[str, str, int, bool]]) -> None:
    """Against a list that is cut at its beginning."""
    store = ResponseStore(most=3, most_bytes=700)
    model: list[tuple[str, str, int]] = []
    for number, (item, caller, length, forget) in enumerate(steps):
        id = f"{item}{number}"
        response, given_items = answer(id, "é" * length), [{"id": item, "role": "user", "content": "Hi"}]
        store.keep(caller, response, given_items)
        size = len(json.dumps(response, ensure_ascii=False).encode()) + len(json.dumps(given_items).encode())
        if size <= 700:
            model.append((caller, id, size))
        while len(model) > 3 or sum(size for *_, size in model) > 700:
            del model[0]
        if forget and model:
            gone = model.pop(len(model) // 2)
            assert store.delete(*gone[:2])
        there = {(caller, id) for caller, id, _ in model}
        for step in range(number + 1):
            id = f"{steps[step][0]}{step}"
            for caller in "xy":
                assert (store.find(caller, id) is not None) == ((caller, id) in there)
                assert (store.item(caller, f"msg_{id}") is not None) == ((caller, id) in there)
