"""A server for the soak: it runs scripts, on a model that says what it is told to, at the pace of a model.

    python tests/soak/server.py FOLDER

A last user turn `run SCRIPT ARGUMENT` is a call of `execute_python`, its result is told, and all else is said back.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from threading import Event

from gemma_tools import FunctionGemmaModel, register_backend
from gemma_tools.engines import Cancellation, Capabilities, Engine, Generation, GenerationRequest
from gemma_tools.engines.base import Pieces
from gemma_tools.server.run import address_of, make_server
from gemma_tools.server.settings import Settings

CALL = (
    "<start_function_call>call:execute_python{script_name:<escape>%s<escape>,arguments:<escape>%s<escape>}<end_function_call>"
)
PRINTED = re.compile(r"stdout:<escape>(.*?)\s*<escape>")
PACE = 0.002
"""Seconds between two words, so that a caller has time to leave."""


class Rehearsed(Engine):
    """Answers from the prompt alone, word by word."""

    name = "rehearsed"
    capabilities = Capabilities(settings=frozenset(("max_tokens", "temperature", "seed")))

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Write the answer, unless it is cancelled."""
        over = Event()
        assert cancel is not None
        with cancel.calling(over.set):
            for word in re.split(r"(?<= )", _answer(request.prompt.text)):
                if over.wait(PACE):
                    break
                yield word
        return Generation()


def _answer(prompt: str) -> str:
    last = prompt.rpartition("<start_of_turn>user\n")[2]
    if results := PRINTED.findall(last):
        return f"It printed {results[-1]}"
    text = last.partition("<end_of_turn>")[0]
    script = re.match(r"run (\S+) (\S+)", text)
    return CALL % script.groups() if script else text


def main(folder: str) -> None:
    """Serve the model `m` until a signal comes; the address is the first line printed."""
    register_backend("rehearsed", lambda name, **options: FunctionGemmaModel(name, engine=Rehearsed()))
    settings = Settings.model_validate(
        {
            "port": 0,
            "models": {"m": {"model": "rehearsed"}},
            "run_tools": ["execute_python"],
            "scripts_dir": Path(folder),
            "concurrency": 8,
            "queue": 100,
            "drain": 5,
        }
    )
    server, listener = make_server(settings)
    print(address_of(listener), flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
