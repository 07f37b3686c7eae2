"""For tests of code that uses gemma_tools: an engine that plays scripted texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from threading import Lock
from typing import Literal

from gemma_tools.engines.base import (
    Cancellation,
    Capabilities,
    Engine,
    Generation,
    GenerationRequest,
    Pieces,
    Sampling,
    Usage,
)
from gemma_tools.engines.stopping import until
from gemma_tools.errors import EngineError
from gemma_tools.generators import Returning

_ALL_SETTINGS = frozenset(field.name for field in fields(Sampling)) - {"extra", "prompt_logprobs"}


@dataclass(frozen=True, slots=True)
class Script:
    """One answer. `pieces` are yielded one by one, then `error` is raised, if there is one.

    A chunk counts as one token: `max_tokens` stops after that number of chunks, with finish "length".
    """

    pieces: Sequence[str]
    finish: Literal["stop", "length"] = "stop"
    error: EngineError | None = None


class ScriptedEngine(Engine):
    """Plays `answers` in order, one for each prompt, with the same protocol as every other engine.

    An answer is a raw text as a model would write it (played in chunks of `cut` characters), an `EngineError` to raise,
    or a `Script`. `asked` lists the requests. Without `capabilities` the engine accepts every setting, but no constraint
    and no media.
    """

    name = "scripted"

    def __init__(
        self, answers: Iterable[str | EngineError | Script], *, cut: int = 4, capabilities: Capabilities | None = None
    ) -> None:
        self.asked: list[GenerationRequest] = []
        self._answers = iter(answers)
        self._cut = cut
        self._capabilities = capabilities or Capabilities(settings=_ALL_SETTINGS)
        self._lock = Lock()

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities that this engine was given."""
        return self._capabilities

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Play the next answer; see `Engine.generate`."""
        self.refuse_unsupported(request)
        with self._lock:
            self.asked.append(request)
            answer = next(self._answers, None)
        if answer is None:
            raise EngineError("the script has no more answers", engine=self.name)
        script = self._script(answer)
        shown = tuple(script.pieces)[: request.sampling.max_tokens]
        text = ""
        pieces = Returning(until(shown, request.stop))
        for piece in pieces:
            if cancel and cancel.cancelled:
                return Generation()
            text += piece
            yield piece
        usage = Usage(prompt_tokens=self.count_tokens(request.prompt.text), completion_tokens=len(shown), cached_tokens=0)
        if pieces.value:
            return Generation(usage=usage, stopped=request.own_stop(pieces.value))
        if len(shown) < len(script.pieces):
            return Generation(finish="length", usage=usage)
        if script.error:
            script.error.text = text
            raise script.error
        return Generation(finish=script.finish, usage=usage)

    def count_tokens(self, text: str) -> int:
        """The number of chunks of `cut` characters in `text`."""
        return -(-len(text) // self._cut)

    def _script(self, answer: str | EngineError | Script) -> Script:
        if isinstance(answer, Script):
            return answer
        if isinstance(answer, EngineError):
            return Script((), error=answer)
        return Script([answer[i : i + self._cut] for i in range(0, len(answer), self._cut)])
