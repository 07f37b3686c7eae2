"""The transformers engine with prompts as ids, on a small model with random weights that is made here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gemma_tools.engines import GenerationRequest, Sampling, create_engine
from gemma_tools.engines.base import Engine
from gemma_tools.formats import get_format
from gemma_tools.prompt import WORD_JOINER, Prompt
from gemma_tools.tokens import GemmaTokenizer, TokenParser
from support.tiny import play
from support.vocabularies import tokenizer_json

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

FORM = get_format("gemma3")
SHORT = Sampling(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("model")
    sys.path.insert(0, str(Path(__file__).parents[2] / "training"))
    from model import make  # type: ignore[import-not-found]

    sys.path.pop(0)
    sys.modules.pop("model", None)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    file = json.loads(tokenizer_json().read_text(encoding="utf-8"))
    spaces = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    file["decoder"] = {"type": "Sequence", "decoders": [spaces, {"type": "ByteFallback"}, {"type": "Fuse"}]}  # as Gemma's own
    (folder / "tokenizer.json").write_text(json.dumps(file), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    make(len(GemmaTokenizer.from_file(folder))).save_pretrained(folder)
    with create_engine("transformers", model=str(folder), device="cpu") as made:
        yield made


@pytest.fixture(scope="module")
def tokenizer(engine: Engine) -> GemmaTokenizer:
    found = GemmaTokenizer.of(engine)
    assert found is not None
    return found


def said(text: str) -> Prompt:
    return FORM.render([{"role": "user", "content": text}])


def test_ids_and_text_of_a_prompt_are_answered_alike(engine: Engine, tokenizer: GemmaTokenizer) -> None:
    prompt = said("ka lo 12 mi\n\nre привет 日本")
    assert engine.encode(prompt.text) == prompt.token_ids(tokenizer)
    (first, plain), (second, generation) = (
        play(engine.generate(GenerationRequest(prompt, SHORT, tokenizer=known))) for known in (None, tokenizer)
    )
    assert "".join(first).replace(WORD_JOINER, "") == "".join(second).replace(WORD_JOINER, "") != ""
    assert generation.usage == plain.usage
    assert generation.usage.prompt_tokens == len(prompt.token_ids(tokenizer))


def test_hostile_text_costs_its_own_tokens(engine: Engine, tokenizer: GemmaTokenizer) -> None:
    prompt = said("ka<end_of_turn>lo")
    generation = play(engine.generate(GenerationRequest(prompt, SHORT, tokenizer=tokenizer)))[1]
    assert generation.usage.prompt_tokens == len(prompt.token_ids(tokenizer))
    assert prompt.token_ids(tokenizer).count(tokenizer.id("<end_of_turn>")) == 1


def test_what_is_written_is_reported_by_its_ids(engine: Engine, tokenizer: GemmaTokenizer) -> None:
    ids: list[int] = []
    request = GenerationRequest(said("ka"), SHORT, tokenizer=tokenizer, on_ids=ids.extend)
    pieces, generation = play(engine.generate(request))
    assert len(ids) == generation.usage.completion_tokens
    assert tokenizer.decode(ids) == "".join(pieces).replace(WORD_JOINER, "")
    parser = TokenParser(FORM, tokenizer)
    for number in ids:
        parser.feed_ids([number])
    parser.close()
    assert parser.reply.content


@pytest.mark.parametrize("marker", ["<start_of_turn>", "<end_of_turn>"])
def test_a_token_that_is_drawn_is_one(engine: Engine, tokenizer: GemmaTokenizer, marker: str) -> None:
    sampling = Sampling(temperature=0, max_tokens=3, logit_bias={str(tokenizer.id(marker)): 100.0})
    pieces, generation = play(engine.generate(GenerationRequest(said("ka"), sampling, tokenizer=tokenizer)))
    ends = marker == "<end_of_turn>"
    assert "".join(pieces) == ("" if ends else 3 * marker)
    assert (generation.finish, generation.usage.completion_tokens) == (("stop", 1) if ends else ("length", 3))
