"""Questions of the Berkeley Function Calling Leaderboard for the tests on real weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gemma_tools.bench import Case, bfcl_cases
from gemma_tools.bench.checking import MadeCall, fault_of


@dataclass(frozen=True)
class Question:
    """One question, and the calls that answer it."""

    case: Case

    @property
    def messages(self) -> list[Any]:
        """What is asked."""
        return list(self.case.messages)

    @property
    def tools(self) -> list[Any]:
        """The tools that are declared."""
        return list(self.case.tools)

    @property
    def name(self) -> str:
        """The tool of the first call that answers it."""
        return self.case.calls[0].name

    def schema(self, name: str) -> dict[str, Any]:
        """The parameters of one of the tools."""
        return next(tool["function"]["parameters"] for tool in self.tools if tool["function"]["name"] == name)

    def answered_by(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Whether this one call is the answer."""
        return fault_of(self.case, [MadeCall(name, arguments)]) is None


def questions(category: str, count: int) -> list[Question]:
    """`count` questions of one category, as "simple", evenly over it.

    Raises:
        MissingDependency: the data is not installed.
    """
    cases = bfcl_cases(category)
    return [Question(cases[index * len(cases) // count]) for index in range(count)]
