"""The tokenizer, made from the vocabulary of the tiny model in the package: tests and users rely on its token ids.

A token never joins letters with spaces, digits or punctuation. So a value has the same tokens after a space as after a string
delimiter, which makes copying easy for a small model. A word that is not one token has tokens of two or three letters; each
digit is one token. All pairs of tokens that join to a token are merges, in the order of their results. So llama.cpp, which
merges by score, and Hugging Face, which merges by a list, give the same ids.
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
