"""The fields of a chat completion request: the type of each, and how it is handled.

The names are those of https://platform.openai.com/docs/api-reference/chat/create, and a few that Gemma's servers add.
`RequestBody` is the only list of them: type checkers read its types, and `FIELD_POLICY` is made from its annotations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypedDict, get_type_hints

INT32: Final = 2**31 - 1
INT64: Final = 2**63 - 1
"""The range of numbers that engines, most of them written in C++, can represent. OpenAI has the same limits for seeds."""

Treatment = Literal["honoured", "accepted", "engine", "left out", "refused"]
Unknown = Literal["warn", "refuse"]
"""What happens to a field that is unknown or "left out": it is left out with a warning, or it is an error."""


@dataclass(frozen=True, slots=True)
class FieldPolicy:
    """How one field of a request body is handled.

    `honoured`: it has its usual effect. `accepted`: it is accepted and has no effect. `engine`: it works if the engine supports
    it, and is refused if not. `left out`: it cannot be honoured, but it is safe to ignore; it is treated like an unknown field.
    `refused`: it is an error. `note` has the details. A number outside of `low` and `high` is refused. Null counts as absent.
    """

    treatment: Treatment
    note: str
    low: float = -INT32
    high: float = INT32


_honoured = partial(FieldPolicy, "honoured")
_accepted = partial(FieldPolicy, "accepted")
_engine = partial(FieldPolicy, "engine")
_left_out = partial(FieldPolicy, "left out")
_refused = partial(FieldPolicy, "refused")


class RunParameters(TypedDict, total=False):
    """The fields that are named parameters of `run` and `arun`."""

    messages: Annotated[
        Sequence[Mapping[str, Any]],
        _honoured("All current roles and `function`; content as a string, parts or nothing."),
    ]
    tools: Annotated[
        Sequence[Mapping[str, Any]] | None, _honoured("Functions. Tools of other types are treated as unknown fields.")
    ]
    response_format: Annotated[Mapping[str, Any] | None, _honoured("`text`, `json_object` or `json_schema`.")]
    stream: Annotated[bool | None, _honoured("Chunks instead of one completion.")]


class RequestFields(TypedDict, total=False):
    """The other fields of a request that can be honoured: the `**fields` of `run` and `arun`. None counts as absent."""

    model: Annotated[str | None, _honoured("The name of the model; an unknown name is an error.")]
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | Mapping[str, Any] | None,
        _honoured("`none`, `auto`, `required`, one function, or `allowed_tools`."),
    ]
    parallel_tool_calls: Annotated[
        bool | None,
        _honoured("`false`: at most one call. `true`: several calls also in Gemma 3's JSON style, where the default is one."),
    ]
    functions: Annotated[
        Sequence[Mapping[str, Any]] | None,
        _honoured("The legacy form of `tools`; the answer then has `function_call`."),
    ]
    function_call: Annotated[Literal["none", "auto"] | Mapping[str, Any] | None, _honoured("The legacy form of `tool_choice`.")]
    stream_options: Annotated[Mapping[str, Any] | None, _honoured("`include_usage`; its other keys have no effect.")]
    max_tokens: Annotated[
        int | None, _honoured("At least 1, or -1 for no limit. With `max_completion_tokens` the smaller one counts.", 1)
    ]
    max_completion_tokens: Annotated[
        int | None, _honoured("At least 1, or -1 for no limit. With `max_tokens` the smaller one counts.", 1)
    ]
    temperature: Annotated[float | None, _honoured("From 0 to 2.", 0, 2)]
    top_p: Annotated[float | None, _honoured("From 0 to 1.", 0, 1)]
    top_k: Annotated[int | None, _honoured("Not OpenAI's. An integer from 0; -1 is 0, which means no limit.", 0)]
    min_p: Annotated[float | None, _honoured("Not OpenAI's. From 0 to 1.", 0, 1)]
    seed: Annotated[int | None, _honoured("A 64-bit integer.", -INT64, INT64)]
    n: Annotated[int | None, _honoured("From 1 to 128. The answers are generated one after another.", 1, 128)]
    stop: Annotated[str | Sequence[str] | None, _honoured("A string or a list of strings.")]
    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None,
        _honoured("`none` and `minimal` turn thinking off, `low`, `medium`, `high`, `xhigh` and `max` turn it on."),
    ]
    reasoning: Annotated[
        Mapping[str, Any] | None, _honoured("OpenRouter's. `effort`, or `enabled`; its other keys have no effect.")
    ]
    chat_template_kwargs: Annotated[
        Mapping[str, Any] | None,
        _honoured("Not OpenAI's. `enable_thinking`, which overrides all other fields for it; `preserve_thinking`."),
    ]
    enable_thinking: Annotated[bool | None, _honoured("Not OpenAI's. Whether to think.")]
    think: Annotated[bool | str | None, _honoured("Ollama's. Whether to think; an effort level means yes.")]
    thinking: Annotated[
        bool | Mapping[str, Any] | None, _honoured('Anthropic\'s. Whether to think: `{"type": "enabled"}` or `"disabled"`.')
    ]
    continue_final_message: Annotated[
        bool | None,
        _honoured("vLLM's. Continues the last message, which must be the assistant's: the answer contains only the new text."),
    ]
    guided_json: Annotated[
        str | Mapping[str, Any] | None, _honoured("vLLM's. A JSON Schema for the answer, as in `response_format`.")
    ]
    structured_outputs: Annotated[
        Mapping[str, Any] | None, _honoured("vLLM's. `json`, as in `response_format`; its other forms are refused.")
    ]

    user: Annotated[str | None, _accepted("There are no accounts.")]
    metadata: Annotated[Mapping[str, Any] | None, _accepted("Nothing is stored.")]
    store: Annotated[bool | None, _accepted("Nothing is stored.")]
    service_tier: Annotated[str | None, _accepted("There is one tier.")]
    prompt_cache_key: Annotated[str | None, _accepted("Engines find their cache by the prompt itself.")]
    prompt_cache_retention: Annotated[str | None, _accepted("Engines find their cache by the prompt itself.")]
    safety_identifier: Annotated[str | None, _accepted("There are no accounts.")]
    verbosity: Annotated[str | None, _accepted("Gemma was not trained on it.")]
    cache_prompt: Annotated[bool | None, _accepted("llama.cpp's. Engines find their cache by the prompt itself.")]
    client_metadata: Annotated[Mapping[str, Any] | None, _accepted("Nothing is stored.")]
    keep_alive: Annotated[str | float | None, _accepted("Ollama's. A setting of the engine, not of a request.")]
    moderation: Annotated[Any, _accepted("Nothing is moderated.")]
    prompt_cache_options: Annotated[Any, _accepted("Engines find their cache by the prompt itself.")]
    skip_special_tokens: Annotated[bool | None, _accepted("vLLM's. Special tokens are always parsed and never shown.")]
    truncation: Annotated[str | None, _accepted("A prompt that is too long is refused, unless the model has `fit` set.")]

    logprobs: Annotated[bool | None, _engine("The log probabilities of the sampled tokens.")]
    top_logprobs: Annotated[int | None, _engine("From 0 to 20, with `logprobs`.", 0, 20)]
    logit_bias: Annotated[
        Mapping[str, float] | Mapping[int, float] | None,
        _engine("Token ids are those of the engine's vocabulary."),
    ]
    frequency_penalty: Annotated[float | None, _engine("From -2 to 2; 0 means no penalty.", -2, 2)]
    presence_penalty: Annotated[float | None, _engine("From -2 to 2; 0 means no penalty.", -2, 2)]
    repeat_penalty: Annotated[float | None, _engine("llama.cpp's and Ollama's. From 0 to 100; 1 means no penalty.", 0, 100)]
    repetition_penalty: Annotated[float | None, _engine("vLLM's name for `repeat_penalty`, which overrides it.", 0, 100)]
    grammar: Annotated[str | None, _engine("llama.cpp's. A GBNF grammar for the whole answer; cannot be combined with tools.")]


class OtherFields(TypedDict, total=False):
    """Known fields that cannot be honoured."""

    audio: Annotated[Mapping[str, Any] | None, _refused("Gemma writes only text.")]
    modalities: Annotated[Sequence[str] | None, _refused('Anything but `["text"]` is refused: Gemma writes only text.')]
    prediction: Annotated[Mapping[str, Any] | None, _left_out("No engine supports it.")]
    web_search_options: Annotated[Mapping[str, Any] | None, _left_out("There is no web search.")]


class RequestBody(RunParameters, RequestFields, OtherFields, total=False):
    """Every known field of a request body."""


FIELD_POLICY: Final[Mapping[str, FieldPolicy]] = MappingProxyType(
    {name: hint.__metadata__[0] for name, hint in get_type_hints(RequestBody, include_extras=True).items()}
)
"""How each field of `RequestBody` is handled, by name. A field that is not in it is unknown."""
