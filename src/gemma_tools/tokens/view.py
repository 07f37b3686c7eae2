"""Shows the tokens of a text or a prompt, part by part and token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from gemma_tools.prompt import Prompt
from gemma_tools.request import Message, RawMessage, RawTool
from gemma_tools.tokens.counters import BaseTokenCounter
from gemma_tools.tokens.tokenizer import GemmaTokenizer
from gemma_tools.validation import validate_messages


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `text` is its text in the vocabulary: a byte is `<0x0A>`, a space is a space."""

    id: int
    text: str
    special: bool


@dataclass(frozen=True, slots=True)
class TokenView:
    """The tokens of a text or a prompt. Notebooks show them on alternating backgrounds, with special tokens in colour."""

    tokens: tuple[Token, ...]

    @classmethod
    def of(cls, text: str | Prompt, tokenizer: GemmaTokenizer) -> TokenView:
        """The tokens of `text`, without special tokens, or of a prompt, with its special tokens."""
        return cls(tuple(Token(id, tokenizer.token(id), special) for id, special in _ids(text, tokenizer)))

    def __len__(self) -> int:
        """The number of tokens."""
        return len(self.tokens)

    def _repr_html_(self) -> str:
        from gemma_tools.display import card, tokens

        shown = ((token.id, token.text, "special" if token.special else "") for token in self.tokens)
        return card(f"<p>{len(self):,} tokens</p>{tokens(shown)}")


def _ids(text: str | Prompt, tokenizer: GemmaTokenizer) -> Iterator[tuple[int, bool]]:
    """Ids, and whether they are special; a special token that the vocabulary lacks is text."""
    if isinstance(text, str):
        yield from ((id, False) for id in tokenizer.encode(text))
        return
    for segment in text.segments:
        if segment.control and segment.text in tokenizer.controls:
            yield tokenizer.id(segment.text), True
        else:
            yield from ((id, False) for id in tokenizer.encode(segment.text))


@dataclass(frozen=True, slots=True)
class PartCount:
    """The tokens that a part of a request adds to the prompt."""

    part: str
    """"tools", or a message's position and role: "messages[2] tool"."""
    tokens: int


def count_parts(
    messages: Sequence[RawMessage],
    tools: Sequence[RawTool] | None = None,
    *,
    counter: BaseTokenCounter,
    **options: Any,
) -> tuple[PartCount, ...]:
    """The tokens that each message and the tools add to the prompt. The sum is the count of the whole prompt.

    Each count is the growth of the prompt when the part is added to those before it. So a user message that removes earlier
    thoughts from the prompt can have a negative count. The last part is the beginning of the model's turn. `options` are those
    of `Format.render`.

    Raises:
        InvalidRequest: the messages or tools are not valid OpenAI objects.
    """
    checked = validate_messages(messages)

    def prompt(number: int, declared: Sequence[RawTool] | None, *, begun: bool = False) -> Prompt:
        return counter.format.render(checked[:number], declared, **{"add_generation_prompt": begun, **options})

    steps = [(_place(0, checked[0]), prompt(1, None))]
    if tools:
        steps.append(("tools", prompt(1, tools)))
    steps += [(_place(i, message), prompt(i + 1, tools)) for i, message in enumerate(checked) if i]
    steps.append(("the model's turn", prompt(len(checked), tools, begun=True)))
    counts = [counter.count_prompt(steps[0][1]), *(_growth(a, b, counter) for (_, a), (_, b) in pairwise(steps))]
    counts[-1] += counter.count_prompt(steps[-1][1]) - sum(counts)  # an estimate is rounded in each part
    return tuple(PartCount(part, tokens) for (part, _), tokens in zip(steps, counts, strict=True))


def _growth(before: Prompt, after: Prompt, counter: BaseTokenCounter) -> int:
    """How many more tokens `after` has. Only the difference is counted, from the special token before it on."""
    low, high = 0, min(len(before.marked), len(after.marked))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if before.marked.startswith(after.marked[low:middle], low) else (low, middle - 1)
    start = max(0, after.marked.rfind("<", 0, low))  # in what a renderer wrote, a "<" begins a special token
    same = min(len(before.media), len(after.media))
    old, new = (counter.count_prompt(replace(p, marked=p.marked[start:], media=p.media[same:])) for p in (before, after))
    return new - old


def _place(index: int, message: Message) -> str:
    name = f" {message.name or message.called}" if message.role == "tool" else ""
    return f"messages[{index}] {message.role}{name}"
