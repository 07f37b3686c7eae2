"""Counters: the model's own tokenizer where there is one, and an estimate that says that it is one."""

from __future__ import annotations

import pytest

from gemma_tools.data import tiny_path
from gemma_tools.engines.llama_cpp import LlamaCppEngine
from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.testing import ScriptedEngine
from gemma_tools.tokens import EngineTokenCounter, EstimatedTokenCounter, GemmaTokenizer, TokenizerCounter
from support.vocabularies import sentencepiece_model, texts

MESSAGES = [
    {"role": "system", "content": "You keep the harbour's log."},
    {"role": "user", "content": "How high is the tide in Brest at 12:30, and is the link up?"},
]
TOOL = {"type": "function", "function": {"name": "tide", "parameters": {"properties": {"port": {"type": "string"}}}}}


def test_the_tokenizer_counts_as_the_engine_does() -> None:
    for name in ("functiongemma", "gemma4"):
        format = get_format(name)
        ours = TokenizerCounter(format, GemmaTokenizer.from_file(tiny_path()))
        with LlamaCppEngine() as engine:
            theirs = EngineTokenCounter(format, engine)
            assert ours.count_tokens_from_messages(MESSAGES, [TOOL]) == theirs.count_tokens_from_messages(MESSAGES, [TOOL])
        assert ours.exact


def test_ids_of_the_tokenizer() -> None:
    counter = TokenizerCounter(get_format("functiongemma"), GemmaTokenizer.from_file(tiny_path()))
    ids = counter.encode("<start_of_turn>hello there")
    assert len(ids) == counter.count("<start_of_turn>hello there")
    assert counter.decode(ids) == "<start_of_turn>hello there"
    # A vocabulary without the format's special tokens reads them as text.
    other = TokenizerCounter(get_format("gemma4"), GemmaTokenizer.from_file(sentencepiece_model()))
    assert other.count("<|tool_call>") > 1


@pytest.mark.parametrize("name", ["functiongemma", "gemma3", "gemma4"])
def test_the_estimate_grows_with_the_text(name: str) -> None:
    format = get_format(name)
    counter = EstimatedTokenCounter(format)
    assert not counter.exact
    assert counter.count("") == 0
    assert counter.count("".join(format.controls)) == len(format.controls)
    for digits in ("1", "2026", "3.14159"):
        assert counter.count(digits) >= len(digits.replace(".", ""))
    for text in texts(60):
        assert 0 < counter.count(text) <= counter.count(text + " and more") <= len(text.encode()) + 10
    assert counter.count_tokens_from_messages(MESSAGES) < counter.count_tokens_from_messages(MESSAGES, [TOOL])


def test_every_character_has_an_estimate() -> None:
    counter = EstimatedTokenCounter(get_format("gemma3"))
    for first in range(0, 0x110000, 64):  # that is all which two bytes of a character can be, and what begins it
        assert counter.count(chr(first) + "a" + chr(first) * 2) > 0


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # What Gemma 3's own tokenizer makes of them.
        ("What is the weather like in Lisbon tomorrow morning?", 10),
        ("def area(width, height):\n    return width * height\n", 14),
        ("Привет, как дела сегодня утром?", 7),
        ("今日の東京の天気はどうですか。", 7),
    ],
)
def test_the_estimate_is_near_the_truth(text: str, tokens: int) -> None:
    assert tokens / 1.3 <= EstimatedTokenCounter(get_format("gemma3")).count(text) <= 2 * tokens


def test_images_and_sounds_are_counted_as_the_family_takes_them() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    tokenizer = GemmaTokenizer.from_file(tiny_path())
    for name, options, part, tokens in (
        ("gemma3", {}, image, 260),
        ("gemma3", {"variant": "3n"}, sound, 192),
        ("gemma4", {}, image, 282),
        ("gemma4", {}, sound, 752),
    ):
        format = get_format(name, **options)
        for number in (1, 2):
            parts = [part, {"type": "text", "text": "What is it?"}] * number
            prompt = format.render([{"role": "user", "content": parts}])
            counter = TokenizerCounter(format, tokenizer)
            assert counter.count_prompt(prompt) - counter.count(prompt.text) == number * (tokens - 1)
            estimate = EstimatedTokenCounter(format).count_tokens_from_messages([{"role": "user", "content": parts}])
            assert number * tokens < estimate < number * tokens + 30


def test_an_engine_that_can_gives_its_ids() -> None:
    text = "<start_of_turn>user\nHow high is the tide?"
    with LlamaCppEngine() as engine:
        counter = EngineTokenCounter(get_format("functiongemma"), engine)
        ids = counter.encode(text)
        assert ids == GemmaTokenizer.from_file(tiny_path()).encode(text, control=["<start_of_turn>"])
        assert counter.decode(ids) == text
    counter = EngineTokenCounter(get_format("functiongemma"), ScriptedEngine([]))
    assert counter.count(text) > 0
    for ask in (lambda: counter.encode(text), lambda: counter.decode([1])):
        with pytest.raises(InvalidRequest, match="GemmaTokenizer"):
            ask()


def test_an_estimate_has_no_ids() -> None:
    counter = EstimatedTokenCounter(get_format("gemma3"))
    assert len(counter.encode("How high is the tide?")) == counter.count("How high is the tide?")
    with pytest.raises(InvalidRequest, match="GemmaTokenizer"):
        counter.decode([1, 2])
