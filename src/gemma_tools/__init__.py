"""Gemma's conversation formats for code that speaks the OpenAI chat API.

The public names are imported on first use (PEP 562), so `import gemma_tools` is fast and loads neither openai, ollama, tiktoken
nor an engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemma_tools.backends import create_model, register_backend
    from gemma_tools.backends.base import BaseModelBackend
    from gemma_tools.backends.functiongemma import FunctionGemmaConfig, FunctionGemmaModel
    from gemma_tools.backends.gemma3 import Gemma3Config, Gemma3Model
    from gemma_tools.backends.gemma4 import Gemma4Config, Gemma4Model
    from gemma_tools.engines import register_engine
    from gemma_tools.errors import GemmaToolsError, InvalidRequest
    from gemma_tools.formats import get_format, register_format
    from gemma_tools.transport import (
        GemmaTransport,
        anthropic_client,
        async_anthropic_client,
        async_openai_client,
        openai_client,
    )

__version__ = "0.1.0"

__all__ = [
    "BaseModelBackend",
    "FunctionGemmaConfig",
    "FunctionGemmaModel",
    "Gemma3Config",
    "Gemma3Model",
    "Gemma4Config",
    "Gemma4Model",
    "GemmaToolsError",
    "GemmaTransport",
    "InvalidRequest",
    "__version__",
    "anthropic_client",
    "async_anthropic_client",
    "async_openai_client",
    "create_model",
    "get_format",
    "openai_client",
    "register_backend",
    "register_engine",
    "register_format",
]

_HOMES = {
    "BaseModelBackend": "backends.base",
    "FunctionGemmaConfig": "backends.functiongemma",
    "FunctionGemmaModel": "backends.functiongemma",
    "Gemma3Config": "backends.gemma3",
    "Gemma3Model": "backends.gemma3",
    "Gemma4Config": "backends.gemma4",
    "Gemma4Model": "backends.gemma4",
    "GemmaToolsError": "errors",
    "GemmaTransport": "transport",
    "InvalidRequest": "errors",
    "anthropic_client": "transport",
    "async_anthropic_client": "transport",
    "async_openai_client": "transport",
    "create_model": "backends",
    "get_format": "formats",
    "openai_client": "transport",
    "register_backend": "backends",
    "register_engine": "engines",
    "register_format": "formats",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _HOMES.keys())
