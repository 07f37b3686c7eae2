"""The fields of a request body: what is done with each, and the checks of single values.

The names are those of https://platform.openai.com/docs/api-reference/chat/create, and a few that Gemma's servers add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from gemma_tools.errors import InvalidRequest

Treatment = Literal["honoured", "accepted", "engine", "refused"]


@dataclass(frozen=True, slots=True)
class FieldPolicy:
    """What is done with one field of a request body.

    `honoured`: it has its effect. `accepted`: it is taken and has none. `engine`: it has its effect where the engine can,
    and is refused where it cannot. `refused`: it is an error, unless it is null. `note` says more.
    """

    treatment: Treatment
    note: str


def _table() -> dict[str, FieldPolicy]:
    honoured = {
        "model": "The name of the model; one that is not there is an error.",
        "messages": "All roles of today and `function`; content as text, parts or nothing.",
        "tools": "Functions. Custom and built-in tools are refused.",
        "tool_choice": "`none`, `auto`, `required`, one function, or `allowed_tools`.",
        "parallel_tool_calls": "`false`: the answer holds one call at most.",
        "functions": "The legacy form of `tools`; the answer then has `function_call`.",
        "function_call": "The legacy form of `tool_choice`.",
        "response_format": "`text`, `json_object` or `json_schema`.",
        "stream": "Chunks in place of one completion.",
        "stream_options": "`include_usage`; its other keys have no effect.",
        "max_tokens": "At least 1. With `max_completion_tokens` the smaller one counts.",
        "max_completion_tokens": "At least 1. With `max_tokens` the smaller one counts.",
        "temperature": "From 0 to 2.",
        "top_p": "From 0 to 1.",
        "top_k": "Not OpenAI's. An integer from 0.",
        "min_p": "Not OpenAI's. From 0 to 1.",
        "seed": "An integer of 64 bits.",
        "n": "From 1 to 128. The answers are generated one after another.",
        "stop": "A text or a list of texts.",
        "reasoning_effort": "`none` and `minimal` turn thinking off, `low`, `medium`, `high` and `xhigh` turn it on.",
        "chat_template_kwargs": "Not OpenAI's. `enable_thinking`, which goes before `reasoning_effort`; `preserve_thinking`.",
    }
    accepted = {
        "user": "There are no accounts.",
        "metadata": "Nothing is stored.",
        "store": "Nothing is stored.",
        "service_tier": "There is one tier.",
        "prompt_cache_key": "Engines reuse what they have computed by the prompt itself.",
        "prompt_cache_retention": "Engines reuse what they have computed by the prompt itself.",
        "safety_identifier": "There are no accounts.",
        "verbosity": "Gemma was not trained on it.",
    }
    engine = {
        "logprobs": "The probabilities of the tokens that were drawn.",
        "top_logprobs": "From 0 to 20, with `logprobs`.",
        "logit_bias": "Token ids are those of the engine's own vocabulary.",
        "frequency_penalty": "From -2 to 2; 0 is no demand.",
        "presence_penalty": "From -2 to 2; 0 is no demand.",
    }
    refused = {
        "audio": "Gemma writes text only.",
        "modalities": 'Anything but `["text"]` is refused: Gemma writes text only.',
        "prediction": "No engine here takes one.",
        "web_search_options": "There is no search.",
    }
    groups: dict[Treatment, dict[str, str]] = {"honoured": honoured, "accepted": accepted, "engine": engine, "refused": refused}
    return {name: FieldPolicy(treatment, note) for treatment, notes in groups.items() for name, note in notes.items()}


FIELD_POLICY: Final[Mapping[str, FieldPolicy]] = MappingProxyType(_table())
"""Every field of a request body that is known, by name. A field that is not in it is refused as unknown."""


def check_fields(body: Mapping[str, Any]) -> None:
    """Refuse the fields that are unknown, and those of the policy "refused"; null is as good as absent.

    Raises:
        InvalidRequest: `param` is the field.
    """
    for name, value in body.items():
        policy = FIELD_POLICY.get(name)
        if value is None:
            continue
        if policy is None:
            raise InvalidRequest("there is no such field", param=str(name), code="unknown_parameter")
        if policy.treatment == "refused" and not (name == "modalities" and value == ["text"]):
            raise InvalidRequest(f"this is not supported. {policy.note}", param=name, code="unsupported_parameter")


def flag(body: Mapping[str, Any], name: str, default: bool = False, *, param: str | None = None) -> bool:
    """A field that is true or false. `param` is the place to name, if it is not `name`."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidRequest(f"true or false is needed, not {value!r}", param=param or name, code="invalid_type")
    return value


INT32 = 2**31 - 1
INT64 = 2**63 - 1
"""What engines, most of them written in C++, can hold of a number. OpenAI has the same bounds for seeds."""


def integer(body: Mapping[str, Any], name: str, low: int, high: int = INT32) -> int | None:
    """A whole number within bounds; None where there is none. True and false are no numbers."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"a whole number is needed, not {value!r}", param=name, code="invalid_type")
    _check_bounds(value, name, low, high)
    return value


def number(body: Mapping[str, Any], name: str, low: float, high: float, *, param: str | None = None) -> float | None:
    """A number within bounds; None where there is none. True and false are no numbers. `param` as in `flag`."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequest(f"a number is needed, not {value!r}", param=param or name, code="invalid_type")
    _check_bounds(value, param or name, low, high)
    return value


def _check_bounds(value: float, name: str, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidRequest(f"{value!r} is not from {low} to {high}", param=name, code="out_of_range")


def text(body: Mapping[str, Any], name: str) -> str | None:
    """A text; None where there is none."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"text is needed, not {value!r}", param=name, code="invalid_type")
    return value


def mapping(body: Mapping[str, Any], name: str, param: str | None = None) -> Mapping[str, Any] | None:
    """An object; None where there is none. `param` as in `flag`."""
    value = body.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise InvalidRequest("an object is needed", param=param or name, code="invalid_type")
    return value
