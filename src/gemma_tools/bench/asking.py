"""One question to a model, asked in one way, and its answer."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from gemma_tools.backends.base import BaseModelBackend
from gemma_tools.backends.gemma import GemmaBackend
from gemma_tools.bench.cases import Case
from gemma_tools.bench.checking import MadeCall
from gemma_tools.engines.answers import MAX_ANSWER_BYTES, MAX_LINE_BYTES, Size
from gemma_tools.engines.base import Cancellation, Generation, Usage
from gemma_tools.engines.deltas import DeltaReader
from gemma_tools.engines.refusals import words_of
from gemma_tools.engines.remote import Patience, checked_url
from gemma_tools.errors import (
    EngineError,
    EngineProtocolError,
    EngineRejected,
    EngineUnavailable,
    GemmaToolsError,
    InvalidRequest,
    ModelNotFound,
    QuotaExceeded,
    UnusableAnswer,
)
from gemma_tools.formats.base import MOST_CALLS, Recovery
from gemma_tools.formats.family import GemmaFormat
from gemma_tools.generators import drain
from gemma_tools.jsontext import read_json, to_json
from gemma_tools.reply import Problem, Reply
from gemma_tools.validation import parse_request

if TYPE_CHECKING:
    from gemma_tools.engines.openai_client import OpenAIServer

WayName: TypeAlias = Literal["plain", "force", "strict", "thinking", "recovery"]
WAYS: Final[tuple[WayName, ...]] = ("plain", "force", "strict", "thinking", "recovery")
"""Unchanged; with a call required if one is expected; all tools strict; with thinking; the plain answers read at each level."""
LEVELS: Final[tuple[Recovery, ...]] = ("strict", "schema", "eager")

_PATIENCE: Final = Patience(timeout=600, retries=3)
"""For endpoints. Their answers are not streamed, so a long one is one long silence."""
_UNAUTHORIZED: Final = 401


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The answer to one question. If it could not be asked, `error` says why."""

    content: str | None = None
    reasoning: str | None = None
    calls: tuple[tuple[str, str], ...] = ()
    """Name and arguments, a JSON text, of each call."""
    finish: str = "stop"
    problems: tuple[Mapping[str, Any], ...] = ()
    """`kind`, `message` and `text` of each `Problem`, and `start` and `end` if it has a position in `text`."""
    text: str | None = None
    """The raw output; None if it is not known."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    error: str | None = None

    @property
    def made(self) -> tuple[MadeCall, ...]:
        """The calls with their arguments as Python values."""
        return tuple(MadeCall(name, _arguments(arguments)) for name, arguments in self.calls)

    def as_dict(self) -> dict[str, Any]:
        """The members that differ from their defaults."""
        return {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Said:
        """The reverse of `as_dict`."""
        calls = tuple((name, arguments) for name, arguments in row.get("calls", ()))
        return cls(**{**row, "calls": calls, "problems": tuple(row.get("problems", ()))})


def _arguments(text: str) -> Mapping[str, Any] | None:
    try:
        value = read_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How answers are sampled; greedy by default. The repeats of a case have the seeds `seed`, `seed + 1`, ..."""

    temperature: float = 0.0
    seed: int = 0
    max_tokens: int = 1024


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible chat endpoint. By default `model` is the first one that it lists."""

    url: str
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """The URL, with `/v1` if it has no path.

        Raises:
            InvalidRequest: it is not an HTTP address.
        """
        whole = checked_url(self.url)
        return whole if urlsplit(whole).path else f"{whole}/v1"

    @property
    def name(self) -> str:
        """Host and port, the path if it is not the usual one, and the model if it is given."""
        parts = urlsplit(self.address)
        place = parts.netloc.rpartition("@")[2] + parts.path.removesuffix("/v1")
        return f"{place} ({self.model})" if self.model else place

    @cached_property
    def _server(self) -> OpenAIServer:
        from gemma_tools.engines.openai_client import OpenAIServer

        return OpenAIServer("openai", self.address, self.api_key, _PATIENCE, Size(MAX_LINE_BYTES, MAX_ANSWER_BYTES))

    @cached_property
    def served(self) -> str:
        """The model to use.

        Raises:
            EngineUnavailable: none is named, and the endpoint lists none.
        """
        if self.model is not None:
            return self.model
        server = self._server
        try:
            return str(server.small(lambda: server.client.get("/models", cast_to=object))["data"][0]["id"])
        except EngineUnavailable:
            raise
        except (EngineError, LookupError, TypeError) as error:
            why = f" ({error})" if isinstance(error, EngineError) else ""
            message = f"{self.address} lists no models{why}: name the model, and the key if it requires one"
            raise EngineUnavailable(message, engine="openai") from None

    def ask(self, body: Mapping[str, Any], cancel: Cancellation) -> Said:
        """Send one request to the endpoint.

        Raises:
            EngineError: there is no answer, or it is not a chat completion.
        """
        server, found = self._server, Said(error="cancelled")
        asked = {key: value for key, value in body.items() if key != "enable_thinking"} | {"model": self.served}
        if body.get("enable_thinking"):
            asked["chat_template_kwargs"] = {"enable_thinking": True}

        async def source() -> AsyncGenerator[Generation, None]:
            nonlocal found
            found = _of_completion(await server.client.post("/chat/completions", cast_to=object, body=asked))
            yield Generation(usage=Usage(prompt_tokens=found.prompt_tokens, completion_tokens=found.completion_tokens))

        drain(server.play(source, cancel))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of asking: the changed fields of the request, or a level at which the plain answers are read again."""

    name: str
    kind: WayName = "plain"
    level: Recovery | None = None
    endpoint: Endpoint | None = None

    def body(self, case: Case, sampling: Sampling, repeat: int) -> dict[str, Any]:
        """The request for a case."""
        body: dict[str, Any] = {"messages": case.messages, "max_tokens": sampling.max_tokens}
        body["temperature"] = sampling.temperature
        if sampling.temperature:
            body["seed"] = sampling.seed + repeat
        if case.tools:
            body["tools"] = [_strict(tool) for tool in case.tools] if self.kind == "strict" else case.tools
        if self.kind == "force" and case.calls:
            body["tool_choice"] = "required"
        if self.kind == "thinking":
            body["enable_thinking"] = True
        return body


def _strict(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {**tool["function"], "strict": True}}


def chosen_ways(model: BaseModelBackend, names: Sequence[str], endpoint: Endpoint | None) -> tuple[Way, ...]:
    """The ways with these names, and the same at the endpoint, if there is one.

    Raises:
        InvalidRequest: there is no such way, or this model does not support it.
    """
    if isinstance(names, str):
        raise InvalidRequest(f"must be a list: [{names!r}]", param="ways", code="invalid_type")
    for name in names:
        if name not in WAYS:
            raise InvalidRequest(f"{name!r} is not one of {', '.join(WAYS)}", param="ways", code="invalid_option")
    format = model.format if isinstance(model, GemmaBackend) else None
    if "thinking" in names and format is not None and format.thought is None:
        raise InvalidRequest(f"{format.name} cannot think", param="ways", code="unsupported_value")
    kinds = [name for name in WAYS if name in names or name == "plain"]
    asked = [Way(name=kind, kind=kind) for kind in kinds if kind != "recovery"]
    read: list[Way] = []
    if "recovery" in kinds:
        if not isinstance(format, GemmaFormat):
            raise InvalidRequest(f"{model.model_type} has no recovery levels", param="ways", code="unsupported_value")
        read = [Way(name=f"recovery {level}", kind="recovery", level=level) for level in LEVELS]
    theirs = [replace(way, name=f"{way.name} at {endpoint.name}", endpoint=endpoint) for way in asked] if endpoint else []
    return (*asked, *read, *theirs)


def ask(model: BaseModelBackend, body: Mapping[str, Any], cancel: Cancellation) -> Said:
    """Send one request to the model.

    Raises:
        GemmaToolsError: the model cannot answer it.
    """
    request = parse_request({"model": model.model_type, **body})
    if not isinstance(model, GemmaBackend):
        return _of_completion(model.respond(request, cancel=cancel).model_dump())  # type: ignore[union-attr]
    try:
        [answer] = model.answers(request, cancel=cancel)
    except UnusableAnswer as unusable:
        return Said(text=unusable.text, problems=({"kind": "unusable", "message": str(unusable), "text": ""},))
    return Said(
        **_read(answer.reply),
        text=None if answer.by_chat else answer.text,
        prompt_tokens=answer.tokens.prompt,
        completion_tokens=answer.tokens.completion,
    )


def answered(work: Callable[[], Said]) -> Said:
    """The result of `work`, with its duration in seconds. If only this question cannot be answered, the result says why.

    Raises:
        EngineError: no question can be answered: the engine or the model is missing, the key is wrong, or the quota is used up.
    """
    begun = time.perf_counter()
    try:
        said = work()
    except (EngineUnavailable, ModelNotFound, QuotaExceeded):
        raise
    except GemmaToolsError as error:
        if isinstance(error, EngineRejected) and error.status == _UNAUTHORIZED:
            raise
        said = Said(error=str(error))
    return replace(said, seconds=round(time.perf_counter() - begun, 4))


def read_again(model: GemmaBackend, body: Mapping[str, Any], said: Said, level: Recovery) -> Said:
    """The raw output read at another level: nothing is generated."""
    if said.error is not None:
        return said
    if said.text is None:
        return Said(error="the engine itself read the calls, so there is no text to read again")
    assert isinstance(model.format, GemmaFormat)
    request = parse_request({"model": model.model_type, **body})
    prompt, format = model.prompt(request), replace(model.format, recovery=level)  # type: ignore[type-var]
    tokenizer = model.tokenizer
    guarded = prompt.guarded.union(prompt.control_ids(tokenizer) if tokenizer else ())
    reply = format.parse(
        said.text,
        request.tools,
        opens=prompt.opens,
        finish="length" if said.finish == "length" else "stop",
        guarded=guarded,
        max_calls=MOST_CALLS if format.several_calls else 1,
    )
    return replace(said, **_read(reply))


def _read(reply: Reply) -> dict[str, Any]:
    """The members of `Said` from a reply."""
    return {
        "content": reply.content,
        "reasoning": reply.reasoning,
        "calls": tuple((call.name, call.arguments_json) for call in reply.tool_calls),
        "finish": reply.finish_reason,
        "problems": tuple(map(_problem, reply.problems)),
    }


def _problem(problem: Problem) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": problem.kind, "message": problem.message, "text": problem.text}
    return told if problem.start is None else told | {"start": problem.start, "end": problem.end}


def _of_completion(answer: Any) -> Said:
    """The contents of a completion; its problems, if it is one of ours.

    Raises:
        EngineProtocolError: it is not a completion.
    """
    if not isinstance(answer, Mapping) or not answer.get("choices"):
        raise EngineProtocolError(f"the answer is not a chat completion: {words_of(answer)[:200]}")
    choice, usage = answer["choices"][0], answer.get("usage") or {}
    message, reader = choice["message"], DeltaReader()
    begun, rest = reader.feed({**message, "tool_calls": ()}), reader.close()
    return Said(
        content=begun.content + rest.content or None,
        reasoning=begun.reasoning + rest.reasoning or None,
        calls=tuple(_call(one["function"]) for one in message.get("tool_calls") or ()),
        finish=choice.get("finish_reason") or "stop",
        problems=tuple({key: one.get(key, "") for key in ("kind", "message", "text")} for one in message.get("problems") or ()),
        prompt_tokens=usage.get("prompt_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
    )


def _call(function: Mapping[str, Any]) -> tuple[str, str]:
    """Name and arguments; some endpoints send the arguments as an object, or leave them out if there are none."""
    arguments = function.get("arguments")
    return str(function["name"]), arguments if isinstance(arguments, str) else to_json(arguments or {})


def same(body: Mapping[str, Any]) -> str:
    """Equal for equal requests."""
    return json.dumps(body, sort_keys=True)
