"""Keeps a conversation within the model's context by leaving out its oldest exchanges."""

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
"""The part that is left out grows in steps of a quarter of the room, so most turns leave out what the turn before left out."""
_SYSTEM: Final = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Fitted(Generic[M]):
    """The newest part of a conversation."""

    messages: tuple[M, ...]
    dropped: tuple[M, ...]
    """What was left out, in order."""
    tokens: int
    """The prompt's tokens, from the counter."""


def fit(
    messages: Sequence[M],
    tools: Sequence[RawTool] | None = None,
    *,
    counter: BaseTokenCounter,
    limit: int,
    reserve: int = 0,
) -> Fitted[M]:
    """The newest part of a conversation whose prompt leaves `reserve` of `limit` tokens for the answer.

    Whole exchanges are left out, the oldest first: a user's message and everything up to the user's next one. If the newest
    exchange alone is too long, its oldest calls are left out together with their results. System text and the user's newest
    message always stay, and so does the last message. Messages are left out in blocks, so the beginning of the prompt stays the
    same for many turns and the engine can use its cache again.

    ```python
    fitted = fit(messages, tools, counter=model.token_counter, limit=8192, reserve=1024)
    completion = model.run(fitted.messages, tools=tools)
    ```

    Raises:
        InvalidRequest: `reserve` leaves no room, or the messages or tools are not valid OpenAI objects.
        ContextExceeded: the part that must stay is too long; `prompt_tokens` and `context` have the numbers.
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
    """The result of `fit`, where `count` counts the prompt for some messages; if even the minimum is too long, the minimum."""
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
    """What may be left out together, the oldest first, as positions in `messages`."""
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
    # Messages after the user's newest message stay: the model continues from there.


def _steps(weights: Sequence[int], block: int) -> Iterator[int]:
    """How many units to leave out: first those that fill one block, then two, and finally all."""
    sums = list(accumulate(weights))
    wanted = block
    for count, weight in enumerate(sums, 1):
        if weight >= wanted or count == len(sums):
            yield count
            wanted = (weight // block + 1) * block
