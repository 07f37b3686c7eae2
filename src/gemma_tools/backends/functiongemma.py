"""FunctionGemma with the OpenAI chat API."""

from __future__ import annotations

from types import MappingProxyType

from gemma_tools.backends.config import FunctionGemmaConfig
from gemma_tools.backends.gemma import GemmaBackend

__all__ = ["FunctionGemmaConfig", "FunctionGemmaModel"]


class FunctionGemmaModel(GemmaBackend):
    """FunctionGemma (270M), a text model for tool calls.

    If a request has tools but no developer text, the sentence that the model was trained with is added; Google calls it
    essential. `default_instruction=False` leaves it out.
    """

    format_name = "functiongemma"
    config_type = FunctionGemmaConfig
    format_defaults = MappingProxyType({"default_instruction": True})
