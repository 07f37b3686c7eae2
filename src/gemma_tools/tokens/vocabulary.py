"""Reads a model's vocabulary from three kinds of files into one form.

| file | tokens | order of merging |
|---|---|---|
| `*.gguf` | `tokenizer.ggml.tokens`, their types | `tokenizer.ggml.scores`, or `tokenizer.ggml.merges` |
| `tokenizer.json` (Hugging Face) | `model.vocab` and `added_tokens` | `model.merges`, which must be complete |
| `tokenizer.model` (SentencePiece) | a protocol buffer of pieces, their types | their scores |

Sources: docs/gguf.md in the ggml repository; sentencepiece_model.proto in SentencePiece; the documentation of `tokenizers`.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeGuard

from gemma_tools.errors import InvalidRequest, ModelNotFound
from gemma_tools.gguf import read_header
from gemma_tools.protobuf import fields

SPACE: Final = "\u2581"
"""The space in vocabularies."""
_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>")
_UNORDERED: Final = 0.0


class Kind(IntEnum):
    """The type of a token. The numbers are those of SentencePiece's files, which GGUF uses as well."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens of a vocabulary by id, with spaces as spaces. The better a token's score, the earlier it is merged."""

    pieces: Sequence[str]
    kinds: Sequence[int]
    scores: Sequence[float]
    space_prefix: bool = False
    """Whether a space is added before text, at its beginning and after each special token."""


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary in a GGUF file, a `tokenizer.json` or its folder, or a SentencePiece `tokenizer.model`.

    Raises:
        ModelNotFound: the file does not exist, or cannot be read.
        InvalidRequest: its tokenizer is of another kind; `param` is "path".
    """
    if path.is_dir():
        found = [path / name for name in ("tokenizer.json", "tokenizer.model") if (path / name).is_file()]
        if not found:
            raise ModelNotFound(f"{path} contains neither tokenizer.json nor tokenizer.model")
        path = found[0]
    try:
        vocabulary = _from_file(path)
    except OSError as error:
        raise ModelNotFound(f"{path} cannot be read: {error.strerror}") from None
    kinds = zip(vocabulary.pieces, vocabulary.kinds, strict=True)
    if wrong := next((piece for piece, kind in kinds if kind == Kind.BYTE and not _BYTE.fullmatch(piece)), None):
        raise _refuse(path, f"the token {wrong!r} is of the type BYTE, but is not written as one, such as <0x0A>")
    return vocabulary


def _from_file(path: Path) -> Vocabulary:
    if path.suffix == ".json":
        return _from_json(path.read_bytes(), path)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"GGUF":
        return _from_gguf(read_header(path), path)
    return _from_sentencepiece(path.read_bytes(), path)


def _refuse(path: Path, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{path}: {reason}", param="path", code="unsupported_tokenizer")


def _spaced(pieces: Sequence[str]) -> list[str]:
    return [piece.replace(SPACE, " ") for piece in pieces]


def _from_gguf(header: Mapping[str, Any], path: Path) -> Vocabulary:
    key = "tokenizer.ggml."
    pieces, kinds = header.get(key + "tokens"), header.get(key + "token_type")
    if not pieces or not isinstance(pieces, list) or not _are_numbers(kinds, len(pieces)):
        raise _refuse(path, "the file has no tokenizer, or lacks the type of each token")
    merges, scores = header.get(key + "merges"), header.get(key + "scores")
    spaced = _spaced(pieces)
    if merges and isinstance(merges, list):
        scores = _scores_of_merges(spaced, kinds, [_halves(merge) for merge in merges], path)
    elif header.get(key + "model") != "llama":
        raise _refuse(path, f"a tokenizer of type {header.get(key + 'model')!r} is not supported: Gemma's is 'llama'")
    elif not _are_numbers(scores, len(pieces)):
        raise _refuse(path, "the file lacks the score of each token")
    return Vocabulary(spaced, kinds, scores, bool(header.get(key + "add_space_prefix", True)))


def _are_numbers(value: Any, count: int) -> TypeGuard[tuple[Any, ...]]:
    """Whether a value of a GGUF header is an array of `count` numbers: only strings are read into a list."""
    return isinstance(value, tuple) and len(value) == count


def _from_json(data: bytes, path: Path) -> Vocabulary:
    try:
        return _from_tokenizer(json.loads(data), len(data), path)
    except InvalidRequest:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise ModelNotFound(f"{path} is not a Hugging Face tokenizer.json") from None


def _from_tokenizer(file: Any, most: int, path: Path) -> Vocabulary:
    """The vocabulary in a parsed `tokenizer.json`. Ids of `most` or more are refused: no file has room for so many tokens."""
    model = file["model"]
    vocab: Mapping[str, int] = model["vocab"]
    added = {token["id"]: token for token in file.get("added_tokens", ())}
    ids = [*vocab.values(), *added]
    if not all(isinstance(number, int) and 0 <= number < most for number in ids):
        raise ValueError(ids)
    size = 1 + max(ids)
    if model.get("type") != "BPE" or not model.get("byte_fallback"):
        raise _refuse(path, "the tokenizer must be of type BPE with byte fallback, as Gemma's is")
    pieces, kinds = [""] * size, [int(Kind.UNUSED)] * size
    for piece, number in vocab.items():
        pieces[number] = piece.replace(SPACE, " ")
        kinds[number] = Kind.BYTE if _BYTE.fullmatch(piece) else Kind.NORMAL
    for number, token in added.items():
        pieces[number] = token["content"].replace(SPACE, " ")
        kinds[number] = Kind.CONTROL if token.get("special") else Kind.USER_DEFINED
    scores = _scores_of_merges(pieces, kinds, [_halves(merge) for merge in model.get("merges", ())], path)
    return Vocabulary(pieces, kinds, scores, _prepends(file.get("normalizer")))


def _prepends(normalizer: Any) -> bool:
    """Whether a Hugging Face normalizer adds a space before a text."""
    if not isinstance(normalizer, dict):
        return False
    return normalizer.get("type") == "Prepend" or any(map(_prepends, normalizer.get("normalizers", ())))


def _halves(merge: Any) -> tuple[str, str]:
    first, _, second = merge.partition(" ") if isinstance(merge, str) else (merge[0], "", merge[1])
    return first.replace(SPACE, " "), second.replace(SPACE, " ")


def _scores_of_merges(
    pieces: Sequence[str], kinds: Sequence[int], merges: Sequence[tuple[str, str]], path: Path
) -> Sequence[float]:
    """A score for each token: the earlier its merge, the higher.

    The order is the same only if any two neighbours that form a token may be merged, that is if the merges are complete.
    """
    ids = {piece: number for number, piece in enumerate(pieces) if kinds[number] == Kind.NORMAL}
    scores = [_UNORDERED] * len(pieces)
    count = 0
    last = -1
    for order, (first, second) in enumerate(merges):
        number = ids.get(first + second)
        if number is None or first not in ids or second not in ids:
            continue  # white-space runs, which are found before merging
        count += 1
        if scores[number] == _UNORDERED:
            scores[number] = -1.0 - order
        elif number != last:
            raise _refuse(path, f"the merges of {pieces[number]!r} are not in order")
        last = number
    splits = sum(1 for piece in ids for cut in range(1, len(piece)) if piece[:cut] in ids and piece[cut:] in ids)
    if splits != count:
        raise _refuse(path, f"the merges are not complete: {count} of {splits}")
    return scores


def _from_sentencepiece(data: bytes, path: Path) -> Vocabulary:
    pieces, scores, kinds = [], [], []
    prefix = True
    try:
        for field, value in fields(data):
            if field == 1:
                piece = dict(fields(value))
                pieces.append(piece[1].decode())
                scores.append(struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0)
                kinds.append(piece.get(3, int(Kind.NORMAL)))
            elif field == 2 and dict(fields(value)).get(3, 1) != 2:
                raise _refuse(path, "the SentencePiece model must be of type BPE, as Gemma's is")
            elif field == 3:
                prefix = bool(dict(fields(value)).get(3, 1))
    except (ValueError, KeyError, AttributeError, TypeError, IndexError, struct.error) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise ModelNotFound(f"{path} is neither a GGUF file nor a SentencePiece model") from None
    if not pieces:
        raise ModelNotFound(f"{path} is neither a GGUF file nor a SentencePiece model")
    return Vocabulary(_spaced(pieces), kinds, scores, prefix)


def spaces_after(pieces: Sequence[str], kinds: Sequence[int]) -> frozenset[str]:
    """The characters before a space inside some token: only after these text may not be cut before a space."""
    return frozenset(
        before
        for piece, kind in zip(pieces, kinds, strict=True)
        if kind == Kind.NORMAL and " " in piece[1:]
        for before, after in pairwise(piece)
        if after == " "
    )


def byte_of(piece: str) -> int:
    """The byte of a token of kind BYTE, such as `<0x0A>`.

    Raises:
        ValueError: its text has another form.
    """
    return int(piece[3:5], 16)
