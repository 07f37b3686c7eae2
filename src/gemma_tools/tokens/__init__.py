"""Tokens: a model's own tokenizer, counters, and what a conversation costs before it is sent."""

from gemma_tools.tokens.counters import (
    BaseTokenCounter,
    EngineTokenCounter,
    EstimatedTokenCounter,
    TokenizerCounter,
    token_counter,
)
from gemma_tools.tokens.fit import Fitted, fit
from gemma_tools.tokens.tokenizer import GemmaTokenizer

__all__ = [
    "BaseTokenCounter",
    "EngineTokenCounter",
    "EstimatedTokenCounter",
    "Fitted",
    "GemmaTokenizer",
    "TokenizerCounter",
    "fit",
    "token_counter",
]
