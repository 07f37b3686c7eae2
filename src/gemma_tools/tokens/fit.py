"""Keep a conversation within the model's context by leaving out its oldest parts, whole ones only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Generic, TypeVar

from gemma_tools.errors import ContextExceeded, InvalidRequest
from gemma_tools.request import Message, RawMessage, RawTool
from gemma_tools.tokens.counters import BaseTokenCounter
from gemma_tools.validation import validate_messages

M = TypeVar("M", bound=RawMessage)

_BLOCKS: Final = 4
"""What is left out grows by a quarter of the room at a time, so that most turns leave out what the turn before left out."""
_SYSTEM: Final = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Fitted(Generic[M]):
    """The newest part of a conversation."""

    messages: tuple[M, ...]
    dropped: tuple[M, ...]
    """What was left out, in order."""
    tokens: int
    """The prompt's tokens, as the counter counts them."""


def fit(
    messages: Sequence[M],
    tools: Sequence[RawTool] | None = None,
    *,
    counter: BaseTokenCounter,
    limit: int,
    reserve: int = 0,
) -> Fitted[M]:
    """The newest part of a conversation whose prompt leaves `reserve` of `limit` tokens for the answer.

    Whole exchanges are left out, the oldest first: a message of the user and all that follows it up to the user's next one.
    If the newest exchange alone is too long, its oldest calls are left out together with their results. System text and the
    newest message of the user always stay, and so does what came last. Messages are left out in blocks, so that the beginning
    of the prompt stays the same for many turns and the engine's cache can be used again.

    ```python
    fitted = fit(messages, tools, counter=model.token_counter, limit=8192, reserve=1024)
    completion = model.run(fitted.messages, tools=tools)
    ```

    Raises:
        InvalidRequest: `reserve` leaves no room, or the messages or tools are not OpenAI's.
        ContextExceeded: what must stay is too long; `prompt_tokens` and `context` say by how much.
    """
    room = limit - reserve
    if room < 1:
        raise InvalidRequest(f"must be less than the limit of {limit} tokens, got {reserve}", param="reserve")

    def count(kept: Sequence[M]) -> int:
        return counter.count_tokens_from_messages(kept, tools)

    fitted = newest_part(messages, count, counter=counter, room=room)
    if fitted.tokens > room:
        sentence = f"the part of the conversation that must stay has {fitted.tokens} tokens, but there is room for only {room}"
        raise ContextExceeded(sentence, prompt_tokens=fitted.tokens, context=limit)
    return fitted


def newest_part(
    messages: Sequence[M], count: Callable[[Sequence[M]], int], *, counter: BaseTokenCounter, room: int
) -> Fitted[M]:
    """What `fit` keeps, where `count` tells the tokens of the prompt for some messages; if even the least is too long, that."""
    tokens = count(messages)
    if tokens <= room:
        return Fitted(tuple(messages), (), tokens)
    checked = validate_messages(messages)
    units = list(_units(checked))
    weights = [counter.count("".join(counter.format.turn(checked[i]) for i in unit)) for unit in units]
    kept, dropped = tuple(messages), set[int]()
    for number in _steps(weights, max(1, room // _BLOCKS)):
        dropped = {i for unit in units[:number] for i in unit}
        kept = tuple(message for i, message in enumerate(messages) if i not in dropped)
        tokens = count(kept)
        if tokens <= room:
            break
    return Fitted(kept, tuple(messages[i] for i in sorted(dropped)), tokens)


def _units(messages: Sequence[Message]) -> Iterator[list[int]]:
    """What may be left out together, the oldest first, as places in `messages`."""
    start = next((i for i, message in enumerate(messages) if message.role not in _SYSTEM), len(messages))
    newest = max((i for i, message in enumerate(messages) if message.role == "user"), default=start)
    unit: list[int] = []
    for i in range(start, len(messages)):
        role = messages[i].role
        if role in _SYSTEM or i == newest:
            if unit:
                yield unit
            unit = []
            continue
        begins = role == "user" if i < newest else role != "tool"
        if unit and begins:
            yield unit
            unit = []
        unit.append(i)
    # What came last after the user's newest message stays: the model goes on from there.


def _steps(weights: Sequence[int], block: int) -> Iterator[int]:
    """How many units to leave out: first those that weigh a block, then those that weigh two, and at last all."""
    sums = list(accumulate(weights))
    wanted = block
    for count, weight in enumerate(sums, 1):
        if weight >= wanted or count == len(sums):
            yield count
            wanted = (weight // block + 1) * block
