"""Token ids that come chunk by chunk."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.data import tiny_path
from gemma_tools.errors import InvalidRequest
from gemma_tools.prompt import Segment
from gemma_tools.tokens import GemmaTokenizer
from support.vocabularies import sentencepiece_model

FILES = (tiny_path(), sentencepiece_model(), sentencepiece_model(dummy_prefix=True))


def joined(segments: list[Segment]) -> list[Segment]:
    """Segments with neighbouring texts as one."""
    runs = ((control, [*run]) for control, run in groupby(segments, lambda segment: segment.control))
    return [s for control, run in runs for s in (run if control else [Segment("".join(part.text for part in run), False)])]


def decoded(tokenizer: GemmaTokenizer, pieces: list[list[int]]) -> list[Segment]:
    decoder = tokenizer.decoder()
    return joined([segment for piece in pieces for segment in decoder.feed(piece)] + decoder.close())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@given(data=st.data())
def test_any_way_of_cutting_gives_the_same(file: Path, data: st.DataObject) -> None:
    tokenizer = GemmaTokenizer.from_file(file)
    text = data.draw(st.text(st.sampled_from("a é👩語<\n") | st.characters(codec="utf-8"), max_size=8))
    ids = tokenizer.encode(text) + data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=12))
    whole = decoded(tokenizer, [ids])
    cuts = sorted(data.draw(st.sets(st.integers(0, len(ids)))))
    pieces = [ids[start:end] for start, end in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
    assert decoded(tokenizer, pieces) == decoded(tokenizer, [[number] for number in ids]) == whole
    assert "".join(segment.text for segment in whole) == tokenizer.decode(ids)
    assert [s.text for s in whole if s.control] == [t for t in map(tokenizer.token, ids) if t in tokenizer.controls]


def test_a_token_is_distinguished_from_text_that_looks_like_it() -> None:
    tokenizer = GemmaTokenizer.from_file(tiny_path())
    spelled = tokenizer.encode("<end_of_turn>")
    ids = [*spelled, tokenizer.id("<end_of_turn>"), *spelled]
    text = Segment("<end_of_turn>", False)
    assert decoded(tokenizer, [ids]) == [text, Segment("<end_of_turn>", True), text]


def test_a_character_is_given_when_it_is_whole() -> None:
    tokenizer = GemmaTokenizer.from_file(tiny_path())
    decoder = tokenizer.decoder()
    *begin, last = tokenizer.encode("語")
    assert begin
    assert decoder.feed(begin) == []
    assert decoder.feed([last]) == [Segment("語", False)]
    assert decoder.feed(begin) == []
    end = tokenizer.id("<end_of_turn>")
    assert decoder.feed([end]) == [Segment("\ufffd", False), Segment("<end_of_turn>", True)]


def test_an_id_that_the_vocabulary_lacks_is_refused() -> None:
    tokenizer = GemmaTokenizer.from_file(tiny_path())
    for number in (-1, len(tokenizer)):
        with pytest.raises(InvalidRequest, match="not a token id"):
            tokenizer.decoder().feed([number])
