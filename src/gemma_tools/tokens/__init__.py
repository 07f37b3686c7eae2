"""Tokens: a model's own tokenizer, counters, and what a conversation costs before it is sent."""

from gemma_tools.tokens.counters import BaseTokenCounter, EngineTokenCounter, EstimatedTokenCounter, token_counter
from gemma_tools.tokens.tokenizer import GemmaTokenizer

__all__ = ["BaseTokenCounter", "EngineTokenCounter", "EstimatedTokenCounter", "GemmaTokenizer", "token_counter"]
