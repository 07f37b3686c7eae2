"""Merges text into a vocabulary's tokens with tiktoken.

Its rule is Gemma's: of all neighbours that form a token together, the pair with the best token is merged first.

tiktoken merges bytes, by ranks; Gemma merges characters, by scores, and falls back to bytes. So the ranks are: the bytes, the
beginnings of multi-byte characters, the characters, and the longer tokens by their scores. Three details remain:

- tiktoken gives text that is a whole token its rank without merging; a few tokens are never the result of merging. So each rank
  is merged once, by itself, before it is first used (`_settle`).
- Text is cut before spaces, for speed, but not after a character that comes before a space inside a token.
- tiktoken before 0.13 needs quadratic time for text without spaces: long runs are merged in windows (`_long_run`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Final, cast

import tiktoken

from gemma_tools.tokens.vocabulary import Kind, Vocabulary, byte_of, spaces_after

_LONG: Final = 2000
"""Longer runs, in characters, are merged in windows."""
_WINDOW: Final = 400
"""In bytes."""
_TAKEN_BACK: Final = 8
"""Tokens at the end of a window that are merged again with what follows them."""
_NO_TEXT: Final = b"\xff"
"""A byte that is in no text and no token: after it, tiktoken cannot find a whole token without merging."""


class Merger:
    """Text without special tokens to ids and back."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        ranks, self._ids = _ranks(vocabulary)
        before = spaces_after(vocabulary.pieces, vocabulary.kinds)
        pattern = _runs(before)
        self._run = re.compile(pattern)
        self.encoding: Final = tiktoken.Encoding("gemma", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        self._settled: set[int] = set()
        self._table = [-1] * len(self._ids)
        """The id of each settled rank with exactly one id."""

    @cached_property
    def _single(self) -> Callable[[bytes], list[int]]:
        # Merging without the pattern has no public name; this one exists in every tiktoken from 0.8 on.
        return cast(Callable[[bytes], list[int]], self.encoding._core_bpe.encode_single_piece)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, which contains no surrogates, and in which a space is a space."""
        if len(text) > _LONG and any(run.end() - run.start() > _LONG for run in self._run.finditer(text)):
            ranks = [rank for run in self._run.findall(text) for rank in self._merge_run(run)]
        else:
            ranks = self.encoding.encode_ordinary(text)
        table = self._table
        ids = [table[rank] for rank in ranks]
        if -1 not in ids:
            return ids
        for rank in set(ranks) - self._settled:
            self._settle(rank)
        full = self._ids
        return [number for rank in ranks for number in full[rank]]

    def _merge_run(self, run: str) -> list[int]:
        return self.encoding.encode_ordinary(run) if len(run) <= _LONG else self._long_run(run.encode())

    def _long_run(self, data: bytes) -> list[int]:
        """The ranks of a long run, merged window by window.

        A cut between two windows is correct if the two tokens at it stay separate when they are merged alone; otherwise the cut
        is moved back by one token.
        """
        single, bytes_of = self._single, self.encoding.decode_single_token_bytes
        out: list[int] = []
        start = 0
        while start < len(data):
            end = min(len(data), start + _WINDOW)
            while end < len(data) and data[end] & 0xC0 == 0x80:
                end -= 1
            new = single(data[start:end] + _NO_TEXT)[:-1]
            while out and single(bytes_of(out[-1]) + bytes_of(new[0]) + _NO_TEXT)[:-1] != [out[-1], new[0]]:
                start -= len(bytes_of(out.pop()))
                new = single(data[start:end] + _NO_TEXT)[:-1]
            out += new
            if end < len(data):
                for _ in range(min(len(new) // 2, _TAKEN_BACK)):
                    end -= len(bytes_of(out.pop()))
            start = end
        return out

    def _settle(self, rank: int) -> None:
        """Find the result of merging the token of `rank`, before it is first used."""
        parts = self._single(self.encoding.decode_single_token_bytes(rank) + _NO_TEXT)[:-1]
        if parts != [rank]:
            self._ids[rank] = tuple(number for part in parts for number in self._ids[part])
        if len(self._ids[rank]) == 1:
            self._table[rank] = self._ids[rank][0]
        self._settled.add(rank)


def _ranks(vocabulary: Vocabulary) -> tuple[dict[bytes, int], list[tuple[int, ...]]]:
    """tiktoken's ranks, and the ids that each of them stands for."""
    byte_ids = [0] * 256
    characters: dict[bytes, int] = {}
    longer: list[int] = []
    pieces, scores = vocabulary.pieces, vocabulary.scores
    for number, kind in enumerate(vocabulary.kinds):
        if kind == Kind.BYTE:
            byte_ids[byte_of(pieces[number])] = number
        elif kind == Kind.NORMAL and len(pieces[number]) == 1:
            characters.setdefault(pieces[number].encode("utf-8", "replace"), number)
        elif kind == Kind.NORMAL and pieces[number]:
            longer.append(number)
    longer.sort(key=lambda number: (-scores[number], number))
    ranks = {bytes([byte]): byte for byte in range(256)}
    ids: list[tuple[int, ...]] = [(number,) for number in byte_ids]
    for character, number in characters.items():
        if len(character) == 1:
            ids[character[0]] = (number,)
    for beginning in sorted(_beginnings(characters), key=len):
        ranks[beginning] = len(ranks)
        ids.append(tuple(byte_ids[byte] for byte in beginning))
    for character, number in characters.items():
        if len(character) > 1:
            ranks[character] = len(ranks)
            ids.append((number,))
    for number in longer:
        piece = pieces[number].encode("utf-8", "replace")
        if piece not in ranks:
            ranks[piece] = len(ranks)
            ids.append((number,))
    return ranks, ids


def _beginnings(characters: Iterable[bytes]) -> set[bytes]:
    return {character[:length] for character in characters for length in range(2, len(character))}


def _runs(before: frozenset[str]) -> str:
    """A pattern that cuts text before each space, except after the characters in `before`."""
    if " " in before:
        return r"(?s:.+)"
    kept = f"[{re.escape(''.join(sorted(before)))}] |" if before else ""
    return rf" ?(?:{kept}[^ ])+| "
