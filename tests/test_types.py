"""What type checkers and editors know: the keywords that are typed are those that there are, and wrong ones are found."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import gemma_tools
from gemma_tools import BaseModelBackend, Gemma4Model
from gemma_tools.backends.config import FormatOptions, FunctionGemmaConfig, Gemma3Config, Gemma4Config, ModelOptions, Settings
from gemma_tools.formats.functiongemma import FunctionGemmaFormat
from gemma_tools.formats.gemma3 import Gemma3Format
from gemma_tools.formats.gemma4 import Gemma4Format
from gemma_tools.policy import FIELD_POLICY, RequestFields, RunParameters

ROOT = Path(__file__).parents[1]
USAGE = ROOT / "tests" / "data" / "typed_usage.py"


def parameters(function: object) -> set[str]:
    """The names of a method's parameters."""
    return inspect.signature(function).parameters.keys() - {"self"}


def test_settings_are_those_of_the_configurations() -> None:
    known = [config.model_fields for config in (FunctionGemmaConfig, Gemma3Config, Gemma4Config)]
    assert Settings.__annotations__.keys() == set().union(*known)


def test_format_options_are_those_of_the_formats() -> None:
    fields = {
        field.name for family in (FunctionGemmaFormat, Gemma3Format, Gemma4Format) for field in dataclasses.fields(family)
    }
    assert FormatOptions.__annotations__.keys() == fields - {"recovery"}


def test_format_options_take_what_the_formats_take() -> None:
    taken: dict[str, set[object]] = {}
    for family in (FunctionGemmaFormat, Gemma3Format, Gemma4Format):
        for name, hint in get_type_hints(family).items():
            taken.setdefault(name, set()).update(get_args(hint))
    for name, hint in get_type_hints(FormatOptions).items():
        assert hint in (bool, int) or set(get_args(hint)) == taken[name], name


def test_model_options_are_the_parameters_of_the_classes() -> None:
    apart = {"model_type", "engine", "url", "format_options"}
    own = ModelOptions.__annotations__.keys() - Settings.__annotations__.keys() - FormatOptions.__annotations__.keys()
    assert own == parameters(Gemma4Model.__init__) - apart - {"stream_arguments"}


@pytest.mark.parametrize("method", [BaseModelBackend.run, BaseModelBackend.arun])
def test_request_fields_are_all_that_can_be_honoured(method: object) -> None:
    assert RunParameters.__annotations__.keys() == parameters(method) - {"fields"}
    honoured = {name for name, policy in FIELD_POLICY.items() if policy.treatment not in ("refused", "left out")}
    assert RequestFields.__annotations__.keys() == honoured - RunParameters.__annotations__.keys()


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_readme_passes_and_what_is_wrong_does_not(checker: str, tmp_path: Path) -> None:
    try:
        importlib.import_module(checker)
    except ModuleNotFoundError:
        pytest.skip(f"{checker} is not installed; `nox -s types` has it")
    code = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "readme.py").write_text("".join(code), encoding="utf-8")
    source = str(Path(gemma_tools.__file__).parents[1])
    if checker == "mypy":
        arguments = ["--strict", str(tmp_path / "readme.py"), str(USAGE)]
    else:
        (tmp_path / "usage.py").write_text(USAGE.read_text(encoding="utf-8"), encoding="utf-8")
        settings = {"extraPaths": [source], "typeCheckingMode": "strict", "reportUnnecessaryTypeIgnoreComment": True}
        (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
        arguments = ["--project", str(tmp_path), "--pythonpath", sys.executable]
    command = [sys.executable, "-m", checker, *arguments]
    environment = {**os.environ, "MYPYPATH": source}
    checked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
