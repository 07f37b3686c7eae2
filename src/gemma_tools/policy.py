"""The fields of a chat completion request: the type of each, and what is done with it.

The names are those of https://platform.openai.com/docs/api-reference/chat/create, and a few that Gemma's servers add.
`RequestBody` is the one list of them: type checkers read its types, and `FIELD_POLICY` is made of its annotations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypedDict, get_type_hints

INT32: Final = 2**31 - 1
INT64: Final = 2**63 - 1
"""What engines, most of them written in C++, can hold of a number. OpenAI has the same bounds for seeds."""

Treatment = Literal["honoured", "accepted", "engine", "refused"]


@dataclass(frozen=True, slots=True)
class FieldPolicy:
    """What is done with one field of a request body.

    `honoured`: it has its effect. `accepted`: it is taken and has none. `engine`: it has its effect where the engine can,
    and is refused where it cannot. `refused`: it is an error, unless it is null. `note` says more. A number is refused
    outside of `low` and `high`.
    """

    treatment: Treatment
    note: str
    low: float = -INT32
    high: float = INT32


_honoured = partial(FieldPolicy, "honoured")
_accepted = partial(FieldPolicy, "accepted")
_engine = partial(FieldPolicy, "engine")
_refused = partial(FieldPolicy, "refused")


class RunParameters(TypedDict, total=False):
    """The fields that `run` and `arun` take as parameters of their own."""

    messages: Annotated[
        Sequence[Mapping[str, Any]],
        _honoured("All roles of today and `function`; content as text, parts or nothing."),
    ]
    tools: Annotated[Sequence[Mapping[str, Any]] | None, _honoured("Functions. Custom and built-in tools are refused.")]
    response_format: Annotated[Mapping[str, Any] | None, _honoured("`text`, `json_object` or `json_schema`.")]
    stream: Annotated[bool | None, _honoured("Chunks in place of one completion.")]


class RequestFields(TypedDict, total=False):
    """The other fields of a request that can be honoured: what `run` and `arun` take as `**fields`. None counts as absent."""

    model: Annotated[str | None, _honoured("The name of the model; one that is not there is an error.")]
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | Mapping[str, Any] | None,
        _honoured("`none`, `auto`, `required`, one function, or `allowed_tools`."),
    ]
    parallel_tool_calls: Annotated[
        bool | None,
        _honoured(
            "`false`: the answer holds one call at most. `true`: several in Gemma 3's JSON style, too, where one is the rule."
        ),
    ]
    functions: Annotated[
        Sequence[Mapping[str, Any]] | None,
        _honoured("The legacy form of `tools`; the answer then has `function_call`."),
    ]
    function_call: Annotated[Literal["none", "auto"] | Mapping[str, Any] | None, _honoured("The legacy form of `tool_choice`.")]
    stream_options: Annotated[Mapping[str, Any] | None, _honoured("`include_usage`; its other keys have no effect.")]
    max_tokens: Annotated[int | None, _honoured("At least 1. With `max_completion_tokens` the smaller one counts.", 1)]
    max_completion_tokens: Annotated[int | None, _honoured("At least 1. With `max_tokens` the smaller one counts.", 1)]
    temperature: Annotated[float | None, _honoured("From 0 to 2.", 0, 2)]
    top_p: Annotated[float | None, _honoured("From 0 to 1.", 0, 1)]
    top_k: Annotated[int | None, _honoured("Not OpenAI's. An integer from 0.", 0)]
    min_p: Annotated[float | None, _honoured("Not OpenAI's. From 0 to 1.", 0, 1)]
    seed: Annotated[int | None, _honoured("An integer of 64 bits.", -INT64, INT64)]
    n: Annotated[int | None, _honoured("From 1 to 128. The answers are generated one after another.", 1, 128)]
    stop: Annotated[str | Sequence[str] | None, _honoured("A text or a list of texts.")]
    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None,
        _honoured("`none` and `minimal` turn thinking off, `low`, `medium`, `high` and `xhigh` turn it on."),
    ]
    chat_template_kwargs: Annotated[
        Mapping[str, bool | None] | None,
        _honoured("Not OpenAI's. `enable_thinking`, which goes before `reasoning_effort`; `preserve_thinking`."),
    ]

    user: Annotated[str | None, _accepted("There are no accounts.")]
    metadata: Annotated[Mapping[str, Any] | None, _accepted("Nothing is stored.")]
    store: Annotated[bool | None, _accepted("Nothing is stored.")]
    service_tier: Annotated[str | None, _accepted("There is one tier.")]
    prompt_cache_key: Annotated[str | None, _accepted("Engines reuse what they have computed by the prompt itself.")]
    prompt_cache_retention: Annotated[str | None, _accepted("Engines reuse what they have computed by the prompt itself.")]
    safety_identifier: Annotated[str | None, _accepted("There are no accounts.")]
    verbosity: Annotated[str | None, _accepted("Gemma was not trained on it.")]

    logprobs: Annotated[bool | None, _engine("The probabilities of the tokens that were drawn.")]
    top_logprobs: Annotated[int | None, _engine("From 0 to 20, with `logprobs`.", 0, 20)]
    logit_bias: Annotated[
        Mapping[str, float] | Mapping[int, float] | None,
        _engine("Token ids are those of the engine's own vocabulary."),
    ]
    frequency_penalty: Annotated[float | None, _engine("From -2 to 2; 0 is no demand.", -2, 2)]
    presence_penalty: Annotated[float | None, _engine("From -2 to 2; 0 is no demand.", -2, 2)]


class RefusedFields(TypedDict, total=False):
    """Fields that are known, and refused."""

    audio: Annotated[Mapping[str, Any] | None, _refused("Gemma writes text only.")]
    modalities: Annotated[Sequence[str] | None, _refused('Anything but `["text"]` is refused: Gemma writes text only.')]
    prediction: Annotated[Mapping[str, Any] | None, _refused("No engine here takes one.")]
    web_search_options: Annotated[Mapping[str, Any] | None, _refused("There is no search.")]


class RequestBody(RunParameters, RequestFields, RefusedFields, total=False):
    """Every field of a request body that is known."""


FIELD_POLICY: Final[Mapping[str, FieldPolicy]] = MappingProxyType(
    {name: hint.__metadata__[0] for name, hint in get_type_hints(RequestBody, include_extras=True).items()}
)
"""What is done with each field of `RequestBody`, by name. A field that is not in it is refused as unknown."""
