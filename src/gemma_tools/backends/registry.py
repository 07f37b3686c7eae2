"""From a model's name to a backend.

| name | family | runs by default |
|---|---|---|
| `functiongemma`, `functiongemma:270m`, `google/functiongemma-270m-it` | FunctionGemma | Ollama |
| `gemma3:4b`, `gemma-3-4b-it`, `google/gemma-3-27b-it` | Gemma 3 | Ollama |
| `gemma3n:e2b`, `gemma-3n-E4B-it` | Gemma 3n | Ollama |
| `gemma4:e2b`, `gemma4:e4b`, `google/gemma-4-E2B-it` | Gemma 4, small variant | Ollama |
| `gemma4:26b`, `gemma4:31b`, `google/gemma-4-31B-it` | Gemma 4, large variant | Ollama |
| `path/to/model.gguf`, `hf:owner/repo/model.gguf` | by the file's metadata, by its name | in this process |
| `tiny`, `tiny-gemma4` | the small test model, as FunctionGemma or as Gemma 4 | in this process |

Sizes and quantisations may follow a name; upper and lower case are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeAlias, Unpack

from gemma_tools.backends.base import BaseModelBackend
from gemma_tools.backends.config import ModelOptions
from gemma_tools.backends.gemma import GemmaBackend
from gemma_tools.engines.base import Engine
from gemma_tools.errors import InvalidRequest, UnknownName
from gemma_tools.gguf import Header, read_header

Factory: TypeAlias = Callable[..., BaseModelBackend]
"""Makes a backend. It is called with the model's name, and with the keyword arguments of `create_model` that were given."""

_FACTORIES: dict[str, Factory] = {}

_FAMILIES = {"functiongemma": "FunctionGemmaModel", "gemma3": "Gemma3Model", "gemma4": "Gemma4Model"}


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


_TINY = {"tiny": _Family("functiongemma"), "tiny-gemma4": _Family("gemma4", {"longest_string": 512})}

_LARGE = re.compile(r"\b(26b|31b)", re.IGNORECASE)
_NAMES = (
    (re.compile(r"functiongemma(?![a-z0-9])"), "functiongemma"),
    (re.compile(r"gemma-?3n(?![a-z0-9])"), "gemma3n"),
    (re.compile(r"gemma-?3(?![a-z0-9])"), "gemma3"),
    (re.compile(r"gemma-?4(?![a-z0-9])"), "gemma4"),
)


def create_model(
    name: str, *, engine: Engine | str | None = None, url: str | None = None, **config: Unpack[ModelOptions]
) -> BaseModelBackend:
    """The backend for a model's name; see the table at the top of this module.

    `engine` is an engine of your own or an engine's name, `url` where its server is. `config` holds settings (temperature,
    max_tokens, ...) and the other keyword arguments of the family's class, options of its format included.

    Raises:
        UnknownName: no model goes by that name; the message lists those that do.
        ModelNotFound: a .gguf file that is not there or is broken.
        InvalidRequest: an unknown setting or an impossible value.
    """
    given: dict[str, Any] = {key: value for key, value in {"engine": engine, "url": url}.items() if value is not None}
    factory = _registered(name)
    if factory is not None:
        return factory(name, **given, **config)
    family = _family(name)
    backend: type[GemmaBackend] = getattr(import_module(f"gemma_tools.backends.{family.name}"), _FAMILIES[family.name])
    options: dict[str, Any] = {**config}
    settings = dict(options.pop("model_config_dict", None) or {})
    settings |= {key: options.pop(key) for key in list(options) if key in backend.config_type.model_fields}
    try:
        return backend(name, settings, **given, **{**family.options, **options})
    except InvalidRequest as wrong:
        if wrong.code != "unknown_option":
            raise
        message = f"{wrong.message}; settings of the model are {', '.join(backend.config_type.model_fields)}"
        raise InvalidRequest(message, param=wrong.param, code=wrong.code) from None


def check_name(name: str) -> None:
    """See that `create_model` knows `name`, without loading anything but a GGUF file's header.

    Raises:
        UnknownName: no model goes by that name.
        ModelNotFound: a .gguf file that is not there or is broken.
    """
    if _registered(name) is None:
        _family(name)


def register_backend(name: str, factory: Factory) -> None:
    """Let `create_model(name, ...)` call `factory(name, **options)`. A package does the same without a call by an entry point
    of the group `gemma_tools.backends`. A name of your own wins over the table.
    """
    _FACTORIES[name] = factory


def _registered(name: str) -> Factory | None:
    if name in _FACTORIES:
        return _FACTORIES[name]
    for entry in entry_points(group="gemma_tools.backends", name=name):
        factory: Factory = entry.load()
        return factory
    return None


def _family(name: str) -> _Family:
    if not isinstance(name, str) or not name:
        raise InvalidRequest("a model's name is needed", param="name", code="invalid_type")
    if name in _TINY:
        return _TINY[name]
    if name.lower().endswith(".gguf") and not name.startswith("hf:"):
        return _of_header(read_header(Path(name)), name)
    family = _named(name.rpartition("/")[2])
    if family is None:
        known = [*_TINY, *_FACTORIES, *(entry.name for entry in entry_points(group="gemma_tools.backends"))]
        raise UnknownName(
            f"no model is called {name!r}. Known are functiongemma, gemma3:SIZE and gemma-3-SIZE-it, gemma3n:SIZE and "
            f"gemma-3n-SIZE-it, gemma4:SIZE and gemma-4-SIZE-it (each also after an owner, such as google/), *.gguf files, "
            f"hf:OWNER/REPO/FILE.gguf, and {', '.join(known)}"
        )
    return family


def _named(name: str) -> _Family | None:
    for pattern, family in _NAMES:
        if pattern.match(name.lower()):
            return _as_family(family, name)
    return None


def _as_family(family: str, description: str) -> _Family:
    if family == "gemma3n":
        return _Family("gemma3", {"variant": "3n"})
    if family == "gemma4" and _LARGE.search(description):
        return _Family("gemma4", {"variant": "large"})
    return _Family(family)


def _of_header(header: Header, path: str) -> _Family:
    """FunctionGemma has Gemma 3's architecture: its tokens tell it."""
    architecture = header.get("general.architecture")
    if architecture == "gemma3" and "<start_function_call>" in header.get("tokenizer.ggml.tokens", ()):
        return _Family("functiongemma")
    if architecture in ("gemma3", "gemma3n", "gemma4"):
        return _as_family(architecture, f"{header.get('general.name', '')} {header.get('general.size_label', '')}")
    raise UnknownName(f"{path} holds a model of the architecture {architecture!r}; known are gemma3, gemma3n and gemma4")
