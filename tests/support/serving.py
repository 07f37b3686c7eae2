"""For the tests of the API's faces: scripted models, an engine that never ends, and a real server on a free port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from threading import Event, Thread
from typing import Any

from gemma_tools import BaseModelBackend, FunctionGemmaModel, Gemma4Model, register_backend
from gemma_tools.engines.base import Cancellation, Capabilities, Engine, Generation, GenerationRequest, Pieces
from gemma_tools.errors import EngineError
from gemma_tools.generators import Returning
from gemma_tools.server.run import address_of, make_server
from gemma_tools.server.settings import Settings
from gemma_tools.testing import Script, ScriptedEngine

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Gets the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = "<start_function_call>call:get_weather{city:<escape>Lisbon<escape>}<end_function_call>"
QUESTION = [{"role": "user", "content": "What is the weather in Lisbon?"}]


def scripted(*answers: str | EngineError | Script, model: str = "m") -> FunctionGemmaModel:
    """A FunctionGemma that gives these answers, one for each request."""
    return FunctionGemmaModel(model, engine=ScriptedEngine(answers))


def thinker(*answers: str | EngineError | Script, model: str = "m") -> Gemma4Model:
    """The same as a Gemma 4."""
    return Gemma4Model(model, engine=ScriptedEngine(answers))


class EndlessEngine(Engine):
    """Writes for ever, or only waits with `silent`, until it is stopped; `stopped` is set when it was."""

    name = "endless"
    capabilities = Capabilities(settings=frozenset(("max_tokens", "temperature", "top_p", "top_k", "min_p", "seed")))

    def __init__(self, *, silent: bool = False) -> None:
        self.started = Event()
        self.stopped = Event()
        self._silent = silent

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Never returns by itself."""
        over = Event()
        assert cancel is not None
        self.started.set()
        try:
            with cancel.calling(over.set):
                while not over.wait(None if self._silent else 0.001):
                    yield "on and on "
            return Generation()
        finally:
            self.stopped.set()


class GatedEngine(Engine):
    """Writes "before ", waits until `gate` is set, and writes "after"."""

    name = "gated"
    capabilities = EndlessEngine.capabilities

    def __init__(self) -> None:
        self.gate = Event()

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Write both words."""
        yield "before "
        self.gate.wait()
        yield "after"
        return Generation()


class ProbableEngine(ScriptedEngine):
    """A script with log probabilities: one token a piece of the answer and, where they are asked for, a word of the prompt."""

    def __init__(self, *answers: str, cut: int = 4) -> None:
        settings = frozenset(("max_tokens", "logprobs", "prompt_logprobs"))
        super().__init__(answers, cut=cut, capabilities=Capabilities(settings=settings))

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """The i-th token has the log probability -i."""
        written = []
        with Returning(super().generate(request, cancel=cancel)) as pieces:
            for piece in pieces:
                written.append(piece)
                yield piece
        if request.sampling.logprobs is None:
            return pieces.value
        first, *others = request.prompt.text.split(" ") if request.sampling.prompt_logprobs else [""]
        prompt = [_entry(first, None), *(_entry(f" {word}", -i) for i, word in enumerate(others, 1))] if first else []
        told = tuple(_entry(piece, -i) for i, piece in enumerate(written))
        return replace(pieces.value, logprobs=told, prompt_logprobs=tuple(prompt))


def _entry(token: str, logprob: float | None) -> dict[str, Any]:
    top = [] if logprob is None else [{"token": "x", "logprob": -0.5, "bytes": [120]}]
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": top}


class EchoEngine(Engine):
    """Says again what stands between << and >> in its prompt, word by word."""

    name = "echo"
    capabilities = EndlessEngine.capabilities

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Echo the prompt."""
        for word in request.prompt.text.split("<<")[1].split(">>")[0].split():
            yield f"{word} "
        return Generation()


_numbers = count()


def named(backend: BaseModelBackend) -> str:
    """A new name by which `create_model` gives this backend."""
    name = f"test-{next(_numbers)}"
    register_backend(name, lambda _, **options: backend)
    return name


@contextmanager
def serving(*backends: BaseModelBackend, **settings: Any) -> Iterator[str]:
    """The address of a server that runs while this context is open; it is stopped in the clean way.

    The first backend is served as `m`, the others as `m1`, `m2`, ...
    """
    models = {f"m{i or ''}": {"model": named(backend)} for i, backend in enumerate(backends)}
    server, listener = make_server(Settings.model_validate({"port": 0, "models": models, **settings}))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield address_of(listener)
    finally:
        server.should_exit = True
        thread.join()


def texts(chunks: Sequence[Any]) -> str:
    """The content of chat chunks."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
