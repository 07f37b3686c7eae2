"""Results, one for each answer, and their file.

A results file is JSONL: first the model, its weights and the sampling; then the results in the order of their arrival, and each
case before its first result. A stopped run continues with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, Self

from gemma_tools.bench.asking import Said, Sampling
from gemma_tools.bench.cases import Case
from gemma_tools.bench.checking import fault_of, names_fit
from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import read_json, to_json
from gemma_tools.schema.check import can_check, value_fault

LOST: Final = frozenset(("call_limit", "cut", "repeated_call", "undeclared", "unread_call", "unreadable"))
"""Problems for a call that the model wrote, or began to write, and that is not in the reply."""


@dataclass(frozen=True)
class Result:
    """One answer to one case, asked in one way."""

    case: Case
    way: str
    repeat: int
    said: Said

    @property
    def asked(self) -> bool:
        """Whether the question could be asked."""
        return self.said.error is None

    @cached_property
    def fault(self) -> str | None:
        """Why the answer is wrong, in one sentence; None: it is correct.

        If the model began a call that is not in the reply, it did not decline to call.
        """
        if not (self.case.calls or self.said.calls or self.refused) and self.asked:
            return "a call was started, but no call is expected"
        return self.said.error or fault_of(self.case, self.said.made, self.said.content)

    @property
    def right(self) -> bool:
        """Whether the answer is the expected one."""
        return self.fault is None

    @property
    def refused(self) -> bool:
        """Whether no call was made or started."""
        return self.asked and not self.said.calls and not any(problem["kind"] in LOST for problem in self.said.problems)

    @property
    def named(self) -> bool:
        """Whether the right tools were called, each with the expected number of calls."""
        return self.asked and names_fit(self.case, self.said.made)

    @cached_property
    def valid(self) -> bool | None:
        """Whether every call is of a declared tool and matches its schema; None: no call, or the extra
        `validation` is missing.
        """
        if not self.said.calls or not can_check():
            return None
        schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in self.case.tools}
        return all(name in schemas and value_fault(arguments, schemas[name]) is None for name, arguments in self.said.calls)

    @property
    def key(self) -> tuple[str, str, int]:
        """The identity of a result."""
        return self.case.id, self.way, self.repeat


class Log:
    """The existing results, and the file to which more are added."""

    def __init__(
        self,
        model: str,
        sampling: Sampling,
        weights: str | None = None,
        progress: Callable[[Result], object] | None = None,
    ) -> None:
        self.model = model
        self.sampling = sampling
        self.weights = weights
        self.cases: dict[str, Case] = {}
        self.results: dict[tuple[str, str, int], Result] = {}
        self._progress = progress or (lambda result: None)
        self._lock = Lock()
        self._file: BinaryIO | None = None

    @classmethod
    def read(cls, path: Path) -> Log | None:
        """The contents of a file; None if it is empty. An incomplete last line is ignored.

        Raises:
            OSError: it cannot be read.
            InvalidRequest: it is not a results file.
        """
        *lines, rest = path.read_bytes().split(b"\n")
        if rest and not lines:
            raise InvalidRequest("is not a results file", param=str(path))
        log: Log | None = None
        for number, line in enumerate(lines, 1):
            try:
                row = read_json(line.decode("utf-8"))
                if log is None:
                    log = cls(row["model"], Sampling(**row["sampling"]), row["weights"])
                elif "messages" in row:
                    case = Case.of(row, f"{path}, line {number}")
                    log.cases[case.id] = case
                else:
                    result = Result(log.cases[row["case"]], row["way"], row["repeat"], Said.of(row["said"]))
                    log.results[result.key] = result
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise InvalidRequest(f"is not a valid result line: {error}", param=f"{path}, line {number}") from None
        return log

    def keep_in(self, path: Path, cases: Sequence[Case]) -> None:
        """Continue with a file's results for `cases`, and add to it. Questions that could not be asked count as missing.

        Raises:
            OSError: it cannot be read or written.
            InvalidRequest: it is from another model, sampling or suite, or is not a results file.
        """
        before = Log.read(path) if path.exists() else None
        if before is not None:
            self._take_over(before, path, cases)
        self._file = path.open("r+b" if before else "wb")
        data = self._file.read() if before else b""
        self._file.seek(data.rfind(b"\n") + 1)
        self._file.truncate()
        if before is None:
            self._write({"model": self.model, "sampling": asdict(self.sampling), "weights": self.weights})

    def _take_over(self, before: Log, path: Path, cases: Sequence[Case]) -> None:
        for name in ("model", "sampling"):
            theirs, own = getattr(before, name), getattr(self, name)
            if theirs != own:
                raise InvalidRequest(f"contains results of {theirs}, not of {own}: use another file", param=str(path))
        if before.weights != self.weights:
            raise InvalidRequest(f"contains results of other weights of {self.model}: use another file", param=str(path))
        for case in cases:
            if to_json(before.cases.get(case.id, case).as_dict()) != to_json(case.as_dict()):
                raise InvalidRequest(f"holds another case {case.id!r}: use another file", param=str(path))
        self.cases = before.cases
        self.results = {key: result for key, result in before.results.items() if result.asked}

    def said(self, case: Case, way: str, repeat: int) -> Said | None:
        """The existing results."""
        result = self.results.get((case.id, way, repeat))
        return result.said if result else None

    def tell(self, keys: Iterable[tuple[str, str, int]]) -> None:
        """Report the existing ones among the results."""
        for key in keys:
            if key in self.results:
                self._progress(self.results[key])

    def add(self, result: Result) -> None:
        """Take a result, and write it."""
        with self._lock:
            if result.case.id not in self.cases:
                self.cases[result.case.id] = result.case
                self._write(result.case.as_dict())
            self.results[result.key] = result
            self._write({"case": result.case.id, "way": result.way, "repeat": result.repeat, "said": result.said.as_dict()})
            self._progress(result)

    def _write(self, row: object) -> None:
        if self._file is not None:
            self._file.write(to_json(row).encode(errors="backslashreplace") + b"\n")
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()
