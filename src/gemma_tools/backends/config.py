"""The validated contents of `model_config_dict`: sampling and streaming; and the typed keywords of models.

If a setting is not set, the engine's default applies. With tools, use a temperature of at most 0.2, because calls
should not vary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gemma_tools.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

    from gemma_tools.backends.plan import OnInvalid
    from gemma_tools.engines.adapters import Adapter
    from gemma_tools.formats.base import Recovery
    from gemma_tools.tokens import BaseTokenCounter, GemmaTokenizer


class ModelConfig(BaseModel):
    """The settings of all families. Unknown names are refused.

    `num_predict` is Ollama's name for `max_tokens`: use only one of them (a negative value means no limit). With
    `fit="drop-oldest"` a conversation that is too long for the context loses its oldest exchanges: `gemma_tools.tokens.fit`.
    `engine_options` are settings of a single engine, under its own names, such as Ollama's `num_ctx`. A request is refused if
    it has more than `max_tools` tools, more than `max_schema_size` values and characters in all of them and its answer's
    schema, or needs a grammar of more than `max_grammar_size` characters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = None
    max_tokens: int | None = Field(None, ge=1)
    num_predict: int | None = None
    repeat_penalty: float | None = Field(None, gt=0)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_arguments: Literal["whole", "live"] = "whole"
    fit: Literal["drop-oldest"] | None = None
    engine_options: dict[str, Any] = Field(default_factory=dict)
    max_tools: int = Field(1024, ge=0)
    max_schema_size: int = Field(500_000, ge=0)
    max_grammar_size: int = Field(4_000_000, ge=0)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The configuration for `settings`.

        Raises:
            InvalidRequest: an unknown name or an impossible value; `param` names it.
        """
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            name = ".".join(["model_config_dict", *map(str, fault["loc"])])
            known = f"; known settings: {', '.join(cls.model_fields)}" if fault["type"] == "extra_forbidden" else ""
            raise InvalidRequest(f"{fault['msg']}{known}", param=name) from None

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.max_tokens is not None and self.num_predict is not None:
            raise ValueError("max_tokens and num_predict are the same setting: use only one of them")
        return self

    @property
    def limit(self) -> int | None:
        """The maximum number of tokens to generate, under either name."""
        if self.num_predict is not None:
            return self.num_predict if self.num_predict >= 0 else None
        return self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop sequences."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def as_dict(self) -> dict[str, Any]:
        """The settings that are set or have their own default, in the form of `model_config_dict`."""
        return {name: value for name, value in self.model_dump().items() if value is not None and value != {}}


class FunctionGemmaConfig(ModelConfig):
    """Settings of FunctionGemma: only the shared ones."""


class Gemma3Config(ModelConfig):
    """Settings of Gemma 3 and 3n: only the shared ones."""


class Gemma4Config(ModelConfig):
    """Settings of Gemma 4. Temperature 1.0, top_p 0.95 and top_k 64 are what Google's model cards for Gemma 4 recommend.

    `enable_thinking` applies if a request does not say: True, False, or None for Gemma 4's own default, which is not to think.
    A request can say so with `reasoning_effort` or `chat_template_kwargs.enable_thinking`.
    """

    temperature: float | None = Field(1.0, ge=0)
    top_p: float | None = Field(0.95, ge=0, le=1)
    top_k: int | None = Field(64, ge=0)
    enable_thinking: bool | None = None


class Settings(TypedDict, total=False):
    """The settings of all families, as keywords: the fields of the configuration classes."""

    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int | None
    max_tokens: int | None
    num_predict: int | None
    repeat_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    stop: str | list[str] | None
    stream: bool
    stream_arguments: Literal["whole", "live"]
    fit: Literal["drop-oldest"] | None
    engine_options: dict[str, Any]
    max_tools: int
    max_schema_size: int
    max_grammar_size: int
    enable_thinking: bool | None


class FormatOptions(TypedDict, total=False):
    """The options of all families' formats, as keywords. An option that the family does not have is refused."""

    exact: bool
    tool_content: Literal["string", "json_object"]
    longest_string: int
    default_instruction: bool
    tool_style: Literal["pythonic", "json"]
    variant: Literal["small", "large", "diffusion", "3", "3n"]
    declarations: Literal["template", "full"]
    revision: Literal["2026-07-09"]


class ModelOptions(Settings, FormatOptions, total=False):
    """The arguments of `create_model` after the name, the engine and its URL: settings, and arguments of the family's class."""

    model_config_dict: Mapping[str, Any] | None
    api_key: str | None
    token_counter: BaseTokenCounter | None
    tokenizer: GemmaTokenizer | str | Path | None
    timeout: float | None
    max_retries: int
    recovery: Recovery
    on_invalid: OnInvalid | None
    allow_remote_media: bool
    allow_file_media: bool
    context: int | None
    threads: int | None
    gpu_layers: int | None
    mmproj: str | Path | None
    lora: Sequence[Adapter]
    parallel: int | None
    cache_ram: int | None
    max_line_bytes: int | None
    max_answer_bytes: int | None
    way: Literal["auto", "native", "prompted"] | None
    server: str | None
