"""Gemma's own vocabulary: the ids are those of llama.cpp and of SentencePiece, and the estimate is as near as the docs say."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median

import pytest
import sentencepiece

from gemma_tools.engines.llama_cpp import LlamaCppEngine
from gemma_tools.formats import get_format
from gemma_tools.prompt import Prompt
from gemma_tools.tokens import EstimatedTokenCounter, GemmaTokenizer
from gemma_tools.tokens.vocabulary import Kind, read_vocabulary
from support.languages import code, data, mixtures, scripts, sentences
from support.real import as_sentencepiece
from support.vectors import SHARED

GOLDEN = sorted((Path(__file__).parents[1] / "formats" / "golden").glob("*/*.json"))
SPACE = "\u2581"


@pytest.fixture(scope="module")
def tokenizer(gguf: Path) -> GemmaTokenizer:
    return GemmaTokenizer.from_file(gguf)


@pytest.fixture(scope="module")
def engine(gguf: Path) -> Iterator[LlamaCppEngine]:
    with LlamaCppEngine(gguf, context=512, parallel=1, threads=1) as engine:
        yield engine


@cache
def prompts() -> list[tuple[str, Prompt]]:
    """Format and prompt of all golden files, and of the conformance vectors where they are."""
    files = [path.read_text(encoding="utf-8") for path in GOLDEN]
    cases = [(path.parent.name, json.loads(file)) for path, file in zip(GOLDEN, files, strict=True)]
    made = [
        (name, get_format(name, **case["format"]).render(case["messages"], case["tools"], **case["options"]))
        for name, case in cases
    ]
    for path in sorted((SHARED / "conformance" / "render").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            vector = json.loads(line)
            made.append((vector["format"], Prompt(vector["prompt"], get_format(vector["format"]).controls)))
    return made


TEXTS: dict[str, Callable[[], list[str]]] = {
    "prompts": lambda: [prompt.text for _, prompt in prompts()],
    "mixtures": lambda: mixtures(2500),
    "scripts": lambda: scripts(1500),
    "sentences": lambda: [text for _, text in sentences(600)],
    "code": code,
    "long": lambda: [
        "".join(scripts(400, seed=9)).replace(" ", ""),
        "a" * 30_000,
        "日本" * 9000,
        "".join(mixtures(900, seed=8)),
    ],
}


@pytest.mark.parametrize("kind", TEXTS)
def test_ids_are_those_of_llama_cpp(kind: str, tokenizer: GemmaTokenizer, engine: LlamaCppEngine) -> None:
    texts = TEXTS[kind]()
    different = [text for text in texts if tokenizer.encode(text, control=tokenizer.controls) != engine.encode(text)]
    print(f"{kind}: {len(different)} of {len(texts)} texts differ")
    assert not different


@pytest.mark.parametrize("kind", TEXTS)
def test_decoding_gives_the_text_back(kind: str, tokenizer: GemmaTokenizer) -> None:
    for text in TEXTS[kind]():
        assert tokenizer.decode(tokenizer.encode(text)) == text.replace(SPACE, " ")


def test_ids_are_those_of_sentencepiece(gguf: Path, tokenizer: GemmaTokenizer) -> None:
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(as_sentencepiece(gguf)))
    vocabulary = read_vocabulary(gguf)
    known = {
        piece
        for piece, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True)
        if kind == Kind.USER_DEFINED and piece in tokenizer.controls
    }
    pieces = [piece for piece, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True) if kind == Kind.NORMAL]
    texts = [*pieces, *mixtures(20_000, seed=6), *scripts(20_000, seed=7)]
    texts = [text for text in texts if SPACE not in text]  # which each reads in its own way
    different = [text for text in texts if tokenizer.encode(text, control=known) != theirs.encode(text)]
    print(f"{len(different)} of {len(texts)} texts differ from SentencePiece")
    assert not different


def test_ids_of_prompts_are_those_of_their_text(tokenizer: GemmaTokenizer, engine: LlamaCppEngine) -> None:
    own = [prompt for name, prompt in prompts() if name == "gemma3" and prompt.plain and "_soft_token>" not in prompt.text]
    assert len(own) > 5
    for prompt in own:
        assert prompt.token_ids(tokenizer) == engine.encode(prompt.text)


def _truth(prompt: Prompt, tokenizer: GemmaTokenizer) -> int:
    """The tokens of a prompt on a vocabulary of its own family: this one lacks the special tokens of the others."""
    return sum(1 if segment.control else tokenizer.count(segment.text) for segment in prompt.segments)


def test_the_estimate_is_as_near_as_the_docs_say(tokenizer: GemmaTokenizer) -> None:
    errors: dict[str, list[float]] = defaultdict(list)
    for name, prompt in prompts():
        truth = _truth(prompt, tokenizer)
        errors[f"prompts, {name}"].append(
            EstimatedTokenCounter(get_format(name)).count_prompt(replace(prompt, media=())) / truth - 1
        )
    estimate = EstimatedTokenCounter(get_format("gemma3")).count
    for text in code():
        errors["code"].append(estimate(text) / tokenizer.count(text) - 1)
    for kind, text in (*sentences(1900), *data(60)):
        errors[kind].append(estimate(text) / tokenizer.count(text) - 1)
    for kind, found in errors.items():
        size = sorted(map(abs, found))[int(0.95 * (len(found) - 1))]
        print(f"| {kind} | {len(found)} | {median(found):+.0%} | {size:.0%} | {min(found):+.0%} | {max(found):+.0%} |")
    assert min(min(found) for kind, found in errors.items() if kind.startswith("prompts")) >= 0
    assert sorted(map(abs, errors["code"]))[int(0.95 * len(errors["code"]))] < 0.2
