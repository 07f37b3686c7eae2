"""The chat endpoints that are known by name: where each is, who pays, and what it takes. Facts, and no code.

Sources, read in November 2026; none of the hosted ones was asked:

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
"""Else the special tokens that the model writes are taken out of the text, and what they say with them."""
_TEMPLATE: Final = {switch: {"chat_template_kwargs": {"enable_thinking": switch}} for switch in (True, False)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What one provider, or one kind of server, makes of `/chat/completions`."""

    url: str = ""
    """Its address; what stands in braces is a variable of the environment. Empty: the caller gives it."""
    keys: tuple[str, ...] = ("OPENAI_CHAT_API_KEY",)
    """The variables of the environment that may hold the key; the first is the provider's own name for it. A provider with an
    address of its own needs one."""
    owner: str | None = None
    """What it puts before the published name of a model, as in `google/gemma-3-27b-it`; None: names are left as they are."""
    settings: Mapping[str, str] = field(default_factory=lambda: _OPENAI)
    """The fields of `Sampling`, and what it calls them."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """What is sent with every request."""
    bound: Mapping[str, Any] = field(default_factory=dict)
    """What is sent, too, where an answer is to be held to a schema."""
    thinking: Mapping[bool, Mapping[str, Any]] = field(default_factory=dict)
    """What asks it to think, and not to; empty: it cannot be asked."""
    thought: str = ""
    """The field of a message that takes an earlier thought; empty: there is none."""
    json_schema: bool = True
    """It holds an answer to a schema, by `response_format`."""
    tells_template: bool = False
    """It tells by `/props` what its chat template can do; what that cannot do it leaves out of the prompt, unsaid."""
    takes_calls: bool = False
    """Where it has a parser of calls, that takes them out of answers to requests without tools, too, and they are lost."""
    most_stops: int = 4
    """How many stop sequences it takes."""


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
            # Without it, what the chosen endpoint does not know is left out, unsaid.
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
            body={"max_tokens": 1024},  # by itself it stops after 256
            json_schema=False,  # its `json_schema` is the schema itself, which is not OpenAI's shape
        ),
    }
)
"""The providers and servers by the names that engines and the option `server` have for them; "other" is all the rest."""


def model_name(model: str, provider: Provider) -> str:
    """What the provider calls `model`: a published name gets the owner that the provider has for it."""
    name = model.removeprefix("google/")
    return model if provider.owner is None or "/" in name else provider.owner + name
