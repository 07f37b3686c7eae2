"""Law 5: text never becomes control, whatever it is and wherever it stands."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.formats import get_format
from gemma_tools.prompt import WORD_JOINER, Prompt

FORMATS = ("functiongemma", "gemma3", "gemma4")


def spellings(name: str) -> tuple[str, ...]:
    return get_format(name).controls


def hostile(name: str) -> st.SearchStrategy[str]:
    """Text around whole and broken special tokens, and around the characters that prompts use themselves."""
    pieces = st.sampled_from(
        [*spellings(name), "<", ">", "\x00", "\x001", "\x000", "|", '"', "<end_of_", "turn>", "<|to", "ol>", "a", " "]
    )
    # Text begins and ends with a letter, because trimming and emptiness are part of the shape.
    return st.lists(pieces, min_size=1, max_size=5).map(lambda found: f"x{''.join(found)}x")


def request(text: str) -> dict[str, Any]:
    """A request that has `text` wherever a request can have text."""
    parameters = {
        "type": "object",
        "properties": {
            text: {"type": "string", "description": text, "enum": [text, "k"]},
            "b": {"type": "object", "properties": {text: {"type": text}}, "required": [text]},
            "l": {"type": "array", "items": {"type": "string", "description": text, text: [text]}},
            "u": {"anyOf": [{"const": text}, {"type": "null"}], "description": text},
        },
        "required": [text],
    }
    function = {"name": "act", "description": text, "parameters": parameters, "response": {"type": text, "description": text}}
    arguments = {text: text, "list": [text, {text: [text]}]}
    call = {"id": text, "type": "function", "function": {"name": "act", "arguments": json.dumps(arguments)}}
    broken = {"id": "2", "type": "function", "function": {"name": "act", "arguments": text}}
    messages = [
        {"role": "developer", "content": text},
        {"role": "user", "content": [{"type": "text", "text": text}, {"type": "text", "text": text}], "name": text},
        {"role": "assistant", "content": "so", "tool_calls": [call, broken], "reasoning": text},
        {"role": "tool", "tool_call_id": text, "content": json.dumps({text: [text]})},
        {"role": "tool", "tool_call_id": "2", "content": text},
        {"role": "system", "content": text},
        {"role": "assistant", "content": None, "tool_calls": [call | {"id": "3"}], "reasoning_content": text},
        {"role": "tool", "tool_call_id": "3", "content": [{"type": "text", "text": text}, {"type": "text", "text": text}]},
    ]
    return {"messages": messages, "tools": [{"type": "function", "function": function}]}


def controls(prompt: Prompt) -> list[str]:
    return [segment.text for segment in prompt.segments if segment.control]


def read_by_tokenizer(prompt: Prompt) -> list[str]:
    """The special tokens that a tokenizer finds in the prompt's text."""
    pattern = "|".join(map(re.escape, sorted(prompt.controls, key=len, reverse=True)))
    return re.findall(pattern, prompt.text)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("tool_content", ["string", "json_object"])
@given(data=st.data())
def test_text_never_becomes_a_special_token(name: str, tool_content: str, data: st.DataObject) -> None:
    text = data.draw(hostile(name))
    form = get_format(name, tool_content=tool_content)
    tame = form.render(**request("xyx"))
    prompt = form.render(**request(text))
    assert controls(prompt) == controls(tame)
    assert read_by_tokenizer(prompt) == controls(tame)
    assert prompt.text.replace(WORD_JOINER, "") == "".join(segment.text for segment in prompt.segments)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_assistant_text_never_becomes_a_special_token(name: str, data: st.DataObject) -> None:
    text = data.draw(hostile(name))
    form = get_format(name)
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": text}, {"role": "user", "content": text}]
    prompt = form.render(messages)
    assert read_by_tokenizer(prompt) == controls(prompt) == controls(form.render([{**m, "content": "x"} for m in messages]))
    assert text in "".join(segment.text for segment in prompt.segments if not segment.control)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_text_is_kept_as_it_was_given(name: str, data: st.DataObject) -> None:
    text = data.draw(hostile(name))
    prompt = get_format(name).render([{"role": "user", "content": text}])
    assert f"user\n{text}" in [segment.text for segment in prompt.segments if not segment.control]
    assert all(spelling in text for spelling in prompt.guarded)
    assert bool(prompt.guarded) == any(spelling in text for spelling in spellings(name))


@pytest.mark.parametrize("name", FORMATS)
def test_every_special_token_in_every_place(name: str) -> None:
    form = get_format(name)
    expected = controls(form.render(**request("xyx")))
    for spelling in spellings(name):
        prompt = form.render(**request(f"x{spelling}x"))
        assert read_by_tokenizer(prompt) == expected, spelling
        assert spelling in prompt.guarded


def test_hostile_file() -> None:
    from support import vectors

    for row in vectors.read("inject/hostile.jsonl"):
        if row["format"] not in FORMATS:
            continue
        form = get_format(row["format"])
        parts = row.get("parts") or [row["text"]]
        messages, tame = (
            [{"role": "user", "content": [{"type": "text", "text": text} for text in texts]}]
            for texts in (["a", *parts, "b"], ["a", *["x"] * len(parts), "b"])
        )
        assert read_by_tokenizer(form.render(messages)) == controls(form.render(tame)), row
