"""Questions to evaluate a model with: the messages, the tools, and the correct answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import read_json, to_json
from gemma_tools.validation import validate


class ExpectedCall(NamedTuple):
    """An expected call: for each argument the correct values; "" among them means that it may be left out."""

    name: str
    arguments: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question in OpenAI's format, and its correct answer."""

    id: str
    category: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    calls: tuple[ExpectedCall, ...] = ()
    """The expected calls, in any order; none: the correct answer is not a call."""
    says: tuple[str, ...] = ()
    """Texts that the answer's content must contain, in any case."""
    exact: bool = False
    """Arguments must be exactly equal. Otherwise BFCL's rules apply: see `checking`."""

    @classmethod
    def of(cls, row: Mapping[str, Any], where: str) -> Case:
        """The case in a line of a JSONL file; `where` names its position.

        Raises:
            InvalidRequest: it is not a case.
        """
        known = ("id", "category", "messages", "tools", "calls", "says", "exact")
        for key in row:
            if key not in known:
                raise InvalidRequest(f"is not a member of a case; known members: {', '.join(known)}", param=f"{where}: {key}")
        for key, kind in (("id", str), ("category", str), ("calls", list), ("says", list), ("exact", bool)):
            if key in row and not isinstance(row[key], kind):
                message = f"must be a {'boolean' if kind is bool else 'list' if kind is list else 'string'}"
                raise InvalidRequest(message, param=f"{where}: {key}", code="invalid_type")
        messages, tools = row.get("messages"), row.get("tools", ())
        try:
            validate(messages, tools)  # type: ignore[arg-type]
        except InvalidRequest as wrong:
            raise InvalidRequest(wrong.message, param=f"{where}: {wrong.param}", code=wrong.code) from None
        return cls(
            id=row.get("id", where),
            category=row.get("category", "all"),
            messages=messages or (),
            tools=tools,
            calls=tuple(_expected(call, f"{where}: calls[{index}]") for index, call in enumerate(row.get("calls", ()))),
            says=tuple(map(str, row.get("says", ()))),
            exact=row.get("exact", False),
        )

    def as_dict(self) -> dict[str, Any]:
        """The case as a line of a JSONL file."""
        row: dict[str, Any] = {"id": self.id, "category": self.category, "messages": self.messages, "tools": self.tools}
        row["calls"] = [{call.name: call.arguments} for call in self.calls]
        return row | ({"says": self.says} if self.says else {}) | ({"exact": True} if self.exact else {})


def _expected(call: object, where: str) -> ExpectedCall:
    if isinstance(call, Mapping) and len(call) == 1:
        [(name, arguments)] = call.items()
        if isinstance(arguments, Mapping) and all(isinstance(values, list) for values in arguments.values()):
            return ExpectedCall(name, arguments)
    message = 'must be {"name of the tool": {"argument": [values that are right]}}'
    raise InvalidRequest(message, param=where, code="invalid_type")


def read_cases(path: str | Path) -> tuple[Case, ...]:
    """The cases in a JSONL file, one per line: the members of `Case`, `calls` as `[{"get_weather": {"city": ["Lisbon"]}}]`.

    The id of a case without one is its line.

    Raises:
        OSError: the file cannot be read.
        InvalidRequest: a line is not a case, or two have the same id.
    """
    cases: dict[str, Case] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = read_json(line)
        except ValueError as error:
            raise InvalidRequest(f"not valid JSON: {error}", param=where, code="invalid_json") from None
        if not isinstance(row, dict):
            raise InvalidRequest("must be a JSON object", param=where, code="invalid_type")
        case = Case.of({"id": f"line {number}", **row}, where)
        if case.id in cases:
            raise InvalidRequest(f"{case.id!r} is already used by another case", param=f"{where}: id", code="duplicate_name")
        cases[case.id] = case
    return tuple(cases.values())


def write_cases(path: str | Path, cases: Iterable[Case]) -> None:
    """Write cases in the format of `read_cases`."""
    Path(path).write_text("".join(to_json(case.as_dict()) + "\n" for case in cases), encoding="utf-8")


def sample(cases: Sequence[Case], limit: int) -> tuple[Case, ...]:
    """At most `limit` cases, evenly over the categories and evenly over each category, in their order."""
    by_category: dict[str, list[Case]] = {}
    for case in cases:
        by_category.setdefault(case.category, []).append(case)
    taken = dict.fromkeys(by_category, 0)
    while sum(taken.values()) < min(limit, len(cases)):
        least = min((name for name in taken if taken[name] < len(by_category[name])), key=taken.__getitem__)
        taken[least] += 1
    picked = {
        by_category[name][index * len(by_category[name]) // count].id for name, count in taken.items() for index in range(count)
    }
    return tuple(case for case in cases if case.id in picked)
