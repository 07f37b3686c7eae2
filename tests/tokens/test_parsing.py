"""Replies read from token ids: a special token is one by its id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.data import tiny_path
from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.formats.base import Format
from gemma_tools.reply import Reply
from gemma_tools.tokens import GemmaTokenizer, TokenParser

TOOL = {
    "type": "function",
    "function": {"name": "note", "parameters": {"type": "object", "properties": {"text": {"type": "string"}}}},
}
CALLS = {
    "functiongemma": "<start_function_call>call:note{text:<escape>%s<escape>}<end_function_call>",
    "gemma4": '<|tool_call>call:note{text:<|"|>%s<|"|>}<tool_call|>',
}
FORMATS = sorted(CALLS)


def tiny() -> GemmaTokenizer:
    return GemmaTokenizer.from_file(tiny_path())


def controls(form: Format) -> frozenset[str]:
    return tiny().controls.intersection(form.controls)


def read(form: Format, pieces: list[list[int]]) -> Reply:
    parser = TokenParser(form, tiny(), [TOOL])
    for piece in pieces:
        parser.feed_ids(piece)
    parser.close()
    return parser.reply


def said(reply: Reply) -> tuple[object, ...]:
    return reply.content, reply.reasoning, [(call.name, call.arguments) for call in reply.tool_calls], reply.finish_reason


@pytest.mark.parametrize("name", FORMATS)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="<\u2581"), max_size=12), data=st.data())
def test_a_reply_is_the_one_of_its_text(name: str, text: str, data: st.DataObject) -> None:
    form = get_format(name)
    raw = f"{text} {CALLS[name] % text}"
    ids = tiny().encode(raw, control=controls(form))
    size = data.draw(st.integers(1, 9))
    pieces = [ids[start : start + size] for start in range(0, len(ids), size)]
    assert said(read(form, pieces)) == said(form.parse(raw, [TOOL]))


def spelled(form: Format, data: st.DataObject) -> str:
    parts = [*controls(form), "<", "<|", "call:note{", "a"]
    return "x" + "".join(data.draw(st.lists(st.sampled_from(parts), max_size=5))) + "x"


@pytest.mark.parametrize("name", ["functiongemma", "gemma3", "gemma4"])
@given(data=st.data())
def test_what_only_looks_like_a_special_token_is_text(name: str, data: st.DataObject) -> None:
    form = get_format(name)
    text = spelled(form, data)
    assert read(form, [[number] for number in tiny().encode(text)]).content == text


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_an_argument_may_look_like_special_tokens(name: str, data: st.DataObject) -> None:
    form = get_format(name)
    text = spelled(form, data)
    before, after = (tiny().encode(part, control=controls(form)) for part in CALLS[name].split("%s"))
    (call,) = read(form, [[number] for number in (*before, *tiny().encode(text), *after)]).tool_calls
    assert call.arguments == {"text": text}


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_call_written_in_text_is_not_a_call(name: str) -> None:
    form = get_format(name)
    spelled = CALLS[name] % "ka"
    assert form.parse(spelled, [TOOL]).tool_calls
    reply = read(form, [tiny().encode(spelled)])
    assert (reply.content, reply.tool_calls) == (spelled, ())


def test_a_prefilled_call_is_read_to_its_end() -> None:
    form = get_format("gemma4")
    begun = form.render([{"role": "user", "content": "hi"}], [TOOL]).begun("<|tool_call>call:note{")
    parser = TokenParser(form, tiny(), [TOOL], opens=begun.opens, prefill=begun.prefill, max_calls=1)
    parser.feed_ids(tiny().encode('text:<|"|>ka<|"|>}<tool_call|>', control=controls(form)))
    assert parser.finished
    parser.close()
    assert [call.arguments for call in parser.reply.tool_calls] == [{"text": "ka"}]


def test_what_ends_in_the_middle_is_kept() -> None:
    parser = TokenParser(get_format("gemma4"), tiny(), [TOOL])
    parser.feed_ids([*tiny().encode("ka <|tool_"), tiny().encode("語")[0]])
    parser.close("length")
    assert parser.reply.content == "ka <|tool_\ufffd"
    assert parser.reply.finish_reason == "length"


def test_ids_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="not a token id"):
        TokenParser(get_format("gemma4"), tiny()).feed_ids([len(tiny())])
