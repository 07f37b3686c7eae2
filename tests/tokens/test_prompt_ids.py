"""A prompt as token ids: what it says as text, and nothing in its text becomes a special token."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gemma_tools.data import tiny_path
from gemma_tools.errors import UnknownName
from gemma_tools.formats import get_format
from gemma_tools.prompt import Prompt
from gemma_tools.tokens import GemmaTokenizer
from support import vectors
from support.vocabularies import sentencepiece_model

FORMATS = ("functiongemma", "gemma3", "gemma4")
VOCABULARIES = {
    "functiongemma": (tiny_path(),),
    "gemma3": (tiny_path(), sentencepiece_model(), sentencepiece_model(dummy_prefix=True)),
    "gemma4": (tiny_path(),),
}
"""Those that have the special tokens of the format's prompts."""
TOOL = {
    "type": "function",
    "function": {
        "name": "note",
        "description": "Keeps a note.",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
}


def prompt_of(name: str, text: str) -> Prompt:
    """A prompt with `text` in the system's, the user's and the model's words, in a call and in a result."""
    call = {"id": "1", "type": "function", "function": {"name": "note", "arguments": {"text": text}}}
    messages = [
        {"role": "system", "content": text},
        {"role": "user", "content": text},
        {"role": "assistant", "content": text, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": text},
    ]
    return get_format(name).render(messages, [TOOL])


def special(tokenizer: GemmaTokenizer, ids: list[int]) -> list[str]:
    """The special tokens among `ids`."""
    return [token for token in map(tokenizer.token, ids) if token in tokenizer.controls]


def as_given(prompt: Prompt) -> str:
    return "".join(segment.text for segment in prompt.segments)


@pytest.mark.parametrize("name", FORMATS)
@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
def test_ids_are_those_of_the_text(name: str, text: str) -> None:
    prompt = prompt_of(name, text)
    assume(not prompt.guarded)
    for path in VOCABULARIES[name]:
        tokenizer = GemmaTokenizer.from_file(path)
        controls = tokenizer.controls.intersection(prompt.controls)
        assert prompt.token_ids(tokenizer) == tokenizer.encode(prompt.text, control=controls)


@given(text=st.text("\n ka", max_size=6))
def test_ids_of_a_prefilled_answer_are_those_of_the_text(text: str) -> None:
    prompt = get_format("gemma4").render([{"role": "user", "content": "hi"}]).begun(text)
    tokenizer = GemmaTokenizer.from_file(tiny_path())
    controls = tokenizer.controls.intersection(prompt.controls)
    assert prompt.token_ids(tokenizer) == tokenizer.encode(prompt.text, control=controls)


def hostile(path: Path, prompt: Prompt) -> None:
    """No special token but the prompt's own special tokens, and the text as it was given."""
    tokenizer = GemmaTokenizer.from_file(path)
    ids = prompt.token_ids(tokenizer)
    assert special(tokenizer, ids) == [segment.text for segment in prompt.segments if segment.control]
    assert tokenizer.decode(ids) == as_given(prompt).replace("\u2581", " ")


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_text_never_becomes_a_special_token(name: str, data: st.DataObject) -> None:
    for path in VOCABULARIES[name]:
        known = sorted(GemmaTokenizer.from_file(path).controls | {*get_format(name).controls})
        parts = data.draw(st.lists(st.sampled_from([*known, "<", ">", "<end_of", "_turn>", "|", "ka", " ", "\n"]), max_size=6))
        hostile(path, prompt_of(name, "".join(parts)))


@pytest.mark.parametrize("name", FORMATS)
def test_every_special_token_in_text(name: str) -> None:
    for path in VOCABULARIES[name]:
        for spelling in GemmaTokenizer.from_file(path).controls:
            prompt = prompt_of(name, f"ka {spelling} lo")
            assert as_given(prompt).count(spelling) >= 4
            hostile(path, prompt)


def test_hostile_file() -> None:
    for row in vectors.read("inject/hostile.jsonl"):
        if row["format"] in FORMATS:
            for text in row.get("parts") or [row["text"]]:
                for path in VOCABULARIES[row["format"]]:
                    hostile(path, prompt_of(row["format"], text))


def test_a_vocabulary_without_a_special_token_is_refused() -> None:
    tokenizer = GemmaTokenizer.from_file(sentencepiece_model())
    with pytest.raises(UnknownName, match=r"<\|turn>"):
        prompt_of("gemma4", "hi").token_ids(tokenizer)
