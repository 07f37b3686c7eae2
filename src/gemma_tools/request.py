"""The types of a validated request: `validation` makes them from OpenAI code's dicts, and the other modules use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

Part: TypeAlias = Mapping[str, Any]
"""A part of a content list: `{"type": "text", "text": ...}`, or an unchanged image, audio or video part."""
Content: TypeAlias = str | tuple[Part, ...] | Mapping[str, Any] | None
"""Text, parts, or nothing; a tool result may also be a JSON object."""

MEDIA_PARTS: Final = MappingProxyType(
    {"image": "image", "image_url": "image", "audio": "audio", "input_audio": "audio", "video": "video"}
)
"""The kind of media of each part type that is not text."""


class Call(NamedTuple):
    """A tool call of an assistant message."""

    id: str | None
    name: str
    arguments: Mapping[str, Any]
    readable: bool = True
    """False: the arguments were text that is not a JSON object; `arguments` contains that text under the key "arguments"."""


class ToolResponse(NamedTuple):
    """A result in Gemma's own shape: an entry of `tool_responses` on an assistant message."""

    name: str | None
    response: Any


class Message(NamedTuple):
    """One message, validated.

    `name` is the message's own name. For a tool result, `called` is the name of the call that it answers, None if there is no
    such call before it. The role "function" and the legacy field `function_call` are already converted to their current forms.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    tool_calls: tuple[Call, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    called: str | None = None
    reasoning: str | None = None
    tool_responses: tuple[ToolResponse, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A declared function. Requests share its parts: do not change them."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    strict: bool = False
    response: Mapping[str, Any] | None = None
    function: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The function as in the request, including unknown keys."""
    key: bytes | None = field(default=None, repr=False, compare=False)
    """Equal only for tools with equal content, so values derived from a tool can be cached; None: do not cache."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may, must or must not call tools, and which names (None: all declared tools)."""

    mode: Literal["none", "auto", "required"] = "auto"
    names: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The required form of the answer's text. `schema` only with type "json_schema"."""

    type: Literal["text", "json_object", "json_schema"]
    schema: Mapping[str, Any] | None = None
    name: str | None = None
    strict: bool = False


class Conversation(NamedTuple):
    """What `validate` returns."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice


class Dumpable(Protocol):
    """An object that can return itself as a dict, such as the messages and calls of the openai package."""

    def model_dump(self) -> dict[str, Any]:
        """The object as JSON values."""


RawMessage: TypeAlias = Mapping[str, Any] | Message | Dumpable
RawTool: TypeAlias = Mapping[str, Any] | Tool | Dumpable
RawChoice: TypeAlias = str | Mapping[str, Any] | ToolChoice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A whole request, validated. None leaves a setting to the backend and its engine."""

    model: str | None = None
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool | None = None
    """None if the request does not say."""
    response_format: ResponseFormat | None = None
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: bool = False
    top_logprobs: int | None = None
    logit_bias: Mapping[str, float] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repeat_penalty: float | None = None
    prompt_logprobs: bool = False
    """For a raw prompt: with `logprobs`, also the log probabilities of its own tokens."""
    grammar: str | None = None
    """A GBNF grammar that the whole answer must follow."""
    enable_thinking: bool | None = None
    """The request's value, from any of the fields for it; None: not set."""
    preserve_thinking: bool = False
    """The value in `chat_template_kwargs`."""
    continues: bool = False
    """Continue the last message, the assistant's, instead of answering it."""
    legacy_functions: bool = False
    """The request has `functions`, so the answer has `function_call`."""
    warnings: tuple[str, ...] = ()
    """The parts of the request that were left out before: the `warnings` of its completion report them."""
