"""Questions of the Berkeley Function Calling Leaderboard, from the data in the package `bfcl-eval`, which is not imported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": None}
"""What the data calls types, and what JSON Schema calls them; None: any."""


@dataclass(frozen=True)
class Question:
    """One question in OpenAI's shape, and the calls that answer it: of each argument the values that are right."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    answers: list[Mapping[str, Mapping[str, list[Any]]]]

    def schema(self, name: str) -> dict[str, Any]:
        """The parameters of one of the tools."""
        return next(tool["function"]["parameters"] for tool in self.tools if tool["function"]["name"] == name)


def questions(kind: str, count: int) -> list[Question]:
    """`count` questions of one kind, as "simple_python", evenly over the file.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    found = find_spec("bfcl_eval")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("pip install --no-deps bfcl-eval")
    data = Path(found.submodule_search_locations[0]) / "data"
    asked, answered = (list(_rows(data / folder / f"BFCL_v4_{kind}.json")) for folder in ("", "possible_answer"))
    picked = [index * len(asked) // count for index in range(count)]
    return [_question(asked[index], answered[index]["ground_truth"]) for index in picked]


def right(question: Question, name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a call is the first that answers the question; "" among the values of an argument says that it may be missing."""
    wanted = question.answers[0].get(name)
    if wanted is None or not arguments.keys() <= wanted.keys():
        return False
    return all(_is_one_of(arguments[key], values) if key in arguments else "" in values for key, values in wanted.items())


def _is_one_of(value: Any, values: list[Any]) -> bool:
    plain = [item.lower() if isinstance(item, str) else item for item in values]
    return (value.lower() if isinstance(value, str) else value) in plain


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def _question(row: Mapping[str, Any], answers: list[Any]) -> Question:
    tools = [{"type": "function", "function": {**f, "parameters": _schema(f["parameters"])}} for f in row["function"]]
    return Question(row["question"][0], tools, answers)


def _schema(schema: Any) -> Any:
    """The schema in JSON Schema's words."""
    if isinstance(schema, list):
        return [_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    mended = {key: _schema(value) for key, value in schema.items()}
    if isinstance(mended.get("type"), str):
        named = _TYPES.get(mended["type"], mended["type"])
        mended = {**mended, "type": named} if named else {key: value for key, value in mended.items() if key != "type"}
    return mended
