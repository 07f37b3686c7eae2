"""What the pages of the client and the server say is so."""

from __future__ import annotations

import re
import tomllib
from itertools import dropwhile, takewhile
from pathlib import Path

import pytest
from typer.main import get_command

from gemma_tools.cli.app import app
from gemma_tools.openai_api.errors import STATUS
from gemma_tools.openai_api.responses_input import ACCEPTED, HONOURED, LEFT_OUT, REFUSED
from gemma_tools.server.settings import Sampling, Settings

DOCS = Path(__file__).parents[2] / "docs"
CLIENT = (DOCS / "openai-client.md").read_text(encoding="utf-8")
SERVER = (DOCS / "server.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table behind a heading, without its head."""
    below = dropwhile(lambda line: not is_row(line), page.partition(f"## {heading}\n")[2].splitlines())
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in list(takewhile(is_row, below))[2:]]


def is_row(line: str) -> bool:
    return line.startswith("|")


def words(cell: str) -> set[str]:
    """What is in backticks."""
    return set(re.findall(r"`(\w+)`", cell))


@pytest.mark.parametrize("block", blocks(CLIENT, "python"))
def test_the_python_runs(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, "openai-client.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_fields_of_responses_are_all_there() -> None:
    table = rows(CLIENT, "Responses")
    said = {policy: set[str]() for policy in ("honoured", "accepted", "left", "refused")}
    for fields, policy in table:
        said[policy.split()[0].rstrip(":,")] |= words(fields)
    assert said == {"honoured": HONOURED, "accepted": ACCEPTED, "left": LEFT_OUT, "refused": REFUSED.keys()}


def test_the_errors_are_all_there() -> None:
    said = {code: int(status) for _, status, codes in rows(CLIENT, "Errors") if status.isdigit() for code in words(codes)}
    assert {code: status for _, status, code in STATUS}.items() <= said.items()


def test_the_settings_are_all_there_and_all_are_options() -> None:
    said = set[str]().union(*(words(row[0]) for row in rows(SERVER, "Settings")))
    known = (Settings.model_fields.keys() | Sampling.model_fields.keys()) - {"sampling"}
    assert said == known
    serve = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    assert {parameter.name for parameter in serve.params} - {"config", "help", "names"} == known - {"models"} | {"model"}


def test_the_example_of_a_file_is_one() -> None:
    (example,) = blocks(SERVER, "toml")
    settings = Settings.model_validate(tomllib.loads(example))
    assert {name: one.model for name, one in settings.models.items()} == {"small": "tiny", "assistant": "gemma4:e2b"}
