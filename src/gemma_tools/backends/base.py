"""The interface of every backend: OpenAI requests in, OpenAI objects out, sync and async.

The interface is similar to CAMEL's, so people who know one know the other: `run` and `arun` take messages, a response format
and tools; `token_counter`, `token_limit` and `count_tokens_from_messages` count tokens. `respond` and `arespond` take a whole
validated request; all other interfaces of this package use them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, Unpack, overload

from gemma_tools.engines.base import Cancellation, Pieces
from gemma_tools.errors import InvalidRequest
from gemma_tools.observe import ModelRequest, observed
from gemma_tools.policy import RequestFields
from gemma_tools.request import ChatRequest, RawMessage, RawTool
from gemma_tools.validation import check_integer, check_number, check_text, parse_request

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion, ChatCompletionChunk
    from pydantic import BaseModel

    from gemma_tools.backends.exchange import Exchange
    from gemma_tools.prompt import Prompt
    from gemma_tools.tokens import BaseTokenCounter

    RawFormat: TypeAlias = type[BaseModel] | Mapping[str, Any] | None
    Stream: TypeAlias = Generator[ChatCompletionChunk, None, None]
    AsyncStream: TypeAlias = AsyncGenerator[ChatCompletionChunk, None]
    Response: TypeAlias = ChatCompletion | Stream
    AsyncResponse: TypeAlias = ChatCompletion | AsyncStream


class BaseModelBackend(ABC):
    """A model with the OpenAI chat API, in this process. Implement `token_counter`, `_run` and `_arun`.

    Several threads may use a backend at the same time. As a context manager it closes itself.
    """

    on_exchange: Callable[[Exchange], object] | None = None
    """Is called with each prompt and the model's output, in the thread that answers; for `gemma_tools.inspection`."""

    def __init__(
        self,
        model_type: str,
        model_config_dict: Mapping[str, Any] | None = None,
        api_key: str | None = None,
        url: str | None = None,
        token_counter: BaseTokenCounter | None = None,
        timeout: float | None = None,
        max_retries: int = 3,
    ) -> None:
        """Store the arguments that all backends have.

        `model_type` is the model's name; `url` and `api_key` are for engines on a server; `timeout` is in seconds, None means
        MODEL_TIMEOUT from the environment or 180; `max_retries` limits retries before anything was generated.

        Raises:
            InvalidRequest: one of these has a wrong type, or is negative.
        """
        if not isinstance(model_type, str):
            raise InvalidRequest("must be the model's name, a string", param="model_type", code="invalid_type")
        check_text(api_key, "api_key")
        check_text(url, "url")
        if not isinstance(model_config_dict, Mapping | None):
            message = "must be a dict; a configuration object returns one with as_dict()"
            raise InvalidRequest(message, param="model_config_dict", code="invalid_type")
        check_number(timeout, "timeout", 0, math.inf)
        check_integer(max_retries, "max_retries", 0)
        self.model_type = model_type
        self.model_config_dict = dict(model_config_dict or {})
        self.api_key = api_key
        self.url = url
        self.timeout = timeout
        self.max_retries = max_retries
        self._token_counter = token_counter

    @property
    @abstractmethod
    def token_counter(self) -> BaseTokenCounter:
        """The token counter of this model."""

    @abstractmethod
    def _run(self, request: ChatRequest, cancel: Cancellation) -> Response:
        """Answer `request`: a completion, or a generator of chunks if it asks for a stream."""

    @abstractmethod
    async def _arun(self, request: ChatRequest, cancel: Cancellation) -> AsyncResponse:
        """The same, without blocking the event loop."""

    @overload
    def run(
        self,
        messages: Sequence[RawMessage],
        response_format: RawFormat = None,
        tools: Sequence[RawTool] | None = None,
        *,
        stream: Literal[False] = ...,
        **fields: Unpack[RequestFields],
    ) -> ChatCompletion: ...
    @overload
    def run(
        self,
        messages: Sequence[RawMessage],
        response_format: RawFormat = None,
        tools: Sequence[RawTool] | None = None,
        *,
        stream: Literal[True],
        **fields: Unpack[RequestFields],
    ) -> Stream: ...
    @overload
    def run(
        self,
        messages: Sequence[RawMessage],
        response_format: RawFormat = None,
        tools: Sequence[RawTool] | None = None,
        *,
        stream: bool | None,
        **fields: Unpack[RequestFields],
    ) -> Response: ...
    def run(
        self,
        messages: Sequence[RawMessage],
        response_format: RawFormat = None,
        tools: Sequence[RawTool] | None = None,
        *,
        stream: bool | None = None,
        **fields: Unpack[RequestFields],
    ) -> Response:
        """Answer `messages`: a `ChatCompletion`, or a generator of chunks if it streams.

        `response_format` is a pydantic class or OpenAI's own object; `tools` are OpenAI's, and `[]` or None means none.
        `stream=None` uses `model_config_dict["stream"]`; type checkers assume that a call without `stream` does not stream.
        `fields` are more fields of an OpenAI request: `tool_choice`, `temperature`, `max_tokens`, ...; see
        `gemma_tools.policy.RequestFields`. Closing the generator, or leaving a loop over it, stops the engine.

        Raises:
            InvalidRequest: the request cannot be honoured; `param` names the field.
            UnusableAnswer: the model's answer does not satisfy the request.
            EngineError: the engine failed.
        """
        return self.respond(self._request(messages, response_format, tools, stream, fields))

    @overload
    async def arun(
        self,
        messages: Sequence[RawMessage],
        response_format: RawFormat = None,
        tools: Sequence[RawTool] | None = None,
        *,
        stream: Literal[False] = ...,
        **fields: Unpack[RequestFields],
    ) -> ChatCompletion: ...
    @overload
    async def arun(
        self,
        messages: Sequence[RawMessage],
        response_format: RawFormat = None,
        tools: Sequence[RawTool] | None = None,
        *,
        stream: Literal[True],
        **fields: Unpack[RequestFields],
    ) -> AsyncStream: ...
    @overload
    async def arun(
        self,
        messages: Sequence[RawMessage],
        response_format: RawFormat = None,
        tools: Sequence[RawTool] | None = None,
        *,
        stream: bool | None,
        **fields: Unpack[RequestFields],
    ) -> AsyncResponse: ...
    async def arun(
        self,
        messages: Sequence[RawMessage],
        response_format: RawFormat = None,
        tools: Sequence[RawTool] | None = None,
        *,
        stream: bool | None = None,
        **fields: Unpack[RequestFields],
    ) -> AsyncResponse:
        """`run`, awaited. Cancelling the task, or closing the generator, stops the engine."""
        return await self.arespond(self._request(messages, response_format, tools, stream, fields))

    def respond(self, request: ChatRequest, *, cancel: Cancellation | None = None) -> Response:
        """Answer a validated request; `cancel` stops it from another thread. Raises what `run` raises."""
        work = ModelRequest(operation="chat", model=self.model_type, request=request)
        return observed(work, lambda: self._run(request, cancel or Cancellation()))

    async def arespond(self, request: ChatRequest, *, cancel: Cancellation | None = None) -> AsyncResponse:
        """`respond`, awaited: a completion, or an asynchronous generator of chunks."""
        return await self._arun(request, cancel or Cancellation())

    def complete(self, text: str, request: ChatRequest, index: int = 0, *, cancel: Cancellation | None = None) -> Pieces:
        """Continue the raw prompt `text`: no template and no turns; special tokens in `text` are real special tokens.

        Sampling and stop sequences come from `request`, whose messages and tools are ignored; `index` counts the choices of one
        prompt. Yields chunks of text, and returns how it ended, with token counts.

        Raises:
            InvalidRequest: the engine cannot honour a setting, or this backend has no engine.
            EngineError: the engine failed.
        """
        raise InvalidRequest("this model does not take prompts", param="model", code="unsupported_value")

    def prompt(self, request: ChatRequest) -> Prompt:
        """The prompt of `request`, as the model would read it. Nothing is generated.

        Raises:
            InvalidRequest: the request cannot be honoured, or this backend does not write prompts.
        """
        raise InvalidRequest("this model does not show its prompt", param="model", code="unsupported_value")

    @property
    def stream(self) -> bool:
        """Whether `run` streams by default."""
        return bool(self.model_config_dict.get("stream", False))

    @property
    def token_limit(self) -> int | None:
        """The context in tokens, prompt and answer together; None if unknown."""
        return None

    def count_tokens_from_messages(self, messages: Sequence[RawMessage], tools: Sequence[RawTool] | None = None) -> int:
        """The number of tokens in the prompt for `messages` and `tools`; `token_counter.exact` says how far to trust it."""
        return self.token_counter.count_tokens_from_messages(messages, tools)

    def close(self) -> None:  # noqa: B027
        """Free the backend's resources. Safe at any time, any number of times; running answers are stopped."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _request(
        self,
        messages: Sequence[RawMessage],
        response_format: RawFormat,
        tools: Sequence[RawTool] | None,
        stream: bool | None,
        fields: RequestFields,
    ) -> ChatRequest:
        body: dict[str, Any] = {
            "model": self.model_type,
            "messages": messages,
            "stream": self.stream if stream is None else stream,
            **fields,
        }
        if tools is not None:
            body["tools"] = tools
        if isinstance(response_format, type) and hasattr(response_format, "model_json_schema"):
            body["response_format"] = _json_schema_format(response_format)
        elif response_format is not None:
            body["response_format"] = response_format
        return parse_request(body)


def _json_schema_format(model: type[BaseModel]) -> dict[str, Any]:
    schema = {"name": model.__name__, "schema": model.model_json_schema(), "strict": True}
    return {"type": "json_schema", "json_schema": schema}
