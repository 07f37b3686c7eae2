"""The tokenizer gives the ids that the model's own would give, and text is text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.data import tiny_path
from gemma_tools.engines.llama_cpp import LlamaCppEngine
from gemma_tools.errors import InvalidRequest, ModelNotFound, UnknownName
from gemma_tools.tokens import GemmaTokenizer
from support.gguf_files import gguf_header, typed
from support.gguf_headers import GOOD, PIECES
from support.vocabularies import CONTROLS, MARKERS, RUNS, sentencepiece_model, texts, tokenizer_json

SPACE = "\u2581"


@pytest.mark.parametrize("user_defined", [True, False])
@pytest.mark.parametrize("dummy_prefix", [True, False])
def test_ids_are_those_of_sentencepiece(user_defined: bool, dummy_prefix: bool) -> None:
    path = sentencepiece_model(user_defined=user_defined, dummy_prefix=dummy_prefix)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ours = GemmaTokenizer.from_file(path)
    known = [*MARKERS] if user_defined else []
    for text in texts(1500):
        if SPACE in text or (dummy_prefix and (text[:1] == " " or any(piece in text for piece in (*RUNS, "  ", "<", "[")))):
            continue  # each reads these in its own way: see the docstring of the class
        assert ours.encode(text, control=known) == theirs.encode(text), text


def test_ids_are_those_of_tokenizers() -> None:
    theirs = tokenizers.Tokenizer.from_file(str(tokenizer_json()))
    ours = GemmaTokenizer.from_file(tokenizer_json())
    for text in texts(1500):
        if SPACE not in text and " " * 9 not in text:  # longer runs than are pieces come in another order
            assert ours.encode(text, control=ours.controls) == theirs.encode(text).ids, text


def test_a_folder_means_the_tokenizer_in_it() -> None:
    text = "kalo <b>mi</b>\n\nre"
    assert GemmaTokenizer.from_file(tokenizer_json().parent).encode(text) == GemmaTokenizer.from_file(tokenizer_json()).encode(
        text
    )


def test_all_files_of_one_vocabulary_give_the_same_ids() -> None:
    ours, other = GemmaTokenizer.from_file(tokenizer_json()), GemmaTokenizer.from_file(sentencepiece_model())
    assert ours.controls == other.controls
    for text in texts(400):
        assert ours.encode(text) == other.encode(text), text


@pytest.fixture(scope="module")
def tiny() -> GemmaTokenizer:
    return GemmaTokenizer.from_file(tiny_path())


@pytest.fixture(scope="module")
def engine() -> LlamaCppEngine:
    with LlamaCppEngine() as engine:
        yield engine


def test_counts_are_those_of_llama_cpp(tiny: GemmaTokenizer, engine: LlamaCppEngine) -> None:
    for text in texts(120):
        assert tiny.count(text, control=tiny.controls) == engine.count_tokens(text), text


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_decoding_gives_the_text_back(text: str) -> None:
    for path in (tiny_path(), sentencepiece_model(), tokenizer_json(), sentencepiece_model(dummy_prefix=True)):
        tokenizer = GemmaTokenizer.from_file(path)
        assert tokenizer.decode(tokenizer.encode(text)) == text.replace(SPACE, " ")


@given(st.lists(st.sampled_from([*CONTROLS, *MARKERS, "<bos>", "<pad>", "ka", " ", "<", "start_of_turn>"]), max_size=12))
def test_no_text_becomes_a_special_token(parts: list[str]) -> None:
    tokenizer = GemmaTokenizer.from_file(sentencepiece_model())
    special = {tokenizer.id(token) for token in tokenizer.controls}
    assert special.isdisjoint(tokenizer.encode("".join(parts)))


@given(st.text("ab日 >/<\n", max_size=30), st.integers(1, 400))
def test_long_runs_are_merged_as_short_ones_are(text: str, times: int) -> None:
    long = (text.replace(" ", "") or "a") * times * 5
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_model()))
    assert GemmaTokenizer.from_file(sentencepiece_model()).encode(long) == theirs.encode(long)


def test_named_special_tokens_are_found_longest_first() -> None:
    tokenizer = GemmaTokenizer.from_file(sentencepiece_model())
    turn = tokenizer.id("<start_of_turn>")
    ids = tokenizer.encode("<start_of_turn>ka<end_of_turn>", control=["<start_of_turn>"])
    assert ids[0] == turn
    assert tokenizer.id("<end_of_turn>") not in ids
    assert tokenizer.decode(ids) == "<start_of_turn>ka<end_of_turn>"


def test_tokens_have_names() -> None:
    tokenizer = GemmaTokenizer.from_file(sentencepiece_model())
    assert tokenizer.token(tokenizer.id("[multimodal]")) == "[multimodal]"
    assert {"<start_of_image>", "[multimodal]", "<start_of_turn>"} <= tokenizer.controls
    assert "<b>" not in tokenizer.controls
    with pytest.raises(UnknownName, match="<escape>"):
        tokenizer.id("<escape>")
    with pytest.raises(UnknownName, match="<escape>"):
        tokenizer.encode("x", control=["<escape>"])
    for number in (-1, len(tokenizer)):
        with pytest.raises(InvalidRequest, match="not a token id"):
            tokenizer.decode([number])


def test_one_file_gives_one_tokenizer() -> None:
    assert GemmaTokenizer.from_file(tiny_path()) is GemmaTokenizer.from_file(str(tiny_path()))


def test_half_a_character_is_read_as_utf_8_reads_it() -> None:
    tokenizer = GemmaTokenizer.from_file(sentencepiece_model())
    assert tokenizer.decode(tokenizer.encode("a\ud800b" + "\udc00" * 3000)) == "a\ufffdb" + "\ufffd" * 3000


def test_files_that_are_not_a_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="missing"):
        GemmaTokenizer.from_file(tmp_path / "missing.gguf")
    with pytest.raises(ModelNotFound, match=r"neither tokenizer\.json nor tokenizer\.model"):
        GemmaTokenizer.from_file(tmp_path)
    for name, content in (
        ("a.model", b"\x0a\xff"),
        ("b.model", b""),
        ("c.model", b"\x00" * 9),
        ("d.json", b"[]"),
        ("e.gguf", b"GGUF"),
        ("f.json", b'{"model": {"type": "BPE", "byte_fallback": true, "vocab": {"a": 1000000000000}}}'),
        ("g.json", b'{"model": {"type": "BPE", "byte_fallback": true, "vocab": {"a": 0, "b": -1}}}'),
        ("h.json", b'{"model": {"type": "BPE", "byte_fallback": true, "vocab": {"a": 0}, "merges": [null]}}'),
        (
            "i.json",
            b'{"model": {"type": "BPE", "byte_fallback": true, "vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": 2}]}',
        ),
        ("j.json", b"[" * 100_000),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelNotFound):
            GemmaTokenizer.from_file(tmp_path / name)


def test_vocabularies_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="merges are not complete"):
        GemmaTokenizer.from_file(tokenizer_json(complete=False))
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordPiece", "vocab": {"a": 0}}}')
    with pytest.raises(InvalidRequest, match="BPE"):
        GemmaTokenizer.from_file(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("tokens", 5, "no tokenizer"),
        ("tokens", "a", "no tokenizer"),
        ("tokens", [1.0] * len(PIECES), "no tokenizer"),
        ("token_type", [1.0], "the type of each token"),
        ("token_type", ["a"] * len(PIECES), "the type of each token"),
        ("scores", [0.0], "the score of each token"),
        ("scores", 7, "the score of each token"),
        ("model", 7, "of type 7 is not supported"),
        ("tokens", ["<0x4>" if piece == "<0x41>" else piece for piece in PIECES], "'<0x4>' is of the type BYTE"),
    ],
)
def test_a_gguf_file_with_other_values_is_refused(tmp_path: Path, key: str, value: Any, reason: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf_header(GOOD[0]))
    assert GemmaTokenizer.from_file(path).encode("ab é") == [[*PIECES].index(piece) for piece in ("ab", SPACE, "é")]
    path.write_bytes(gguf_header({**GOOD[0], f"tokenizer.ggml.{key}": typed(value)}))
    with pytest.raises(InvalidRequest, match=reason):
        GemmaTokenizer.from_file(path)


def test_a_special_token_that_looks_like_a_tag_is_not_text() -> None:
    tokenizer = GemmaTokenizer.from_file(tiny_path())  # whose file types it as a user-defined piece
    assert "<escape>" in tokenizer.controls
    assert tokenizer.id("<escape>") not in tokenizer.encode("<escape>")
