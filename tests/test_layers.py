"""Imports point only down: the order of the parts is the direction in which data flows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_tools.formats import get_format

SOURCE = Path(__file__).parents[1] / "src" / "gemma_tools"

LAYERS = [
    {"errors", "log", "data", "display", "generators", "protobuf"},
    {"gguf", "jsontext", "litertlm", "media", "policy", "registry"},
    {"models", "prompt", "reply"},
    {"request", "schema"},
    {"observe"},
    {"validation"},
    {"grammar"},
    {"formats"},
    {"engines"},
    {"completion", "tokens", "testing"},
    {"backends"},
    {"inspection"},
    {"openai_api"},
    {"anthropic_api"},
    {"routes"},
    {"batch", "bench", "integrations", "otel", "tools", "transport"},
    {"server"},
    {"cli"},
    {"__main__"},
]
"""From the ground up. A part may import itself and the layers below; parts of one layer do not know each other."""

RANKS = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
ONLY = {"engines": {"errors", "log", "data", "generators", "observe", "prompt", "registry"}}
"""Parts that know even less than their layer allows."""


def part_of(module: str) -> str:
    """`gemma_tools.formats.base` is of the part `formats`."""
    return module.split(".")[1]


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """The modules of this package that a file imports anywhere, with the line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}, line {node.lineno}: imports are absolute"
            # `from gemma_tools import formats` names a part, `from gemma_tools.formats import base` is in one already.
            names = [f"gemma_tools.{a.name}" for a in node.names] if node.module == "gemma_tools" else [node.module or ""]
        else:
            continue
        for name in names:
            if name.startswith("gemma_tools.") and name != "gemma_tools.__version__":
                yield node.lineno, name


FILES = sorted(file for file in SOURCE.rglob("*.py") if file != SOURCE / "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SOURCE).as_posix())
def test_imports_point_down(file: Path) -> None:
    part = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert part in RANKS, f"{part} has no layer yet: give it one"
    for line, module in imported(file):
        other = part_of(module)
        assert other in RANKS, f"{other} has no layer yet: give it one"
        below = other == part or RANKS[other] < RANKS[part]
        allowed = below and (other == part or part not in ONLY or other in ONLY[part])
        assert allowed, f"{file.name}, line {line}: {part} may not import {other}"


def called(file: Path) -> Iterator[tuple[int, str]]:
    """The names that a file calls, or whose attributes it calls, with the line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func.value if isinstance(node.func, ast.Attribute) else node.func
            if isinstance(function, ast.Name):
                yield node.lineno, function.id


IMPURE = {"asyncio", "http", "httpx", "io", "logging", "os", "pathlib", "random", "shutil", "socket", "subprocess", "sys"}
IMPURE |= {"tempfile", "threading", "time"}
PURE = [file for file in FILES if file.relative_to(SOURCE).parts[0] in ("formats", "grammar")]


@pytest.mark.parametrize("file", PURE, ids=lambda file: file.relative_to(SOURCE).as_posix())
def test_formats_do_no_input_and_output(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not {module.split(".")[0] for module in modules} & IMPURE
    assert not {name for _, name in called(file)} & {"open", "print", "input"}


BUILT = {"ChatCompletion", "ChatCompletionChunk", "Choice", "ChoiceDelta", "ChatCompletionStreamState", "Completion"}
"""What only `completion.py` makes: it calls these classes, or their `model_validate` and the like."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SOURCE).as_posix())
def test_one_module_builds_completions_and_chunks(file: Path) -> None:
    built = [f"line {line}: {name}" for line, name in called(file) if name in BUILT]
    assert bool(built) == (file == SOURCE / "completion.py"), built


ENGINES = [file for file in FILES if file.parent == SOURCE / "engines"]
CONTROLS = {control for name in ("functiongemma", "gemma3", "gemma4") for control in get_format(name).controls}


@pytest.mark.parametrize("file", ENGINES, ids=lambda file: file.name)
def test_engines_write_no_special_token(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            spelled = [control for control in CONTROLS if control in node.value]
            assert not spelled, f"line {node.lineno}: {spelled}"


CHATTING = {"base.py": {"chat"}, "ollama.py": {"chat"}, "openai_chat.py": {"chat", "_answered", "_body", "_choice"}}


@pytest.mark.parametrize("file", ENGINES, ids=lambda file: file.name)
def test_engines_take_no_messages_and_no_tools_but_in_a_chat(file: Path) -> None:
    functions = [n for n in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(n, ast.FunctionDef)]
    taking = {f.name for f in functions if {a.arg for a in (*f.args.args, *f.args.kwonlyargs)} & {"messages", "tools", "chat"}}
    assert taking == CHATTING.get(file.name, set())
