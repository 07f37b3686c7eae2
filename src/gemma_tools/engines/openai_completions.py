"""Servers with OpenAI's `/v1/completions`, with the openai client: vLLM, SGLang, LM Studio, mlx-lm, llama-server and others.

The endpoint is common, the rest differs: the names of settings, whether the server adds a BOS to the prompt, and how it keeps
special tokens in the text. That is data here, one `Profile` per server.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import openai

from gemma_tools.engines.answers import MAX_ANSWER_BYTES, MAX_LINE_BYTES, Size
from gemma_tools.engines.base import (
    GRAMMARS,
    Cancellation,
    Capabilities,
    Engine,
    Generation,
    GenerationRequest,
    Pieces,
    Usage,
)
from gemma_tools.engines.faults import refuse_half_characters
from gemma_tools.engines.longer import BY_SERVER
from gemma_tools.engines.notations import Notations
from gemma_tools.engines.openai_chat import OpenAIChatEngine
from gemma_tools.engines.openai_client import ABSENT, OpenAIServer, chat_logprobs, refused_setting, scored
from gemma_tools.engines.probe import Probe
from gemma_tools.engines.remote import Patience, checked_url
from gemma_tools.engines.stopping import until
from gemma_tools.errors import (
    EngineProtocolError,
    EngineRejected,
    InvalidRequest,
    ModelNotFound,
)
from gemma_tools.generators import Returning
from gemma_tools.prompt import Prompt, TextGuard, Tokenizer

logger = logging.getLogger("gemma_tools")

_COMMON = {
    name: name
    for name in (
        "max_tokens",
        "temperature",
        "top_p",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The details of one server's `/v1/completions`.

    `settings` maps the fields of `Sampling` to the server's names; `body` is sent with every request; `constraints` says how
    each form of `Constraint` is sent, the first one to try in front; `controls` names the field that lists the special tokens
    to keep in the text.
    """

    settings: Mapping[str, str]
    body: Mapping[str, Any] = field(default_factory=dict)
    constraints: Mapping[Any, Callable[[Any], Mapping[str, Any]]] = field(default_factory=dict)
    controls: str | None = None
    token_ids: bool = False
    """It returns the ids of its output if it is asked with `return_token_ids`, and supports `stop_token_ids`."""
    adds_bos: bool = True
    """It adds the BOS to a prompt itself."""
    finds_stop: bool = True
    """It finds stop sequences at any position; False: only whole tokens, and others damage its text."""
    most_stops: int | None = None
    """The maximum number of stop sequences that it accepts; None: no limit."""
    prompt_logprobs: bool = False
    """With `echo` and `return_token_ids`, it returns the log probabilities of the prompt before those of the answer."""
    counts: bool = False
    """It has vLLM's `/tokenize` and `/detokenize`."""
    media_by_chat: bool = False
    """It takes images and audio, but only through its chat endpoint."""


_KEEP_MARKERS = {"skip_special_tokens": False, "spaces_between_special_tokens": False}


def _structured(grammar: str) -> Mapping[str, Any]:
    return {"structured_outputs": {"grammar": grammar}}


_STRIPPED = (
    "The server at %s removes special tokens from the text, so tool calls can be read only from their plain text. "
    "Choose the server's profile with server=..., or configure the server to keep special tokens."
)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "other": Profile(settings=_COMMON),
        "vllm": Profile(
            settings={**_COMMON, "top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"},
            body={**_KEEP_MARKERS, "add_special_tokens": False},
            constraints={
                "ebnf": _structured,
                "lark": _structured,
                "json_schema": lambda schema: {"structured_outputs": {"json": schema}},
            },
            token_ids=True,
            adds_bos=False,
            most_stops=4,
            prompt_logprobs=True,
            counts=True,
            media_by_chat=True,
        ),
        "sglang": Profile(
            settings={**_COMMON, "top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"},
            body=_KEEP_MARKERS,
            constraints={
                "ebnf": lambda grammar: {"ebnf": grammar},
                "json_schema": lambda schema: {"json_schema": json.dumps(schema)},
            },
            media_by_chat=True,
        ),
        "lm-studio": Profile(settings={**_COMMON, "top_k": "top_k", "repeat_penalty": "repeat_penalty"}),
        "mlx-lm": Profile(
            settings={
                **{name: name for name in _COMMON if name != "logprobs"},  # a switch there, not a number
                "top_k": "top_k",
                "min_p": "min_p",
                "repeat_penalty": "repetition_penalty",
            },
            finds_stop=False,
        ),
        "transformers-serve": Profile(settings={name: name for name in ("max_tokens", "temperature", "top_p", "seed")}),
        "llama-server": Profile(
            settings={**_COMMON, "top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty"},
            body={"cache_prompt": True},
            constraints={
                "gbnf": lambda grammar: {"grammar": grammar},
                "json_schema": lambda schema: {"json_schema": schema},
            },
            controls="preserved_tokens",
        ),
    }
)
"""The servers with their own profile, and "other" for all the rest."""


class OpenAICompletionsEngine(Engine):
    """Runs prompts on the model called `model` of a server whose `/v1` is at `url`.

    `server` names a profile. `max_tokens` is the limit for requests without one: most of these servers stop after
    16 by default. `timeout` is the longest silence in seconds, `max_retries` how often a request is repeated before
    any data has arrived. An answer is refused if one of its lines is longer than `max_line_bytes`, or all of it
    longer than `max_answer_bytes`.

    With `probe`, tiny requests before the first prompt find out whether the server adds a BOS (instead of trusting the
    profile), and whether it removes special tokens from the text. If it does, a warning says so: then only bare calls
    (`call:name{...}`) can be read.
    """

    name = "openai"

    def __init__(
        self,
        model: str,
        *,
        url: str,
        server: str = "other",
        api_key: str | None = None,
        max_tokens: int = 1024,
        timeout: float | None = None,
        max_retries: int = 3,
        probe: bool = True,
        max_line_bytes: int = MAX_LINE_BYTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        if not model:
            raise InvalidRequest("must be a model of the server", param="model")
        if server not in PROFILES:
            raise InvalidRequest(f"{server!r} has no profile; known profiles: {', '.join(PROFILES)}", param="server")
        self._model = model
        self._profile = PROFILES[server]
        self._longer = BY_SERVER.get(server, "")
        self._max_tokens = max_tokens
        size = Size(max_line_bytes, max_answer_bytes)
        self._server = OpenAIServer(self.name, checked_url(url), api_key, Patience(timeout, max_retries), size)
        self._for_media = partial(
            OpenAIChatEngine,
            model,
            url=url,
            server=server,
            api_key=api_key,
            max_tokens=max_tokens,
            timeout=timeout,
            max_retries=max_retries,
            max_line_bytes=max_line_bytes,
            max_answer_bytes=max_answer_bytes,
        )
        self._probe = Probe(lambda: logger.warning(_STRIPPED, self._server.url)) if probe else None
        self._notations = Notations(tuple(form for form in self._profile.constraints if form in GRAMMARS))
        self._counts = self._profile.counts

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities in the server's profile, and the grammars that it supports as far as that is known."""
        profile = self._profile
        constraints = frozenset(f for f in profile.constraints if f not in GRAMMARS or f in self._notations.likely)
        settings = frozenset(profile.settings) | ({"prompt_logprobs"} if profile.prompt_logprobs else set())
        return Capabilities(settings=settings, constraints=constraints, token_ids=profile.token_ids)

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """See `Engine.generate`."""
        refuse_half_characters(request.prompt.text)
        self.refuse_unsupported(request)
        if self._probe and not request.tokenizer:
            self._probe.learn(request.prompt, partial(self._play, cancel=cancel), cancel)
        return (yield from self._notations.generate(request, partial(self._play, cancel=cancel)))

    @property
    def context_length(self) -> int | None:
        """The context in tokens from `/v1/models`: vLLM and SGLang report it, and vLLM under Ray Serve; None for others.

        Raises:
            EngineError: the server cannot be asked.
        """
        return self._server.context_length(self._model)

    @property
    def longer_context(self) -> str:
        """How to restart the server with a larger context."""
        return self._longer

    def count_tokens(self, text: str) -> int | None:
        """The number of tokens in `text`, including special tokens; None if the server does not count.

        Raises:
            EngineError: the server cannot be asked.
        """
        ids = self.encode(text)
        return None if ids is None else len(ids)

    def encode(self, text: str) -> list[int] | None:
        """The token ids of `text`, including special tokens. As `count_tokens`."""
        asked = {"prompt": text.encode(errors="replace").decode(), "add_special_tokens": False}
        ids: list[int] | None = self._tokenizer("tokenize", asked, "tokens")
        return ids

    def decode(self, ids: Sequence[int]) -> str | None:
        """The text of token ids. As `count_tokens`."""
        text: str | None = self._tokenizer("detokenize", {"tokens": list(ids)}, "prompt")
        return text

    @cached_property
    def for_media(self) -> Engine | None:
        """The server's chat endpoint, if images and audio must go through it."""
        return self._for_media() if self._profile.media_by_chat else None

    def close(self) -> None:
        """Stop this engine's requests, and close the connections. The server continues."""
        self._server.close()
        if (chat := self.__dict__.get("for_media")) is not None:
            chat.close()

    @property
    def _adds_bos(self) -> bool:
        """Whether the server adds a BOS to a prompt: as the probe found, else as the profile says."""
        found = self._probe.adds_bos if self._probe else None
        return self._profile.adds_bos if found is None else found

    def _play(self, request: GenerationRequest, *, cancel: Cancellation | None) -> Pieces:
        # Not every server finds a stop sequence that begins or ends within a token, so it is also searched here.
        asked = partial(self._ask, request, self._prompt(request))
        with Returning(self._server.play(asked, cancel)) as pieces:
            rest = iter(pieces)
            stopped = yield from until(rest, request.stops)
            reads_on = request.tokenizer or request.sampling.prompt_logprobs
            if stopped and not (reads_on and self._sends_all(request.stops)):
                return Generation(stopped=request.own_stop(stopped))
            for _ in rest:
                pass  # ids also reach beyond the stop sequence that the server has found; it reports how it ended
        return replace(pieces.value, stopped=request.own_stop(stopped)) if stopped else pieces.value

    def _sends_all(self, stops: tuple[str, ...]) -> bool:
        return self._profile.most_stops is None or len(stops) <= self._profile.most_stops

    def _tokenizer(self, path: str, body: Mapping[str, Any], field: str) -> Any:
        """The answer of vLLM's tokenizer, which is not under `/v1`; None if there is none, as with some gateways."""
        if not self._counts:
            return None
        address, body = f"{self._server.root}/{path}", {"model": self._model, **body}
        try:
            answer: Any = self._server.small(lambda: self._server.client.post(address, cast_to=object, body=body))
            return answer[field]
        except EngineRejected as error:
            if error.status not in ABSENT:
                raise
        except (ModelNotFound, EngineProtocolError, LookupError, TypeError):
            pass
        self._counts = False
        return None

    def _prompt(self, request: GenerationRequest) -> dict[str, Any]:
        """The prompt and the stop sequences, in the server's form."""
        prompt, tokenizer = request.prompt, request.tokenizer
        most = self._profile.most_stops
        if tokenizer is None:
            stops = request.stops if self._profile.finds_stop else prompt.stop
            return {"prompt": prompt.without_bos if self._adds_bos else prompt.text, "stop": list(stops[:most]) or None}
        controls = prompt.control_ids(tokenizer)
        ids = {
            "stop_token_ids": [controls[stop] for stop in request.stops if stop in controls],
            "return_token_ids": True,
        }
        words = [stop for stop in request.stops if stop not in controls]
        return {"prompt": prompt.token_ids(tokenizer), "stop": words[:most] or None, "extra_body": ids}

    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        profile, constraint = self._profile, request.constraint
        body = {"max_tokens": self._max_tokens, **profile.body, **request.sampling.extra}
        if profile.controls:
            body[profile.controls] = list(request.prompt.controls)
        for name, wire in profile.settings.items():
            if (value := getattr(request.sampling, name)) is not None:
                body[wire] = value
        if request.sampling.prompt_logprobs:
            body |= {"echo": True, "return_token_ids": True}  # with the latter the echo is only in the log probabilities
        for form, send in profile.constraints.items():
            if constraint and (wanted := getattr(constraint, form)) is not None:
                return {**body, **send(wanted)}
        return body

    async def _ask(self, request: GenerationRequest, prompt: Mapping[str, Any]) -> AsyncGenerator[str | Generation, None]:
        finish, stopped, usage, before = None, None, Usage(), 0
        logprobs: list[Mapping[str, Any]] = []
        read = _IdReader(request.prompt, request.tokenizer, request.on_ids) if request.tokenizer else None
        try:
            stream = await self._server.client.completions.create(
                model=self._model,
                **{**prompt, "extra_body": {**self._body(request), **prompt.get("extra_body", {})}},
                stream=True,
                stream_options={"include_usage": True},
            )
        except openai.BadRequestError as error:
            sent = {name: wire for name, wire in self._profile.settings.items() if getattr(request.sampling, name) is not None}
            raise refused_setting(error, sent) or error from None
        async with stream as chunks:
            async for chunk in chunks:
                if chunk.usage:
                    cached = getattr(chunk.usage.prompt_tokens_details, "cached_tokens", None)
                    usage = Usage(
                        prompt_tokens=chunk.usage.prompt_tokens,
                        completion_tokens=chunk.usage.completion_tokens,
                        cached_tokens=cached,
                    )
                for choice in chunk.choices:
                    finish = choice.finish_reason or finish
                    stopped = request.own_stop(getattr(choice, "stop_reason", None)) or stopped  # vLLM reports it
                    if request.sampling.prompt_logprobs:
                        before = before or len(getattr(choice, "prompt_token_ids", None) or ())
                    logprobs += _logprobs(choice.logprobs)
                    yield read.feed(choice) if read else choice.text
        if read:
            yield read.close()
        if request.sampling.prompt_logprobs and not before:
            raise EngineProtocolError("the server does not return the token ids of a prompt; a newer vLLM does")
        if finish:
            yield Generation(
                finish="length" if finish == "length" else "stop",
                usage=usage,
                stopped=stopped,
                logprobs=tuple(logprobs[before:]),
                prompt_logprobs=tuple(logprobs[:before]),
            )


class _IdReader:
    """The text of an answer, made from its ids: they are complete, even if the server hides special tokens in its text."""

    def __init__(self, prompt: Prompt, tokenizer: Tokenizer, on_ids: Callable[[Sequence[int]], object] | None) -> None:
        self._on_ids = on_ids
        self._decoder = tokenizer.decoder()
        self._guard = TextGuard(prompt.control_ids(tokenizer))

    def feed(self, choice: Any) -> str:
        ids = getattr(choice, "token_ids", None)
        if ids is None and choice.text:
            raise EngineProtocolError("the server does not return token ids: use a newer vLLM, or leave out tokenizer=...")
        if ids and self._on_ids:
            self._on_ids(ids)
        return self._guard.feed(self._decoder.feed(ids or ()))

    def close(self) -> str:
        return self._guard.feed(self._decoder.close()) + self._guard.close()


def _logprobs(given: Any) -> list[Mapping[str, Any]]:
    """The entries of one choice in the format of chat completions.

    OpenAI's completions have parallel lists; llama-server uses the chat format here, too.
    """
    if given is None:
        return []
    if content := (given.model_extra or {}).get("content"):
        return chat_logprobs(content)
    alternatives = given.top_logprobs or [None] * len(given.tokens)
    return [
        {**scored(token, logprob), "top_logprobs": [scored(*other) for other in (top or {}).items()]}
        for token, logprob, top in zip(given.tokens, given.token_logprobs, alternatives, strict=True)
    ]


vllm = partial(OpenAICompletionsEngine, server="vllm")
sglang = partial(OpenAICompletionsEngine, server="sglang")
lm_studio = partial(OpenAICompletionsEngine, server="lm-studio")
mlx_lm = partial(OpenAICompletionsEngine, server="mlx-lm")
