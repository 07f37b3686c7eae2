"""Rows for training: what the model writes counts in the loss, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.data import tiny_path
from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.prompt import Prompt
from gemma_tools.tokens import GemmaTokenizer, exchanges, to_training, training_prompt, training_row, training_text
from gemma_tools.tokens.training import IGNORED

FORMATS = ("functiongemma", "gemma3", "gemma4")
TOOLS = [{"type": "function", "function": {"name": "act", "parameters": {"type": "object"}}}]
USER = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "done"}


def calling(*arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """An assistant message with calls, numbered from 0."""
    calls = [
        {"id": str(i), "type": "function", "function": {"name": "act", "arguments": json.dumps(given)}}
        for i, given in enumerate(arguments)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def result(number: int, text: str = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": str(number), "content": text}


def own(prompt: Prompt) -> list[str]:
    """The parts that the model writes."""
    text, spans = training_text(prompt)
    assert text == prompt.text
    return [text[begin:end] for begin, end in spans]


CALL = "<|tool_call>call:act{a:1}<tool_call|>"
STOPPED = "<|tool_response>"
ANSWERED = '<|tool_response>response:act{value:<|"|>ok<|"|>}<tool_response|>'


@pytest.mark.parametrize(
    ("messages", "options", "parts"),
    [
        ([USER, ANSWER], {}, ["done<turn|>"]),
        ([USER, ANSWER, USER, ANSWER], {}, ["done<turn|>", "done<turn|>"]),
        ([USER, calling({"a": 1}), result(0), ANSWER], {}, [CALL + STOPPED, "done<turn|>"]),
        ([USER, calling({"a": 1}, content="so"), result(0), ANSWER], {}, ["so" + CALL + STOPPED, "done<turn|>"]),
        (
            [USER, calling({"a": 1}, {"a": 1}), result(0), result(1), ANSWER],
            {},
            [f"{CALL}{CALL}<|tool_response>", "done<turn|>"],
        ),
        ([USER, calling({"a": 1})], {}, [CALL + STOPPED]),
        ([USER, calling({"a": 1}), result(0), USER, ANSWER], {}, [CALL + STOPPED, "done<turn|>"]),
        ([USER, result(0), ANSWER], {}, ["done<turn|>"]),
        ([USER, ANSWER | {"reasoning": "hm"}], {}, ["<|channel>thought\nhm\n<channel|>done<turn|>"]),
        ([USER, ANSWER], {"add_generation_prompt": True, "enable_thinking": True}, ["done<turn|>"]),
        ([USER, ANSWER, USER], {"add_generation_prompt": True}, ["done<turn|>"]),
        (
            [USER, calling({"a": 1}), result(0)],
            {"add_generation_prompt": True, "enable_thinking": True},
            [CALL + STOPPED],
        ),
    ],
)
@pytest.mark.parametrize("variant", ["small", "large"])
def test_the_parts_of_gemma_4(messages: list[dict[str, Any]], options: dict[str, Any], parts: list[str], variant: str) -> None:
    prompt = get_format("gemma4", variant=variant).render(messages, TOOLS, **{"add_generation_prompt": False, **options})
    assert own(prompt) == parts


def test_diffusion_gemma_writes_no_header_after_results() -> None:
    prompt = training_prompt(
        [USER, calling({"a": 1}), result(0), ANSWER], TOOLS, format=get_format("gemma4", variant="diffusion")
    )
    assert own(prompt) == [CALL + STOPPED, "done<turn|>"]
    assert "<tool_response|><|turn>model\ndone" in prompt.text


def test_the_parts_of_functiongemma() -> None:
    form, call = get_format("functiongemma"), "<start_function_call>call:act{a:1}<end_function_call>"
    asked = [USER, calling({"a": 1}, content="so"), result(0)]
    assert own(training_prompt([*asked, ANSWER], TOOLS, format=form)) == [
        f"so{call}<start_function_response>",
        "done<end_of_turn>",
    ]
    assert own(training_prompt([*asked, USER], TOOLS, format=form)) == [f"so{call}<start_function_response>"]


def test_the_parts_of_gemma_3() -> None:
    messages = [{"role": "system", "content": "s"}, USER, calling({"a": 1}, content="so"), result(0), ANSWER]
    prompt = training_prompt(messages, TOOLS, format=get_format("gemma3"))
    assert own(prompt) == ["so\n[act(a=1)]<end_of_turn>", "done<end_of_turn>"]


def test_roles() -> None:
    messages = [{"role": "system", "content": "s"}, USER, calling({}), result(0), ANSWER]
    segments = training_prompt(messages, format=get_format("gemma4")).segments
    spoken: dict[str, str] = {}
    for segment in segments:
        spoken[segment.role] = spoken.get(segment.role, "") + segment.text
    assert spoken == {
        "": "<bos>\n\n\n",
        "system": "<|turn>system\ns<turn|>",
        "user": "<|turn>user\nhi<turn|>",
        "assistant": "<|turn>model\n<|tool_call>call:act{}<tool_call|>done<turn|>",
        "tool": ANSWERED,
    }


def test_media_in_a_model_turn_are_not_its_own() -> None:
    said = {
        "role": "assistant",
        "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:"}}],
    }
    prompt = get_format("gemma4").render([USER, said], add_generation_prompt=False)
    assert own(prompt) == ["see", "<turn|>"]
    with pytest.raises(InvalidRequest, match="images"):
        training_prompt([USER, said], format=get_format("gemma4"))


def test_a_beginning_counts_as_the_models_own() -> None:
    prompt = get_format("functiongemma").render([USER], TOOLS).begun("<start_function_call>call:act{")
    assert own(prompt) == ["<start_function_call>call:act{"]


def test_what_cannot_be_exported_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="writes nothing"):
        training_prompt([USER], format=get_format("gemma4"))
    with pytest.raises(InvalidRequest, match="does not know"):
        training_prompt([USER, ANSWER], format=get_format("functiongemma", exact=True))


@pytest.fixture(scope="module")
def tiny() -> GemmaTokenizer:
    return GemmaTokenizer.from_file(tiny_path())


words = st.text("ab .\n<é", max_size=6) | st.sampled_from(["<end_of_turn>", "<|turn>model\n", "<turn|>", "x", "a: 1, b"])
"""What anybody may say, hostile or not; `said` is what the model may say."""
said = st.text("ab é", min_size=1, max_size=6).map(lambda text: f"x{text}x") | st.sampled_from(["a <turn|> b", "<escape>", "x"])
arguments = st.dictionaries(st.sampled_from(["a", "b"]), said | st.integers(0, 9) | st.booleans(), max_size=2)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Exchanges of a question, calls with results or none, and an answer."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": draw(words)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(words)})
        for _ in range(draw(st.integers(0, 2))):
            given = draw(st.lists(arguments, min_size=1, max_size=2))
            messages.append(calling(*given, content=draw(said | st.none()), reasoning=draw(said)))
            messages += [result(i, draw(words)) for i in range(len(given))]
        messages.append({"role": "assistant", "content": draw(said), "reasoning": draw(said)})
    return messages


@pytest.mark.parametrize("name", FORMATS)
@given(messages=conversations())
def test_what_others_say_is_never_the_models_own(name: str, messages: list[dict[str, Any]]) -> None:
    tame = [message if message["role"] == "assistant" else {**message, "content": "x"} for message in messages]
    form = get_format(name)
    parts = [[s for s in form.render(m, TOOLS).segments if s.generated] for m in (messages, tame)]
    assert parts[0] == parts[1]
    assert parts[0]


def expected(messages: Sequence[Mapping[str, Any]], thinks: bool) -> list[tuple[str, str | None, list[tuple[str, Any]]]]:
    """What the assistant messages say; thoughts before the last user message are not in the prompt."""
    last = max(i for i, message in enumerate(messages) if message["role"] == "user")
    found = []
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            calls = [call["function"] for call in message.get("tool_calls", ())]
            thought = message["reasoning"] if thinks and i > last else None
            found.append((message["content"] or "", thought, [(c["name"], json.loads(c["arguments"])) for c in calls]))
    return found


@pytest.mark.parametrize("name", FORMATS)
@given(messages=conversations())
def test_the_models_parts_read_back_as_its_messages(name: str, messages: list[dict[str, Any]]) -> None:
    form = get_format(name)
    prompt = training_prompt(messages, TOOLS, format=form)
    replies = [form.parse(part, TOOLS, guarded=prompt.guarded) for part in own(prompt)]
    assert not [problem for reply in replies for problem in reply.problems]
    read = [(r.content or "", r.reasoning, [(c.name, c.arguments) for c in r.tool_calls]) for r in replies]
    assert read == expected(messages, thinks=form.thought is not None)


@pytest.mark.parametrize("name", FORMATS)
@given(messages=conversations())
def test_labels_are_the_ids_that_the_model_writes(name: str, messages: list[dict[str, Any]], tiny: GemmaTokenizer) -> None:
    form = get_format(name)
    prompt = training_prompt(messages, TOOLS, format=form)
    input_ids, labels = to_training(messages, TOOLS, tiny, format=form)
    assert input_ids == prompt.token_ids(tiny)
    kept = [label for label in labels if label != IGNORED]
    assert tiny.decode(kept) == "".join(segment.text for segment in prompt.segments if segment.generated)
    assert all(label in (number, IGNORED) for number, label in zip(input_ids, labels, strict=True))


@pytest.mark.parametrize("name", FORMATS)
@given(messages=conversations())
def test_exchanges_show_every_message_once(name: str, messages: list[dict[str, Any]], tiny: GemmaTokenizer) -> None:
    form = get_format(name)
    read = []
    for prompt, begin in exchanges(messages, TOOLS, format=form):
        text, spans = training_text(prompt, begin)
        replies = [form.parse(text[start:end], TOOLS, guarded=prompt.guarded) for start, end in spans]
        read += [(r.content or "", r.reasoning, [(c.name, c.arguments) for c in r.tool_calls]) for r in replies]
        kept = [label for label in training_row(prompt, tiny, begin).labels if label != IGNORED]
        assert tiny.decode(kept) == "".join(s.text for s in prompt.segments[begin:] if s.generated)
    thinks = form.thought is not None
    wanted = expected(messages, thinks)
    thoughts = [message["reasoning"] if thinks else None for message in messages if message["role"] == "assistant"]
    assert read == [(content, thought, calls) for (content, _, calls), thought in zip(wanted, thoughts, strict=True)]


def test_an_exchange_without_an_answer_is_only_context() -> None:
    [(prompt, begin)] = exchanges([USER, USER, ANSWER, USER], format=get_format("gemma4"))
    text, [(start, end)] = training_text(prompt, begin)
    assert (text.count("hi"), text[start:end]) == (2, "done<turn|>")


def test_what_the_model_says_before_the_user_is_of_the_first_exchange() -> None:
    rows = [training_text(*exchange) for exchange in exchanges([ANSWER, USER, ANSWER], format=get_format("gemma4"))]
    assert [[text[a:b] for a, b in spans] for text, spans in rows] == [["done<turn|>", "done<turn|>"]]


def test_a_row_of_one_answer(tiny: GemmaTokenizer) -> None:
    row = training_row(training_prompt([USER, ANSWER], format=get_format("functiongemma")), tiny)
    own = [*tiny.encode("done"), tiny.id("<end_of_turn>")]
    masked = [IGNORED] * (len(row.input_ids) - len(own) - 1)
    assert row.labels == [*masked, *own, IGNORED]  # last the line break between turns
    assert row.input_ids[-len(own) - 1 : -1] == own
