"""The known chat endpoints: the address of each, who pays, and what it supports. Facts, no code.

Sources, read in November 2026; none of the hosted endpoints was called:

- Gemini: https://ai.google.dev/gemini-api/docs/openai; its refusals ("Unknown name", "is not enabled for models/...") as
  reported by its users. Gemma 4 thinks with the effort "high", and does not with "minimal":
  https://ai.google.dev/gemma/docs/core/gemma_on_gemini_api
- OpenRouter: https://openrouter.ai/docs/api-reference/parameters, .../errors-and-debugging, .../provider-selection
- Hugging Face: https://huggingface.co/docs/inference-providers, its guides on function calling and structured output
- Together: https://docs.together.ai/docs/openai-api-compatibility
- Cloudflare: https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility
- vLLM, SGLang, llama-server: their own documentation of `/v1/chat/completions`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

_LEAST: Final = {"max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p"}
_OPENAI: Final = {
    **_LEAST,
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logit_bias": "logit_bias",
    "logprobs": "top_logprobs",
}
_SAMPLERS: Final = {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"}
_SHOWN: Final = {"skip_special_tokens": False}
"""Without this, the server removes special tokens from the text, and their meaning is lost."""
_TEMPLATE: Final = {switch: {"chat_template_kwargs": {"enable_thinking": switch}} for switch in (True, False)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """The details of one provider's, or one kind of server's, `/chat/completions`."""

    url: str = ""
    """Its address; names in braces are environment variables. Empty: the user passes it."""
    keys: tuple[str, ...] = ("OPENAI_CHAT_API_KEY",)
    """The environment variables that may contain the key; the first is the provider's own name for it. A provider with a fixed
    address needs one.
    """
    owner: str | None = None
    """The prefix for the published name of a model, as in `google/gemma-3-27b-it`; None: names are unchanged."""
    settings: Mapping[str, str] = field(default_factory=lambda: _OPENAI)
    """The fields of `Sampling`, and its names for them."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """What is sent with every request."""
    bound: Mapping[str, Any] = field(default_factory=dict)
    """What is also sent if a schema must be enforced."""
    thinking: Mapping[bool, Mapping[str, Any]] = field(default_factory=dict)
    """What turns thinking on, and off; empty: it has no field for thinking."""
    thought: str = ""
    """The message field for an earlier thought; empty: there is none."""
    json_schema: bool = True
    """It enforces a schema, with `response_format`."""
    tells_template: bool = False
    """It tells by `/props` what its chat template can do; what that cannot do it leaves out of the prompt, unsaid."""
    takes_calls: bool = False
    """Where it has a parser of calls, that takes them out of answers to requests without tools, too, and they are lost."""
    most_stops: int = 4
    """The maximum number of stop sequences."""


PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {
        "other": Provider(),
        "llama-server": Provider(
            settings={**_OPENAI, "top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty"},
            thinking=_TEMPLATE,
            thought="reasoning_content",
            tells_template=True,
        ),
        "vllm": Provider(
            settings={**_OPENAI, **_SAMPLERS},
            body=_SHOWN,
            thinking=_TEMPLATE,
            thought="reasoning_content",
            takes_calls=True,
        ),
        "sglang": Provider(settings={**_OPENAI, **_SAMPLERS}, body=_SHOWN, thinking=_TEMPLATE, thought="reasoning_content"),
        "gemini": Provider(
            url="https://generativelanguage.googleapis.com/v1beta/openai",
            keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            owner="",
            settings=_LEAST,
            thinking={
                True: {"extra_body": {"google": {"thinking_config": {"thinking_level": "high", "include_thoughts": True}}}},
                False: {"reasoning_effort": "minimal"},
            },
            most_stops=5,
        ),
        "openrouter": Provider(
            url="https://openrouter.ai/api/v1",
            keys=("OPENROUTER_API_KEY",),
            owner="google/",
            settings={**_OPENAI, **_SAMPLERS},
            # Without it, the chosen endpoint silently leaves out what it does not support.
            bound={"provider": {"require_parameters": True}},
            thinking={True: {"reasoning": {"enabled": True}}, False: {"reasoning": {"enabled": False}}},
            thought="reasoning",
        ),
        "huggingface": Provider(
            url="https://router.huggingface.co/v1", keys=("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"), owner="google/"
        ),
        "together": Provider(
            url="https://api.together.xyz/v1",
            keys=("TOGETHER_API_KEY",),
            owner="google/",
            settings={**_OPENAI, **_SAMPLERS},
        ),
        "cloudflare": Provider(
            url="https://api.cloudflare.com/client/v4/accounts/{CLOUDFLARE_ACCOUNT_ID}/ai/v1",
            keys=("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY"),
            owner="@cf/google/",
            settings={
                **_LEAST,
                "top_k": "top_k",
                "seed": "seed",
                "presence_penalty": "presence_penalty",
                "frequency_penalty": "frequency_penalty",
                "repeat_penalty": "repetition_penalty",
            },
            body={"max_tokens": 1024},  # by default it stops after 256
            json_schema=False,  # its `json_schema` is the schema itself, which is not OpenAI's format
        ),
    }
)
"""The providers and servers by the names that engines and the option `server` use; "other" is all the rest."""


def model_name(model: str, provider: Provider) -> str:
    """The provider's name for `model`: a published name gets the provider's prefix."""
    name = model.removeprefix("google/")
    return model if provider.owner is None or "/" in name else provider.owner + name
