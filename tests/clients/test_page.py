"""The page on clients, as far as nothing needs to be installed for it: the session `clients` runs its lines."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
from itertools import pairwise

import pytest
from typer.main import get_command

from gemma_tools.backends import check_model
from gemma_tools.cli.app import app
from support.clients import ADDRESS, PAGE, SCRIPTS, blocks, parts

PARTS = parts()


def test_the_server_is_started_with_options_that_there_are() -> None:
    serve = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    for command in re.findall(r"^gemma-tools serve (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        models = serve.make_context("serve", shlex.split(command)).params["model"]
        assert all(check_model(model.partition("=")[2] or model) is None for model in models)


def test_every_script_is_of_a_part() -> None:
    assert SCRIPTS.keys() <= PARTS.keys()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_calls_this_server_and_shows_what_comes(part: str) -> None:
    languages = [block.language for block in blocks(PARTS[part])]
    assert ADDRESS in PARTS[part]
    assert languages[-1] == "text"
    assert all(before != "text" for before, after in pairwise(languages) if after == "text")


@pytest.mark.parametrize("part", PARTS)
def test_the_lines_can_be_read(part: str) -> None:
    for block in blocks(PARTS[part]):
        if block.language == "python":
            ast.parse(block.text)
        elif block.language == "sh":
            subprocess.run(["sh", "-n"], input=block.text, text=True, check=True)
        elif block.language == "js" and shutil.which("node"):
            subprocess.run(["node", "--input-type=module", "--check"], input=block.text, text=True, check=True)
        elif block.language not in ("js", "text"):
            assert block.file, f"{block.text}: no line above says in which file it is"
