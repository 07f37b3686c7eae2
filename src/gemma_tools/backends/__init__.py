"""Models with the OpenAI chat API, each one of Gemma's formats on an engine; `create_model` finds them by name.

| name | family | runs by default |
|---|---|---|
| `functiongemma`, `functiongemma:270m`, `google/functiongemma-270m-it` | FunctionGemma | Ollama |
| `gemma3:4b`, `google/gemma-3-27b-it`, `medgemma:4b` | Gemma 3 | Ollama |
| `gemma3n:e2b`, `gemma-3n-E4B-it` | Gemma 3n | Ollama |
| `gemma4:e2b`, `gemma4:e4b`, `google/gemma-4-E2B-it` | Gemma 4, small variant | Ollama |
| `gemma4:12b`, `gemma4:31b`, `google/gemma-4-26B-A4B-it` | Gemma 4, large variant (12 billion parameters or more) | Ollama |
| `google/diffusiongemma-26B-A4B-it` | Gemma 4, the diffusion variant | Ollama |
| `path/to/model.gguf`, `hf:owner/repo/model.gguf` | from the file's metadata, its name or the repository's | in process |
| `path/to/model.litertlm`, `hf:owner/repo/model.litertlm` | the same | in process, with LiteRT-LM |
| `tiny`, `tiny-gemma4` | the small test model, as FunctionGemma or as Gemma 4 | in process |

The name may contain other words, such as owners and quantisations (`bartowski/google_gemma-3-4b-it-GGUF`,
`my-gemma-4-31b-finetune`). Case does not matter, and the separators `-`, `_`, `.` and `:` are equivalent.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias, Unpack

from gemma_tools.backends.base import BaseModelBackend
from gemma_tools.engines import check_engine
from gemma_tools.engines.base import Engine
from gemma_tools.errors import InvalidRequest, UnknownName
from gemma_tools.models import Family, family_of, family_of_path
from gemma_tools.registry import Registry

if TYPE_CHECKING:
    from gemma_tools.backends.config import ModelOptions
    from gemma_tools.backends.gemma import GemmaBackend

Factory: TypeAlias = Callable[..., BaseModelBackend]
"""Creates a backend. It gets the model's name, and the keyword arguments of `create_model` that were passed."""

_MODELS = {"functiongemma": "FunctionGemmaModel", "gemma3": "Gemma3Model", "gemma4": "Gemma4Model"}
"""The class of each format's models, in the module of the format's name."""


def create_model(
    name: str, *, engine: Engine | str | None = None, url: str | None = None, **config: Unpack[ModelOptions]
) -> BaseModelBackend:
    """The backend for a model's name; see the table at the top of this module.

    `engine` is your own engine object or an engine's name, `url` the address of its server. `config` contains settings
    (temperature, max_tokens, ...) and the other keyword arguments of the family's class, including options of its format.

    Raises:
        UnknownName: there is no model with that name; the message lists the known names.
        ModelNotFound: a model file is missing or broken.
        InvalidRequest: an unknown setting or an impossible value.
    """
    given = {key: value for key, value in {"engine": engine, "url": url}.items() if value is not None} | {**config}
    factory = _backends.added(name)
    if factory is not None:
        return factory(name, **given)
    family = _family(name)
    model = _made(_backend(family), name, {**family.options, **given})
    if family.base:
        model.warn(f"{name} is a base model: it was not trained to follow instructions or to call tools")
    return model


def check_model(name: str, **config: Any) -> None:
    """Check the arguments of `create_model`, without asking a server, and without loading more than a file's header.

    The arguments of a registered backend are checked only when it is created.

    Raises:
        GemmaToolsError: as `create_model`.
    """
    if _backends.added(name) is None:
        family = _family(name)
        backend = _backend(family)
        checked = type(backend.__name__, (backend,), {"_make_engine": staticmethod(check_engine)})
        _made(checked, name, {**family.options, **config})


def _backend(family: Family) -> type[GemmaBackend]:
    backend: type[GemmaBackend] = getattr(import_module(f"gemma_tools.backends.{family.name}"), _MODELS[family.name])
    return backend


def _made(backend: type[GemmaBackend], name: str, options: dict[str, Any]) -> GemmaBackend:
    """A model of the class: settings are separated from its other arguments."""
    fields = backend.config_type.model_fields
    settings = dict(options.pop("model_config_dict", None) or {})
    settings |= {key: options.pop(key) for key in list(options) if key in fields}
    try:
        return backend(name, settings, **options)
    except InvalidRequest as wrong:
        if wrong.code != "unknown_option" or wrong.param not in options:
            raise
        from gemma_tools.backends.config import ModelOptions

        near = get_close_matches(str(wrong.param), ModelOptions.__annotations__, 1)
        known = f"{wrong.message}; the settings of the model are {', '.join(fields)}"
        message = f"unknown option; did you mean {near[0]}?" if near and near[0] != wrong.param else known
        raise InvalidRequest(message, param=wrong.param, code=wrong.code) from None


def register_backend(name: str, factory: Factory) -> None:
    """Let `create_model(name, ...)` call `factory(name, **options)`. A package does the same with an entry point in the group
    `gemma_tools.backends`. A registered name overrides a package's, and both override the table.
    """
    _backends.register(name, factory)


def _is_built_in(name: str) -> bool:
    try:
        family_of(name)
    except UnknownName:
        return False
    return True


_backends: Final = Registry[BaseModelBackend]("backend", _is_built_in)


def _family(name: str) -> Family:
    if not isinstance(name, str) or not name:
        raise InvalidRequest("must be a model's name, a string", param="name", code="invalid_type")
    try:
        return family_of_path(name) or family_of(name)
    except UnknownName as unknown:
        known = ["tiny", "tiny-gemma4", *_backends.names()]
        raise UnknownName(
            f"{unknown}. Known names contain functiongemma, gemma3:SIZE or gemma-3-SIZE-it, gemma3n:SIZE or gemma-3n-SIZE-it, "
            "gemma4:SIZE or gemma-4-SIZE-it, diffusiongemma or medgemma, also after an owner, such as google/, and between "
            "other words, and so do those of hf:OWNER/REPO/FILE.gguf. Also known are *.gguf and *.litertlm files on this "
            "machine, with any name, and "
            f"{', '.join(known)}. For a model with any other name use the class of its family, as in "
            'Gemma3Model("anything"). If the engine has already loaded its model, use the family\'s name, as in '
            'create_model("gemma3", engine=...)'
        ) from None
