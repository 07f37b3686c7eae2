"""Questions to measure a model with: what is asked, which tools there are, and which answers are right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import read_json, to_json
from gemma_tools.validation import validate


class ExpectedCall(NamedTuple):
    """A call that is expected: of each argument the values that are right; "" among them says that it may be left out."""

    name: str
    arguments: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question in OpenAI's shape, and what answers it."""

    id: str
    category: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    calls: tuple[ExpectedCall, ...] = ()
    """The calls that are expected, in any order; none: the right answer is not a call."""
    says: tuple[str, ...] = ()
    """Texts that the answer's content must hold, in capitals or not."""
    exact: bool = False
    """Arguments must be equal to the last character. Otherwise BFCL's rules hold: see `checking`."""

    @classmethod
    def of(cls, row: Mapping[str, Any], where: str) -> Case:
        """The case that a line of a JSONL file holds; `where` names its place.

        Raises:
            InvalidRequest: it is not one.
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
        """The case as a line of a JSONL file holds it."""
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
    """The cases in a JSONL file, one a line: the members of `Case`, `calls` as `[{"get_weather": {"city": ["Lisbon"]}}]`.

    A case without an id is called by its line.

    Raises:
        OSError: the file cannot be read.
        InvalidRequest: a line holds no case, or two have one id.
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
    """Write cases as `read_cases` reads them."""
    Path(path).write_text("".join(to_json(case.as_dict()) + "\n" for case in cases), encoding="utf-8")


def sample(cases: Sequence[Case], limit: int) -> tuple[Case, ...]:
    """At most `limit` cases: as many of each category as can be, evenly over each, in their order."""
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
