"""What all engines with the openai client share: the client itself, its errors, token counts and log probabilities."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from functools import partial
from typing import Any

import openai

from gemma_tools.engines.answers import Size, response_hook
from gemma_tools.engines.background import Tasks
from gemma_tools.engines.base import Cancellation, Generation
from gemma_tools.engines.faults import not_understood, transport_fault
from gemma_tools.engines.refusals import refusal, unknown_fields, words_of
from gemma_tools.engines.remote import CONNECT_TIMEOUT, FRESH, P, Patience, Remote, through_proxy
from gemma_tools.errors import (
    ContextExceeded,
    EngineError,
    EngineProtocolError,
    EngineRejected,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)

ABSENT = frozenset({400, 401, 403, 405, 501})
"""Statuses of an endpoint that is not available; a 404 is a `ModelNotFound`."""


class OpenAIServer:
    """The server whose `/v1` is at `url`, for the engine called `engine`."""

    def __init__(self, engine: str, url: str, api_key: str | None, patience: Patience, size: Size) -> None:
        silence, where = openai.Timeout(None, connect=CONNECT_TIMEOUT), f"the server at {url}"
        self.url = url
        self.client = openai.AsyncOpenAI(
            base_url=url,
            api_key=api_key or "none",
            max_retries=0,
            default_headers=FRESH,
            timeout=silence,
            http_client=openai.DefaultAsyncHttpxClient(
                timeout=silence,
                trust_env=through_proxy(url),
                follow_redirects=False,
                event_hooks={"response": [response_hook(size, where)]},
            ),
        )
        self._tasks = Tasks()
        close = partial(self._tasks.close, self.client.close)
        self._remote = Remote(engine, patience, partial(fault_of, where), close)

    def play(
        self, source: Callable[[], AsyncGenerator[P | Generation, None]], cancel: Cancellation | None
    ) -> Generator[P, None, Generation]:
        """Yield the chunks of `source()`, which is called again for each attempt: see `Remote.play`."""
        return self._remote.play(partial(self._tasks.stream, source), cancel)

    def small(self, ask: Callable[[], Awaitable[object]]) -> Any:
        """The answer to a small request.

        Raises:
            EngineError: the request failed.
        """

        async def source() -> AsyncGenerator[Any, None]:
            yield await ask()

        [answer] = self._remote.call(lambda bounds: list(self._tasks.stream(source, bounds)))
        return answer

    @property
    def root(self) -> str:
        """The address without its `/v1`."""
        return self.url.removesuffix("/v1")

    def context_length(self, model: str) -> int | None:
        """The context of `model` in tokens, if `/v1/models` reports it: vLLM, SGLang, Ray Serve, OpenRouter and Together do.

        Raises:
            EngineError: the server cannot be asked.
        """
        try:
            models: Any = self.small(lambda: self.client.get("/models", cast_to=object))
            listed = models["data"] if isinstance(models, Mapping) else models
            known: Any = next((one for one in listed if one["id"] == model), {})
            told = (known.get("metadata") or {}).get("max_request_context_length")
            length = known.get("max_model_len") or known.get("context_length") or told
        except EngineRejected as error:
            if error.status not in ABSENT:
                raise
            return None
        except (ModelNotFound, EngineProtocolError, LookupError, TypeError, AttributeError):
            return None
        return length if isinstance(length, int) else None

    def close(self) -> None:
        """Stop running requests, and close the connections."""
        self._remote.close()


def fault_of(where: str, error: Exception) -> EngineError:
    """The error for an exception of the client."""
    if isinstance(error, openai.APIStatusError):
        return refusal(error.status_code, error_body(error), where, error.response.headers)
    if isinstance(error, openai.APIConnectionError) and isinstance(error.__cause__, EngineError):
        return error.__cause__
    if isinstance(error, openai.APIConnectionError) and error.__cause__:
        return transport_fault(error.__cause__, where) or EngineUnavailable(f"{where}: {error}")
    if isinstance(error, openai.APIError):  # an error in the stream of an answer
        body = error_body(error)
        dead = "EngineCore encountered an issue" in words_of(
            body
        )  # the message of vLLM's front end after its engine process has ended
        return EngineUnavailable(f"{where}: {words_of(body)}") if dead else refusal(None, body, where)
    return transport_fault(error, where) or not_understood(error, where)


def error_body(error: openai.APIError) -> Any:
    """The server's message: an object if it is one, else text. Gemini puts its object into a list."""
    body: Any = error.body
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        body = body["error"]
    if not body and isinstance(error, openai.APIStatusError):
        body = error.response.text
    return body or error.message


def refused_setting(error: openai.APIError, settings: Mapping[str, str]) -> InvalidRequest | None:
    """The error if a server names a setting that it does not support, or whose value it refuses; None otherwise.

    `settings` are those that were sent, under the names of `Sampling`.
    """
    body = error_body(error)
    named = {error.param, *unknown_fields(words_of(body))}
    name = next((name for name, wire in settings.items() if wire in named), None)
    if name is None or isinstance(refusal(400, body, ""), ContextExceeded):
        return None
    return InvalidRequest(f"the server does not support it: {words_of(body)}", param=name, code="unsupported_value")


def scored(token: str, logprob: float | None) -> dict[str, Any]:
    """A token and its log probability in OpenAI's format."""
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def chat_logprobs(content: Any) -> list[Mapping[str, Any]]:
    """The entries of `logprobs.content`."""
    return [{**_entry(e), "top_logprobs": [_entry(other) for other in e["top_logprobs"] or ()]} for e in content]


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    return scored(entry["token"], entry["logprob"])
