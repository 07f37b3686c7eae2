"""Ollama, with its own Python client: raw prompts to `/api/generate`, or its native `/api/chat`."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import httpx
import ollama
from pydantic import ValidationError

from gemma_tools.engines.answers import MAX_ANSWER_BYTES, MAX_LINE_BYTES, Size, response_hook
from gemma_tools.engines.background import Tasks
from gemma_tools.engines.base import (
    Cancellation,
    Capabilities,
    Chat,
    ChatEngine,
    ChatPiece,
    Generation,
    GenerationRequest,
    Pieces,
    Usage,
)
from gemma_tools.engines.faults import not_understood, refuse_half_characters, status_fault, transport_fault
from gemma_tools.engines.longer import BY_OPTION
from gemma_tools.engines.numbers import check_least
from gemma_tools.engines.probe import inner_marker, shows_markers
from gemma_tools.engines.refusals import error_in, words_of
from gemma_tools.engines.remote import ANY_NUMBER, CONNECT_TIMEOUT, FRESH, Patience, Remote, checked_url, through_proxy
from gemma_tools.engines.turns import ChatTurn
from gemma_tools.errors import EngineError, EngineRejected, EngineUnavailable, InvalidRequest
from gemma_tools.log import logger
from gemma_tools.prompt import BOS, MEDIA_CONTROLS, WORD_JOINER, Prompt

_OPTIONS = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
"""Settings, and their names in Ollama's `options`."""

_EXTRA = (frozenset(ollama.Options.model_fields) | {"keep_alive"}) - frozenset(_OPTIONS.values()) - {"stop"}

_RAW = {"raw": True, "truncate": False, "shift": False, "think": False}
"""Fields of every raw prompt: it is not cut to fit the context, the answer does not shift it out, and the answer is not
searched for thoughts, which would be in a separate field. Servers that do not know a field ignore it.
"""

_REPEATS = 30
"""After one more equal token than this Ollama stops an answer; since September 2026 it waits for 100, and says so."""

_CAPABILITIES = Capabilities(
    settings=frozenset(_OPTIONS) | {"logprobs"},
    constraints=frozenset({"json_schema"}),
    images=True,
    chat=frozenset({"native"}),
)


_START = "`ollama serve` starts it, and url=..., --url or OLLAMA_HOST sets another address"


def default_url() -> str:
    """The address of Ollama: OLLAMA_API_BASE_URL or OLLAMA_HOST from the environment, else port 11434 of this machine."""
    return os.environ.get("OLLAMA_API_BASE_URL") or os.environ.get("OLLAMA_HOST") or "http://localhost:11434"


def _host(url: str) -> str:
    """`url` for Ollama's client. OLLAMA_HOST may be an address to listen on; a `/v1` is for other clients."""
    host = f"127.0.0.1{url}" if url.startswith(":") else url
    checked_url(host)
    return host.rstrip("/").removesuffix("/v1").replace("0.0.0.0", "127.0.0.1")


class OllamaEngine(ChatEngine):
    """Runs prompts on the model called `model` of the Ollama at `url` (default: see `default_url`).

    `timeout` is the longest silence in seconds, by default MODEL_TIMEOUT or 180; loading the model counts. `max_retries` is how
    often a request is repeated before any data has arrived. `context` is Ollama's `num_ctx`. A prompt that is longer is an
    error; a server that does not know the field `truncate` silently cuts it. An answer is refused if one of its lines is longer
    than `max_line_bytes`, or all of it longer than `max_answer_bytes`. Besides Ollama's options, `Sampling.extra` takes
    `keep_alive`: how long the model stays loaded.
    """

    name = "ollama"

    def __init__(
        self,
        model: str,
        *,
        url: str | None = None,
        timeout: float | None = None,
        max_retries: int = 3,
        context: int | None = None,
        max_line_bytes: int = MAX_LINE_BYTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        check_least(1, context=context)
        if not model:
            raise InvalidRequest("must be a model that Ollama has", param="model")
        self._model = model
        self._url = _host(url or default_url())
        self._context = context
        where = f"Ollama at {self._url}"
        self._client = _Client(
            where,
            model,
            host=self._url,
            headers=FRESH,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),
            limits=ANY_NUMBER,
            trust_env=through_proxy(checked_url(self._url)),
            follow_redirects=False,
            event_hooks={"response": [response_hook(Size(max_line_bytes, max_answer_bytes), where)]},
        )
        fault = partial(_fault, where)
        self._tasks = Tasks()
        self._remote = Remote(self.name, Patience(timeout, max_retries), fault, partial(self._tasks.close, self._client.close))
        self._shows_markers: bool | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What this engine supports."""
        return _CAPABILITIES

    @property
    def context_length(self) -> int | None:
        """`context`, if it was set; Ollama does not report its default."""
        return self._context

    @property
    def longer_context(self) -> str:
        """Its option, under both names."""
        return f"{BY_OPTION} (its num_ctx)"

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """See `Engine.generate`."""
        refuse_half_characters(request.prompt.text)
        body = {
            "prompt": _text(request.prompt),
            "images": [b64encode(part["data"]).decode() for part in request.prompt.media],
            **_RAW,
            **self._body(request, request.stops),
        }
        return self._remote.play(partial(self._tasks.stream, partial(self._ask, body)), cancel)

    def chat(
        self, request: GenerationRequest, chat: Chat, *, cancel: Cancellation | None = None
    ) -> Generator[ChatPiece, None, Generation]:
        """Answer `chat` with `/api/chat`, where Ollama writes the prompt and reads the calls itself.

        It is for models whose special tokens Ollama removes from raw text (`shows_markers` finds out). Calls arrive whole, no
        call can be forced, and what Ollama's own parser does not read is lost.

        Raises:
            InvalidRequest, EngineError: as `generate`.
        """
        messages = [_message(turn) for turn in chat.turns]
        body = {"messages": messages, "tools": chat.tools, "think": chat.think, **self._body(request, request.stop)}
        return self._remote.play(partial(self._tasks.stream, partial(self._ask_chat, body)), cancel)

    def shows_markers(self, prompt: Prompt) -> bool | None:
        """Whether the model's special tokens reach the text of `generate`, tested with a tiny prompt, once.

        Ollama has no setting to preserve tokens, so those of type CONTROL vanish. None: unknown, `prompt` has none
        to test with.

        Raises:
            EngineError: Ollama failed.
        """
        if self._shows_markers is None and (marker := inner_marker(prompt)):
            self._shows_markers = shows_markers(self.generate, prompt, marker)
        return self._shows_markers

    def close(self) -> None:
        """Stop this engine's requests, and close its connections. Ollama continues."""
        self._remote.close()

    def _body(self, request: GenerationRequest, stop: Sequence[str]) -> dict[str, Any]:
        """The common part of `/api/generate` and `/api/chat`."""
        self.refuse_unsupported(request)
        sampling = request.sampling
        options = dict(sampling.extra)
        if unknown := sorted(options.keys() - _EXTRA):
            raise InvalidRequest(f"not an option of Ollama; known options: {', '.join(sorted(_EXTRA))}", param=unknown[0])
        keep_alive = options.pop("keep_alive", None)
        options |= {field: value for name, field in _OPTIONS.items() if (value := getattr(sampling, name)) is not None}
        if self._context is not None:
            options.setdefault("num_ctx", self._context)
        try:
            ollama.Options(**options)
        except ValidationError as error:
            fault = error.errors()[0]
            raise InvalidRequest(fault["msg"], param=str(fault["loc"][0])) from None
        body: dict[str, Any] = {"model": self._model, "stream": True, "options": {**options, "stop": list(stop)}}
        if request.constraint:
            body["format"] = request.constraint.json_schema
        if keep_alive is not None:
            body["keep_alive"] = keep_alive
        if sampling.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
        return body

    async def _ask(self, body: Mapping[str, Any]) -> AsyncGenerator[str | Generation, None]:
        logprobs: list[Mapping[str, Any]] = []
        last, times, done = "", 0, False
        # The client's `generate` has no argument for some of these fields.
        parts: AsyncIterator[ollama.GenerateResponse] = await self._client._request(
            ollama.GenerateResponse, "POST", "/api/generate", json=body, stream=True
        )
        async with aclosing(parts) as answer:  # type: ignore[type-var]  # it is a generator
            async for part in answer:
                logprobs += map(_logprob, part.get("logprobs") or ())
                text, done = part.response or "", bool(part.done)
                last, times = (last, times + 1) if text.strip() == last else (text.strip(), 1)
                yield text
                if done:
                    if body.get("logprobs") and not logprobs and part.eval_count:
                        logger.warning("Ollama at %s answered without the requested logprobs", self._url)
                    yield _generation(part, tuple(logprobs))
        if not done and times > _REPEATS:
            raise EngineRejected(f"Ollama at {self._url} stopped the answer, because the model repeated {last!r} without end")

    async def _ask_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[ChatPiece | Generation, None]:
        parts: AsyncIterator[ollama.ChatResponse] = await self._client.chat(**body)
        async with aclosing(parts) as answer:  # type: ignore[type-var]  # it is a generator
            async for part in answer:
                said = part.message
                calls = tuple((call.function.name, call.function.arguments) for call in said.tool_calls or ())
                if said.content or said.thinking or calls:
                    yield ChatPiece(content=said.content or "", reasoning=said.thinking or "", calls=calls)
                if part.done:
                    yield _generation(part, ())


class _Client(ollama.AsyncClient):
    """Ollama's client, but it cuts lines at `\\n` only, and gives errors of every shape with the server's own words."""

    def __init__(self, where: str, model: str, **options: Any) -> None:
        super().__init__(**options)
        self._where = where
        self._model = model

    async def _request(self, cls: type[Any], *args: Any, stream: bool = False, **kwargs: Any) -> Any:
        return self._parts(cls, *args, **kwargs)

    async def _parts(self, kind: type[Any], *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        async with self._client.stream(*args, **kwargs) as response:
            if response.status_code != 200:
                said = words_of(error_in((await response.aread()).decode(errors="replace")))
                if response.status_code == 404 and "not found" in said:
                    said = f"{said}; `ollama pull {self._model}` fetches it"
                raise status_fault(response.status_code, said, self._where, response.headers)
            async for whole in response.aiter_raw():  # in whole lines: see `response_hook`
                for line in filter(bytes.strip, whole.split(b"\n")):
                    part = json.loads(line)
                    if error := part.get("error"):
                        raise EngineRejected(f"{self._where}: {words_of(error)}")
                    yield kind(**part)


def _message(turn: ChatTurn) -> dict[str, Any]:
    """A message in Ollama's format."""
    message: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if turn.media:
        message["images"] = [part["data"] for part in turn.media]
    if turn.calls:
        message["tool_calls"] = [{"function": {"name": call.name, "arguments": dict(call.arguments)}} for call in turn.calls]
    if turn.reasoning:
        message["thinking"] = turn.reasoning
    if turn.role == "tool":
        message["tool_name"] = turn.name
    return message


def _fault(where: str, error: Exception) -> EngineError:
    found = transport_fault(error, where) or not_understood(error, where)
    absent = isinstance(found, EngineUnavailable) and str(found).startswith("no connection")
    return EngineUnavailable(f"{found}; {_START}") if absent else found


def _text(prompt: Prompt) -> str:
    """The prompt for Ollama.

    Ollama adds the BOS itself, and puts an image where `[img-N]` is, so text that looks like that is broken.
    """
    if not prompt.media and "[img-" not in prompt.marked:
        return prompt.without_bos
    numbers = iter(range(len(prompt.media)))
    texts = (
        (f"[img-{next(numbers)}]" if s.text in MEDIA_CONTROLS else s.text)
        if s.control
        else prompt.guard(s.text).replace("[img-", f"[{WORD_JOINER}img-")
        for s in prompt.segments
    )
    return "".join(texts).removeprefix(BOS)


def _logprob(entry: Any) -> Mapping[str, Any]:
    return {**_token(entry), "top_logprobs": [_token(other) for other in entry.top_logprobs or ()]}


def _token(entry: Any) -> dict[str, Any]:
    return {"token": entry.token, "logprob": entry.logprob, "bytes": list(entry.token.encode())}


def _generation(last: Any, logprobs: tuple[Mapping[str, Any], ...]) -> Generation:
    return Generation(
        finish="length" if last.done_reason == "length" else "stop",
        usage=Usage(prompt_tokens=last.prompt_eval_count, completion_tokens=last.eval_count),
        logprobs=logprobs,
    )
