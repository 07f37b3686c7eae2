"""What the real vocabulary decides, on Gemma 3 270M behind llama.cpp. The base model is not wise: what counts is the form."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import jsonschema_rs
import pytest

from gemma_tools import Gemma3Model
from gemma_tools.engines import Constraint, GenerationRequest, Sampling
from gemma_tools.errors import ContextExceeded, InvalidRequest
from gemma_tools.jsontext import to_json
from gemma_tools.prompt import WORD_JOINER
from support.bfcl import questions
from support.grammar_tools import properties, tool
from support.media import BLUE, picture, png
from support.tiny import GREEDY, play

WEATHER = tool("get_weather", properties("city", city={"type": "string"}, days={"type": "integer", "minimum": 1}))
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
FOREIGN = ("</s> <unused7>",)
"""Tokens that Gemma 3's format does not know: text in a prompt, and read as tokens when the engine counts."""
TEXTS = [
    "Wie heißt der Fluss?",
    "東京の天気は?",
    "a" * 300,
    "x = {'a': [1, 2.5]}\n\t\treturn x",
    "🌊 <b>bold</b>  \r\n",
    *FOREIGN,
]


def user(text: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def test_counts_are_those_of_the_engine(model: Gemma3Model) -> None:
    for text, tools in itertools.product(TEXTS, ([], [WEATHER])):
        completion = model.run(user(text), tools=tools, max_tokens=1, temperature=0)
        assert completion.usage
        assert len(model.format.render(user(text), tools).token_ids(model.tokenizer)) == completion.usage.prompt_tokens
        if text not in FOREIGN:
            assert model.count_tokens_from_messages(user(text), tools) == completion.usage.prompt_tokens
    assert model.token_counter.exact


def test_prompts_as_text_and_as_ids_are_the_same_prompt(model: Gemma3Model) -> None:
    for text in TEXTS[:3]:
        prompt = model.format.render(user(text), [WEATHER])
        request = GenerationRequest(prompt, replace(GREEDY, max_tokens=4))
        as_text, as_ids = (play(model.engine.generate(replace(request, tokenizer=t))) for t in (None, model.tokenizer))
        assert as_text[1].usage.prompt_tokens == as_ids[1].usage.prompt_tokens, text
        assert "".join(as_text[0]) == "".join(as_ids[0]), text


@pytest.mark.parametrize("notation", ["gbnf", "lark"])
@pytest.mark.parametrize("style", ["pythonic", "json"])
def test_a_hot_model_writes_valid_calls_under_either_grammar(model: Gemma3Model, style: Any, notation: str) -> None:
    format = Gemma3Model("gemma3", engine=model.engine, tool_style=style).format
    finished = 0
    for seed, question in enumerate(questions("simple", 4)):
        grammar = format.grammar(question.tools, tool_choice="required", parallel=False)
        prompt = format.render(question.messages, question.tools)
        hot = Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=seed, max_tokens=120)
        constraint = Constraint(**{notation: getattr(grammar, notation)})
        pieces, generation = play(model.engine.generate(GenerationRequest(prompt, hot, constraint=constraint)))
        reply = format.parse("".join(pieces), question.tools, finish=generation.finish)
        if reply.finish_reason != "length":
            finished += 1
            (call,) = reply.tool_calls
            jsonschema_rs.validate(question.schema(call.name), call.arguments)
    assert finished


def test_named_tools_are_called(model: Gemma3Model) -> None:
    for question in questions("multiple", 4):
        name = question.tools[-1]["function"]["name"]
        chosen = {"type": "function", "function": {"name": name}}
        completion = model.run(question.messages, tools=question.tools, tool_choice=chosen, temperature=0, max_tokens=120)
        for call in completion.choices[0].message.tool_calls or ():
            assert call.type == "function"
            assert call.function.name == name
            jsonschema_rs.validate(question.schema(name), json.loads(call.function.arguments))


def test_ten_steps_of_a_tool_loop_read_only_what_is_new(model: Gemma3Model) -> None:
    messages = user("Compare the weather of ten towns.")
    before = 1
    for step in range(10):
        completion = model.run(messages, tools=[WEATHER], max_tokens=2, temperature=0)
        usage = completion.usage
        assert usage
        assert usage.prompt_tokens_details
        assert (usage.prompt_tokens_details.cached_tokens or 0) >= before - 1
        before = usage.prompt_tokens
        function = {"name": "get_weather", "arguments": to_json({"city": f"Town {step}"})}
        messages += [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": f"c{step}", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": f"c{step}", "content": f"{step} degrees, rain"},
        ]


def test_a_picture_is_counted_as_gemma_3_s_processor_makes_it(seeing: Gemma3Model) -> None:
    for parts in ([picture(png())], [picture(png()), {"type": "text", "text": "and"}, picture(png(BLUE))]):
        asked = user([{"type": "text", "text": "Describe this."}, *parts])
        usage = seeing.run(asked, max_tokens=1).usage
        assert usage
        assert usage.prompt_tokens == seeing.count_tokens_from_messages(asked)
    with pytest.raises(ContextExceeded):  # before the engine reads them
        seeing.run(user([picture(png())] * 4))


def test_special_tokens_stay_text_beside_a_picture(seeing: Gemma3Model) -> None:
    used = []
    for text in ("Say <unused7> <b>now</b>", f"Say <{WORD_JOINER}unused7> <b>now</b>"):
        usage = seeing.run(user([{"type": "text", "text": text}, picture(png())]), max_tokens=1).usage
        assert usage
        used.append(usage.prompt_tokens)
    assert used[0] == used[1]


def test_a_call_about_a_picture(seeing: Gemma3Model) -> None:
    asked = user([{"type": "text", "text": "How is the weather in this place?"}, picture(png())])
    message = seeing.run(asked, tools=[WEATHER], tool_choice="required", max_tokens=60, temperature=0).choices[0].message
    assert message.tool_calls
    assert json.loads(message.tool_calls[0].function.arguments)["city"] is not None  # type: ignore[union-attr]


def test_images_are_refused(model: Gemma3Model) -> None:
    with pytest.raises(InvalidRequest, match="image") as refused:
        model.run(user([IMAGE, {"type": "text", "text": "What is this?"}]))
    assert refused.value.param


def test_a_context_can_be_filled_to_the_brim(model: Gemma3Model) -> None:
    limit = model.token_limit
    assert limit == 1024
    spent = model.count_tokens_from_messages(user("tide" + " tide" * 10)) - 10

    def filled(tokens: int) -> list[dict[str, Any]]:
        return user("tide" + " tide" * (tokens - spent))

    with pytest.raises(ContextExceeded) as refused:
        model.run(filled(limit), max_tokens=8, temperature=0)
    assert (refused.value.prompt_tokens, refused.value.context) == (limit, limit)
    completion = model.run(filled(limit - 1), max_tokens=8, temperature=0)
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (limit - 1, 1)


@pytest.mark.parametrize("at_once", [2, 8])
def test_requests_at_once_get_their_own_answers(model: Gemma3Model, at_once: int) -> None:
    asked = questions("simple", at_once)

    def answer(index: int) -> None:
        question = asked[index]
        completion = model.run(question.messages, tools=question.tools, tool_choice="required", temperature=0, max_tokens=60)
        for call in completion.choices[0].message.tool_calls or ():
            assert call.type == "function"
            jsonschema_rs.validate(question.schema(call.function.name), json.loads(call.function.arguments))

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(answer, range(at_once)))
