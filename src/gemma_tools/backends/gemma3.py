"""Gemma 3 and 3n with the OpenAI chat API."""

from __future__ import annotations

from gemma_tools.backends.config import Gemma3Config
from gemma_tools.backends.gemma import GemmaBackend

__all__ = ["Gemma3Config", "Gemma3Model"]


class Gemma3Model(GemmaBackend):
    """Gemma 3, or with `variant="3n"` Gemma 3n. Tool use is prompted, not trained: expect mistakes.

    `tool_style` is "pythonic" (`[f(a=1)]`, the default) or "json".
    """

    format_name = "gemma3"
    config_type = Gemma3Config
