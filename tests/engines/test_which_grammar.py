"""A grammar that comes in both notations: llama.cpp is sent Lark where it has llguidance, and GBNF where it has not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gemma_tools.data import tiny_path
from gemma_tools.engines import Constraint, Engine, GenerationRequest, create_engine
from gemma_tools.errors import EngineRejected, InvalidRequest
from gemma_tools.prompt import Prompt
from support.servers.llama import llama_server
from support.servers.loopback import JsonHandler, serving
from support.tiny import GREEDY, play, weather

EITHER = Constraint(gbnf='root ::= "gbnf"', lark='%llguidance {}\nstart: "lark"')
"""Two notations that do not say the same, so that the answer tells which of them was used."""


def written(engine: Engine, constraint: Constraint = EITHER, prompt: Prompt | None = None) -> str:
    return "".join(play(engine.generate(GenerationRequest(prompt or weather(), GREEDY, constraint=constraint)))[0])


def test_a_server_with_llguidance_is_sent_lark() -> None:
    with llama_server(tiny_path()) as url, create_engine("llama-server", url=url) as engine:
        assert [written(engine), written(engine)] == ["lark"] * 2
        assert written(engine, Constraint(gbnf='root ::= "gbnf"')) == "gbnf"


def test_a_grammar_that_llama_cpp_cannot_read_is_refused() -> None:
    """It would hold nothing, without an error."""
    nested = "%llguidance {{}}\nstart: inner\ninner: %lark {{\nstart: {}\n}}\n"
    with llama_server(tiny_path()) as url, create_engine("llama-server", url=url) as engine:
        assert written(engine, Constraint(lark=nested.format('"zebra"'))) == "zebra"
        for _ in range(2):
            with pytest.raises(InvalidRequest, match="cannot read the Lark grammar"):
                written(engine, Constraint(lark=nested.format("nothing")))


def server(refusal: dict[str, Any], status: int = 400) -> tuple[type[JsonHandler], list[dict[str, Any]]]:
    """A llama-server that answers the question whether it has llguidance so, and what it was asked for."""
    asked: list[dict[str, Any]] = []

    class Server(JsonHandler):
        def do_POST(self) -> None:
            body = self.body()
            if self.path == "/tokenize":
                self.answer(200, {"tokens": [{"id": 7, "piece": "<escape>"}] if body.get("with_pieces") else [1]})
                return
            asked.append(body)
            if "json_schema" in body:
                self.answer(status, refusal)
            else:
                self.answer_lines(iter([]))

    return Server, asked


def _error(message: str) -> dict[str, Any]:
    return {"error": {"code": 400, "message": message, "type": "invalid_request_error"}}


@pytest.mark.parametrize(
    ("refusal", "status", "used"),
    [
        (_error("Field 'grammar_triggers': Error: no triggers set for lazy grammar!"), 400, "lark"),
        ({"content": "", "generation_settings": {"grammar": "%llguidance {}\nstart: %json {}"}}, 200, "lark"),
        (_error('"json_schema": JSON schema conversion failed:\nUnrecognized schema: {"type":"unheard of"}'), 400, "gbnf"),
        ({"content": "", "generation_settings": {"grammar": ""}}, 200, "gbnf"),
    ],
)
def test_a_harmless_request_finds_out_how_a_server_was_built(refusal: dict[str, Any], status: int, used: str) -> None:
    handler, asked = server(refusal, status)
    with serving(handler) as url, create_engine("llama-server", url=url, max_retries=0) as engine:
        for _ in range(2):
            with pytest.raises(Exception, match="ended before"):
                written(engine)
    question, *requests = asked
    assert "grammar" not in question  # Lark ends a server that was built without llguidance
    assert question["n_predict"] == 0
    assert [used in request["grammar"] for request in requests] == [True, True]  # it was asked once


def test_lark_with_a_token_that_the_vocabulary_lacks_is_not_sent() -> None:
    """llama.cpp leaves the whole answer unconstrained then, without an error."""
    handler, asked = server(_error("Field 'grammar_triggers': Error: no triggers set for lazy grammar!"))
    unknown = '%llguidance {}\nstart: <escape> "<end_function_call>" <start_function_call>'
    known = '%llguidance {}\nstart: <escape> "<end_function_call>"'
    with serving(handler) as url, create_engine("llama-server", url=url, max_retries=0) as engine:
        assert "lark" in engine.capabilities.constraints
        with pytest.raises(EngineRejected, match="vocabulary"):
            written(engine, Constraint(lark=unknown))
        assert "lark" not in engine.capabilities.constraints
        for constraint in (
            Constraint(lark=unknown, gbnf="root ::= <escape>"),
            Constraint(lark=known, gbnf="root ::= <escape>"),
        ):
            with pytest.raises(Exception, match="ended before"):
                written(engine, constraint)
    assert [request["grammar"] for request in asked if "grammar" in request] == [
        "root ::= <escape>",
        '%llguidance {}\nstart: <[7]> "<end_function_call>"',
    ]


_SCRIPT = """
import sys, json
from test_which_grammar import written
from gemma_tools.engines import create_engine
from support.servers.llama import TINY_CONTROL
first = create_engine("tiny")
second = create_engine("tiny")
used = [written(first), written(second), written(first)]
first.close()
used.append(written(second))
second.close()
with create_engine(str(TINY_CONTROL)) as other:
    used.append(written(other))
with create_engine("tiny") as third:
    used.append(written(third))
print(json.dumps(used))
"""


def test_one_engine_of_a_process_uses_lark() -> None:
    """llama.cpp keeps one tokenizer for llguidance in a process, and may take it for another model's."""
    ran = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, env=_paths())
    assert json.loads(ran.stdout) == ["lark", "gbnf", "lark", "lark", "gbnf", "lark"]


def _paths() -> dict[str, str]:
    here = Path(__file__).parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent), *sys.path])}
