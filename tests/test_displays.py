"""What notebooks show: escaped, monospaced, on a background of its own."""

from __future__ import annotations

import re
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from gemma_tools import get_format
from gemma_tools.batch import run_batch
from gemma_tools.bench import Gemma4ToolParser
from gemma_tools.display import output, tokens
from gemma_tools.reply import Reply
from support.serving import CALL, QUESTION, WEATHER, scripted

HOSTILE = "<script>alert(1)</script>&\x1b"


def run(*answers: str, **more: Any) -> ChatCompletion:
    return scripted(*answers).run(QUESTION, **more)


def shown() -> dict[str, Any]:
    call = f'<|tool_call>call:nobody{{city:<|"|>{HOSTILE}<|"|>}}<tool_call|>'
    reply = get_format("gemma4").parse(f"<|channel>thought\n{HOSTILE}<channel|>{HOSTILE}{call}", [WEATHER])
    parser = Gemma4ToolParser()
    parser.parse(HOSTILE)
    [answer] = run_batch({"m": scripted(HOSTILE)}, [{"model": "m", "messages": QUESTION}])
    return {
        "prompt": get_format("gemma4").render([{"role": "user", "content": HOSTILE}]),
        "reply": reply,
        "problem": reply.problems[0],
        "completion": run(HOSTILE + CALL, tools=[WEATHER]),
        "model": scripted(model=HOSTILE),
        "batch": answer,
        "benchmark": parser.benchmark,
    }


@pytest.mark.parametrize("name", ["prompt", "reply", "problem", "completion", "model", "batch", "benchmark"])
def test_it_is_shown_escaped_on_a_card(name: str) -> None:
    html = shown()[name]._repr_html_()
    assert html.startswith("<style>")
    body = html.partition("</style>")[2]
    assert "<script" not in body
    assert "\x1b" not in body
    if name != "benchmark":
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in re.sub('<span class="whole">|</span>', "", body)


def test_special_tokens_are_not_broken_and_text_is_not_one() -> None:
    html = get_format("gemma4").render([{"role": "user", "content": "<turn|>"}])._repr_html_()
    style, _, body = html.partition("</style>")
    assert re.search(r"\n  pre b \{[^}]*white-space: nowrap", style)
    assert body.count("<b>&lt;turn|&gt;</b>") == 1
    assert body.count("&lt;turn|&gt;") == 2


def test_a_completion_says_what_it_holds() -> None:
    html = run(CALL, tools=[WEATHER])._repr_html_()  # type: ignore[attr-defined]
    assert "call get_weather" in html
    assert "tool_calls" in html
    old = run(CALL, functions=[WEATHER["function"]])._repr_html_()  # type: ignore[attr-defined]
    assert "call get_weather" in old


def test_special_tokens_of_refused_text_are_not_broken() -> None:
    text = "<start_function_call>call:nobody{city:<escape>Lisbon<escape>}<end_function_call>"
    for refused in (get_format("functiongemma").parse(text, [WEATHER]), run(text, tools=[WEATHER])):
        html = refused._repr_html_()  # type: ignore[union-attr]
        whole = re.findall(r'<span class="whole">&lt;(.*?)&gt;</span>', html)
        assert whole == ["start_function_call", "escape", "escape", "end_function_call"]
    marked = output('<|tool_call>call:nobody{city:<|"|>')
    assert re.findall(r'<span class="whole">(.*?)</span>', marked) == ["&lt;|tool_call&gt;", "&lt;|&quot;|&gt;"]


def test_an_answer_of_a_batch_is_shown_as_its_completion_or_its_error() -> None:
    models, good = {"m": scripted(CALL)}, {"model": "m", "messages": QUESTION, "tools": [WEATHER]}
    [answer] = run_batch(models, [good])
    assert "call get_weather" in answer._repr_html_()
    [answer] = run_batch(models, [{**good, "model": "other"}])
    assert "&quot;error&quot;" in answer._repr_html_()


def test_a_line_break_among_tokens_is_visible() -> None:
    assert "⏎" in tokens([(1, "a", ""), (2, "\n", "")])


def test_a_completion_is_openais_own() -> None:
    made = run("yes")
    plain = ChatCompletion.model_validate(made.model_dump(exclude_unset=True))
    assert made == plain
    assert plain == made
    assert made != ChatCompletion.model_validate({**made.model_dump(exclude_unset=True), "id": "other"})
    assert made != "yes"
    assert repr(made).startswith("ChatCompletion(id=")
    assert made.model_dump_json(exclude_unset=True) == plain.model_dump_json(exclude_unset=True)


def test_a_reply_without_anything() -> None:
    assert "stop" in Reply()._repr_html_()


def test_a_model_says_what_it_is() -> None:
    assert repr(scripted(model="m")) == "<FunctionGemmaModel m on scripted>"


def test_the_context_is_reported_once_it_is_known() -> None:
    pytest.importorskip("xllamacpp")
    from gemma_tools import create_model

    with create_model("tiny") as model:
        model.run(QUESTION, max_tokens=1)
        assert re.fullmatch(r"<FunctionGemmaModel tiny on llama\.cpp, context [\d,]+>", repr(model))
        assert "context" in model._repr_html_()  # type: ignore[attr-defined]
