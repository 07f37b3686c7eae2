"""Train the tokenizer: `python training/tokenizer.py` writes tokenizer.json and vocabulary.json.

Pieces never cross from letters to spaces, digits or punctuation, so that a value is cut the same way after a space as after a
string delimiter: that makes copying easy for a small model. All pairs of pieces that make a piece are written as merges, in
the order of what they make, so that llama.cpp's merging by score and Hugging Face's by merge list give the same ids.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from data import Source
from gemma_tools.formats import get_format

PLAIN_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
SPACE = "\u2581"


def markers() -> list[str]:
    """The control tokens of both formats that are trained, each once and in order."""
    both = (*get_format("functiongemma").controls, *get_format("gemma4").controls)
    return [marker for marker in dict.fromkeys(both) if marker not in PLAIN_SPECIAL]


def pieces(corpus: list[str], count: int) -> tuple[list[str], list[str]]:
    """`count` pieces that a byte-pair encoder finds in the corpus: those of several characters by rank, and single ones."""
    alphabet = [chr(code) for code in range(33, 127)] + ["\n", SPACE]
    encoder = Tokenizer(models.BPE(unk_token="<unk>"))
    encoder.pre_tokenizer = pre_tokenizers.Split(Regex(r"[A-Za-z]+|[^A-Za-z]"), "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=count, initial_alphabet=alphabet, limit_alphabet=len(alphabet), show_progress=False
    )
    encoder.train_from_iterator(corpus, trainer)
    found = sorted(encoder.get_vocab(), key=encoder.get_vocab().__getitem__)
    return [piece for piece in found if len(piece) > 1], [piece for piece in found if len(piece) == 1]


def build(size: int = 1024, examples: int = 6000) -> tuple[Tokenizer, dict[str, object]]:
    """The tokenizer, and the vocabulary as a GGUF file needs it: `tokens`, `scores` and how many are `special`."""
    special = [*PLAIN_SPECIAL, *markers()]
    split = re.compile("|".join(map(re.escape, special)))
    source = Source(random.Random(0))
    corpus = []
    for _ in range(examples):
        example = source.example()
        corpus += [text.replace(" ", SPACE) for text in split.split(example.prompt + example.target) if text]
    long, single = pieces(corpus, size - 256 - len(special))

    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *long, *single]
    known = set(tokens)
    merges = [(p[:k], p[k:]) for p in long for k in range(1, len(p)) if p[:k] in known and p[k:] in known]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    scores = [0.0] * (len(special) + 256) + [-float(rank) for rank in range(len(long) + len(single))]
    return tokenizer, {"tokens": tokens, "scores": scores, "special": len(special)}


def main() -> None:
    """Write both files into a directory."""
    options = argparse.ArgumentParser(description="Train the tiny model's tokenizer.")
    options.add_argument("--out", type=Path, default=Path("build"))
    options.add_argument("--size", type=int, default=1024)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    tokenizer, vocabulary = build(given.size)
    tokenizer.save(str(given.out / "tokenizer.json"))
    (given.out / "vocabulary.json").write_text(json.dumps(vocabulary), encoding="utf-8")


if __name__ == "__main__":
    main()
