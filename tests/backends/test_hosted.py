"""One program with tools gives the same calls in process and by every kind of chat endpoint, with the same model there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from gemma_tools import FunctionGemmaModel, Gemma4Model, create_model
from gemma_tools.data import tiny_path
from gemma_tools.engines import create_engine
from gemma_tools.errors import EngineRejected
from support.chat import WEATHER, calls, user
from support.servers.hosted import KEY, MANNERS, hosted
from support.servers.llama import TINY_CONTROL, llama_server
from support.servers.templates import FUNCTIONGEMMA, GEMMA4
from support.tool_program import EXPECTED, QUESTION, ran

pytest.importorskip("xllamacpp")

SETTINGS = {"temperature": 0, "max_tokens": 400}


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    with llama_server(tiny_path(), chat_template=GEMMA4) as url:
        yield url


def test_in_the_process() -> None:
    with create_model("tiny-gemma4", **SETTINGS) as model:
        assert ran(model) == EXPECTED


@pytest.mark.parametrize("way", ["native", "prompted", "auto"])
def test_by_the_chat_endpoint_of_a_real_llama_server(llama: str, way: Any) -> None:
    options: Any = {"engine": "openai-chat", "url": f"{llama}/v1", "server": "llama-server", "way": way}
    with create_model("tiny-gemma4", **SETTINGS, **options) as model:
        assert ran(model) == EXPECTED


def test_where_the_server_breaks_the_calls_that_it_reads() -> None:
    """llama-server cannot read the calls of a model whose tokens it hides: the tools are then told in the text."""
    with llama_server(TINY_CONTROL, chat_template=GEMMA4) as url:
        make = {"model": "tiny", "url": f"{url}/v1", "server": "llama-server"}
        with create_engine("openai-chat", **make, way="native") as engine:
            message = Gemma4Model("tiny", SETTINGS, engine=engine).run(user(QUESTION), tools=[WEATHER]).choices[0].message
            assert message.tool_calls is None
            assert message.model_dump()["problems"][0]["kind"] == "unreadable"
        with create_engine("openai-chat", **make, json_schema=False) as engine:
            assert ran(Gemma4Model("tiny", SETTINGS, engine=engine), structured=False) == EXPECTED


def test_where_the_server_would_leave_the_tools_out() -> None:
    """A template without tools is no error for llama-server, not even where a call is required."""
    with llama_server(tiny_path(), chat_template=FUNCTIONGEMMA) as url:
        make = {"model": "tiny", "url": f"{url}/v1", "server": "llama-server"}
        with create_engine("openai-chat", **make) as engine:
            answer = FunctionGemmaModel("tiny", SETTINGS, engine=engine).run(user(QUESTION), tools=[WEATHER])
            assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
        with (
            create_engine("openai-chat", **make, way="native") as engine,
            pytest.raises(EngineRejected, match="leave them out"),
        ):
            FunctionGemmaModel("tiny", SETTINGS, engine=engine).run(user(QUESTION), tools=[WEATHER])


@pytest.mark.parametrize("name", MANNERS)
def test_by_endpoints_with_the_manners_of_hosted_ones(llama: str, name: str) -> None:
    seen: list[dict[str, Any]] = []
    kind = name.partition(",")[0]
    with hosted(llama, MANNERS[name], seen=seen) as url:
        engine = kind if kind in ("gemini", "openrouter") else "openai-chat"
        with create_model("gemma-4-e2b-it", engine=engine, url=url, api_key=KEY, **SETTINGS) as model:
            assert ran(model, structured="json_schema" not in MANNERS[name].refuses) == EXPECTED
            asyncio.run(check(model))
    for feature, field in (("tools", "tools"), ("json_schema", "response_format")):
        if feature in MANNERS[name].refuses:
            assert sum(field in body for body in seen) == 1, "what was refused once is not asked for again"
    if "system" in MANNERS[name].refuses:
        assert sum(message["role"] == "system" for body in seen for message in body["messages"]) == 1


@pytest.mark.parametrize("name", [name for name, manner in MANNERS.items() if manner.thought])
def test_thoughts_come_where_they_are_asked_for(llama: str, name: str) -> None:
    options: Any = {"engine": name, "api_key": KEY, **SETTINGS}
    with hosted(llama, MANNERS[name]) as url, create_model("gemma-4-e2b-it", url=url, **options) as model:
        for effort, thought in (("high", "Well, hm."), ("none", None)):
            answer = model.run(user(QUESTION), tools=[WEATHER], reasoning_effort=effort)
            assert answer.choices[0].message.model_dump().get("reasoning") == thought
            assert answer.choices[0].message.content is None
            assert calls(answer) == [("get_weather", '{"city": "Paris"}')]


async def check(model: Any) -> None:
    answer = await model.arun(user(QUESTION), tools=[WEATHER])
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    pieces = [chunk async for chunk in await model.arun(user(QUESTION), tools=[WEATHER], stream=True)]
    assert [c.function.name for p in pieces for c in p.choices[0].delta.tool_calls or ()] == ["get_weather"]
