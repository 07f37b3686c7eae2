"""Token ids to text, as they arrive: special tokens are separate, and characters come when they are complete."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby

from gemma_tools.errors import InvalidRequest
from gemma_tools.prompt import Segment
from gemma_tools.tokens.vocabulary import Kind, Vocabulary, byte_of

_Utf8 = codecs.getincrementaldecoder("utf-8")


class TokenDecoder:
    """Decodes the ids of one text. `markers` are the ids of the special tokens.

    Any way of splitting the ids gives the same text. Bytes that are not UTF-8 become U+FFFD.
    """

    def __init__(self, vocabulary: Vocabulary, markers: Collection[int]) -> None:
        self._vocabulary = vocabulary
        self._markers = markers
        self._utf8 = _Utf8("replace")
        self._begins = True  # the next token is the first after a special token, or of the text

    def feed(self, ids: Iterable[int], /) -> list[Segment]:
        """The special tokens in `ids`, and the text between them up to the last complete character.

        Raises:
            InvalidRequest: an id is not in the vocabulary; `param` is "ids".
        """
        segments: list[Segment] = []
        for special, run in groupby(ids, self._markers.__contains__):
            if special:
                segments += self.close()
                segments += (Segment(self._vocabulary.pieces[number], True) for number in run)
            elif text := self._utf8.decode(b"".join(self._bytes_of(run))):
                segments.append(Segment(text, False))
        return segments

    def close(self) -> list[Segment]:
        """The rest: bytes of an incomplete character, as U+FFFD."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        self._begins = True
        return [Segment(text, False)] if text else []

    def _bytes_of(self, ids: Iterable[int]) -> Iterator[bytes]:
        pieces, kinds, prefix = self._vocabulary.pieces, self._vocabulary.kinds, self._vocabulary.space_prefix
        for number in ids:
            if not 0 <= number < len(pieces):
                raise InvalidRequest(f"{number} is not a token id: the vocabulary has {len(pieces):,}", param="ids")
            piece, kind = pieces[number], kinds[number]
            merged = kind in (Kind.NORMAL, Kind.BYTE)
            if kind == Kind.BYTE:
                yield bytes([byte_of(piece)])
            else:
                data = piece.encode("utf-8", "replace")
                yield data[1:] if prefix and self._begins and merged and data[:1] == b" " else data
            self._begins = not merged
