"""The tiny model generates under printed grammars, hot enough to write nonsense where it is let."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from gemma_tools.data import tiny_path
from gemma_tools.engines import Constraint, Engine, GenerationRequest, Sampling, create_engine
from gemma_tools.formats import get_format
from support.grammar_tools import properties, tool
from support.servers.llama import TINY_CONTROL
from support.tiny import play

TOOLS = [
    tool(
        "set_timer", properties("minutes", minutes={"type": "integer", "minimum": 1, "maximum": 90}, label={"type": "string"})
    ),
    tool(
        "book.table",
        properties(
            "when",
            "party",
            when={"type": "string", "format": "date-time"},
            party={"type": "array", "items": properties("name", name={"type": "string", "maxLength": 12}), "maxItems": 3},
            area={"enum": ["patio", "hall", None]},
            notes={"type": "object", "additionalProperties": {"type": "boolean"}},
            code={"type": "string", "pattern": r"^[A-Z]{3}-\d{2,4}$"},
            budget={"type": "number", "minimum": 0, "maximum": 500},
        ),
    ),
]
QUESTION = "what is the weather in Paris?"


@pytest.fixture(scope="module", params=["user-defined", "control"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    path = tiny_path() if request.param == "user-defined" else TINY_CONTROL
    with create_engine(str(path), threads=1) as made:
        yield made


def generate(engine: Engine, family: str, constraint: Constraint, seed: int, most: int = 1500) -> tuple[str, str]:
    prompt = get_format(family).render([{"role": "user", "content": QUESTION}], TOOLS)
    sampling = Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=seed, max_tokens=most)
    pieces, generation = play(engine.generate(GenerationRequest(prompt, sampling, constraint=constraint)))
    return "".join(pieces), generation.finish


@pytest.mark.parametrize("printed", ["gbnf", "lark"])
@pytest.mark.parametrize("family", ["functiongemma", "gemma4"])
def test_a_required_call_is_valid_whatever_the_model_thinks(engine: Engine, family: str, printed: str) -> None:
    format = get_format(family)
    grammar = format.grammar(TOOLS, tool_choice="required", parallel=False)
    constraint = Constraint(gbnf=grammar.gbnf) if printed == "gbnf" else Constraint(lark=grammar.lark)
    schemas: dict[str, Any] = {t["function"]["name"]: t["function"]["parameters"] for t in TOOLS}
    finished = 0
    for seed in range(6):
        text, finish = generate(engine, family, constraint, seed)
        if finish == "length":
            continue
        finished += 1
        reply = format.parse(text, TOOLS)
        assert len(reply.tool_calls) == 1, text
        assert reply.content is None, text
        jsonschema_rs.validate(schemas[reply.tool_calls[0].name], reply.tool_calls[0].arguments)
    assert finished >= 4


@pytest.mark.parametrize("style", ["pythonic", "json"])
def test_calls_that_are_text_are_enforced_too(engine: Engine, style: str) -> None:
    format = get_format("gemma3", tool_style=style)
    grammar = format.grammar(TOOLS[:1], tool_choice="required", parallel=False)
    for constraint in (Constraint(gbnf=grammar.gbnf), Constraint(lark=grammar.lark)):
        text, finish = generate(engine, "gemma3", constraint, 1, most=400)
        if finish == "stop":
            reply = format.parse(text.removesuffix("<end_of_turn>"), TOOLS[:1])
            assert [call.name for call in reply.tool_calls] == ["set_timer"], text


def test_auto_leaves_words_free_and_none_takes_no_call(engine: Engine) -> None:
    format = get_format("functiongemma")
    for choice in ("auto", "none"):
        grammar = format.grammar(TOOLS, tool_choice=choice)
        for seed in range(3):
            text, finish = generate(engine, "functiongemma", Constraint(gbnf=grammar.gbnf), seed)
            reply = format.parse(text, TOOLS, finish=finish)
            assert choice == "auto" or not reply.tool_calls
            assert reply.tool_calls or reply.content or finish == "length"
