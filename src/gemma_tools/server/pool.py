"""The models of a server: loaded on first request, and configured by the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gemma_tools.backends import check_model, create_model
from gemma_tools.backends.base import BaseModelBackend
from gemma_tools.backends.exchange import Exchange
from gemma_tools.engines.adapters import engine_options, scaled
from gemma_tools.engines.base import Cancellation, Pieces
from gemma_tools.errors import InvalidRequest
from gemma_tools.openai_api.wire import Cards, Responder
from gemma_tools.prompt import Prompt
from gemma_tools.request import ChatRequest, Message
from gemma_tools.server.own_tools import own_tools, respond_with, with_own_tools
from gemma_tools.server.settings import OF_ENGINES, ModelSettings, Settings
from gemma_tools.tokens import BaseTokenCounter
from gemma_tools.tools import ToolBox


class ModelPool(Mapping[str, Responder]):
    """The served models by name. Two requests for the same new model load it once; other requests do not wait."""

    def __init__(self, settings: Settings, on_exchange: Callable[[Exchange], object] | None = None) -> None:
        """Load nothing yet. `on_exchange` is called with each prompt and output of the models.

        Raises:
            InvalidRequest: a system prompt that cannot be read, tools that cannot be run, or a wrong option of a model.
            UnknownName, ModelNotFound: a model's name is unknown, or its file does not exist.
            MissingDependency: a package for a model's engine is not installed.
        """
        self._settings = settings
        for name, model in settings.models.items():
            self._check(name, model)
        self._on_exchange = on_exchange
        self._system = _text(settings.system_prompt) if settings.system_prompt else ""
        self._box = own_tools(settings)
        self._locks = {name: Lock() for name in settings.models}
        self._aliases = {name: next(iter(settings.models)) for name in settings.alias if name not in settings.models}
        self._loaded: dict[str, BaseModelBackend] = {}

    def __getitem__(self, name: str) -> Responder:
        model = self._model(name)
        with self._locks[model]:
            if model not in self._loaded:
                self._loaded[model] = self._load(self._settings.models[model])
            return Served(self._loaded[model], name, self._settings, self._system, self._box)

    def __contains__(self, name: object) -> bool:
        return name in self._locks or name in self._aliases or "*" in self._aliases

    def __iter__(self) -> Iterator[str]:
        yield from self._locks
        yield from (name for name in self._aliases if name != "*")

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def cards(self) -> Cards:
        """More fields for each model: its projector and its adapters, without their folders."""
        return {name: _card(self._options(self._settings.models[self._model(name)])) for name in self}

    def close(self) -> None:
        """Close the models that were loaded."""
        for model in self._loaded.values():
            model.close()

    def _check(self, name: str, model: ModelSettings) -> None:
        try:
            check_model(model.model, **self._arguments(model))
        except InvalidRequest as wrong:
            option = (wrong.param or "").removeprefix("model_config_dict.")
            param = f"models.{name}.options.{option}" if option.partition(".")[0] in model.options else option
            raise InvalidRequest(wrong.message, param=param or None, code=wrong.code) from None

    def _load(self, model: ModelSettings) -> BaseModelBackend:
        made = create_model(model.model, **self._arguments(model))
        if self._on_exchange is not None:
            made.on_exchange = self._on_exchange
        return made

    def _model(self, name: str) -> str:
        return name if name in self._locks else self._aliases.get(name) or self._aliases["*"]

    def _arguments(self, model: ModelSettings) -> dict[str, Any]:
        place = {"engine": model.engine or self._settings.engine, "url": model.url or self._settings.url}
        return {**{name: value for name, value in place.items() if value}, **self._options(model)}

    def _options(self, model: ModelSettings) -> dict[str, Any]:
        settings = self._settings
        given = {name: getattr(settings, name) for name in OF_ENGINES}
        made = {name: value for name, value in given.items() if value is not None}
        return {**engine_options(settings.mmproj, settings.lora), **made, **model.options}


class Served:
    """A model with the server's settings: defaults are filled in, and the server's own tools are run."""

    def __init__(self, model: BaseModelBackend, name: str, settings: Settings, system: str, box: ToolBox) -> None:
        self._model = model
        self._name = name
        self._settings = settings
        self._system = system
        self._box = box

    def respond(
        self, request: ChatRequest, *, cancel: Cancellation | None = None
    ) -> ChatCompletion | Iterator[ChatCompletionChunk]:
        """Answer `request`, as a backend does."""
        request = self._filled(request)
        if self._box and request.tool_choice.mode != "none":
            return respond_with(self._box, self._model, request, cancel or Cancellation())
        return self._model.respond(request, cancel=cancel)

    def complete(self, text: str, request: ChatRequest, index: int = 0, *, cancel: Cancellation | None = None) -> Pieces:
        """Continue the raw prompt `text`."""
        return self._model.complete(text, self._filled(request), index, cancel=cancel)

    def prompt(self, request: ChatRequest) -> Prompt:
        """The prompt of `request` here, with the server's own tools."""
        request = self._filled(request)
        if self._box and request.tool_choice.mode != "none":
            request = with_own_tools(self._box, request)
        return self._model.prompt(request)

    @property
    def token_counter(self) -> BaseTokenCounter:
        """The token counter of this model."""
        return self._model.token_counter

    def _filled(self, request: ChatRequest) -> ChatRequest:
        sampling = {name: value for name, value in self._settings.sampling if getattr(request, name) is None}
        if request.enable_thinking is None:
            sampling["enable_thinking"] = self._settings.thinking
        if self._system and not any(message.role in ("system", "developer") for message in request.messages):
            sampling["messages"] = (Message("system", self._system_text(request)), *request.messages)
        return replace(request, **sampling)

    def _system_text(self, request: ChatRequest) -> str:
        names = ", ".join(dict.fromkeys([*self._box, *(tool.name for tool in request.tools)])) or "none"
        filled = self._system.replace("{date}", date.today().isoformat()).replace("{model}", self._name)
        return filled.replace("{tools}", names)


def _card(options: Mapping[str, Any]) -> Mapping[str, Any]:
    card: dict[str, Any] = {}
    if projector := options.get("mmproj"):
        card["mmproj"] = Path(projector).name
    if lora := options.get("lora"):
        card["lora"] = [{"name": Path(file).name, "scale": scale} for file, scale in scaled(lora)]
    return card


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"cannot read {path}: {error}", param="system_prompt") from None
