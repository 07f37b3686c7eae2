"""What type checkers and editors know: the keywords that are typed are those that there are, and wrong ones are found."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
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
from support.programs import programs

ROOT = Path(__file__).parents[1]
USAGE = ROOT / "tests" / "data" / "typed_usage.py"
SOURCE = str(Path(gemma_tools.__file__).parents[1])


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


SHOWN = {file.read_text(encoding="utf-8") for file in (ROOT / "examples" / "scale").glob("*.py")}
"""What pages show of files that `nox -s scale` checks, where Ray's types are."""


def programs_of_pages() -> dict[str, str]:
    """The programs of the README and of docs/, by the names of modules for them."""
    found = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        name = re.sub(r"\W", "_", page.relative_to(ROOT).with_suffix("").as_posix())
        for number, code in enumerate(programs(page)):
            if code.lstrip("\n") not in SHOWN:
                found[f"{name}_{number}"] = code
    return found


def absent_packages(code: str) -> set[str]:
    """The packages that a program imports and that are not installed: frameworks, which have environments of their own."""
    imported = re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE)
    return {package for package in imported if package != "gemma_tools" and find_spec(package) is None}


def checked(checker: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run a type checker on this package's source and what is in `folder`; it must find nothing."""
    try:
        importlib.import_module(checker)
    except ModuleNotFoundError:
        pytest.skip(f"{checker} is not installed; `nox -s types` has it")
    if checker == "mypy":
        command = ["--config-file", str(folder / "mypy.ini"), *map(str, sorted(folder.glob("*.py")))]
    else:
        command = ["--project", str(folder), "--pythonpath", sys.executable]
    environment = {**environment, "MYPYPATH": SOURCE}
    done = subprocess.run([sys.executable, "-m", checker, *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_what_pages_show_passes(checker: str, tmp_path: Path, given_environment: Mapping[str, str]) -> None:
    """Strictly. Of frameworks that are not here nothing is known, so that their decorators and base classes are let pass."""
    modules = programs_of_pages()
    absent = {name: absent_packages(code) for name, code in modules.items()}
    assert {name for name in absent if absent[name]} <= {
        name for name in modules if name.startswith(("docs_frameworks", "docs_training"))
    }
    ini = ["[mypy]", "strict = True"]
    ini += [f"[mypy-{package}.*]\nignore_missing_imports = True" for package in sorted(set().union(*absent.values()))]
    for name, code in modules.items():
        (tmp_path / f"{name}.py").write_text(("" if absent[name] else "# pyright: strict\n") + code, encoding="utf-8")
        if absent[name]:
            ini.append(f"[mypy-{name}]\ndisallow_untyped_decorators = False\ndisallow_subclassing_any = False")
    (tmp_path / "mypy.ini").write_text("\n".join(ini), encoding="utf-8")
    settings = {"extraPaths": [SOURCE], "reportMissingImports": False}  # mypy finds wrong imports of this package
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    checked(checker, tmp_path, given_environment)


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_what_is_wrong_does_not_pass(checker: str, tmp_path: Path, given_environment: Mapping[str, str]) -> None:
    """The file expects an error at each wrong line, and a checker that finds none says so."""
    (tmp_path / "usage.py").write_text(USAGE.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = True", encoding="utf-8")
    settings = {"extraPaths": [SOURCE], "typeCheckingMode": "strict", "reportUnnecessaryTypeIgnoreComment": True}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    checked(checker, tmp_path, given_environment)
