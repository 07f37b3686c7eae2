"""The server's settings: a TOML file, overridden by the environment, overridden by options."""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gemma_tools.backends.config import ModelOptions
from gemma_tools.errors import InvalidRequest
from gemma_tools.policy import Unknown

PREFIX = "GEMMA_TOOLS_"
DEFAULT_MODEL = Path("gemma-3-4b-it-q4_0/gemma-3-4b-it-q4_0.gguf")
DEFAULT_SYSTEM_PROMPT = Path("prompts/system_prompt.md")


OF_ENGINES = ("context", "threads", "gpu_layers", "max_line_bytes", "max_answer_bytes")
"""The settings that are options of the engines."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Strict):
    """One served model: its arguments for `create_model`."""

    model: str
    engine: str | None = None
    url: str | None = None
    options: dict[str, Any] = {}


class Sampling(_Strict):
    """Default settings for requests."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None


class Settings(_Strict):
    """All settings of a server. `port` is `port` in TOML, `GEMMA_TOOLS_PORT` in the environment, and `--port` as an option."""

    host: str = "127.0.0.1"
    port: int = Field(1337, ge=0, le=65535)
    models: dict[str, ModelSettings] = {}
    """By the names that requests use. A list of `model` or `name=model` is also accepted."""
    engine: str | None = None
    """For models without their own."""
    url: str | None = None
    """For the engine of models without their own."""
    mmproj: str | None = None
    """The projector of the only served model, a GGUF file: with it llama.cpp takes images and audio."""
    lora: tuple[str, ...] = ()
    """LoRA adapters of the only served model: `FILE` or `FILE=SCALE`."""
    context: int | None = Field(None, ge=1)
    """Tokens of a conversation, for engines that are created here; so are the next four. A model's `options` override them."""
    threads: int | None = Field(None, ge=1)
    gpu_layers: int | None = Field(None, ge=-1)
    max_line_bytes: int | None = Field(None, ge=1)
    """The longest line of an engine's answer, where that is a server."""
    max_answer_bytes: int | None = Field(None, ge=1)
    system_prompt: Path | None = None
    """A file with the system text of requests without one; `{date}`, `{model}` and `{tools}` are filled in."""
    sampling: Sampling = Sampling()
    thinking: bool | None = None
    """Whether to think, for requests that do not say."""
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    """More host names of this server, besides its own address; "*" means any."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages and programs based on them that may call the server: origins such as `app://obsidian.md`; "*" means any."""
    alias: tuple[str, ...] = ()
    """More names for the first model; "*" means every name that no other model has."""
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    max_body_bytes: int = Field(16 * 2**20, ge=1)
    concurrency: int = Field(4, ge=1)
    """Requests answered at the same time."""
    queue: int = Field(64, ge=0)
    """Requests that may wait in the queue; more are refused with a 503."""
    timeout: float = Field(600.0, gt=0)
    """Seconds for one request, including the wait."""
    body_timeout: float = Field(30.0, gt=0)
    """Seconds for a request to arrive: its head, and then its body."""
    drain: int = Field(30, ge=0)
    """Seconds that running requests get to finish when the server stops."""
    unknown: Unknown = "warn"
    """What happens to unknown fields and tools: left out with a warning, or an error."""
    stored_responses: int = Field(1000, ge=0)
    """Answers of `/v1/responses` that are stored in memory for later requests; 0 stores none."""
    stored_bytes: int = Field(64 * 2**20, ge=1)
    """Their maximum size together, as JSON."""
    stored_seconds: float = Field(86400.0, gt=0)
    """How long each is stored."""
    metrics: bool = True
    """Whether `/metrics` has counts for Prometheus."""
    otel: bool = False
    """Whether OpenTelemetry records requests, generations, tool calls and retries."""
    inspect: bool = False
    """Whether `/inspect` shows the last requests and answers on this machine."""
    log_content: bool = False
    """Whether the log contains requests and answers."""
    run_tools: tuple[str, ...] = ()
    """Tools whose calls the server runs itself."""
    scripts_dir: Path | None = None
    """The only directory from which `execute_python` runs scripts."""
    venvs: tuple[Path, ...] = ()
    """Virtual environments that `execute_python` may use."""

    @field_validator("api_keys", "allowed_hosts", "allowed_origins", "alias", "lora", "run_tools", "venvs", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _no_empty_key(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(key.strip() for key in value):
            raise ValueError("an empty key would allow everyone: remove it")
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _name_models(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: {"model": one} if isinstance(one, str) else one for name, one in value.items()}
        value = cls._split(value)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError("must be a list of models, or a table of models by name")
        pairs = (one.partition("=") for one in value)
        return {name: {"model": model or name} for name, _, model in pairs}

    @property
    def on_loopback(self) -> bool:
        """Whether only programs on this machine can reach the server."""
        return is_loopback(self.host)


def load_settings(options: Mapping[str, Any], environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """Settings from a TOML file, then `environ`, then `options`, whose None values are ignored.

    The file is `config`, else the one in `GEMMA_TOOLS_CONFIG`, else none. If no model is named anywhere, the default files are
    used if they exist.

    Raises:
        InvalidRequest: an invalid value; `param` is the setting.
    """
    values = _from_file(config or environ.get(f"{PREFIX}CONFIG"))
    sampling = values.get("sampling", {})
    if not isinstance(sampling, dict):
        raise InvalidRequest("must be a table, [sampling]", param="sampling")
    for name in Settings.model_fields:
        if (value := environ.get(f"{PREFIX}{name.upper()}")) is not None:
            values[name] = value
    for name in Sampling.model_fields:
        if (value := environ.get(f"{PREFIX}{name.upper()}")) is not None:
            sampling[name] = value
    given = {name: value for name, value in options.items() if value is not None}
    sampling |= {name: given.pop(name) for name in Sampling.model_fields if name in given}
    try:
        settings = Settings.model_validate({**values, **given, "sampling": sampling})
    except ValidationError as error:
        raise _named(error) from None
    return _with_defaults(settings)


def _named(error: ValidationError) -> InvalidRequest:
    first = error.errors()[0]
    message, place = first["msg"].removeprefix("Value error, "), first["loc"]
    if first["type"] == "extra_forbidden":
        of_model = place[0] == "models" and place[-1] in ModelOptions.__annotations__
        near = get_close_matches(str(place[-1]), Settings.model_fields, 1) if len(place) == 1 else []
        message = "unknown setting" + (f"; did you mean {near[0]}?" if near else "")
        message = f"write it as one of the model's options: options = {{ {place[-1]} = ... }}" if of_model else message
    return InvalidRequest(message, param=".".join(map(str, place)) or None)


def check(settings: Settings) -> None:
    """Check that there is something to serve, and that no unauthorised client can reach it.

    Raises:
        InvalidRequest: `param` is the setting to change.
    """
    if not settings.models:
        raise InvalidRequest(f"name a model, as in --model tiny, or put a file at {DEFAULT_MODEL}", param="models")
    for name in ("mmproj", "lora"):
        if getattr(settings, name) and len(settings.models) != 1:
            raise InvalidRequest(f"with several models, set it for each model: options.{name} in the TOML file", param=name)
    if "*" in settings.allowed_origins and not settings.api_keys:
        raise InvalidRequest("every web page could call the server: set api_keys, or list the origins", param="api_keys")
    if settings.inspect and not settings.on_loopback:
        raise InvalidRequest(f"other machines can reach {settings.host}: /inspect works only on 127.0.0.1", param="inspect")
    if not settings.on_loopback and not settings.api_keys:
        raise InvalidRequest(f"other machines can reach {settings.host}: set api_keys, or use 127.0.0.1", param="api_keys")


def is_loopback(host: str) -> bool:
    """Whether `host` is a name or an address of this machine that no other can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _from_file(path: Path | str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"cannot read {path}: {error}", param="config") from None


def _with_defaults(settings: Settings) -> Settings:
    found: dict[str, Any] = {}
    if not settings.models and DEFAULT_MODEL.is_file():
        found["models"] = {"gemma-3-4b-it": ModelSettings(model=str(DEFAULT_MODEL))}
    if settings.system_prompt is None and DEFAULT_SYSTEM_PROMPT.is_file():
        found["system_prompt"] = DEFAULT_SYSTEM_PROMPT
    return settings.model_copy(update=found)
