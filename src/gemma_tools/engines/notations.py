"""Finds out which grammar notation a server supports. No field of its answers says so; it has to be tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from gemma_tools.engines.base import Constraint, GenerationRequest, Pieces, Sampling
from gemma_tools.errors import EngineError, EngineRejected
from gemma_tools.generators import drain

_SAMPLES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "ebnf": 'root ::= text end "."?\nend[max_chars=2] ::= Regex("[a-z]*")\n'
        'text[max_tokens=2] ::= TagDispatch(loop_after_dispatch=false, excludes=("<",))\n',
        "lark": "%llguidance {}\nstart: /[a-z]{1,4}/\n",
    }
)
"""A small sample of each notation, with all the features that our grammars use."""
_REFUSAL: Final = (400, 500, None)
"""The statuses of a refusal; None is an error as the first event of a stream."""


class Notations:
    """The notations that a server may support, the first one to try in front; only one when it is known.

    The order matters: vLLM's backend `auto` permanently uses the library of the first grammar in its process. Nobody waits for
    another's attempt: two simultaneous first requests both try.
    """

    def __init__(self, notations: tuple[str, ...]) -> None:
        self._all = notations
        self.likely = notations
        """The notations that the server supports, as far as it is known."""

    def generate(self, request: GenerationRequest, ask: Callable[[GenerationRequest], Pieces]) -> Pieces:
        """Ask with the request's grammar in the most likely notation, and in another one if the server turns out
        to support that.

        Raises:
            EngineError: what `ask` raises. `likely` tells whether the notation was the reason.
        """
        notation = next((n for n in self.likely if _text(request, n) is not None), None)
        if notation is None:
            return (yield from ask(request))
        # If the first notation is one that the request does not have, it must be tried first.
        if notation != self.likely[0] and self._find(request, ask) != notation:
            raise EngineRejected(f"the server does not support grammars in {notation}")
        try:
            generation = yield from ask(_with(request, notation))
        except EngineRejected as error:
            if error.text or error.status not in _REFUSAL:
                raise
            found = self._find(request, ask)
            if found in (None, notation) or _text(request, found) is None:
                raise
            notation = found
            generation = yield from ask(_with(request, notation))
        self.likely = (notation,)
        return generation

    def _find(self, request: GenerationRequest, ask: Callable[[GenerationRequest], Pieces]) -> str | None:
        """The first notation that the server accepts for a sample; None if it accepts none, or cannot be asked."""
        question = replace(request, sampling=Sampling(max_tokens=1), stop=())
        for notation in self._all:
            try:
                drain(ask(replace(question, constraint=Constraint(**{notation: _SAMPLES[notation]}))))
            except EngineRejected as error:
                if error.status not in _REFUSAL:
                    return None
            except EngineError:
                return None
            else:
                self.likely = (notation,)
                return notation
        self.likely = ()
        return None


def _text(request: GenerationRequest, notation: str) -> Any:
    return getattr(request.constraint, notation, None)


def _with(request: GenerationRequest, notation: str) -> GenerationRequest:
    return replace(request, constraint=Constraint(**{notation: _text(request, notation)}))
