"""Tokens: a model's own tokenizer, counters, the size of a conversation before it is sent, and rows for training."""

from gemma_tools.tokens.counters import (
    BaseTokenCounter,
    EngineTokenCounter,
    EstimatedTokenCounter,
    TokenizerCounter,
    token_counter,
)
from gemma_tools.tokens.fit import Fitted, fit
from gemma_tools.tokens.parsing import TokenParser
from gemma_tools.tokens.tokenizer import GemmaTokenizer
from gemma_tools.tokens.training import (
    TrainingRow,
    TrainingText,
    exchanges,
    to_training,
    training_prompt,
    training_row,
    training_text,
)
from gemma_tools.tokens.view import PartCount, Token, TokenView, count_parts

__all__ = [
    "BaseTokenCounter",
    "EngineTokenCounter",
    "EstimatedTokenCounter",
    "Fitted",
    "GemmaTokenizer",
    "PartCount",
    "Token",
    "TokenParser",
    "TokenView",
    "TokenizerCounter",
    "TrainingRow",
    "TrainingText",
    "count_parts",
    "exchanges",
    "fit",
    "to_training",
    "token_counter",
    "training_prompt",
    "training_row",
    "training_text",
]
