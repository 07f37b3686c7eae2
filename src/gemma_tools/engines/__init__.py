"""Engines: what runs a model. `create_engine` makes one by name; `register_engine` adds a name.

Other packages add engines through the entry-point group `gemma_tools.engines`: the entry's name is the engine's, and its
object is what makes one, a class or a function with keyword arguments. docs/extending.md shows an engine in 30 lines.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from inspect import Parameter, signature
from typing import Any

from gemma_tools.engines.base import (
    Cancellation,
    Capabilities,
    Constraint,
    Engine,
    Generation,
    GenerationRequest,
    Pieces,
    Sampling,
    Usage,
)
from gemma_tools.errors import InvalidRequest, UnknownName

__all__ = [
    "Cancellation",
    "Capabilities",
    "Constraint",
    "Engine",
    "Generation",
    "GenerationRequest",
    "Pieces",
    "Sampling",
    "Usage",
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
    "transformers": "gemma_tools.engines.transformers:TransformersEngine",
}

_registered: dict[str, Callable[..., Engine]] = {}


def register_engine(name: str, factory: Callable[..., Engine]) -> None:
    """Make `create_engine(name, ...)` call `factory`; a name that is there already is taken over."""
    _registered[name] = factory


def engine_names() -> tuple[str, ...]:
    """Every name that `create_engine` knows."""
    plugins = entry_points(group="gemma_tools.engines").names
    return tuple(sorted({*_BUILT_IN, *_registered, *plugins}))


def create_engine(name: str, **options: Any) -> Engine:
    """Make the engine called `name`.

    A path of a .gguf file, "tiny" and "hf:owner/repo/file.gguf" stand for the engine "llama.cpp" with that model. `options`
    are the engine's own: those of its class.

    Raises:
        UnknownName: no engine is called so.
        InvalidRequest: the engine has no such option.
        MissingDependency, EngineError: what making the engine raises.
    """
    if name == "tiny" or name.startswith("hf:") or name.endswith(".gguf"):
        name, options = "llama.cpp", {"model": name, **options}
    factory = _factory(name)
    _refuse_unknown(name, factory, options)
    return factory(**options)


def engine_options(name: str) -> frozenset[str]:
    """The names of the options that `create_engine(name, ...)` takes.

    Raises:
        UnknownName: no engine is called so.
    """
    return frozenset(signature(_factory(name)).parameters)


def _factory(name: str) -> Callable[..., Engine]:
    factory = _registered.get(name) or _built_in(name) or _plugin(name)
    if factory is None:
        raise UnknownName(f"no engine is called {name!r}; known are {', '.join(engine_names())}, and .gguf files")
    return factory


def _built_in(name: str) -> Callable[..., Engine] | None:
    if name not in _BUILT_IN:
        return None
    module, _, attribute = _BUILT_IN[name].partition(":")
    factory: Callable[..., Engine] = getattr(import_module(module), attribute)
    return factory


def _plugin(name: str) -> Callable[..., Engine] | None:
    for entry in entry_points(group="gemma_tools.engines", name=name):
        factory: Callable[..., Engine] = entry.load()
        return factory
    return None


def _refuse_unknown(name: str, factory: Callable[..., Engine], options: dict[str, Any]) -> None:
    parameters = signature(factory).parameters.values()
    if any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
        return
    names = [p.name for p in parameters]
    for option in options:
        if option not in names:
            known = f"known are {', '.join(names)}" if names else "it has none"
            raise InvalidRequest(f"the engine {name} has no such option; {known}", param=option)
    for p in parameters:
        if p.default is Parameter.empty and p.name not in options:
            raise InvalidRequest(f"the engine {name} needs it", param=p.name)
