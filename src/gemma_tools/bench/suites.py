"""The sources of cases: the Berkeley Function Calling Leaderboard, the included suite, or a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from gemma_tools.bench.cases import Case, ExpectedCall, read_cases
from gemma_tools.data import own_suite_path
from gemma_tools.errors import InvalidRequest, MissingDependency

BFCL_FILES: Final = MappingProxyType(
    {
        "simple": "simple_python",
        "multiple": "multiple",
        "parallel": "parallel",
        "parallel_multiple": "parallel_multiple",
        "irrelevance": "irrelevance",
        "live_simple": "live_simple",
        "live_multiple": "live_multiple",
        "live_parallel": "live_parallel",
        "live_parallel_multiple": "live_parallel_multiple",
        "live_irrelevance": "live_irrelevance",
    }
)
"""The supported categories of BFCL, and their names in file names."""

_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": None}
"""BFCL's names of types, and JSON Schema's; None: any type."""


def load_suite(name: str) -> tuple[Case, ...]:
    """The cases of a suite: "bfcl", "own", or a JSONL file (see `read_cases`).

    Raises:
        MissingDependency: BFCL's data is not installed.
        OSError: the file cannot be read.
        InvalidRequest: there is no such suite or file, or the file contains something that is not a case.
    """
    if name == "bfcl":
        return bfcl_cases()
    path = own_suite_path() if name == "own" else Path(name)
    if not path.exists():
        raise InvalidRequest(f"{name!r} is not bfcl, own or an existing file", param="suite")
    return read_cases(path)


def bfcl_cases(*categories: str) -> tuple[Case, ...]:
    """The questions of these categories of BFCL; the default is all in `BFCL_FILES`.

    Only the data files of the package `bfcl-eval` (Apache 2.0) are read. It is not imported, so its dependencies
    are not needed.

    Raises:
        MissingDependency: the package is not installed.
    """
    found = find_spec("bfcl_eval")
    if found is None or not found.submodule_search_locations:
        raise MissingDependency("the data of bfcl-eval", "bench", "the suite bfcl", "pip install --no-deps bfcl-eval")
    data = Path(found.submodule_search_locations[0]) / "data"
    return tuple(case for category in categories or BFCL_FILES for case in _bfcl_category(data, category))


def _bfcl_category(data: Path, category: str) -> Iterator[Case]:
    file = f"BFCL_v4_{BFCL_FILES[category]}.json"
    answers = data / "possible_answer" / file
    expected = {row["id"]: row["ground_truth"] for row in _rows(answers)} if answers.exists() else {}
    for row in _rows(data / file):
        calls = (ExpectedCall(name, arguments) for call in expected.get(row["id"], ()) for name, arguments in call.items())
        yield Case(
            id=row["id"],
            category=category,
            messages=row["question"][0],
            tools=[{"type": "function", "function": json_schema(function)} for function in row["function"]],
            calls=tuple(calls),
        )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        yield json.loads(line)


def json_schema(value: Any) -> Any:
    """A function's description, or a part of it, with JSON Schema's names for types."""
    if isinstance(value, list):
        return [json_schema(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    mended = {key: json_schema(item) for key, item in value.items()}
    named = mended.get("type")
    if isinstance(named, str) and named in _TYPES:
        word = _TYPES[named]
        mended = {**mended, "type": word} if word else {key: item for key, item in mended.items() if key != "type"}
    return mended
