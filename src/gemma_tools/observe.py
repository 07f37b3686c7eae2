"""Events for observers: requests, generations, tool calls, retries.

The code that does some work announces it here (`observed`, `working`) and reports the events in it (`tell`). An `Observer`
listens: the server's `/metrics` and OpenTelemetry are two of them, and `add` adds yours. If nobody listens, the cost is reading
two variables.

Work and everything inside it run in one `contextvars` context, including generators. So an observer may set variables there, as
OpenTelemetry does with its current span.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from sys import exc_info
from typing import Any, Literal, TypeAlias, TypeVar, cast

from gemma_tools.reply import Reply
from gemma_tools.request import ChatRequest

T = TypeVar("T")
P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """Work: an HTTP request to the server. `route` is its path without `/v1`, ids as `{id}`; None for an unknown path."""

    method: str
    path: str
    route: str | None
    headers: Mapping[str, str] = field(repr=False)
    """By lower-case name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """Work: a request to a model, which may take several generations."""

    operation: Literal["chat", "text_completion"]
    model: str
    """The model's own name; `request.model` is the name that the client uses."""
    request: ChatRequest
    prompt: str | None = None
    """The text to continue, for "text_completion"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationWork:
    """Work: one request to the engine. `retry` is why it is repeated; None the first time."""

    model: str
    engine: str
    retry: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolWork:
    """Work: a tool runs."""

    name: str
    arguments: Mapping[str, Any] | str
    id: str | None = None
    """The call's id, if there is one."""


@dataclass(frozen=True, slots=True)
class LoopWork:
    """Work: a tool loop, from the first question to the last answer."""


Work: TypeAlias = HttpRequest | ModelRequest | GenerationWork | ToolWork | LoopWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Responded:
    """At the end of an `HttpRequest`. `outcome` is the word in the server's log, `waited` the seconds in the queue."""

    status: int | None
    outcome: str
    waited: float


@dataclass(frozen=True, slots=True)
class Begun:
    """In a `ModelRequest`: the answer has this id."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """In a `ModelRequest`: a choice is complete. Its tokens are the sum over all its generations."""

    reply: Reply
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None


@dataclass(frozen=True, slots=True)
class FirstPiece:
    """In a `GenerationWork`: the first text arrived. It is reported again after a thought that is generated separately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """In a `GenerationWork`: the model has finished. `refused` is why its reply is not returned; None: it is returned."""

    reply: Reply
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Retried:
    """In a `ModelRequest` or a `GenerationWork`: a retry of the model, or of the engine's server.

    `cause` is `invalid_arguments`, `no_call` or `not_json` (the reply does not satisfy the request), `constraint_refused` (the
    engine does not support it after all), `engine_unavailable` or `engine_busy` (nothing had arrived yet).
    """

    cause: str


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """At the end of a `ToolWork`: what the model sees, and the kind of fault, if there was one."""

    content: str
    fault: str | None


Happening: TypeAlias = Responded | Begun | Answered | FirstPiece | Generated | Retried | ToolReturned

Tell: TypeAlias = Callable[[Happening], object]
"""Is called with the events of one unit of work, in the thread that does it."""

Observer: TypeAlias = Callable[[Work], AbstractContextManager[Tell]]
"""Is called when work begins. Its context is entered then and left when the work ends, with the error if there is one: a
`GeneratorExit` means that a stream was left early. Exceptions of an observer reach the caller.
"""

_everywhere: tuple[Observer, ...] = ()
_here: ContextVar[tuple[Observer, ...]] = ContextVar("gemma_tools_observers", default=())
_tells: ContextVar[tuple[Tell, ...]] = ContextVar("gemma_tools_tells", default=())


def add(observer: Observer) -> Callable[[], None]:
    """Let `observer` observe this process; the returned function ends that. Adding one again changes nothing."""
    global _everywhere
    _everywhere = (*(one for one in _everywhere if one != observer), observer)

    def remove() -> None:
        global _everywhere
        _everywhere = tuple(one for one in _everywhere if one != observer)

    return remove


@contextmanager
def observing(*observers: Observer) -> Iterator[None]:
    """Let `observers` observe the work that begins in this context, and in threads and tasks that copy it.

    An observer that is already active does not get events twice.
    """
    token = _here.set((*_here.get(), *observers))
    try:
        yield
    finally:
        _here.reset(token)


def listening() -> bool:
    """Whether anybody listens to events now."""
    return bool(_tells.get())


def tell(happening: Happening) -> None:
    """Report an event of the innermost work to the observers."""
    for one in _tells.get():
        one(happening)


@contextmanager
def working(work: Work) -> Iterator[None]:
    """Run a block as `work`. Not for the body of a generator, which runs in its reader's context: see `observed`."""
    observers = tuple(dict.fromkeys(_everywhere + _here.get()))
    if not observers:
        yield
        return
    with ExitStack() as stack:
        token = _tells.set(tuple([stack.enter_context(observer(work)) for observer in observers]))
        try:
            yield
        finally:
            _tells.reset(token)


def observed(work: Work, start: Callable[[], T]) -> T:
    """The result of `start`, observed as `work`: until it returns or, if it returns a generator, until the generator ends."""
    if not (_everywhere or _here.get()):
        return start()
    context, around = copy_context(), working(work)
    context.run(around.__enter__)
    try:
        result = context.run(start)
    except BaseException:
        context.run(around.__exit__, *exc_info())
        raise
    if not isinstance(result, Generator):
        context.run(around.__exit__, None, None, None)
        return result
    steps = _steps(result, context, around)
    next(steps)  # it has begun, so its end is reached even if nobody reads it
    return cast(T, steps)


def _steps(generator: Generator[Any, Any, R], context: Context, around: AbstractContextManager[None]) -> Generator[Any, Any, R]:
    try:
        yield
        while True:
            try:
                item = context.run(next, generator)
            except StopIteration as end:
                value = cast(R, end.value)
                break
            yield item
    except BaseException:
        context.run(generator.close)
        context.run(around.__exit__, *exc_info())
        raise
    context.run(around.__exit__, None, None, None)
    return value


def announced(pieces: Generator[P, None, R]) -> Generator[P, None, R]:
    """`pieces`, with an event for the first one."""
    with closing(pieces):
        try:
            first = next(pieces)
        except StopIteration as end:
            return cast(R, end.value)
        tell(FirstPiece())
        yield first
        return (yield from pieces)
