"""Small vocabularies, trained with the settings that Gemma's was trained with, and texts to try tokenizers on."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import sentencepiece

RUNS = [*("\n" * n for n in range(1, 9)), *("\t" * n for n in range(1, 5))]
SPACE_RUNS = [" " * n for n in range(2, 9)]
TAGS = ["<b>", "</b>", "<h1>", "<ul>"]
MARKERS = ["[multimodal]", "<start_of_image>"]
CONTROLS = ["<start_of_turn>", "<end_of_turn>"]
SIZE = 1200
_SYLLABLES = ("ka", "lo", "mi", "re", "ster", "ing", "un", "tion", "YY", "::", "é", "привет", "мир", "日本", "語", "한국", "नम")


def corpus(seed: int = 5, lines: int = 3000) -> list[str]:
    """Lines with words, digits, code, tags, and a piece that has a space inside (`> </`)."""
    random = Random(seed)
    words = ["".join(random.choices(_SYLLABLES, k=random.randint(1, 4))) for _ in range(500)]
    ends = ["", ",", ".", "> </", ": ", " 12", "();", "YYYY", "::::"]
    return [" ".join(random.choice(words) + random.choice(ends) for _ in range(random.randint(2, 15))) for _ in range(lines)]


@cache
def sentencepiece_model(*, user_defined: bool = True, dummy_prefix: bool = False) -> Path:
    """A `tokenizer.model`, trained once in a process."""
    folder = Path(mkdtemp(prefix="vocabulary-"))
    (folder / "corpus.txt").write_text("\n".join(corpus()), encoding="utf-8")
    pieces = [*RUNS, *(run.replace(" ", "\u2581") for run in SPACE_RUNS), *TAGS, *MARKERS] if user_defined else []
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=SIZE,
        byte_fallback=True,
        split_digits=True,
        split_by_whitespace=not user_defined,
        allow_whitespace_only_pieces=True,
        add_dummy_prefix=dummy_prefix,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        user_defined_symbols=pieces,
        control_symbols=CONTROLS,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        eos_piece="<eos>",
        bos_piece="<bos>",
        character_coverage=0.999,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder / "tokenizer.model"


@cache
def tokenizer_json(*, complete: bool = True) -> Path:
    """The same vocabulary as a `tokenizer.json` of Hugging Face; not `complete`: with one merge left out."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_model()))
    vocab = {model.id_to_piece(number): number for number in range(len(model))}
    special = {number for number in vocab.values() if model.is_control(number) or model.is_unknown(number)}
    defined = {piece: number for piece, number in vocab.items() if _is_added(piece)}
    longer = {p: n for p, n in vocab.items() if len(p) > 1 and n not in special and not model.is_byte(n) and p not in defined}
    runs = [run.replace(" ", "\u2581") for run in SPACE_RUNS]
    merges = [[run[:cut], run[cut:]] for run in runs for cut in range(1, len(run))]  # as in Gemma's own file
    merges += [
        [piece[:cut], piece[cut:]]
        for piece in sorted(longer, key=lambda piece: (-model.get_score(longer[piece]), longer[piece]))
        for cut in range(1, len(piece))
        if _merges(piece[:cut], vocab, special, defined) and _merges(piece[cut:], vocab, special, defined)
    ]
    added = [(number, piece, number in special) for piece, number in vocab.items() if number in special or piece in defined]
    file = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": number,
                "content": piece,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": s,
            }
            for number, piece, s in sorted(added)
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "fuse_unk": True,
            "unk_token": "<unk>",
            "vocab": vocab,
            "merges": merges if complete else merges[:-1],
        },
    }
    path = Path(mkdtemp(prefix="vocabulary-")) / "tokenizer.json"
    path.write_text(json.dumps(file), encoding="utf-8")
    return path


def _is_added(piece: str) -> bool:
    return piece in {*RUNS, *TAGS, *MARKERS} or (
        len(piece) > 1 and not piece.strip("\u2581") and len(piece) <= len(SPACE_RUNS) + 1
    )


def _merges(piece: str, vocab: dict[str, int], special: set[int], defined: dict[str, int]) -> bool:
    return piece in vocab and vocab[piece] not in special and piece not in defined


def texts(count: int, seed: int = 7) -> list[str]:
    """Texts of words that the vocabulary knows, of what it does not know, and of what is special in it."""
    random = Random(seed)
    odd = [
        "YYYY",
        " YYYY",
        "::::",
        "> </",
        ">",
        "  ",
        "\u2581\u2581",
        "\r\n",
        "é",
        "👨‍👩‍👧",
        "123",
        "ǆ",
        *RUNS,
        *SPACE_RUNS,
        *TAGS,
        *MARKERS,
        *CONTROLS,
    ]
    lines = corpus(seed, count // 2)
    mixed = [
        "".join(random.choice(odd) + random.choice(["", " ", "x", "ka"]) for _ in range(random.randint(1, 12))) for _ in lines
    ]
    return lines + mixed
