"""Engines run models. `create_engine` creates one by name; `register_engine` adds a name.

Other packages add engines with the entry-point group `gemma_tools.engines`: the entry's name is the engine's name, and its
object is the factory, a class or a function with keyword arguments. A registered name overrides a package's, and both override
a built-in name. docs/extending.md shows an engine in 30 lines.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from gemma_tools.engines.base import (
    Cancellation,
    Capabilities,
    Chat,
    ChatEngine,
    ChatPiece,
    Constraint,
    Engine,
    Generation,
    GenerationRequest,
    Pieces,
    Sampling,
    Usage,
)
from gemma_tools.errors import UnknownName
from gemma_tools.registry import Registry, load

__all__ = [
    "Cancellation",
    "Capabilities",
    "Chat",
    "ChatEngine",
    "ChatPiece",
    "Constraint",
    "Engine",
    "Generation",
    "GenerationRequest",
    "Pieces",
    "Sampling",
    "Usage",
    "check_engine",
    "create_engine",
    "engine_names",
    "engine_options",
    "register_engine",
]

_BUILT_IN = {
    "llama.cpp": "gemma_tools.engines.llama_cpp:LlamaCppEngine",
    "llama-server": "gemma_tools.engines.llama_server:LlamaServerEngine",
    "ollama": "gemma_tools.engines.ollama:OllamaEngine",
    "openai": "gemma_tools.engines.openai_completions:OpenAICompletionsEngine",
    "vllm": "gemma_tools.engines.openai_completions:vllm",
    "sglang": "gemma_tools.engines.openai_completions:sglang",
    "lm-studio": "gemma_tools.engines.openai_completions:lm_studio",
    "mlx-lm": "gemma_tools.engines.openai_completions:mlx_lm",
    "openai-chat": "gemma_tools.engines.openai_chat:OpenAIChatEngine",
    "gemini": "gemma_tools.engines.openai_chat:gemini",
    "openrouter": "gemma_tools.engines.openai_chat:openrouter",
    "huggingface": "gemma_tools.engines.openai_chat:huggingface",
    "together": "gemma_tools.engines.openai_chat:together",
    "cloudflare": "gemma_tools.engines.openai_chat:cloudflare",
    "transformers": "gemma_tools.engines.transformers:TransformersEngine",
    "litert-lm": "gemma_tools.engines.litert_lm:LiteRTLMEngine",
}

_engines = Registry[Engine]("engine", _BUILT_IN.__contains__)


def register_engine(name: str, factory: Callable[..., Engine]) -> None:
    """Make `create_engine(name, ...)` call `factory`; an existing name is replaced."""
    _engines.register(name, factory)


def engine_names() -> tuple[str, ...]:
    """Every name that `create_engine` knows."""
    return tuple(sorted({*_BUILT_IN, *_engines.names()}))


def create_engine(name: str, **options: Any) -> Engine:
    """Create the engine called `name`.

    The path of a .gguf file, "tiny" and "hf:owner/repo/file.gguf" mean the engine "llama.cpp" with that model; the path of a
    .litertlm file means "litert-lm". `options` are the options of the engine's class.

    Raises:
        UnknownName: there is no engine with that name.
        InvalidRequest: the engine does not have this option.
        MissingDependency, EngineError: what creating the engine raises.
    """
    name, options = _named(name, options)
    return _engines.make(name, _factory(name), options)


def check_engine(name: str, **options: Any) -> None:
    """Check the arguments of `create_engine`, as far as possible without loading a model or asking a server.

    Raises:
        UnknownName, InvalidRequest, MissingDependency, ModelNotFound: as `create_engine`.
    """
    name, options = _named(name, options)
    factory = _factory(name)
    _engines.check(name, factory, options)
    if check := getattr(factory, "check", None):
        check(**options)
    elif _engines.added(name) is None:
        factory(**options).close()


def engine_options(name: str) -> frozenset[str]:
    """The names of the options that `create_engine(name, ...)` takes.

    Raises:
        UnknownName: there is no engine with that name.
    """
    return frozenset(signature(_factory(name)).parameters)


def _named(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The engine's name, and its options, if the name may be the name of a model."""
    if name.lower().endswith(".litertlm"):
        return "litert-lm", {"model": name, **options}
    if name == "tiny" or name.startswith("hf:") or name.endswith(".gguf"):
        return "llama.cpp", {"model": name, **options}
    return name, options


def _factory(name: str) -> Callable[..., Engine]:
    factory = _engines.added(name)
    if factory is None and name in _BUILT_IN:
        factory = load(_BUILT_IN[name])
    if factory is None:
        raise UnknownName(
            f"there is no engine {name!r}; known engines: {', '.join(engine_names())}, and .gguf and .litertlm files"
        )
    return factory
