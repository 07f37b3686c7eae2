"""The seam between formats and whatever runs the model.

An engine takes a prompt and gives text back; it knows nothing of tools, turns or OpenAI. It is written once, as a blocking
generator: `generate` yields chunks of text and returns a `Generation`. Async callers drive the same generator from a worker
thread (`gemma_tools.engines.drive`), so no engine has a second, asynchronous body.
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
    """How to draw tokens. None leaves a setting to the engine; an engine that cannot honour one that is set says so."""

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
    """The log probabilities of the prompt's tokens, too, in the style of `logprobs`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Settings that only the engine knows, by the engine's own names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """What the generated text must look like: a JSON schema, or a grammar in each notation that is at hand.

    An engine takes the form that suits it; the others say the same, or are None.
    """

    gbnf: str | None = None
    lark: str | None = None
    ebnf: str | None = None
    json_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """All that an engine is asked for: what to continue, and how."""

    prompt: Prompt
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = field(default=(), kw_only=True)
    """The request's stop sequences, besides `prompt.stop`."""
    constraint: Constraint | None = field(default=None, kw_only=True)
    tokenizer: Tokenizer | None = field(default=None, kw_only=True)
    """The model's tokenizer, for an engine whose capabilities have `token_ids`: see there."""
    on_ids: Callable[[Sequence[int]], object] | None = field(default=None, kw_only=True, compare=False)
    """Is told the ids of what is written, as they come, where the request has a tokenizer."""

    def own_stop(self, stop: object) -> str | None:
        """`stop`, if it is one of the request's stop sequences: what `Generation.stopped` is to be."""
        return stop if isinstance(stop, str) and stop in self.stop else None

    @property
    def stops(self) -> tuple[str, ...]:
        """All that ends the generation: the prompt's own stop tokens, then the request's stop sequences."""
        return (*self.prompt.stop, *self.stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do, as data. `settings` names the `Sampling` fields that it honours."""

    settings: frozenset[str]
    constraints: frozenset[Literal["gbnf", "lark", "ebnf", "json_schema"]] = frozenset()
    """The forms of `Constraint` that it takes: GBNF is llama.cpp's, Lark llguidance's, EBNF xgrammar's."""
    nests_lark: bool = True
    """Lark, if it takes that, may be sent alone, for it holds a grammar of the caller's that nothing else can say."""
    raw_prompt: bool = True
    """Takes the prompt as text or ids; False where there is a chat endpoint alone, which cannot continue a begun turn."""
    token_ids: bool = False
    """Sends the prompt as `prompt.token_ids(tokenizer)` where the request has a tokenizer. In what it then yields, text that
    spells a special token of the vocabulary is broken by `TextGuard`: every spelling that is whole is a token."""
    images: bool = False
    audio: bool = False
    media_hint: str = ""
    """What would let it take images or audio, for the error where it does not."""
    chat: frozenset[Literal["native", "prompted"]] = frozenset()
    """It is a `ChatEngine`, and how it may be asked, as far as that is known: "native" is given the tools, "prompted"
    is told of them in the text of its turns."""
    forces_calls: bool = False
    """Its chat endpoint takes `Chat.must_call`."""
    thinks: bool = True
    """Its chat endpoint takes `Chat.think`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts of one generation; None where the engine does not tell."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How a generation ended. `finish` is "length" when the token limit or the context's end cut it."""

    finish: Literal["stop", "length"] = "stop"
    usage: Usage = Usage()
    stopped: str | None = None
    """The request's stop sequence that ended it, where the engine tells which one did."""
    logprobs: tuple[Mapping[str, Any], ...] = ()
    """One entry a token in OpenAI's shape (`token`, `logprob`, `bytes`, `top_logprobs`), when asked for and known."""
    prompt_logprobs: tuple[Mapping[str, Any], ...] = ()
    """The same for the prompt, when asked for. The first has the `logprob` None: nothing comes before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPiece:
    """A piece of an answer that the engine's own chat endpoint has read already."""

    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Complete calls: name and arguments."""
    unread: tuple[tuple[str, str], ...] = ()
    """Calls whose arguments are not a JSON object: name and what came as arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """What a chat endpoint is asked in place of a prompt. It writes the prompt from it, and reads the calls of the answer."""

    turns: Sequence[ChatTurn]
    tools: Sequence[Mapping[str, Any]] = ()
    """In OpenAI's shape."""
    must_call: bool = False
    """One of the tools has to be called; only for an engine whose capabilities say `forces_calls`."""
    think: bool | None = None
    """Whether the model is to think first; None where it cannot."""


GRAMMARS: Final = frozenset({"gbnf", "lark", "ebnf"})
"""The forms of `Constraint` that are grammars, by the names of their fields."""

Pieces: TypeAlias = Generator[str, None, Generation]
"""What `Engine.generate` returns: an iterator of text whose return value says how it ended."""


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
    """Runs prompts. Implement `name`, `capabilities` and `generate`; the rest has sensible defaults.

    Engines are used from several threads at once; one that cannot must lock.
    """

    name: str = "engine"

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this engine can do."""

    @abstractmethod
    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Continue `request.prompt` and yield text as it comes, special tokens included; return how it ended.

        `request.stops` end the generation. The request's stop sequences never appear in the text; the prompt's own stop tokens
        may or may not appear at its end. Closing the generator, or `cancel`, stops at once.

        Raises:
            InvalidRequest: a setting or constraint that this engine cannot honour.
            EngineError: anything that goes wrong; never a raw exception of a client library.
        """

    @property
    def vocabulary(self) -> Path | None:
        """The file or folder that holds the model's vocabulary, where it is on this machine."""
        return None

    @property
    def context_length(self) -> int | None:
        """The context in tokens, prompt and completion together; None if unknown."""
        return None

    @property
    def longer_context(self) -> str:
        """What makes the context longer, for the error about a prompt that is too long; "" if that is not known."""
        return ""

    def count_tokens(self, text: str) -> int | None:
        """How many tokens `text` is, special tokens read as such; None if this engine cannot tell."""
        return None

    def encode(self, text: str) -> list[int] | None:
        """The token ids of `text`, special tokens read as such; None if this engine does not tell them."""
        return None

    def decode(self, ids: Sequence[int]) -> str | None:
        """The text of token ids, special tokens as they are spelled; None if this engine cannot tell."""
        return None

    def close(self) -> None:  # noqa: B027
        """Free what the engine holds. Always safe, any number of times; running generations are stopped."""

    def refuse_unsupported(self, request: GenerationRequest) -> None:
        """Raise what `generate` owes for a setting or constraint that `capabilities` does not list.

        Raises:
            InvalidRequest: naming the first such setting.
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
        """The engine that has the same model and takes images and audio, where this one does not; None: there is none."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ChatEngine(Engine):
    """An engine with a chat endpoint; its capabilities say `chat`. Implement `chat`, too.

    Where it has nothing else (`raw_prompt` is False), `generate` asks it by the turns of the prompt: see `turns_of`.
    """

    @abstractmethod
    def chat(
        self, request: GenerationRequest, chat: Chat, *, cancel: Cancellation | None = None
    ) -> Generator[ChatPiece, None, Generation]:
        """Answer `chat`; of `request` all but the prompt counts.

        What the endpoint refuses for good is left out of `capabilities` from then on.

        Raises:
            InvalidRequest, EngineError: as `generate`.
        """

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Answer the turns of `request.prompt`; a thought stands between the family's own tokens for it, where it has some."""
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
