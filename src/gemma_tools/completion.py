"""Builds `ChatCompletion` and `ChatCompletionChunk`, from events or from other chunks. No other module does.

A `Turn` is one choice that is being generated: a blocking generator of events that returns the finished `Answer`. The same
turns make a whole completion (`completion`) and a stream (`chunks`), so the two cannot differ.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta

from gemma_tools.display import card, escape, facts, output, pre, rows, table
from gemma_tools.generators import Returning, drain
from gemma_tools.reply import ContentDelta, Event, Problem, ReasoningDelta, Reply, ToolCallDelta, ToolCallEnded, ToolCallStarted


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUse:
    """Token counts of an answer. `estimated` if the engine did not report all of them and no exact counter was available."""

    prompt: int
    completion: int
    cached: int | None = None
    reasoning: int = 0
    estimated: bool = False

    def __add__(self, other: TokenUse) -> TokenUse:
        """The sum of both, as for an answer that took two rounds."""
        return TokenUse(
            prompt=self.prompt + other.prompt,
            completion=self.completion + other.completion,
            cached=None if self.cached is None and other.cached is None else (self.cached or 0) + (other.cached or 0),
            reasoning=self.reasoning + other.reasoning,
            estimated=self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One finished choice. `text` is the model's output, `warnings` what the prompt could not express."""

    reply: Reply
    text: str
    tokens: TokenUse
    logprobs: tuple[Mapping[str, Any], ...] = ()
    stopped: str | None = None
    """The request's stop sequence that ended it, if the engine reports it."""
    warnings: tuple[str, ...] = ()
    by_chat: bool = False
    """The engine's own chat endpoint wrote the prompt and may have read the calls, so `text` may lack calls."""


Turn: TypeAlias = Generator[Event, None, Answer]
"""One choice that is being generated. Closing it stops the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What all parts of one completion share. With `legacy`, calls have the form of `functions` requests."""

    model: str
    legacy: bool = False
    id: str = field(default_factory=lambda: "chatcmpl-" + secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))


class Completion(ChatCompletion):
    """A `ChatCompletion` that notebooks display. It is equal to one with the same values."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChatCompletion):
            return NotImplemented
        return (self.__dict__, self.model_extra) == (other.__dict__, other.model_extra)

    __hash__ = None  # type: ignore[assignment]

    def __repr_name__(self) -> str:
        return "ChatCompletion"

    def _repr_html_(self) -> str:
        return card("".join(_shown(self)))


def completion_html(body: Mapping[str, Any]) -> str:
    """A completion from its data, as HTML."""
    return "".join(_shown(Completion.model_validate(body)))


def _shown(whole: ChatCompletion) -> Iterator[str]:
    """A completion as HTML: the text and calls of each choice, its problems, and its token counts."""
    for choice in whole.choices:
        message = choice.message
        extra = message.model_extra or {}
        called = [call.function for call in message.tool_calls or () if call.type == "function"]
        functions: list[Any] = [*called, *([message.function_call] if message.function_call else [])]
        said = [("thought", "thought", extra.get("reasoning_content")), ("content", "content", message.content)]
        said += [(f"call {function.name}", "call", function.arguments) for function in functions]
        yield rows((label, "", kind, pre(escape(text))) for label, kind, text in said if text is not None)
        yield facts({"choice": choice.index or None, "finish": choice.finish_reason})
        problems = extra.get("problems") or ()
        if problems:
            found = ((escape(p["kind"]), escape(p["message"]), output(p["text"])) for p in problems)
            yield table(("problem", "what was found", "its text"), found)
    for warning in (whole.model_extra or {}).get("warnings") or ():
        yield f'<p class="warning"><strong>Left out</strong> {escape(warning)}</p>'
    used = whole.usage
    cached = used and used.prompt_tokens_details and used.prompt_tokens_details.cached_tokens
    tokens = {"prompt": used.prompt_tokens, "cached": cached, "output": used.completion_tokens} if used else {}
    yield facts({"model": whole.model, **{name: count and f"{count:,} tokens" for name, count in tokens.items()}})


def completion(heading: Heading, turns: Iterable[Turn]) -> ChatCompletion:
    """Run every turn to its end and join the answers, one choice each.

    Beyond OpenAI's fields a message has `reasoning_content` and `reasoning` (the thought, if there is one) and `problems` (what
    was repaired or could not be read, if there is something: `kind`, `message`, `text`, and `call`, the call that it is about,
    if any). The completion has `warnings` in the same way, and a choice `stop_reason`, the stop sequence that ended it, if the
    engine reports it.
    """
    answers = [drain(turn) for turn in turns]
    return Completion.model_validate(
        {
            "id": heading.id,
            "object": "chat.completion",
            "created": heading.created,
            "model": heading.model,
            "choices": [
                {
                    "index": index,
                    "message": _message(answer.reply, legacy=heading.legacy),
                    "finish_reason": _finish_reason(answer.reply, legacy=heading.legacy),
                    "logprobs": _logprobs(answer),
                    **_stopped(answer),
                }
                for index, answer in enumerate(answers)
            ],
            "usage": _usage(answers),
            **_warnings(answers),
        }
    )


def chunks(
    heading: Heading, turns: Iterable[Turn], *, calls: Literal["whole", "live"] = "whole", include_usage: bool = False
) -> Generator[ChatCompletionChunk, None, None]:
    """The same as a stream, one choice after the other. Closing it closes the running turn.

    With `calls="whole"` each call is sent in one chunk when it is complete, and the indices of complete calls have no gaps.
    With "live" its name and each chunk of its arguments are sent as they are read. Nothing is sent before a turn's first event,
    so an engine that fails at once fails before the stream begins. Problems and log probabilities come with the chunk that has
    the finish reason. With `include_usage` the last chunk has no choices and the usage.
    """

    def chunk(choices: list[dict[str, Any]], **more: Any) -> ChatCompletionChunk:
        return ChatCompletionChunk.model_validate(
            {
                "id": heading.id,
                "object": "chat.completion.chunk",
                "created": heading.created,
                "model": heading.model,
                "choices": choices,
                **more,
            }
        )

    def choice(index: int, delta: ChoiceDelta, **more: Any) -> dict[str, Any]:
        return {"index": index, "delta": delta, "finish_reason": None, "logprobs": None, **more}

    answers: list[Answer] = []
    for index, turn in enumerate(turns):
        write = _whole_calls(heading.legacy) if calls == "whole" else _live_calls(heading.legacy)
        begun = False
        with Returning(turn) as events:
            for event in events:
                piece = write(event)
                if piece is None:
                    continue
                if not begun:
                    begun = True
                    yield chunk([choice(index, ChoiceDelta(role="assistant"))])
                yield chunk([choice(index, piece)])
        answer = events.value
        answers.append(answer)
        delta = ChoiceDelta.model_validate(({} if begun else {"role": "assistant"}) | _problems(answer.reply))
        finish = _finish_reason(answer.reply, legacy=heading.legacy)
        last = choice(index, delta, finish_reason=finish, logprobs=_logprobs(answer), **_stopped(answer))
        yield chunk([last], **_warnings([answer]))
    if include_usage:
        yield chunk([], usage=_usage(answers))


class Accumulator:
    """Joins the chunks of one choice to the completion that they stream."""

    def __init__(self) -> None:
        from openai.lib.streaming.chat import ChatCompletionStreamState

        self._state: Any = ChatCompletionStreamState()
        self._whole: dict[str, Any] = {}
        self._choice: dict[str, Any] = {}

    def add(self, chunk: ChatCompletionChunk) -> None:
        """Take the next chunk."""
        self._state.handle_chunk(chunk)
        # The state takes fields that are not OpenAI's from the first chunk only; `warnings` and `stop_reason` come in the last.
        self._whole |= chunk.model_extra or {}
        for choice in chunk.choices:
            self._choice |= choice.model_extra or {}

    def completion(self) -> ChatCompletion:
        """The completion so far."""
        # The state's own method raises for a cut reply; the snapshot's calls keep their place in the stream.
        snapshot = self._state.current_completion_snapshot.model_dump(exclude_none=True) | self._whole
        choice = snapshot["choices"][0]
        choice |= self._choice
        message = choice["message"] = {"content": None, "refusal": None, **choice["message"]}
        for call in message.get("tool_calls", ()):
            call.pop("index", None)
        return Completion.model_validate(snapshot)


def with_delta(
    chunk: ChatCompletionChunk,
    delta: Mapping[str, Any],
    *,
    finish_reason: str | None = None,
    logprobs: Any = None,
    **heading: Any,
) -> ChatCompletionChunk:
    """`chunk` with one choice with this `delta`, without usage; `heading` replaces its id and similar fields."""
    choice = Choice.model_validate({"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs})
    return chunk.model_copy(update={**heading, "choices": [choice], "usage": None})


def with_usage(chunk: ChatCompletionChunk, usages: Sequence[CompletionUsage]) -> ChatCompletionChunk:
    """`chunk` without choices, as the last chunk of a stream: with the sum of `usages`."""
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")
    usage = CompletionUsage.model_validate({name: sum(getattr(usage, name) for usage in usages) for name in counts})
    return chunk.model_copy(update={"choices": [], "usage": usage})


def _message(reply: Reply, *, legacy: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.content, "refusal": None}
    calls = [_function(call.name, call.arguments_json) for call in reply.tool_calls]
    if calls and legacy:
        message["function_call"] = calls[0]
    elif calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": function}
            for call, function in zip(reply.tool_calls, calls, strict=True)
        ]
    return message | _reasoning(reply.reasoning) | _problems(reply)


def _function(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments}


def _reasoning(text: str | None) -> dict[str, str]:
    # Clients read one name or the other; no client is known to show both.
    return {} if text is None else {"reasoning_content": text, "reasoning": text}


def _problems(reply: Reply) -> dict[str, Any]:
    # Not "index": the openai package adds up streamed lists by that key, and reads it as a position.
    return {"problems": [_problem(problem) for problem in reply.problems]} if reply.problems else {}


def _problem(problem: Problem) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": problem.kind, "message": problem.message, "text": problem.text}
    return told if problem.index is None else told | {"call": problem.index}


def _warnings(answers: Sequence[Answer]) -> dict[str, Any]:
    warnings = list(dict.fromkeys(warning for answer in answers for warning in answer.warnings))
    return {"warnings": warnings} if warnings else {}


def _finish_reason(reply: Reply, *, legacy: bool) -> str:
    return "function_call" if legacy and reply.finish_reason == "tool_calls" else reply.finish_reason


def _stopped(answer: Answer) -> dict[str, str]:
    """A field of vLLM's choices: the stop sequence that ended it."""
    return {"stop_reason": answer.stopped} if answer.stopped and answer.reply.finish_reason == "stop" else {}


def _logprobs(answer: Answer) -> dict[str, Any] | None:
    return {"content": list(answer.logprobs), "refusal": None} if answer.logprobs else None


def _usage(answers: Sequence[Answer]) -> CompletionUsage:
    """One usage for all choices: as at OpenAI, the shared prompt is counted once."""
    first = answers[0].tokens
    completion_tokens = sum(answer.tokens.completion for answer in answers)
    usage: dict[str, Any] = {
        "prompt_tokens": first.prompt,
        "completion_tokens": completion_tokens,
        "total_tokens": first.prompt + completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": sum(answer.tokens.reasoning for answer in answers)},
    }
    if first.cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": first.cached}
    if any(answer.tokens.estimated for answer in answers):
        usage["estimated"] = True
    return CompletionUsage.model_validate(usage)


_Writer: TypeAlias = Callable[[Event], ChoiceDelta | None]


def _text_delta(event: Event) -> ChoiceDelta | None:
    match event:
        case ContentDelta(text):
            return ChoiceDelta(content=text)
        case ReasoningDelta(text):
            return ChoiceDelta.model_validate(_reasoning(text))
    return None


def _call_delta(index: int, function: dict[str, str], *, legacy: bool, **identity: str) -> ChoiceDelta:
    delta = {"function_call": function} if legacy else {"tool_calls": [{"index": index, "function": function, **identity}]}
    return ChoiceDelta.model_validate(delta)


def _live_calls(legacy: bool) -> _Writer:
    """Every event as it comes."""

    def write(event: Event) -> ChoiceDelta | None:
        match event:
            case ToolCallStarted(index, call_id, name):
                return _call_delta(index, _function(name, ""), legacy=legacy, id=call_id, type="function")
            case ToolCallDelta(index, arguments):
                return _call_delta(index, {"arguments": arguments}, legacy=legacy)
        return _text_delta(event)

    return write


def _whole_calls(legacy: bool) -> _Writer:
    """Calls when they are complete, counted from 0 without incomplete ones."""
    started = ToolCallStarted(0, "", "")
    pieces: list[str] = []
    complete = 0

    def write(event: Event) -> ChoiceDelta | None:
        nonlocal started, complete
        match event:
            case ToolCallStarted():
                started = event
                pieces.clear()
            case ToolCallDelta(_, arguments):
                pieces.append(arguments)
            case ToolCallEnded():
                function = _function(started.name, "".join(pieces))
                complete += 1
                return _call_delta(complete - 1, function, legacy=legacy, id=started.id, type="function")
        return _text_delta(event)

    return write
