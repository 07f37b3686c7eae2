"""A rendered prompt said in the turns of a chat: nothing of it is lost, and no text becomes a special token."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools import get_format
from gemma_tools.engines.turns import ChatTurn, folded, turns_of
from gemma_tools.errors import InvalidRequest
from gemma_tools.prompt import Prompt
from support.chat import WEATHER

CALL = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "New \\"York\\""}'}}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "21"},
    {"role": "assistant", "content": "Warm."},
    {"role": "user", "content": "Thanks"},
]


def said(name: str, **options: Any) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in turns_of(get_format(name, **options).render(TALK, [WEATHER]))]


def test_gemma_3_is_said_as_it_is_rendered() -> None:
    first, *rest = said("gemma3")
    prompt = get_format("gemma3").render(TALK, [WEATHER]).text
    assert first[0] == "user"
    assert f"<start_of_turn>user\n{first[1]}<end_of_turn>" in prompt
    assert first[1].startswith("Be brief.\n\nYou have access to functions.")
    assert first[1].endswith("Hi\n\nWeather?")
    assert rest == [
        ("assistant", "Let me see.\n[get_weather(city='New \"York\"')]"),
        ("user", "```tool_output\nget_weather: 21\n```"),
        ("assistant", "Warm."),
        ("user", "Thanks"),
    ]


@pytest.mark.parametrize("name", ["gemma4", "functiongemma"])
def test_the_others_are_said_without_special_tokens(name: str) -> None:
    system, *rest = said(name)
    assert system[0] == "system"
    assert system[1].startswith('Be brief.\ndeclaration:get_weather{description:"Gets the current weather for a city."')
    result = 'response:get_weather{value:"21"}'
    assert rest == [
        ("user", "Hi\n\nWeather?"),
        ("assistant", 'Let me see.\ncall:get_weather{city:"New \\"York\\""}'),
        ("user", result),
        ("assistant", "Warm."),
        ("user", "Thanks"),
    ]


def test_the_empty_thought_of_the_large_variant_is_not_a_turn() -> None:
    assert said("gemma4", variant="large") == said("gemma4")


def test_thoughts_are_left_out() -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes", "reasoning": "Hm."}]
    turns = turns_of(get_format("gemma4").render(messages, add_generation_prompt=False))
    assert [(turn.role, turn.text) for turn in turns] == [("user", "Hi"), ("assistant", "Yes")]


def test_media_keep_their_places() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    parts = [{"type": "text", "text": "Is"}, picture, {"type": "text", "text": "like"}, picture]
    [turn] = turns_of(get_format("gemma3").render([{"role": "user", "content": parts}]))
    assert turn.parts == ("Is", picture, "like", picture)
    assert (turn.text, turn.media) == ("Islike", (picture, picture))


def test_a_prompt_that_shows_no_turns_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        turns_of(Prompt("<bos>Hi", ("<bos>",)))


def test_system_text_begins_the_first_user_s_turn() -> None:
    picture = {"type": "image", "data": b"", "format": "image/png"}
    turns = (ChatTurn(role="system", parts=("Be brief.",)), ChatTurn(role="user", parts=(picture, "Hi")))
    assert folded(turns) == (ChatTurn(role="user", parts=("Be brief.\n\n", picture, "Hi")),)
    assert folded(turns[:1]) == (ChatTurn(role="user", parts=("Be brief.",)),)
    assert folded(turns[1:]) == turns[1:]


TEXTS = st.lists(
    st.sampled_from(["a", " ", "\n", '"', "<", "|", "turn", "<|turn>", "<turn|>", "<end_of_turn>", '<|"|>', "<escape>"])
)


@given(st.sampled_from(["gemma3", "gemma4", "functiongemma"]), TEXTS.map("".join), TEXTS.map("".join))
def test_no_text_becomes_a_special_token(name: str, text: str, value: str) -> None:
    form = get_format(name)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"v": value}}}
    messages = [
        {"role": "user", "content": "x" + text},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": value},
    ]
    turns = turns_of(form.render(messages, [WEATHER]))
    assert not any(control in turn.text for control in form.controls for turn in turns)
    assert [turn.role for turn in turns if turn.role != "system"] == ["user", "assistant", "user"]
