"""A request and an output taken apart: the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gemma_tools import Gemma4Model, InvalidRequest, get_format
from gemma_tools.data import tiny_path
from gemma_tools.errors import EngineUnavailable
from gemma_tools.inspection import Inspection, Output, inspect, watch
from gemma_tools.testing import Script, ScriptedEngine
from gemma_tools.tokens import EstimatedTokenCounter, GemmaTokenizer
from support.serving import CALL, QUESTION, WEATHER, scripted

TOKENIZER = GemmaTokenizer.from_file(tiny_path())
PORT = {"type": "string", "default": "Brest", "description": "A port"}
TIDE = {"type": "function", "function": {"name": "tide", "parameters": {"properties": {"port": PORT}}}}
REQUEST: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "system", "content": "You keep the log."}, {"role": "user", "content": "The tide?"}],
    "tools": [TIDE, WEATHER],
}


def output_of(shown: Inspection) -> Output:
    assert shown.output is not None
    return shown.output


def read(output: Output) -> list[tuple[str, str]]:
    return [(part.kind, "".join(piece.text for piece in part.pieces)) for part in output.parts]


@pytest.mark.parametrize("format", ["functiongemma", "gemma3", "gemma4"])
def test_the_parts_are_the_prompt_and_its_tokens(format: str) -> None:
    shown = inspect(REQUEST, format=format, tokenizer=TOKENIZER)
    prompt = get_format(format).render(REQUEST["messages"], REQUEST["tools"])
    assert [s.text for part in shown.parts for s in part.segments if s.control] == [
        s.text for s in prompt.segments if s.control
    ]
    assert "".join(s.text for part in shown.parts for s in part.segments) == "".join(s.text for s in prompt.segments)
    assert [token.id for part in shown.parts for token in part.tokens] == prompt.token_ids(TOKENIZER)
    assert (shown.count, shown.exact) == (len(prompt.token_ids(TOKENIZER)), True)
    labels = [part.label for part in shown.parts]
    assert labels.count("declaration of tide") == labels.count("declaration of get_weather") == 1
    assert labels[-2:] == ["user", "the model's turn"]


def test_a_declaration_is_shown_next_to_its_schema_with_what_is_left_out() -> None:
    tide, weather = inspect(REQUEST).tools
    assert json.loads(tide.schema) == TIDE["function"]
    assert "".join(segment.text for segment in tide.declaration) == get_format("functiongemma").declaration(TIDE)
    assert tide.declaration[0].control
    assert tide.warnings == ("tool tide: its declaration has no place for default",)
    assert weather.warnings == inspect(REQUEST).warnings == ()


def test_turns_and_results_are_parts() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"port": "Brest"}'}}
    more = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "4 m"},
    ]
    shown = inspect({**REQUEST, "tools": [TIDE], "messages": [*REQUEST["messages"], *more]}, format="gemma4")
    assert [part.label for part in shown.parts] == ["system", "declaration of tide", "system", "user", "assistant", "result"]


def test_without_a_tokenizer_counts_are_estimates() -> None:
    shown = inspect({**REQUEST, "model": "gemma4:31b"})
    format = get_format("gemma4", variant="large")
    prompt = format.render(REQUEST["messages"], REQUEST["tools"])
    assert (shown.exact, shown.count) == (False, EstimatedTokenCounter(format).count_prompt(prompt))
    assert shown.format == "gemma4, recovery=schema, variant=large"
    assert not any(part.tokens for part in shown.parts)


def test_what_became_of_an_output() -> None:
    text = f"<|channel>thought\nWhich port?<channel|>I look.{'<|tool_call>call:tide{port:Brest}<tool_call|>'}"
    output = output_of(inspect(REQUEST, text + "<|tool_call>call:snow{}<tool_call|>Well.", format="gemma4"))
    assert read(output) == [
        ("passed", "<|channel>thought\n"),
        ("thought", "Which port?"),
        ("passed", "<channel|>"),
        ("content", "I look."),
        ("call", "<|tool_call>call:tide{port:Brest}<tool_call|>"),
        ("refused", "<|tool_call>call:snow{}<tool_call|>"),
        ("content", "Well."),
    ]
    assert output.parts[4].calls == ("tide",)
    assert [piece.text for part in output.parts for piece in part.pieces if piece.control] == [
        "<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_call>", "<tool_call|>",
    ]  # fmt: skip
    bare, undeclared = output.problems
    assert (bare.problem.kind, undeclared.problem.kind) == ("string_bare", "undeclared")
    assert [piece.text for part in output.parts for piece in part.pieces if piece.problems == (1,)] == ["Brest"]
    assert "tide, get_weather" in undeclared.advice


def test_what_another_level_would_have_read() -> None:
    text = '```json\n{"name": "tide", "arguments": {"port": "Brest"}}\n```'
    shown = inspect(REQUEST, text)
    output = output_of(shown)
    assert [(level.level, level.used, level.calls) for level in output.levels] == [
        ("strict", False, ()),
        ("schema", True, ()),
        ("eager", False, ("tide",)),
    ]
    [unread] = output.problems
    assert (unread.problem.kind, unread.advice) == ("unread_call", 'recovery="eager" reads a call of tide here.')
    eager = output_of(inspect(REQUEST, text, format=get_format("functiongemma", recovery="eager")))
    assert ("call", '{"name": "tide", "arguments": {"port": "Brest"}}') in [(k, t.strip("`json\n")) for k, t in read(eager)]


def test_the_openai_object() -> None:
    shown = inspect({**REQUEST, "tools": [WEATHER]}, CALL)
    assert shown.completion is not None
    [choice] = shown.completion["choices"]
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city": "Lisbon"}'}
    assert shown.completion["usage"]["prompt_tokens"] == shown.count
    assert inspect(REQUEST).completion is inspect(REQUEST).output is None


def test_the_tokens_of_a_thought_are_counted() -> None:
    request = {"model": "tiny-gemma4", "messages": [{"role": "user", "content": "When is high tide?"}]}
    shown = inspect(request, "<|channel>thought\nThey sail at noon.<channel|>At four.")
    assert shown.completion is not None
    usage = shown.completion["usage"]
    thought = usage["completion_tokens_details"]["reasoning_tokens"]
    assert 0 < thought < usage["completion_tokens"] == output_of(shown).count


def test_tools_that_may_not_be_called() -> None:
    output = output_of(inspect({**REQUEST, "tools": [WEATHER], "tool_choice": "none"}, CALL))
    assert not output.reply.tool_calls
    assert inspect({**REQUEST, "tool_choice": "none"}).tools == ()


@pytest.mark.parametrize(
    ("request_", "more", "words"),
    [
        ({"messages": []}, {}, "messages"),
        ({"messages": QUESTION}, {}, "pass a model or a format"),
        (REQUEST, {"format": "gemma9"}, "gemma9"),
        (REQUEST, {"tokenizer": "missing.gguf"}, "missing.gguf"),
    ],
)
def test_what_cannot_be_inspected(request_: dict[str, Any], more: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words) as raised:
        inspect(request_, **more)
    assert type(raised.value).__module__ == "gemma_tools.errors"


def test_what_a_model_answers_is_seen() -> None:
    model = scripted("Hello.", CALL)
    with watch(model) as seen:
        model.run(QUESTION)
        model.run(QUESTION, tools=[WEATHER])
    assert [output_of(one).reply.finish_reason for one in seen] == ["stop", "tool_calls"]
    assert [tool.name for tool in seen[1].tools] == ["get_weather"]
    assert model.on_exchange is None


def test_every_round_is_seen_with_what_was_wrong_with_it() -> None:
    wrong = "<|tool_call>call:get_weather{}<tool_call|>"
    right = '<|tool_call>call:get_weather{city:<|"|>Lisbon<|"|>}<tool_call|>'
    model = Gemma4Model("m", engine=ScriptedEngine([wrong, right]), on_invalid="retry")
    with watch(model) as seen:
        model.run(QUESTION, tools=[WEATHER])
    assert ["city" in one.error for one in seen] == [True, False]
    assert len(seen[1].prompt.text) > len(seen[0].prompt.text)


def test_a_failure_is_seen() -> None:
    model = scripted(Script(["Hel"], error=EngineUnavailable("gone")))
    with watch(model) as seen, pytest.raises(EngineUnavailable):
        model.run(QUESTION)
    assert seen[0].error == "gone"
    assert read(output_of(seen[0])) == [("content", "Hel")]


def test_a_model_knows_its_format_and_tokenizer() -> None:
    model = Gemma4Model("m", engine=ScriptedEngine([]), variant="large", tokenizer=TOKENIZER)
    shown = inspect({"messages": QUESTION}, model=model)
    assert (shown.model, shown.exact) == ("m", True)
    assert "variant=large" in shown.format


def test_the_cached_beginning_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    from gemma_tools import create_model

    with create_model("tiny", temperature=0) as model, watch(model) as seen:
        completions = [model.run(QUESTION, tools=[WEATHER]) for _ in range(2)]
    assert [output_of(one).count for one in seen] == [c.usage.completion_tokens for c in completions if c.usage]
    cached = seen[1].cached
    assert cached
    assert sum(part.cached or 0 for part in seen[1].parts) == cached
    full = [part.cached == part.count for part in seen[1].parts]
    assert full == sorted(full, reverse=True)


def test_a_name_is_needed_for_a_model_without_a_format() -> None:
    from gemma_tools import BaseModelBackend

    class Other(BaseModelBackend):
        token_counter = None  # type: ignore[assignment]

        def _run(self, *_: Any) -> Any: ...
        async def _arun(self, *_: Any) -> Any: ...

    with pytest.raises(InvalidRequest, match="has no format"):
        inspect({"messages": QUESTION}, model=Other("x"))
