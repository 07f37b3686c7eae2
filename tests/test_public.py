"""The public names: there, typed, and free until they are used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import gemma_tools

HEAVY = (
    "openai",
    "ollama",
    "tiktoken",
    "xllamacpp",
    "pydantic",
    "httpx",
    "httpx2",
    "transformers",
    "typer",
    "rich",
    "uvicorn",
)


@pytest.mark.parametrize("name", gemma_tools.__all__)
def test_a_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(gemma_tools, name)
    assert value is not None
    if name != "__version__":
        assert inspect.getdoc(value), f"{name} has no docstring"
    assert name in dir(gemma_tools)


def test_all_is_what_type_checkers_see() -> None:
    """The names of `__all__`, and those imported for type checkers, are the same."""
    tree = ast.parse(Path(gemma_tools.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen | {"__version__"} == set(gemma_tools.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = gemma_tools.nonsense


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import gemma_tools")
    assert "gemma_tools" in loaded
    assert not loaded.intersection(HEAVY)


def test_a_format_needs_no_client_and_no_engine() -> None:
    loaded = loaded_by("from gemma_tools import get_format; get_format('functiongemma')")
    assert "gemma_tools.formats" in loaded
    assert not loaded.intersection(HEAVY)


def test_a_star_import_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from gemma_tools import *", names)
    assert set(gemma_tools.__all__) <= names.keys()


def test_the_old_name_of_a_prompts_warnings_still_works() -> None:
    prompt = gemma_tools.get_format("gemma3").render([{"role": "user", "content": "Hi"}], enable_thinking=True)
    assert prompt.losses == prompt.warnings != ()
