"""Chat-only endpoints: OpenAI's `/v1/chat/completions` with the openai client, at hosted providers and on servers.

Such an endpoint writes the prompt itself, so it gets messages: with the tools in their own field ("native"), or with the
tools described in the text of the messages ("prompted"). If an endpoint turns out not to support something, this is
remembered and removed from its `capabilities`. The facts about each provider are in `gemma_tools.engines.providers`.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal

import openai

from gemma_tools.engines.answers import MAX_ANSWER_BYTES, MAX_LINE_BYTES, Size
from gemma_tools.engines.base import (
    Cancellation,
    Capabilities,
    Chat,
    ChatEngine,
    ChatPiece,
    Generation,
    GenerationRequest,
    Usage,
)
from gemma_tools.engines.deltas import DeltaReader
from gemma_tools.engines.faults import refuse_half_characters
from gemma_tools.engines.longer import BY_SERVER
from gemma_tools.engines.numbers import check_least
from gemma_tools.engines.openai_client import OpenAIServer, chat_logprobs, error_body, refused_setting
from gemma_tools.engines.providers import PROVIDERS, Provider, model_name
from gemma_tools.engines.refusals import ENDED_BLOCKED, ENDED_WRONG, Feature, refused_feature, words_of
from gemma_tools.engines.remote import Patience, checked_url
from gemma_tools.engines.stopping import Watch
from gemma_tools.engines.turns import ChatTurn, TurnCall, TurnPart, folded
from gemma_tools.errors import AnswerBlocked, EngineError, EngineRejected, InvalidRequest
from gemma_tools.generators import Returning
from gemma_tools.log import logger

Way = Literal["auto", "native", "prompted"]

_ANY_OBJECT: Final = {"type": "object"}
_NOTHING: Final = ChatPiece()
_MENDED: Final[frozenset[Feature]] = frozenset({"system", "stream_options"})
"""Settings that may be refused and are then left out here; the caller handles everything else."""
_TEMPLATE: Final[Mapping[Feature, str]] = {"tools": "supports_tools", "system": "supports_system_role"}
_BRACES: Final = re.compile(r"\{(\w+)\}")


class OpenAIChatEngine(ChatEngine):
    """Uses the model called `model` through the chat endpoint whose `/v1` is at `url`, else at the provider's address.

    `server` names a provider or a kind of server; see `gemma_tools.engines.providers`. The key is `api_key`, else
    the environment variable of the provider, which is sent only to the provider's own address; for all other
    endpoints it is OPENAI_CHAT_API_KEY.

    `way` is how it gets tools: "native", "prompted", or "auto". "auto" is native until the endpoint refuses tools, or answers
    with only a call whose arguments it has damaged.
    `json_schema` says whether `response_format` enforces a schema; None uses what is known about the server.
    `max_tokens` is the limit for requests without one; `context` is the context in tokens, if the endpoint does not report it.
    `timeout`, `max_retries`, `max_line_bytes` and `max_answer_bytes` are the same as for the engine `openai`.
    """

    def __init__(
        self,
        model: str,
        *,
        url: str | None = None,
        server: str = "other",
        api_key: str | None = None,
        way: Way = "auto",
        json_schema: bool | None = None,
        max_tokens: int | None = None,
        context: int | None = None,
        timeout: float | None = None,
        max_retries: int = 3,
        max_line_bytes: int = MAX_LINE_BYTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        if not model:
            raise InvalidRequest("must be a model of the endpoint", param="model")
        check_least(1, context=context, max_tokens=max_tokens)
        if server not in PROVIDERS:
            raise InvalidRequest(f"{server!r} is not known; known providers: {', '.join(PROVIDERS)}", param="server")
        if way not in ("auto", "native", "prompted"):
            raise InvalidRequest(f"{way!r} is not one of 'auto', 'native', 'prompted'", param="way", code="invalid_option")
        provider = PROVIDERS[server]
        self.name = server if provider.url else "openai-chat"
        self._provider = provider
        self._longer = BY_SERVER.get(server, "")
        self._model = model_name(model, provider)
        self._way = way
        self._max_tokens = max_tokens
        self._context = context
        self._refused: set[Feature] = set()
        self._left_out: set[Feature] | None = None
        """What the server's chat template silently leaves out of a prompt; None if that is not known."""
        self._json_schema = provider.json_schema if json_schema is None else json_schema
        size = Size(max_line_bytes, max_answer_bytes)
        key = api_key or (None if url and provider.url else _key(provider, server))
        self._server = OpenAIServer(self.name, _address(provider, url), key, Patience(timeout, max_retries), size)

    @property
    def capabilities(self) -> Capabilities:
        """The provider's capabilities, without what the endpoint has refused."""
        refused = self._refused
        ways: dict[Way, set[Literal["native", "prompted"]]] = {
            "auto": {"prompted"} if "tools" in refused else {"native", "prompted"},
            "native": {"native"},
            "prompted": {"prompted"},
        }
        by_schema = self._json_schema and "json_schema" not in refused
        return Capabilities(
            settings=frozenset(self._provider.settings),
            constraints=frozenset({"json_schema"}) if by_schema else frozenset(),
            raw_prompt=False,
            images=True,
            audio=True,
            chat=frozenset(ways[self._way]),
            forces_calls="tool_choice" not in refused,
            thinks=bool(self._provider.thinking),
        )

    def chat(
        self, request: GenerationRequest, chat: Chat, *, cancel: Cancellation | None = None
    ) -> Generator[ChatPiece, None, Generation]:
        """See `ChatEngine.chat`. System text begins the first user message if the endpoint supports no system message."""
        self.refuse_unsupported(request)
        refuse_half_characters(*(turn.text for turn in chat.turns))
        if self._provider.tells_template and self._left_out is None:
            self._left_out = self._find_left_out()
            self._refused |= self._left_out or set()
        if chat.tools and "tools" in (self._left_out or ()):
            message = f"the chat template at {self._server.url} does not support tools: it would leave them out of the prompt"
            raise EngineRejected(message, engine=self.name)
        while True:
            known = self._refused & _MENDED
            try:
                return (yield from self._answered(request, chat, cancel))
            except EngineRejected:
                if self._refused & _MENDED == known:
                    raise

    @property
    def context_length(self) -> int | None:
        """The context in tokens: the configured one, else the one in the endpoint's list of models.

        Raises:
            EngineError: the endpoint cannot be asked.
        """
        return self._server.context_length(self._model) if self._context is None else self._context

    @property
    def longer_context(self) -> str:
        """How to restart the server with a larger context."""
        return self._longer

    def close(self) -> None:
        """Stop this engine's requests, and close its connections. The endpoint continues."""
        self._server.close()

    def _find_left_out(self) -> set[Feature] | None:
        """What the chat template leaves out. A failure is ignored here; the request itself will fail."""
        try:
            props = self._server.small(lambda: self._server.client.get(f"{self._server.root}/props", cast_to=object))
            can = props["chat_template_caps"]
            return {feature for feature, told in _TEMPLATE.items() if can.get(told) is False}
        except (EngineError, LookupError, TypeError, AttributeError):
            return None

    def _answered(
        self, request: GenerationRequest, chat: Chat, cancel: Cancellation | None
    ) -> Generator[ChatPiece, None, Generation]:
        """One question."""
        begun, unread = False, ChatPiece()
        asked = partial(self._ask, request, chat)
        with Returning(self._server.play(asked, cancel)) as pieces:
            for piece in pieces:
                unread = ChatPiece(unread=(*unread.unread, *piece.unread))
                if (shown := replace(piece, unread=())) != _NOTHING:
                    begun = True
                    yield shown
        ended: Generation = pieces.value
        if unread != _NOTHING:
            if self._way == "auto" and not begun and ended.finish == "stop":
                self._refused.add("tools")
                message = f"the server at {self._server.url} parses calls incorrectly"
                logger.info("%s; from now on the tools are described in the text", message)
                raise EngineRejected(message, engine=self.name)
            yield unread
        elif not begun and not chat.tools and self._took_calls(ended):
            count, where = ended.usage.completion_tokens, self._server.url
            message = (
                f"the server at {where} wrote {count} tokens and gave none of them: its parser takes calls out of the text,"
                " also where it was given no tools. Use way='native', or start the server without the parser"
            )
            raise EngineRejected(message, engine=self.name)
        return ended

    def _took_calls(self, ended: Generation) -> bool:
        """Whether an answer of which nothing came was more than its last token."""
        by_itself = ended.finish == "stop" and ended.stopped is None
        return self._provider.takes_calls and by_itself and (ended.usage.completion_tokens or 0) > 1

    def _body(self, request: GenerationRequest, chat: Chat) -> dict[str, Any]:
        """The fields besides the messages."""
        provider, sampling, constraint = self._provider, request.sampling, request.constraint
        # The prompt's own stop tokens are seen by a server only where it shows special tokens.
        stops = request.stops if provider.body.get("skip_special_tokens") is False else request.stop
        body: dict[str, Any] = {**provider.body, "stop": list(stops[: provider.most_stops]) or None}
        if self._max_tokens is not None:
            body["max_tokens"] = self._max_tokens
        for name, wire in provider.settings.items():
            if (value := getattr(sampling, name)) is not None:
                body[wire] = value
        if sampling.logprobs is not None:
            body["logprobs"] = True
        if chat.tools:
            body["tools"] = list(chat.tools)
        if chat.tools and chat.must_call:
            body["tool_choice"] = _choice(chat.tools)
        if constraint is not None and constraint.json_schema is not None:
            body |= {"response_format": _response_format(constraint.json_schema), **provider.bound}
        if chat.think is not None:
            body |= provider.thinking.get(chat.think, {})
        return {name: value for name, value in {**body, **sampling.extra}.items() if value is not None}

    async def _ask(self, request: GenerationRequest, chat: Chat) -> AsyncGenerator[ChatPiece | Generation, None]:
        turns = folded(tuple(chat.turns)) if "system" in self._refused else chat.turns
        body = {
            "model": self._model,
            "messages": _messages(turns, self._provider),
            "stream": True,
            **({} if "stream_options" in self._refused else {"stream_options": {"include_usage": True}}),
            **self._body(request, chat),
        }
        try:
            stream = await self._server.client.post(
                "/chat/completions", cast_to=object, body=body, stream=True, stream_cls=openai.AsyncStream[object]
            )
            async with stream as chunks:
                source = _whole(chunks) if "json" in chunks.response.headers.get("content-type", "") else chunks
                async for item in _read(source, request):
                    yield item
        except openai.APIError as error:
            if refused := self._refusal(error, body, request):
                raise refused from None
            raise

    def _refusal(self, error: openai.APIError, body: Mapping[str, Any], request: GenerationRequest) -> Exception | None:
        """The error for a refused feature or setting of the request; None for all other errors."""
        status = error.status_code if isinstance(error, openai.APIStatusError) else None
        feature = refused_feature(status, error_body(error), _features(body))
        if feature is not None:
            self._refused.add(feature)
            message = f"the server at {self._server.url} does not support {feature}: {words_of(error_body(error))}"
            logger.info("%s; this is remembered for later requests", message)
            return EngineRejected(message, status=status)
        settings = {name: w for name, w in self._provider.settings.items() if getattr(request.sampling, name) is not None}
        return refused_setting(error, settings) if status in (400, 422) else None


async def _read(chunks: AsyncIterable[Any], request: GenerationRequest) -> AsyncGenerator[ChatPiece | Generation, None]:
    """The pieces of an answer, and how it ended.

    Not every endpoint takes all stop sequences, so they are looked for here, too. The calls before one count.

    Raises:
        AnswerBlocked: a safety filter ended it.
    """
    reader, watch, finish, usage = DeltaReader(), Watch(request.stops), "", Usage()
    stopped: str | None = None
    logprobs: list[Mapping[str, Any]] = []
    async for chunk in chunks:
        if counts := chunk.get("usage"):
            details = counts.get("prompt_tokens_details") or {}
            usage = Usage(
                prompt_tokens=counts.get("prompt_tokens"),
                completion_tokens=counts.get("completion_tokens"),
                cached_tokens=details.get("cached_tokens"),
            )
        for choice in chunk.get("choices") or ():
            finish = choice.get("finish_reason") or finish
            stopped = request.own_stop(choice.get("stop_reason")) or stopped  # vLLM tells it
            logprobs += chat_logprobs((choice.get("logprobs") or {}).get("content") or ())
            piece = reader.feed(choice.get("delta") or choice.get("message") or {})
            if (shown := replace(piece, content=watch.feed(piece.content))) != _NOTHING:
                yield shown
        if watch.stopped:
            break
    last = reader.close()
    last = replace(last, content="" if watch.stopped else watch.feed(last.content) + watch.close())
    if last != _NOTHING:
        yield last
    if watch.stopped:
        yield Generation(stopped=request.own_stop(watch.stopped))
        return
    reason = finish.lower()
    if reason in ENDED_BLOCKED:
        raise AnswerBlocked(f"the provider's safety filter stopped the answer: {finish}")
    if reason in ENDED_WRONG:
        raise EngineRejected(f"the provider stopped the answer: {finish}")
    if finish:
        cut = reason in ("length", "max_tokens")
        yield Generation(finish="length" if cut else "stop", usage=usage, stopped=stopped, logprobs=tuple(logprobs))


async def _whole(stream: openai.AsyncStream[object]) -> AsyncGenerator[Any, None]:
    """The single answer of an endpoint that does not stream, or that refuses with a good status, as OpenRouter may.

    Raises:
        openai.APIError: it is an error.
    """
    answer = json.loads(await stream.response.aread())
    answer = answer[0] if isinstance(answer, list) and answer else answer
    if isinstance(error := answer.get("error"), Mapping):
        raise openai.APIError(str(error.get("message")), stream.response.request, body=error)
    yield answer


def _features(body: Mapping[str, Any]) -> frozenset[Feature]:
    """The features of a request that an endpoint may permanently refuse."""
    sent: dict[Feature, bool] = {
        "tools": "tools" in body,
        "tool_choice": "tool_choice" in body,
        "json_schema": "response_format" in body,
        "stream_options": "stream_options" in body,
        "system": any(message["role"] == "system" for message in body["messages"]),
    }
    return frozenset(feature for feature, is_sent in sent.items() if is_sent)


def _messages(turns: Sequence[ChatTurn], provider: Provider) -> list[dict[str, Any]]:
    """Messages in OpenAI's format."""
    messages = []
    for turn in turns:
        content = [_part(part) for part in turn.parts] if turn.media else turn.text
        message: dict[str, Any] = {"role": turn.role, "content": content}
        if turn.calls:
            message["content"] = content or None
            message["tool_calls"] = [_call(call) for call in turn.calls]
        if turn.reasoning and provider.thought:
            message[provider.thought] = turn.reasoning
        if turn.role == "tool":
            message |= {"tool_call_id": turn.call_id, "name": turn.name}
        messages.append(message)
    return messages


def _call(call: TurnCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
    return {"id": call.id, "type": "function", "function": function}


def _part(part: TurnPart) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    data = b64encode(part["data"]).decode()
    if part["type"] == "image":
        return {"type": "image_url", "image_url": {"url": f"data:{part['format']};base64,{data}"}}
    return {"type": "input_audio", "input_audio": {"data": data, "format": part["format"]}}


def _choice(tools: Sequence[Mapping[str, Any]]) -> Any:
    """The tool choice that forces a call of one of `tools`."""
    if len(tools) > 1:
        return "required"
    return {"type": "function", "function": {"name": tools[0]["function"]["name"]}}


def _response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    if schema == _ANY_OBJECT:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def _address(provider: Provider, url: str | None) -> str:
    """The address of the endpoint: `url`, else the provider's address with values from the environment."""
    if url is None and not provider.url:
        raise InvalidRequest("must be the address of the endpoint, with its /v1", param="url", code="missing")
    return checked_url(url or _BRACES.sub(lambda found: _environment(found[1], "url"), provider.url))


def _key(provider: Provider, server: str) -> str:
    """The provider's key from the environment."""
    found = next((key for name in provider.keys if (key := os.environ.get(name))), None)
    if found is None and provider.url:
        raise InvalidRequest(
            f"must be the key of {server}; you can also set {provider.keys[0]}", param="api_key", code="missing"
        )
    return found or ""


def _environment(name: str, param: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise InvalidRequest(f"set {name}, which is a part of the address, or pass url", param=param, code="missing")
    return value


gemini = partial(OpenAIChatEngine, server="gemini")
openrouter = partial(OpenAIChatEngine, server="openrouter")
huggingface = partial(OpenAIChatEngine, server="huggingface")
together = partial(OpenAIChatEngine, server="together")
cloudflare = partial(OpenAIChatEngine, server="cloudflare")
