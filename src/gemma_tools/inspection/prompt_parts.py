"""Divides a prompt into its parts, each with its tokens: turns, and within them tool declarations and results."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Final

from gemma_tools.backends.exchange import Exchange
from gemma_tools.errors import UnknownName
from gemma_tools.inspection.model import PromptPart
from gemma_tools.prompt import Segment
from gemma_tools.tokens import EstimatedTokenCounter, GemmaTokenizer, Token, TokenView

_LABELS: Final = {"tool": "result", "assistant": "assistant", "": "prompt"}


@dataclass(frozen=True, slots=True)
class Declared:
    """The position of a tool's declaration in the prompt, in characters."""

    name: str
    start: int
    end: int


def declared_places(exchange: Exchange) -> list[Declared]:
    """The declarations in the prompt, in order, as `Format.declaration` writes them."""
    text = "".join(segment.text for segment in exchange.prompt.segments)
    found: list[Declared] = []
    for tool in exchange.declared:
        declaration = exchange.format.declaration(tool)
        start = text.find(declaration, found[-1].end if found else 0)
        if start >= 0 and declaration:
            found.append(Declared(tool.name, start, start + len(declaration)))
    return found


def between(segments: Sequence[Segment], start: int, end: int) -> Iterator[Segment]:
    """The text from `start` to `end`, in characters; segments are cut there."""
    position = 0
    for segment in segments:
        low, high = max(start - position, 0), min(end - position, len(segment.text))
        if low < high:
            yield segment if high - low == len(segment.text) else replace(segment, text=segment.text[low:high])
        position += len(segment.text)
        if position >= end:
            return


def prompt_parts(exchange: Exchange, places: Sequence[Declared], cached: int | None) -> tuple[PromptPart, ...]:
    """The whole prompt in parts. The counts come from the tokenizer if there is one, and are estimates otherwise."""
    labelled = _labelled(exchange, places)
    texts = ["".join(segment.text for segment in segments) for _, segments in labelled]
    if exchange.tokenizer is None:
        counter = EstimatedTokenCounter(exchange.format)
        counts = [counter.count(text) for text in texts]
        tokens: list[tuple[Token, ...]] = [()] * len(texts)
    else:
        tokens = _tokens(exchange, exchange.tokenizer, list(accumulate(map(len, texts))))
        counts = [len(some) for some in tokens]
    before = [0, *accumulate(counts)]
    return tuple(
        PromptPart(label, segments, count, None if cached is None else min(max(cached - ahead, 0), count), some)
        for (label, segments), count, ahead, some in zip(labelled, counts, before, tokens, strict=False)
    )


def _labelled(exchange: Exchange, places: Sequence[Declared]) -> list[tuple[str, tuple[Segment, ...]]]:
    """The parts with their labels. Text between two turns belongs to the one before; text at the start to the first."""
    turns = exchange.prompt.turns
    parts: list[tuple[str, list[Segment]]] = []
    label, first = "", True
    for place, segment in _cut(exchange.prompt.segments, places):
        begins = turns is not None and segment.control and segment.text == turns.start
        new = f"declaration of {place.name}" if place else _LABELS.get(segment.role, segment.role)
        unknown = turns is not None and not segment.role
        if not parts:
            parts.append((new, [segment]))
            first = unknown
        elif unknown or (new == label and not begins):
            parts[-1][1].append(segment)
            continue
        elif first:
            parts[0] = (new, [*parts[0][1], segment])
            first = False
        else:
            parts.append((new, [segment]))
        label = new
    if turns and parts and parts[-1][0] == "assistant" and not any(segment.generated for segment in parts[-1][1]):
        parts[-1] = ("the model's turn", parts[-1][1])
    return [(label, tuple(segments)) for label, segments in parts]


def _cut(segments: Sequence[Segment], places: Sequence[Declared]) -> Iterator[tuple[Declared | None, Segment]]:
    """The segments, cut where declarations begin and end, each with its declaration."""
    position, waiting = 0, list(reversed(places))
    for segment in segments:
        text = segment.text
        while text:
            while waiting and waiting[-1].end <= position:
                waiting.pop()
            place = waiting[-1] if waiting and waiting[-1].start <= position else None
            until = place.end if place else waiting[-1].start if waiting else position + len(text)
            piece, text = text[: until - position], text[until - position :]
            yield place, segment if len(piece) == len(segment.text) else replace(segment, text=piece)
            position += len(piece)


def _tokens(exchange: Exchange, tokenizer: GemmaTokenizer, ends: Sequence[int]) -> list[tuple[Token, ...]]:
    """The tokens of each part: a token belongs to the part in which it begins. `ends` are where the parts end."""
    prompt = exchange.prompt
    try:
        ids = prompt.token_ids(tokenizer)
    except UnknownName:  # a special token that the vocabulary lacks is text
        ids = [token.id for token in TokenView.of(prompt, tokenizer).tokens]
    decoder = tokenizer.decoder()
    tokens: list[Token] = []
    starts: list[int] = []
    position = 0
    for number in ids:
        starts.append(position)
        pieces = decoder.feed((number,))
        position += sum(len(piece.text) for piece in pieces)
        tokens.append(Token(number, tokenizer.token(number), bool(pieces) and pieces[-1].control))
    borders = [0, *(bisect_left(starts, end) for end in ends[:-1]), len(tokens)]
    return [tuple(tokens[low:high]) for low, high in pairwise(borders)]
