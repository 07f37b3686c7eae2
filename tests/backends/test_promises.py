"""A real model, in process and over HTTP, keeps what requests demand of it; `benchmarks/promises.py` asks far more often."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import pytest

from gemma_tools import BaseModelBackend, create_model
from gemma_tools.data import tiny_path
from support.promises import ANSWERS, Demand, broken_answer, broken_call, choices, demands, json_format
from support.servers.llama import llama_server

pytest.importorskip("xllamacpp")

DEMANDS = list(demands(10, seed=1))


@pytest.fixture(scope="module", params=["tiny", "tiny-gemma4"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["in process", "llama-server"])
def model(request: pytest.FixtureRequest, family: str) -> Iterator[BaseModelBackend]:
    if request.param == "in process":
        with create_model(family, temperature=0, max_tokens=1500) as model:
            yield model
    else:
        settings = {"temperature": 0, "max_tokens": 1500}
        with llama_server(tiny_path()) as url, create_model(family, engine="llama-server", url=url, **settings) as model:
            yield model


@pytest.mark.parametrize("kind", ["required", "named"])
def test_forced_calls_are_made_and_valid(model: BaseModelBackend, kind: str) -> None:
    def broken(demand: Demand) -> str | None:
        answer = model.run(demand.messages, tools=demand.tools, tool_choice=choices(demand)[kind])
        return broken_call(answer, demand, named=kind == "named")

    assert [fault for demand in DEMANDS if (fault := broken(demand))] == []


def test_none_makes_no_call(model: BaseModelBackend) -> None:
    answers = [model.run(demand.messages, tools=demand.tools, tool_choice="none") for demand in DEMANDS]
    assert [answer.choices[0].message.tool_calls for answer in answers] == [None] * len(DEMANDS)


def test_json_answers_are_valid(model: BaseModelBackend) -> None:
    asked = [(model.run(demand.messages, json_format(schema)), schema) for demand, schema in zip(DEMANDS, cycle(ANSWERS))]
    assert [fault for answer, schema in asked if (fault := broken_answer(answer, schema))] == []
    assert "stop" in {answer.choices[0].finish_reason for answer, _ in asked}
