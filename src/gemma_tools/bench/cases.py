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
        for index, text in enumerate(row.get("says", ())):
            if not isinstance(text, str) or not text:
                raise InvalidRequest("must be a string with a text", param=f"{where}: says[{index}]", code="invalid_type")
        messages, tools = row.get("messages"), row.get("tools") or ()
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
            says=tuple(row.get("says", ())),
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
        InvalidRequest: a line is not a case, no answer to it can be right, two have the same id, or the file has no cases.
    """
    cases: dict[str, Case] = {}
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        case = Case.of({"id": f"line {number}", **_object(line, where)}, where)
        _refuse_unanswerable(case, where)
        if case.id in cases:
            raise InvalidRequest(f"{case.id!r} is already used by another case", param=f"{where}: id", code="duplicate_name")
        cases[case.id] = case
    if not cases:
        raise InvalidRequest("has no cases", param=str(path))
    return tuple(cases.values())


def _object(line: bytes, where: str) -> dict[str, Any]:
    """The JSON object in a line. Editors on Windows begin a file with a byte order mark."""
    try:
        row = read_json(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"not UTF-8 (byte {error.start})", param=where, code="invalid_json") from None
    except ValueError as error:
        raise InvalidRequest(f"not valid JSON: {error}", param=where, code="invalid_json") from None
    if not isinstance(row, dict):
        raise InvalidRequest("must be a JSON object; each line is one case", param=where, code="invalid_type")
    return row


def _refuse_unanswerable(case: Case, where: str) -> None:
    """Refuse expected calls that no call can match, because the names or the values in them are wrong.

    Some of BFCL's own cases are like this, so it is checked only in files.
    """
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in case.tools}
    for index, (name, arguments) in enumerate(case.calls):
        place = f"{where}: calls[{index}]"
        if name not in schemas:
            raise InvalidRequest(f"{name!r} is not a tool of this case", param=place)
        for key, values in arguments.items():
            if key not in (schemas[name].get("properties") or {}):
                raise InvalidRequest(f"{name} has no parameter {key!r}", param=place)
            if not values:
                raise InvalidRequest("must have at least one right value", param=f"{place}.{name}.{key}")
        for key in schemas[name].get("required") or ():
            if key not in arguments:
                raise InvalidRequest(f"{name} requires {key!r}: add its right values", param=place, code="missing")


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
