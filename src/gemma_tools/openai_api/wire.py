"""The wire format: one request in, one answer out, and how they are written as bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gemma_tools.engines.base import Cancellation, Pieces
from gemma_tools.jsontext import read_json, to_json
from gemma_tools.log import logger
from gemma_tools.openai_api.errors import refuse
from gemma_tools.openai_api.responses_store import ResponseStore
from gemma_tools.policy import Unknown
from gemma_tools.prompt import Prompt
from gemma_tools.request import ChatRequest
from gemma_tools.tokens import BaseTokenCounter
from gemma_tools.validation import parse_request

JSON_HEADERS: Mapping[str, str] = {"content-type": "application/json"}
STREAM_HEADERS: Mapping[str, str] = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"}

Body: TypeAlias = bytes | Generator[bytes, None, None]
"""A whole body, or the chunks of a stream as they arrive. Closing the generator stops the engine."""

Cards: TypeAlias = Mapping[str, Mapping[str, Any]]
"""More fields for each model, by its name."""

AsyncBody: TypeAlias = bytes | AsyncGenerator[bytes, None]
"""The same for async code."""

BodyT = TypeVar("BodyT", bound=Body | AsyncBody, covariant=True)


class Responder(Protocol):
    """Something that answers a chat request: a backend, or a wrapper around one."""

    def respond(
        self, request: ChatRequest, *, cancel: Cancellation | None = None
    ) -> ChatCompletion | Iterator[ChatCompletionChunk]:
        """Answer `request`: a completion, or its chunks when `request.stream` is set."""

    def complete(self, text: str, request: ChatRequest, index: int = 0, *, cancel: Cancellation | None = None) -> Pieces:
        """Continue the raw prompt `text`, with the sampling of `request`; `index` counts the choices of one prompt."""

    def prompt(self, request: ChatRequest) -> Prompt:
        """The prompt of `request`. Nothing is generated."""

    @property
    def token_counter(self) -> BaseTokenCounter:
        """The token counter of this model."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One HTTP request, as far as the API needs it. `path` has no query; `query` is the part after its `?`."""

    method: str
    path: str
    body: bytes = b""
    query: str = ""
    caller: str = ""
    """The client, as the server names it. Responses stored for one client do not exist for another."""


@dataclass(slots=True)
class Facts:
    """Facts about a request that were found while it was answered: for logs and limits, never for the answer itself."""

    model: str | None = None
    stream: bool = False
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    chunks: int = 0
    """How many chunks of a stream were read."""
    error: str | None = None

    @property
    def cost(self) -> int:
        """Tokens to charge. A stream that ended before it reported its usage costs its chunks."""
        return max(self.prompt_tokens + self.completion_tokens, self.chunks)

    def learn(self, finish_reason: str | None, usage: Any) -> None:
        """Store the finish reason of a choice, and the `CompletionUsage` of a reply (None if it has none)."""
        self.finish_reason = finish_reason or self.finish_reason
        if usage is not None:
            self.prompt_tokens, self.completion_tokens = usage.prompt_tokens, usage.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """How requests are handled."""

    unknown: Unknown = "warn"
    """What happens to unknown fields and tools: see `policy.Unknown`."""
    no_model: str = ""
    """The end of the error about an unknown model name, after the known names."""
    store: ResponseStore | None = None
    """The store of responses for later requests; None: responses are not stored."""
    metrics: Callable[[], tuple[str, bytes]] | None = None
    """Returns the content type and the text of `/metrics`; None: there is no such page."""
    cards: Cards = field(default_factory=dict)
    """More fields in `/v1/models` for each model, by the name."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, the models that may answer it, and the settings."""

    models: Mapping[str, Responder]
    facts: Facts
    cancel: Cancellation | None
    settings: ApiSettings
    caller: str

    def parse(self, body: Mapping[str, Any], warnings: Sequence[str] = ()) -> ChatRequest:
        """The chat request in `body`. What is left out of it is logged, each item once.

        Raises:
            InvalidRequest: see `validation.parse_request`.
        """
        request = parse_request(body, unknown=self.settings.unknown, warnings=warnings)
        for warning in request.warnings:
            _log_once(warning)
        return request

    def responder(self, name: str | None) -> Responder:
        """The model called `name`; refused with `model_not_found` if there is none."""
        return self.models[self.known(name)]

    def known(self, name: str | None) -> str:
        """`name`, if there is a model with it; refused with `model_not_found` otherwise. The model is not loaded."""
        if name is None:
            raise refuse(400, "the model is missing", code="missing_required_parameter", param="model")
        if name not in self.models:
            message = f"there is no model {name!r}; available: {', '.join(self.models) or 'none'}{self.settings.no_model}"
            raise refuse(404, message, code="model_not_found", param="model")
        return name


@lru_cache(maxsize=1024)
def _log_once(warning: str) -> None:
    logger.warning("%s", warning[:500])


@dataclass(frozen=True, slots=True)
class ApiResponse(Generic[BodyT]):
    """The answer. `facts` is updated while a streamed body is read."""

    status: int
    body: BodyT
    headers: Mapping[str, str] = field(default_factory=lambda: JSON_HEADERS)
    facts: Facts = field(default_factory=Facts)


def dump(value: Any) -> bytes:
    """`value` as JSON in UTF-8, at any depth. A lone surrogate, which UTF-8 cannot represent, is written as an escape."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except (RecursionError, UnicodeEncodeError):
        return to_json(value).encode()


def event(value: Any, name: str | None = None) -> bytes:
    """One server-sent event with `value` as its data."""
    head = b"event: %s\n" % name.encode() if name else b""
    return b"%sdata: %s\n\n" % (head, dump(value))


DONE = b"data: [DONE]\n\n"


def load(body: bytes) -> dict[str, Any]:
    """The JSON object in a request body; refused with a 400 if it is anything else."""
    try:
        value = read_json(body.decode(json.detect_encoding(body), "surrogatepass"))
    except ValueError as error:
        raise refuse(400, f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise refuse(400, "the body must be a JSON object", code="invalid_json")
    return value
