"""Keep a conversation within the model's context by leaving out its oldest parts, whole ones only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, TypeAlias

from gemma_tools.errors import ContextExceeded, InvalidRequest
from gemma_tools.tokens.counters import BaseTokenCounter

Message: TypeAlias = Mapping[str, Any]
Tool: TypeAlias = Mapping[str, Any]

_BLOCKS: Final = 4
"""What is left out grows by a quarter of the room at a time, so that most turns leave out what the turn before left out."""
_SYSTEM: Final = ("system", "developer")
_RESULTS: Final = ("tool", "function")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A conversation that fits."""

    messages: tuple[Message, ...]
    dropped: tuple[Message, ...]
    """What was left out, in order."""
    tokens: int
    """The prompt's tokens, as the counter counts them."""


def fit(
    messages: Sequence[Message],
    tools: Sequence[Tool] | None = None,
    *,
    counter: BaseTokenCounter,
    limit: int,
    reserve: int = 0,
) -> Fitted:
    """The newest part of a conversation whose prompt leaves `reserve` of `limit` tokens for the answer.

    Whole exchanges are left out, the oldest first: a message of the user and all that follows it up to the user's next one.
    If the newest exchange alone is too long, its oldest calls are left out together with their results. System text and the
    newest message of the user always stay. Messages are left out in blocks, so that the beginning of the prompt stays the
    same for many turns and the engine's cache can be used again.

    ```python
    fitted = fit(messages, tools, counter=model.token_counter, limit=8192, reserve=1024)
    completion = model.run(list(fitted.messages), tools=tools)
    ```

    Raises:
        InvalidRequest: `reserve` leaves no room, or the messages or tools are not OpenAI's.
        ContextExceeded: what must stay is too long; `prompt_tokens` and `context` say by how much.
    """
    room = limit - reserve
    if room < 1:
        raise InvalidRequest(f"must be less than the limit of {limit} tokens, got {reserve}", param="reserve")
    tokens = counter.count_tokens_from_messages(messages, tools)
    if tokens <= room:
        return Fitted(tuple(messages), (), tokens)
    units = list(_units(messages))
    weights = [counter.count("".join(_texts(messages[i] for i in unit))) for unit in units]
    for count in _steps(weights, max(1, room // _BLOCKS)):
        dropped = {i for unit in units[:count] for i in unit}
        kept = tuple(message for i, message in enumerate(messages) if i not in dropped)
        tokens = counter.count_tokens_from_messages(kept, tools)
        if tokens <= room:
            return Fitted(kept, tuple(messages[i] for i in sorted(dropped)), tokens)
    sentence = f"the system text, the tools and the newest message take {tokens} tokens; there is room for {room}"
    raise ContextExceeded(sentence, prompt_tokens=tokens, context=limit)


def _units(messages: Sequence[Message]) -> Iterator[list[int]]:
    """What may be left out together, the oldest first, as places in `messages`."""
    start = next((i for i, message in enumerate(messages) if message.get("role") not in _SYSTEM), len(messages))
    newest = max((i for i, message in enumerate(messages) if message.get("role") == "user"), default=start)
    unit: list[int] = []
    for i in range(start, len(messages)):
        role = messages[i].get("role")
        if role in _SYSTEM or i == newest:
            if unit:
                yield unit
            unit = []
            continue
        begins = role == "user" if i < newest else role not in _RESULTS
        if unit and begins:
            yield unit
            unit = []
        unit.append(i)
    # What came last after the user's newest message stays: the model goes on from there.


def _texts(messages: Iterator[Message]) -> Iterator[str]:
    """The texts of messages, for their weight: the prompt itself is counted when it is known what stays."""
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, (list, tuple)) else [{"text": content}]
        yield from (text for part in parts if isinstance(part, Mapping) and isinstance(text := part.get("text"), str))
        for call in message.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, Mapping) else None
            if isinstance(function, Mapping):
                yield f"{function.get('name')}{function.get('arguments')}"


def _steps(weights: Sequence[int], block: int) -> Iterator[int]:
    """How many units to leave out: first those that weigh a block, then those that weigh two, and at last all."""
    sums = list(accumulate(weights))
    wanted = block
    for count, weight in enumerate(sums, 1):
        if weight >= wanted or count == len(sums):
            yield count
            wanted = (weight // block + 1) * block
