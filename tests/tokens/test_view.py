"""What a request costs, part by part and token by token."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_tools.data import tiny_path
from gemma_tools.formats import get_format
from gemma_tools.tokens import EstimatedTokenCounter, GemmaTokenizer, TokenizerCounter, TokenView, count_parts

TOOL = {"type": "function", "function": {"name": "tide", "parameters": {"properties": {"port": {"type": "string"}}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"port": "Brest"}'}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You keep the harbour's log."},
    {"role": "user", "content": "How high is the tide in Brest?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "4 m, and it falls until the evening"},
]


@pytest.fixture(scope="module")
def tokenizer() -> GemmaTokenizer:
    return GemmaTokenizer.from_file(tiny_path())


@pytest.mark.parametrize("name", ["functiongemma", "gemma3", "gemma4"])
@pytest.mark.parametrize("first", [0, 1])
def test_the_parts_add_up_to_the_prompt(name: str, first: int, tokenizer: GemmaTokenizer) -> None:
    counter = TokenizerCounter(get_format(name), tokenizer)
    messages = MESSAGES[first:]
    parts = count_parts(messages, [TOOL], counter=counter)
    places = [f"messages[{i}] {m['role']}" + (" tide" if m["role"] == "tool" else "") for i, m in enumerate(messages)]
    assert [part.part for part in parts] == [places[0], "tools", *places[1:], "the model's turn"]
    assert sum(part.tokens for part in parts) == counter.count_tokens_from_messages(messages, [TOOL])
    assert all(part.tokens > 0 for part in parts[:-1])
    without = count_parts(messages, counter=counter)
    assert len(without) == len(parts) - 1
    assert sum(part.tokens for part in without) == counter.count_tokens_from_messages(messages)


def test_options_are_those_of_rendering(tokenizer: GemmaTokenizer) -> None:
    counter = TokenizerCounter(get_format("gemma4"), tokenizer)
    thinking = count_parts(MESSAGES, [TOOL], counter=counter, enable_thinking=True)
    prompt = get_format("gemma4").render(MESSAGES, [TOOL], enable_thinking=True)
    assert sum(part.tokens for part in thinking) == counter.count_prompt(prompt)


def test_a_longer_part_counts_more(tokenizer: GemmaTokenizer) -> None:
    counter = TokenizerCounter(get_format("gemma4"), tokenizer)
    longer = [*MESSAGES[:3], {**MESSAGES[3], "content": MESSAGES[3]["content"] * 5}]
    before, after = (count_parts(messages, [TOOL], counter=counter) for messages in (MESSAGES, longer))
    assert [a.part for a, b in zip(after, before, strict=True) if a.tokens != b.tokens] == ["messages[3] tool tide"]


def test_tokens_of_a_prompt_are_its_ids(tokenizer: GemmaTokenizer) -> None:
    prompt = get_format("functiongemma").render([{"role": "user", "content": "Is <start_of_turn> a token?"}], [TOOL])
    view = TokenView.of(prompt, tokenizer)
    assert [token.id for token in view.tokens] == prompt.token_ids(tokenizer)
    special = [token.text for token in view.tokens if token.special]
    assert special == [segment.text for segment in prompt.segments if segment.control]
    assert "".join(token.text for token in view.tokens) == "".join(segment.text for segment in prompt.segments)


def test_nothing_in_a_text_is_special(tokenizer: GemmaTokenizer) -> None:
    view = TokenView.of("<start_of_turn>user", tokenizer)
    assert not any(token.special for token in view.tokens)
    assert len(view) == len(tokenizer.encode("<start_of_turn>user"))


def test_a_special_token_that_the_vocabulary_lacks_is_text(tokenizer: GemmaTokenizer) -> None:
    prompt = get_format("gemma3").render([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])
    assert "<start_of_image>" not in tokenizer.controls
    view = TokenView.of(prompt, tokenizer)
    assert "<start_of_image>" in "".join(token.text for token in view.tokens)
    assert "<start_of_image>" not in [token.text for token in view.tokens]


def test_notebooks_show_tokens_and_no_markup_of_texts(tokenizer: GemmaTokenizer) -> None:
    prompt = get_format("functiongemma").render([{"role": "user", "content": "<b>bold</b> & more"}])
    shown = TokenView.of(prompt, tokenizer)._repr_html_()
    assert "<b>" not in shown
    assert shown.count("<span") == len(prompt.token_ids(tokenizer))
    assert shown.count('class="special"') == sum(segment.control for segment in prompt.segments)
    assert f"{len(prompt.token_ids(tokenizer))} tokens" in shown


def test_each_message_is_counted_once(tokenizer: GemmaTokenizer) -> None:
    """Not again with each message that follows."""

    class Counting(TokenizerCounter):
        read = 0

        def count(self, text: str) -> int:
            self.read += len(text)
            return super().count(text)

    def read(rounds: int) -> int:
        counter = Counting(get_format("gemma4"), tokenizer)
        count_parts([MESSAGES[0], *MESSAGES[1:] * rounds], [TOOL], counter=counter)
        return counter.read

    first, second, third = read(10), read(20), read(40)
    assert third - second < 2.5 * (second - first)
    assert third < 12 * len(get_format("gemma4").render([MESSAGES[0], *MESSAGES[1:] * 40], [TOOL]).text)


def test_the_parts_of_an_estimate_add_up() -> None:
    counter = EstimatedTokenCounter(get_format("gemma4"))
    parts = count_parts(MESSAGES * 5, [TOOL], counter=counter)
    assert sum(part.tokens for part in parts) == counter.count_tokens_from_messages(MESSAGES * 5, [TOOL])
    assert abs(parts[-1].tokens) < 25
