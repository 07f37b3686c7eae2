"""The interface between formats and engines.

An engine takes a prompt and returns text. It does not know about tools, turns or OpenAI. It is written once, as a blocking
generator: `generate` yields chunks of text and returns a `Generation`. Async code runs the same generator in a worker thread
(`gemma_tools.engines.drive`), so no engine needs a second, asynchronous implementation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import Event, Lock
from typing import Any, Final, Literal, Self, TypeAlias

from gemma_tools.engines.turns import ChatTurn, turns_of
from gemma_tools.errors import InvalidRequest
from gemma_tools.generators import Returning
from gemma_tools.prompt import Prompt, Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to sample tokens. None leaves a setting to the engine. An engine refuses settings that it does not support."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[str, float] | None = None
    logprobs: int | None = None
    prompt_logprobs: bool | None = None
    """Also the log probabilities of the prompt's tokens, like `logprobs`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a single engine, under the engine's own names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """The required form of the generated text: a JSON schema, or a grammar in each available notation.

    An engine uses the form that it supports; the others mean the same, or are None.
    """

    gbnf: str | None = None
    lark: str | None = None
    ebnf: str | None = None
    json_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Everything that an engine needs: what to continue, and how."""

    prompt: Prompt
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = field(default=(), kw_only=True)
    """The request's stop sequences, besides `prompt.stop`."""
    constraint: Constraint | None = field(default=None, kw_only=True)
    tokenizer: Tokenizer | None = field(default=None, kw_only=True)
    """The model's tokenizer, for an engine whose capabilities have `token_ids`: see there."""
    on_ids: Callable[[Sequence[int]], object] | None = field(default=None, kw_only=True, compare=False)
    """Is called with the ids of the output as they arrive, if the request has a tokenizer."""

    def own_stop(self, stop: object) -> str | None:
        """`stop`, if it is one of the request's stop sequences: the value for `Generation.stopped`."""
        return stop if isinstance(stop, str) and stop in self.stop else None

    @property
    def stops(self) -> tuple[str, ...]:
        """Everything that ends the generation: the prompt's stop tokens, then the request's stop sequences."""
        return (*self.prompt.stop, *self.stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine supports, as data. `settings` names its `Sampling` fields."""

    settings: frozenset[str]
    constraints: frozenset[Literal["gbnf", "lark", "ebnf", "json_schema"]] = frozenset()
    """The forms of `Constraint` that it supports: GBNF is llama.cpp's, Lark llguidance's, EBNF xgrammar's."""
    nests_lark: bool = True
    """Lark may be sent alone, if the engine supports it, because only Lark can express a request's own Lark grammar."""
    raw_prompt: bool = True
    """It takes the prompt as text or ids; False for a chat-only engine, which cannot continue a prefilled turn."""
    token_ids: bool = False
    """It sends the prompt as `prompt.token_ids(tokenizer)` if the request has a tokenizer. In its output, `TextGuard` breaks
    text that looks like a special token of the vocabulary: every unbroken one is a real token.
    """
    images: bool = False
    audio: bool = False
    media_hint: str = ""
    """What would enable images or audio, for the error if they are not supported."""
    chat: frozenset[Literal["native", "prompted"]] = frozenset()
    """It is a `ChatEngine`, and how it may be asked, as far as that is known: "native" gets the tools in their own field,
    "prompted" gets them described in the text of the messages.
    """
    forces_calls: bool = False
    """Its chat endpoint supports `Chat.must_call`."""
    thinks: bool = True
    """Its chat endpoint supports `Chat.think`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts of one generation; None if the engine does not report them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How a generation ended. `finish` is "length" if the token limit or the end of the context cut it."""

    finish: Literal["stop", "length"] = "stop"
    usage: Usage = Usage()
    stopped: str | None = None
    """The request's stop sequence that ended it, if the engine reports it."""
    logprobs: tuple[Mapping[str, Any], ...] = ()
    """One entry per token in OpenAI's format (`token`, `logprob`, `bytes`, `top_logprobs`), if requested and known."""
    prompt_logprobs: tuple[Mapping[str, Any], ...] = ()
    """The same for the prompt, if requested. The first has the `logprob` None, because nothing comes before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPiece:
    """A chunk of an answer that the engine's own chat endpoint has already parsed."""

    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Complete calls: name and arguments."""
    unread: tuple[tuple[str, str], ...] = ()
    """Calls whose arguments are not a JSON object: the name and the raw arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """The request to a chat endpoint instead of a prompt. The endpoint writes the prompt, and reads the calls of the answer."""

    turns: Sequence[ChatTurn]
    tools: Sequence[Mapping[str, Any]] = ()
    """In OpenAI's format."""
    must_call: bool = False
    """The model must call one of the tools; only for an engine whose capabilities have `forces_calls`."""
    think: bool | None = None
    """Whether the model must think first; None if it cannot."""


GRAMMARS: Final = frozenset({"gbnf", "lark", "ebnf"})
"""The forms of `Constraint` that are grammars, by the names of their fields."""

Pieces: TypeAlias = Generator[str, None, Generation]
"""The result of `Engine.generate`: an iterator of text whose return value says how it ended."""


class Cancellation:
    """A way to stop a generation from another thread, even while the engine waits for its next token."""

    def __init__(self) -> None:
        self._event = Event()
        self._lock = Lock()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Stop the generation. Safe from any thread, any number of times."""
        with self._lock:
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def wait(self, seconds: float) -> None:
        """Return when `cancel` is called, or after `seconds`."""
        self._event.wait(seconds)

    @contextmanager
    def calling(self, callback: Callable[[], object]) -> Iterator[None]:
        """Call `callback` (which must not block) when the generation is cancelled while this context is open."""
        with self._lock:
            late = self._event.is_set()
            if not late:
                self._callbacks.append(callback)
        if late:
            callback()
        try:
            yield
        finally:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)


class Engine(ABC):
    """Runs prompts. Implement `name`, `capabilities` and `generate`; the other methods have defaults.

    Several threads use an engine at the same time; one that does not support this must lock.
    """

    name: str = "engine"

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this engine supports."""

    @abstractmethod
    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Continue `request.prompt` and yield text as it arrives, including special tokens; return how it ended.

        `request.stops` end the generation. The request's stop sequences never appear in the text; the prompt's stop tokens may
        appear at its end. Closing the generator, or `cancel`, stops at once.

        Raises:
            InvalidRequest: a setting or constraint that this engine does not support.
            EngineError: any failure; never an exception of a client library.
        """

    @property
    def vocabulary(self) -> Path | None:
        """The file or folder with the model's vocabulary, if it is on this machine."""
        return None

    @property
    def context_length(self) -> int | None:
        """The context in tokens, prompt and completion together; None if unknown."""
        return None

    @property
    def longer_context(self) -> str:
        """How to increase the context, for the error about a prompt that is too long; "" if that is not known."""
        return ""

    def count_tokens(self, text: str) -> int | None:
        """The number of tokens in `text`, including special tokens; None if this engine cannot count."""
        return None

    def encode(self, text: str) -> list[int] | None:
        """The token ids of `text`, including special tokens; None if this engine does not return ids."""
        return None

    def decode(self, ids: Sequence[int]) -> str | None:
        """The text of token ids, including special tokens; None if this engine cannot convert ids."""
        return None

    def close(self) -> None:  # noqa: B027
        """Free the engine's resources. Always safe, any number of times; running generations are stopped."""

    def refuse_unsupported(self, request: GenerationRequest) -> None:
        """Raise the error for a setting or constraint that `capabilities` does not list.

        Raises:
            InvalidRequest: names the first such setting.
        """
        can = self.capabilities
        constraint = request.constraint
        for setting in fields(request.sampling):
            value = getattr(request.sampling, setting.name)
            if value is not None and setting.name != "extra" and setting.name not in can.settings:
                raise InvalidRequest(f"{self.name} does not support it", param=setting.name, code="unsupported_setting")
        if constraint is None:
            return
        forms = {form.name for form in fields(constraint) if getattr(constraint, form.name) is not None}
        if not forms & can.constraints:
            message = f"{self.name} does not support this kind of constraint"
            raise InvalidRequest(message, param="constraint", code="unsupported_setting")

    @property
    def for_media(self) -> Engine | None:
        """An engine with the same model that takes images and audio, if this one does not; None if there is none."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ChatEngine(Engine):
    """An engine with a chat endpoint; its capabilities have `chat`. Implement `chat` as well.

    If it has nothing else (`raw_prompt` is False), `generate` uses the turns of the prompt: see `turns_of`.
    """

    @abstractmethod
    def chat(
        self, request: GenerationRequest, chat: Chat, *, cancel: Cancellation | None = None
    ) -> Generator[ChatPiece, None, Generation]:
        """Answer `chat`; everything in `request` except the prompt applies.

        What the endpoint permanently refuses is removed from `capabilities`.

        Raises:
            InvalidRequest, EngineError: like `generate`.
        """

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Answer the turns of `request.prompt`; a thought is written between the family's tokens for it, if there are any."""
        opening, closing = request.prompt.turns.thought if request.prompt.turns else ("", "")
        thinking = False
        with Returning(self.chat(request, Chat(turns=turns_of(request.prompt)), cancel=cancel)) as pieces:
            for piece in pieces:
                if piece.reasoning:
                    yield piece.reasoning if thinking else opening + piece.reasoning
                    thinking = True
                if piece.content:
                    yield closing + piece.content if thinking else piece.content
                    thinking = False
            if thinking:
                yield closing
        return pieces.value
