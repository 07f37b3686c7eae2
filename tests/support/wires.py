"""How the servers of the HTTP engines write, and one question to a server that answers with given bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gemma_tools.engines import Engine, GenerationRequest, create_engine
from gemma_tools.errors import EngineError
from support.servers.loopback import Faulty, http
from support.tiny import GREEDY, small_talk


@dataclass(frozen=True)
class Wire:
    """How one engine's server writes."""

    make: Callable[..., Engine]
    piece: Callable[[str], bytes]
    last: bytes
    error: Callable[[str], bytes]
    kind: bytes
    asks_first: bool = False
    """Whether a `/tokenize` comes before the prompt."""


def line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


WIRES = {
    "ollama": Wire(
        make=lambda url, **options: create_engine("ollama", model="m", url=url, **options),
        piece=lambda text: line({"response": text, "done": False}),
        last=line({"response": "", "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}),
        error=lambda text: json.dumps({"error": text}).encode(),
        kind=b"application/x-ndjson",
    ),
    "llama-server": Wire(
        make=lambda url, **options: create_engine("llama-server", url=url, **options),
        piece=lambda text: b"data: " + line({"content": text, "stop": False}) + b"\n",
        last=b"data: " + line({"content": "", "stop": True, "stop_type": "eos", "tokens_evaluated": 3}) + b"\n",
        error=lambda text: json.dumps({"error": {"message": text, "type": "some_error", "code": 0}}).encode(),
        kind=b"text/event-stream",
        asks_first=True,
    ),
}
WIRES["openai"] = Wire(
    make=lambda url, **options: create_engine("openai", model="m", url=url, probe=False, **options),
    piece=lambda text: b"data: " + line({"choices": [{"index": 0, "text": text, "finish_reason": None}]}) + b"\n",
    last=b"data: " + line({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}) + b"\ndata: [DONE]\n\n",
    error=WIRES["llama-server"].error,
    kind=b"text/event-stream",
)
WIRES["openai-chat"] = Wire(
    make=lambda url, **options: create_engine("openai-chat", model="m", url=url, **options),
    piece=lambda text: b"data: " + line({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}) + b"\n",
    last=b"data: " + line({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}) + b"\ndata: [DONE]\n\n",
    error=WIRES["llama-server"].error,
    kind=b"text/event-stream",
)
TOKENIZED = http(200, b'{"tokens": []}')


def ask(wire: Wire, *answers: list[bytes | str], **options: Any) -> tuple[list[str], EngineError | None, Faulty]:
    """Ask once of a server that gives `answers`; the pieces, the error, and the server."""
    options = {"max_retries": 0, "timeout": 30, **options}
    first = [[TOKENIZED]] if wire.asks_first else []
    with Faulty(*first, *answers) as server, wire.make(server.url, **options) as engine:
        pieces: list[str] = []
        failure = None
        try:
            for piece in engine.generate(GenerationRequest(small_talk(), GREEDY)):
                pieces.append(piece)
        except EngineError as error:
            failure = error
    assert failure is None or (failure.engine, failure.text) == (engine.name, "".join(pieces))
    return pieces, failure, server
