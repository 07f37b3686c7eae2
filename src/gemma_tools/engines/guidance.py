"""Grammars for engines that sample tokens in process: llguidance says which tokens may come next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gemma_tools.engines.base import Constraint
from gemma_tools.errors import EngineRejected, MissingDependency

if TYPE_CHECKING:
    import torch


class Guide:
    """Applies the constraint of one generation. `vocabulary` comes from `guided_vocabulary`."""

    def __init__(self, vocabulary: Any, constraint: Constraint, engine: str) -> None:
        from llguidance import LLMatcher

        if constraint.lark is not None:
            grammar = LLMatcher.grammar_from_lark(constraint.lark)
        else:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(constraint.json_schema), {"whitespace_flexible": False})
        self._engine = engine
        self._matcher = LLMatcher(vocabulary, grammar)
        self._check()

    def masked(self, logits: torch.Tensor) -> torch.Tensor:
        """`logits` with every token ruled out that may not come next."""
        import torch

        allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8).bool()
        self._check()
        return logits.masked_fill(~allowed[: len(logits)].to(logits.device), float("-inf"))

    def take(self, token: int) -> None:
        """Continue after `token`, which was sampled."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise EngineRejected(f"llguidance: {self._matcher.get_error()}", engine=self._engine)


def guided_vocabulary(tokenizer: Any, size: int, ends: list[int]) -> Any:
    """The data that guides need from a transformers tokenizer: made once per model, because it takes a while for a large one.

    Raises:
        MissingDependency: llguidance is not installed.
    """
    try:
        from llguidance.hf import from_tokenizer
    except ImportError:
        raise MissingDependency("llguidance", "transformers", "a grammar on the transformers engine") from None
    return from_tokenizer(tokenizer, n_vocab=size, eos_token=ends)
