"""What the model wrote is sent back by the ids that it wrote, also where its tokenizer would split the text in another way."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_tools import create_model
from gemma_tools.data import tiny_path
from gemma_tools.engines import Capabilities, GenerationRequest
from gemma_tools.engines.base import Cancellation, Generation, Pieces
from gemma_tools.engines.llama_cpp import LlamaCppEngine
from gemma_tools.testing import ScriptedEngine
from gemma_tools.tokens import GemmaTokenizer
from gemma_tools.tokens.written import WrittenIds
from support.tiny import weather

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Gets the current weather for a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
USER = {"role": "user", "content": "what is the weather in Paris?"}


@pytest.fixture(scope="module")
def tokenizer() -> GemmaTokenizer:
    return GemmaTokenizer.from_file(tiny_path())


def letter_by_letter(tokenizer: GemmaTokenizer, text: str) -> list[int]:
    return [number for letter in text for number in tokenizer.encode(letter)]


class Writing(ScriptedEngine):
    """Writes the given ids, and keeps those of its prompts."""

    def __init__(self, *answers: list[int]) -> None:
        settings = ScriptedEngine(()).capabilities.settings
        super().__init__((), capabilities=Capabilities(settings=settings, token_ids=True))
        self.answers = list(answers)
        self.sent: list[list[int]] = []

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        assert request.tokenizer is not None
        assert request.on_ids is not None
        self.sent.append(request.prompt.token_ids(request.tokenizer))
        decoder = request.tokenizer.decoder()
        for number in self.answers.pop(0):
            request.on_ids([number])
            yield "".join(segment.text for segment in decoder.feed([number]))
        return Generation()


@pytest.mark.parametrize("stream", [False, True])
def test_an_unusual_split_is_sent_back_as_it_was_written(tokenizer: GemmaTokenizer, stream: bool) -> None:
    odd = letter_by_letter(tokenizer, "the weather is fine")
    assert odd != tokenizer.encode("the weather is fine")
    end = tokenizer.id("<end_of_turn>")
    engine = Writing([*odd, end], [*odd, end], [end])
    messages: list[dict[str, Any]] = [USER]
    with create_model("functiongemma", engine=engine, tokenizer=tokenizer) as model:
        for _ in range(3):
            answer = model.run(messages, stream=stream)
            text = (
                "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
                if stream
                else answer.choices[0].message.content
            )
            messages += [{"role": "assistant", "content": text}, USER]
    first, second, third = engine.sent
    assert second[: len(first) + len(odd) + 1] == [*first, *odd, end]
    assert third[: len(second) + len(odd) + 1] == [*second, *odd, end]
    assert tokenizer.decode(second) == model.format.render(messages[:3]).text


def test_a_call_is_sent_back_as_it_was_written(tokenizer: GemmaTokenizer) -> None:
    marks = {name: tokenizer.id(name) for name in ("<start_function_call>", "<end_function_call>", "<escape>")}
    city = letter_by_letter(tokenizer, "Paris")
    assert city != tokenizer.encode("Paris")
    wrote = [
        marks["<start_function_call>"],
        *tokenizer.encode("call:get_weather{city:"),
        marks["<escape>"],
        *city,
        marks["<escape>"],
        *tokenizer.encode("}"),
        marks["<end_function_call>"],
        tokenizer.id("<start_function_response>"),
    ]
    engine = Writing(wrote, [tokenizer.id("<end_of_turn>")])
    with create_model("functiongemma", engine=engine, tokenizer=tokenizer) as model:
        message = model.run([USER], tools=[TOOL], stream=False).choices[0].message
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
        model.run([USER, message.model_dump(), result], tools=[TOOL], stream=False)
    first, second = engine.sent
    assert second[: len(first) + len(wrote)] == [*first, *wrote]


def test_what_was_changed_is_tokenized_anew(tokenizer: GemmaTokenizer) -> None:
    odd = letter_by_letter(tokenizer, "the weather is fine")
    engine = Writing([*odd, tokenizer.id("<end_of_turn>")], [tokenizer.id("<end_of_turn>")])
    with create_model("functiongemma", engine=engine, tokenizer=tokenizer) as model:
        model.run([USER], stream=False)
        changed = [USER, {"role": "assistant", "content": "the weather is good"}, USER]
        model.run(changed, stream=False)
        assert engine.sent[1] == model.format.render(changed).token_ids(tokenizer)


def test_only_the_last_prompts_are_kept(tokenizer: GemmaTokenizer) -> None:
    kept = WrittenIds()
    first, *others = [weather(f"what is the weather in town {number}?") for number in range(30)]
    odd = letter_by_letter(tokenizer, "fine")

    def said(prompt: Any) -> list[int]:
        recalled = kept.recall(prompt.begun("fine"), tokenizer)
        return list(recalled.token_ids(tokenizer))[-len(odd) :]

    kept.add(kept.recall(first, tokenizer), odd, tokenizer)
    assert said(first) == odd
    for prompt in others:
        kept.add(kept.recall(prompt, tokenizer), odd, tokenizer)
    assert said(others[-1]) == odd
    assert said(first) != odd


def test_llama_cpp_has_read_all_but_the_last_token_that_it_drew(tokenizer: GemmaTokenizer) -> None:
    """Here it may write but one letter, and its tokenizer has a piece of two."""
    [letter] = tokenizer.encode("s")
    bias = {str(number): -100.0 for number in range(len(tokenizer)) if number != letter}
    messages: list[dict[str, Any]] = [USER]
    with LlamaCppEngine(parallel=1) as engine, create_model("functiongemma", engine=engine) as model:
        read = 0
        for _ in range(3):
            answer = model.run(messages, stream=False, temperature=0, logit_bias=bias, max_tokens=8)
            assert answer.usage.prompt_tokens_details.cached_tokens >= read
            content = answer.choices[0].message.content
            assert len(content) == 8 > len(tokenizer.encode(content))
            read = answer.usage.prompt_tokens + 8 - 1
            messages += [{"role": "assistant", "content": content}, USER]
