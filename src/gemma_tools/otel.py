"""Spans and metrics for OpenTelemetry, following its conventions for generative AI.

Only OpenTelemetry's API is used (the extra `otel`): the program, or `opentelemetry-instrument`, configures what collects and
exports. The names are those of https://github.com/open-telemetry/semantic-conventions-genai; other names begin with
`gemma_tools.`. docs/observing.md lists all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final, TypeAlias

from gemma_tools import __version__, observe
from gemma_tools.errors import MissingDependency
from gemma_tools.jsontext import to_json
from gemma_tools.observe import (
    Answered,
    Begun,
    FirstPiece,
    Generated,
    GenerationWork,
    Happening,
    HttpRequest,
    LoopWork,
    ModelRequest,
    Responded,
    Retried,
    Tell,
    ToolReturned,
    ToolWork,
    Work,
)
from gemma_tools.reply import Problem, Reply
from gemma_tools.request import Content, Message

try:
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.trace import Span, SpanKind, StatusCode
except ImportError:
    raise MissingDependency("opentelemetry-api", "otel", "OpenTelemetry") from None

CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The environment variable that turns on message text. `true`, `span_only` and `span_and_event` put it on the spans."""

Attributes: TypeAlias = dict[str, Any]

_tracer = trace.get_tracer("gemma_tools", __version__)
_meter = metrics.get_meter("gemma_tools", __version__)
_DURATIONS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(4**power for power in range(14))
_FIRST: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_EACH: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


def _histogram(name: str, unit: str, about: str, buckets: Sequence[float]) -> metrics.Histogram:
    return _meter.create_histogram(name, unit, about, explicit_bucket_boundaries_advisory=buckets)


_duration = _histogram("gen_ai.client.operation.duration", "s", "GenAI operation duration.", _DURATIONS)
_usage = _histogram("gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.", _TOKENS)
_first = _histogram("gen_ai.server.time_to_first_token", "s", "Time to generate first token for successful responses.", _FIRST)
_each = _histogram("gen_ai.server.time_per_output_token", "s", "Time per output token generated after the first token.", _EACH)
_tool = _histogram("gen_ai.execute_tool.duration", "s", "Duration of a tool's execution.", _DURATIONS)

_REQUEST: Final = ("temperature", "top_p", "top_k", "max_tokens", "seed", "frequency_penalty", "presence_penalty")
"""Fields of a request that are attributes with the same names."""


def enable() -> Callable[[], None]:
    """Let OpenTelemetry observe this process; the returned function ends that. Enabling it again changes nothing."""
    return observe.add(observer)


@contextmanager
def observer(work: Work) -> Iterator[Tell]:
    """Make a span for `work`, the current one while it lasts."""
    watch = _WATCHES[type(work)](work)
    # The text of an error may quote messages, so only its type is recorded.
    with _tracer.start_as_current_span(
        watch.name,
        propagate.extract(work.headers) if isinstance(work, HttpRequest) else None,
        watch.kind,
        watch.attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        watch.span = span
        try:
            yield watch.tell
        except Exception as error:
            watch.fail(type(error).__qualname__)
            raise
        finally:
            watch.end()


class _Watch:
    """One span while it lasts. `name`, `kind` and `attributes` are its initial values."""

    name: str
    span: Span
    kind = SpanKind.INTERNAL

    def __init__(self, work: Any) -> None:
        self.attributes: Attributes = {}
        self.began = monotonic()
        self.error: dict[str, str] = {}
        self.begin(work)

    def begin(self, work: Any) -> None:
        """Set attributes that describe the work."""

    def tell(self, happening: Happening) -> None:
        """Add an event."""

    def end(self) -> None:
        """Add what is known only at the end."""

    def fail(self, kind: str) -> None:
        """The work ended with an error."""
        self.error = {"error.type": kind}
        self.span.set_attributes(self.error)
        self.span.set_status(StatusCode.ERROR)

    @property
    def seconds(self) -> float:
        """The time since the work began."""
        return monotonic() - self.began


class _Http(_Watch):
    kind = SpanKind.SERVER

    def begin(self, work: HttpRequest) -> None:
        self.name = f"{work.method} {work.route}" if work.route else work.method
        self.attributes = {"http.request.method": work.method, "url.path": work.path, "url.scheme": "http"}
        if work.route:
            self.attributes["http.route"] = work.route

    def tell(self, happening: Happening) -> None:
        if isinstance(happening, Responded):
            self.span.set_attribute("gemma_tools.outcome", happening.outcome)
            self.span.set_attribute("gemma_tools.queue_seconds", happening.waited)
            if happening.status is not None:
                self.span.set_attribute("http.response.status_code", happening.status)
                if happening.status >= 500:
                    self.fail(str(happening.status))


class _Model(_Watch):
    """A request to a model: an inference span, and the metrics of a client."""

    def begin(self, work: ModelRequest) -> None:
        request = work.request
        asked = request.model or work.model
        self.name = f"{work.operation} {asked}"
        self.common: Attributes = {
            "gen_ai.operation.name": work.operation,
            "gen_ai.provider.name": "gemma_tools",
            "gen_ai.request.model": work.model,  # on metrics: clients can use any number of names
            "gen_ai.response.model": work.model,
        }
        set_fields = {name: value for name in _REQUEST if (value := getattr(request, name)) is not None}
        self.attributes = {**self.common, "gen_ai.request.model": asked} | {
            f"gen_ai.request.{name}": value for name, value in set_fields.items()
        }
        if request.stop:
            self.attributes["gen_ai.request.stop_sequences"] = request.stop
        if request.n != 1:
            self.attributes["gen_ai.request.choice.count"] = request.n
        if request.stream:
            self.attributes["gen_ai.request.stream"] = True
        if request.response_format is not None:
            self.attributes["gen_ai.output.type"] = "text" if request.response_format.type == "text" else "json"
        if _captures():
            self.attributes |= _input(work)
        self.answers: list[Answered] = []

    def tell(self, happening: Happening) -> None:
        match happening:
            case Begun(id):
                self.span.set_attribute("gen_ai.response.id", id)
            case Answered():
                self.answers.append(happening)
            case Retried(cause):
                self.span.add_event("gemma_tools.retry", {"gemma_tools.retry.cause": cause})

    def end(self) -> None:
        _duration.record(self.seconds, self.common | self.error)
        if not self.answers:
            return
        # As in the answer's own usage, a prompt that several choices share is counted once.
        asked, cached = self.answers[0].prompt_tokens, self.answers[0].cached_tokens
        written = sum(answer.completion_tokens for answer in self.answers)
        self.span.set_attributes({"gen_ai.usage.input_tokens": asked, "gen_ai.usage.output_tokens": written})
        if cached is not None:
            self.span.set_attribute("gen_ai.usage.cache_read.input_tokens", cached)
        self.span.set_attribute("gen_ai.response.finish_reasons", [answer.reply.finish_reason for answer in self.answers])
        _usage.record(asked, self.common | {"gen_ai.token.type": "input"})
        _usage.record(written, self.common | {"gen_ai.token.type": "output"})
        if _captures():
            replies = [_output(answer.reply) for answer in self.answers]
            self.span.set_attribute("gen_ai.output.messages", to_json(replies))


class _Generation(_Watch):
    """One generation. Its tokens have separate names: the request's span has the sum under the conventions' names."""

    def begin(self, work: GenerationWork) -> None:
        self.name = f"generate {work.model}"
        self.attributes = {"gen_ai.response.model": work.model, "gemma_tools.engine": work.engine}
        if work.retry is not None:
            self.attributes["gemma_tools.retry.cause"] = work.retry
        self.common = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "gemma_tools",
            "gen_ai.request.model": work.model,
            "gen_ai.response.model": work.model,
        }
        self.first: float | None = None
        self.retry: Span | None = None

    def tell(self, happening: Happening) -> None:
        match happening:
            case FirstPiece() if self.first is None:
                self.first = self.seconds
                self.span.add_event("gemma_tools.first_text")
            case Retried(cause):
                self._end_retry()
                self.retry = _tracer.start_span("retry", attributes={"gemma_tools.retry.cause": cause})
            case Generated():
                self._generated(happening)

    def _generated(self, generated: Generated) -> None:
        if self.first is not None:
            _first.record(self.first, self.common)
            if generated.completion_tokens > 1:
                _each.record((self.seconds - self.first) / (generated.completion_tokens - 1), self.common)
        self.span.set_attributes(
            {
                "gemma_tools.usage.input_tokens": generated.prompt_tokens,
                "gemma_tools.usage.output_tokens": generated.completion_tokens,
                "gemma_tools.tool_calls": len(generated.reply.tool_calls),
            }
        )
        if generated.refused is not None:
            self.span.set_attribute("gemma_tools.refused", generated.refused)
        for problem in generated.reply.problems:
            self.span.add_event("gemma_tools.repair", _repair(problem))

    def end(self) -> None:
        self._end_retry()

    def _end_retry(self) -> None:
        if self.retry is not None:
            self.retry.end()


class _Tool(_Watch):
    def begin(self, work: ToolWork) -> None:
        self.name = f"execute_tool {work.name}"
        self.common = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": work.name}
        self.attributes = self.common | {"gen_ai.tool.type": "function"}
        if work.id is not None:
            self.attributes["gen_ai.tool.call.id"] = work.id
        if _captures():
            given = work.arguments
            self.attributes["gen_ai.tool.call.arguments"] = given if isinstance(given, str) else to_json(given)

    def tell(self, happening: Happening) -> None:
        if isinstance(happening, ToolReturned):
            if happening.fault is not None:
                self.fail(happening.fault)
            if happening.fault == "unknown_tool":
                del self.common["gen_ai.tool.name"]  # any number of names
            if _captures():
                self.span.set_attribute("gen_ai.tool.call.result", happening.content)

    def end(self) -> None:
        _tool.record(self.seconds, self.common | self.error)


class _Loop(_Watch):
    def begin(self, work: LoopWork) -> None:
        self.name = "invoke_agent"
        self.attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "gemma_tools"}


_WATCHES: Mapping[type[Work], type[_Watch]] = {
    HttpRequest: _Http,
    ModelRequest: _Model,
    GenerationWork: _Generation,
    ToolWork: _Tool,
    LoopWork: _Loop,
}


def _captures() -> bool:
    """Whether message text was asked for."""
    return os.environ.get(CAPTURE, "").strip().lower() in ("true", "1", "span_only", "span_and_event")


def _repair(problem: Problem) -> Attributes:
    attributes: Attributes = {"gemma_tools.repair.kind": problem.kind}
    if problem.index is not None:
        attributes["gemma_tools.repair.call"] = problem.index
    if _captures():
        attributes |= {"gemma_tools.repair.message": problem.message, "gemma_tools.repair.text": problem.text}
    return attributes


def _input(work: ModelRequest) -> Attributes:
    if work.prompt is not None:
        return {"gen_ai.input.messages": to_json([{"role": "user", "parts": _text(work.prompt)}])}
    messages = work.request.messages
    system = [part for message in messages if message.role in ("system", "developer") for part in _parts(message.content)]
    said = [_message(message) for message in messages if message.role not in ("system", "developer")]
    attributes: Attributes = {"gen_ai.input.messages": to_json(said)}
    if system:
        attributes["gen_ai.system_instructions"] = to_json(system)
    if work.request.tools:
        attributes["gen_ai.tool.definitions"] = to_json([{"type": "function", **tool.function} for tool in work.request.tools])
    return attributes


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        content = message.content
        result = content if isinstance(content, (str, Mapping)) else _parts(content)
        return {"role": "tool", "parts": [{"type": "tool_call_response", "id": message.tool_call_id, "response": result}]}
    calls = [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls
    ]
    return {"role": message.role, "parts": [*_thought(message.reasoning), *_parts(message.content), *calls]}


def _output(reply: Reply) -> dict[str, Any]:
    calls = [{"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments} for call in reply.tool_calls]
    parts = [*_thought(reply.reasoning), *_text(reply.content), *calls]
    finish = "tool_call" if reply.finish_reason == "tool_calls" else reply.finish_reason
    return {"role": "assistant", "parts": parts, "finish_reason": finish}


def _parts(content: Content) -> list[dict[str, Any]]:
    if isinstance(content, Mapping):
        return _text(json.dumps(content, ensure_ascii=False))
    if content is None or isinstance(content, str):
        return _text(content)
    # For an image or audio file only its kind is recorded, not its data.
    return [one for part in content for one in (_text(part["text"]) if "text" in part else [{"type": str(part.get("type"))}])]


def _text(text: str | None) -> list[dict[str, Any]]:
    return [{"type": "text", "content": text}] if text else []


def _thought(text: str | None) -> list[dict[str, Any]]:
    return [{"type": "reasoning", "content": text}] if text else []
