"""The tokenizer, made of the vocabulary of the tiny model that ships, whose token ids tests and users rely on.

Pieces never cross from letters to spaces, digits or punctuation, so that a value is cut the same way after a space as after a
string delimiter: that makes copying easy for a small model. Words that are no piece are cut into some of two or three letters;
digits stand alone. All pairs of pieces that make a piece are merges, in the order of what they make, so that llama.cpp's
merging by score and Hugging Face's by merge list give the same ids.
"""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from gemma_tools.data import tiny_path
from gemma_tools.gguf import read_header

PLAIN_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
SPACE = "\u2581"


def vocabulary() -> dict[str, Any]:
    """The vocabulary as a GGUF file needs it: `tokens`, `scores`, and how many come before the bytes, as `special`."""
    header = read_header(tiny_path())
    tokens = header["tokenizer.ggml.tokens"]
    return {"tokens": tokens, "scores": header["tokenizer.ggml.scores"], "special": tokens.index("<0x00>")}


def build() -> tuple[Tokenizer, dict[str, Any]]:
    """The tokenizer, and its vocabulary."""
    known = vocabulary()
    special, ids = known["tokens"][: known["special"]], {token: i for i, token in enumerate(known["tokens"])}
    long = [token for token in known["tokens"][known["special"] + 256 :] if len(token) > 1]
    merges = [(p[:k], p[k:]) for p in long for k in range(1, len(p)) if p[:k] in ids and p[k:] in ids]
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer, known
