"""How often the tiny model's answers fulfil the request, and how grammars change its accuracy.

    python benchmarks/promises.py [COUNT] [--engine NAME]

For each family, in the process and with llama-server over HTTP, or on an engine that `nox -s engines` installs: COUNT requests
(200) of each kind. They require a call, name a tool, forbid calls, or ask for JSON of a schema; half of them are off-topic. An
answer that was cut or given up counts as broken. Then it counts right calls, with COUNT requests for known tools and new
values: without a grammar, with one for calls (`strict`), and with a required call (`required`).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from data import Family, Source
from gemma_tools import BaseModelBackend, create_model
from gemma_tools.data import tiny_path
from gemma_tools.errors import UnusableAnswer
from support.engines import INSTALLED, opened
from support.promises import ANSWERS, broken_answer, broken_call, choices, demands, json_format
from support.servers.llama import llama_server

FAMILIES: dict[str, Family] = {"tiny": "functiongemma", "tiny-gemma4": "gemma4"}
SETTINGS = {"temperature": 0, "max_tokens": 1500}


@contextmanager
def in_process(name: str) -> Iterator[BaseModelBackend]:
    """The model in this process."""
    with create_model(name, **SETTINGS) as model:
        yield model


@contextmanager
def over_http(name: str) -> Iterator[BaseModelBackend]:
    """The model on llama-server."""
    with llama_server(tiny_path()) as url, create_model(name, engine="llama-server", url=url, **SETTINGS) as model:
        yield model


@contextmanager
def installed(engine: str, name: str) -> Iterator[BaseModelBackend]:
    """The model on an engine that `nox -s engines` installs."""
    with opened(engine) as where, where.make() as made, create_model(name, engine=made, **SETTINGS) as model:
        yield model


def forced(model: BaseModelBackend, count: int, kind: str) -> Iterator[str | None]:
    """What each answer to a forced call broke."""
    for demand in demands(count):
        try:
            answer = model.run(demand.messages, tools=demand.tools, tool_choice=choices(demand)[kind])
        except UnusableAnswer:
            yield "given up"
        else:
            yield broken_call(answer, demand, named=kind == "named")


def forbidden(model: BaseModelBackend, count: int) -> Iterator[str | None]:
    """What each answer without calls broke."""
    for demand in demands(count):
        calls = model.run(demand.messages, tools=demand.tools, tool_choice="none").choices[0].message.tool_calls
        yield f"{len(calls)} calls" if calls else None


def structured(model: BaseModelBackend, count: int) -> Iterator[str | None]:
    """What each JSON answer broke."""
    for demand, schema in zip(demands(count), cycle(ANSWERS)):
        try:
            answer = model.run(demand.messages, json_format(schema))
        except UnusableAnswer:
            yield "given up"
        else:
            yield "cut" if answer.choices[0].finish_reason == "length" else broken_answer(answer, schema)


def right(model: BaseModelBackend, family: Family, count: int, *, strict: bool, choice: str) -> int:
    """How many requests for a known tool get exactly the expected call."""
    source = Source(random.Random(7), "test")
    found = 0
    for _ in range(count):
        conversation = source.conversation("call", family=family, pool="known", thinking=False)
        *asked, reply = conversation.messages
        tools = [{**tool, "function": {**tool["function"], "strict": strict}} for tool in conversation.tools]
        with suppress(UnusableAnswer):
            message = model.run(asked, tools=tools, tool_choice=choice).choices[0].message
            found += _calls(message.model_dump()) == _calls(reply)
    return found


def _calls(message: dict[str, Any]) -> list[tuple[str, Any]]:
    functions = [call["function"] for call in message["tool_calls"] or ()]
    values = [f["arguments"] if isinstance(f["arguments"], dict) else json.loads(f["arguments"]) for f in functions]
    return [(function["name"], value) for function, value in zip(functions, values, strict=True)]


CHECKS: dict[str, Callable[[BaseModelBackend, int], Iterator[str | None]]] = {
    "required": lambda model, count: forced(model, count, "required"),
    "named": lambda model, count: forced(model, count, "named"),
    "none": forbidden,
    "json": structured,
}


def main() -> None:
    """Print one line for each model."""
    options = argparse.ArgumentParser(description="How often the tiny model's answers keep what requests demand.")
    options.add_argument("count", nargs="?", type=int, default=200)
    options.add_argument("--engine", choices=sorted(INSTALLED))
    given = options.parse_args()
    count = given.count
    places: dict[str, Callable[[str], AbstractContextManager[BaseModelBackend]]] = {
        "in process": in_process,
        "llama-server": over_http,
    }
    if given.engine:
        places = {given.engine: partial(installed, given.engine)}
    columns = [*CHECKS, "seen", "strict", "forced"]
    print(f"{f'of {count}':28}" + "".join(f"{column:>10}" for column in columns))
    broken = []
    for name, family in FAMILIES.items():
        for label, where in places.items():
            with where(name) as model:
                print(f"{name + ' ' + label:28}", end="")
                for check in CHECKS.values():
                    faults = [fault for fault in check(model, count) if fault]
                    broken += faults
                    print(f"{count - len(faults):10}", end="", flush=True)
                for strict, choice in ((False, "auto"), (True, "auto"), (False, "required")):
                    print(f"{right(model, family, count, strict=strict, choice=choice):10}", end="", flush=True)
                print()
    print(*broken, sep="\n")


if __name__ == "__main__":
    main()
