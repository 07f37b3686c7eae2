"""What the README shows is so: its links lead somewhere, its first command works, its Python runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

COMPLETE = (
    'python3 -m venv .venv && .venv/bin/pip install ".[standard]" && .venv/bin/gemma-tools complete examples/weather.json'
)
TESTS = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s tests"


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_readme_opens_with_the_two_commands() -> None:
    assert [block.strip() for block in blocks("sh")[:2]] == [COMPLETE, TESTS]


def test_the_first_command_prints_a_completion_with_the_right_call() -> None:
    arguments = COMPLETE.split(".venv/bin/gemma-tools ")[1].split()
    command = [sys.executable, "-m", "gemma_tools", *arguments]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert printed.stderr == ""
    completion = json.loads(printed.stdout)
    assert completion["object"] == "chat.completion"
    [choice] = completion["choices"]
    [call] = choice["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"city": "Lisbon"})
    assert choice["finish_reason"] == "tool_calls"


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec", dont_inherit=True), names)
    printed = capsys.readouterr().out
    assert printed.startswith('get_weather {"city": "Lisbon"}\n')
    assert printed.endswith("get_weather {'city': 'Lisbon'}\n")


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
