"""What docs/extending.md shows works as it is written there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from gemma_tools import create_model, get_format
from gemma_tools.engines import Cancellation, GenerationRequest
from gemma_tools.errors import EngineError, EngineUnavailable, InvalidRequest

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
TOOLS = [{"type": "function", "function": {"name": "ping", "parameters": {"type": "object", "properties": {}}}}]
MESSAGES = [{"role": "user", "content": "Is the link up?"}]


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names that the page defines."""
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, PAGE.name, "exec", dont_inherit=True), names)
    return names


def program(code: str) -> list[str]:
    """A program that has read its standard input as `prompt`."""
    return [sys.executable, "-c", f"import sys\nprompt = sys.stdin.read()\n{code}"]


def test_the_engine_is_as_short_as_the_page_says() -> None:
    [engine] = [block for block in BLOCKS if "class ProgramEngine" in block]
    body = engine[engine.index("class ProgramEngine") :]
    assert len(body.splitlines()) <= 30


def test_the_engine_answers_whole_and_streaming(page: dict[str, Any]) -> None:
    reply = "<start_function_call>call:ping{}<end_function_call><start_function_response>never read"
    engine = page["ProgramEngine"](program(f"assert 'Is the link up?' in prompt\nprint({reply!r}, end='')"))
    model = create_model("functiongemma", engine=engine)
    completion = model.run(MESSAGES, tools=TOOLS)
    assert [call.function.name for call in completion.choices[0].message.tool_calls] == ["ping"]
    *_, last = model.run(MESSAGES, tools=TOOLS, stream=True)
    assert last.choices[0].finish_reason == "tool_calls"


def test_the_engine_refuses_what_it_cannot_do(page: dict[str, Any]) -> None:
    model = create_model("functiongemma", engine=page["ProgramEngine"](program("")))
    with pytest.raises(InvalidRequest, match="temperature"):
        model.run(MESSAGES, temperature=0)


def test_the_engine_reports_failure_in_the_errors_of_the_package(page: dict[str, Any]) -> None:
    with pytest.raises(EngineUnavailable, match="no-such-program"):
        create_model("functiongemma", engine=page["ProgramEngine"](["no-such-program"])).run(MESSAGES)
    with pytest.raises(EngineError, match="failed with 3"):
        create_model("functiongemma", engine=page["ProgramEngine"](program("sys.exit(3)"))).run(MESSAGES)


def test_the_engine_can_be_cancelled(page: dict[str, Any]) -> None:
    engine = page["ProgramEngine"](program("while True: print('on and', flush=True)"))
    cancel = Cancellation()
    prompt = get_format("functiongemma").render(MESSAGES)
    pieces = engine.generate(GenerationRequest(prompt), cancel=cancel)
    assert next(pieces) == "o"
    cancel.cancel()
    for _ in pieces:  # what the program had written, and then the end
        pass


def test_names_that_were_registered_are_found(page: dict[str, Any]) -> None:
    assert page["model"].engine.command == ["my-program", "--stdin"]
    assert create_model("functiongemma", engine="my-program").engine.name == "program"
    assert get_format("gemma4-large").render(MESSAGES) == get_format("gemma4", variant="large").render(MESSAGES)
    assert create_model("house-model").config.max_tokens == 256
