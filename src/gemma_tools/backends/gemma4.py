"""Gemma 4 with the OpenAI chat API."""

from __future__ import annotations

from gemma_tools.backends.config import Gemma4Config
from gemma_tools.backends.gemma import GemmaBackend
from gemma_tools.request import ChatRequest

__all__ = ["Gemma4Config", "Gemma4Model"]


class Gemma4Model(GemmaBackend):
    """Gemma 4. `variant` is "small" (E2B, E4B, the default), "large" (12B, 26B-A4B, 31B) or "diffusion" (DiffusionGemma).

    It thinks if the request asks for it (`reasoning_effort` other than "none" and "minimal", or
    `chat_template_kwargs={"enable_thinking": true}`), or if the configuration has `enable_thinking`.
    """

    format_name = "gemma4"
    config_type = Gemma4Config
    config: Gemma4Config

    def _thinks(self, request: ChatRequest) -> bool:
        asked = request.enable_thinking
        return bool(self.config.enable_thinking if asked is None else asked)
