"""Sums over results: shares with their intervals, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import fmean, variance
from typing import Any, Final

from gemma_tools.bench.results import LOST, Result

_NO_REPAIR: Final = LOST | {"after_end", "invalid_arguments", "unusable"}
_Z: Final = 1.96
"""For the normal distribution: 95 % of values are within this number of standard deviations."""


@dataclass(frozen=True, slots=True)
class Share:
    """A count out of a total, and the 95 % interval of the share."""

    count: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """The share, from 0 to 1; None if the total is 0."""
        return self.count / self.of if self.of else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The sums over the results of one way, or of one category of it."""

    right: Share
    """The expected calls, or the expected answer without a call."""
    named: Share
    """The right tools, each with the expected number of calls, with any arguments; over the cases that expect a call."""
    valid: Share
    """Every call of a declared tool, with arguments that match its schema; over the answers with calls."""
    refused: Share
    """No call made or started; over the cases that expect none."""
    repaired: Mapping[str, int]
    """Problems that were repaired, by kind."""
    lost: Mapping[str, int]
    """Calls that the model wrote, or began to write, and that are not in the reply, by the kind of the problem."""
    failed: int
    """Questions that could not be asked; none of them counts as correct."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The score as JSON: a share as `count`, `of`, `share`, `low` and `high`."""
        shares = {name: getattr(self, name) for name in ("right", "named", "valid", "refused")}
        told: dict[str, Any] = {name: asdict(share) | {"share": share.value} for name, share in shares.items()}
        rest = ("repaired", "lost", "failed", "prompt_tokens", "completion_tokens", "seconds")
        return told | {name: getattr(self, name) for name in rest}


def score(results: Sequence[Result]) -> Score:
    """The sums over `results`."""
    problems = Counter(problem["kind"] for result in results for problem in result.said.problems)
    return Score(
        right=share((result.case.id, result.right) for result in results),
        named=share((result.case.id, result.named) for result in results if result.case.calls),
        valid=share((result.case.id, result.valid) for result in results if result.valid is not None),
        refused=share((result.case.id, result.refused) for result in results if not result.case.calls),
        repaired={kind: count for kind, count in problems.most_common() if kind not in _NO_REPAIR},
        lost={kind: count for kind, count in problems.most_common() if kind in LOST},
        failed=sum(not result.asked for result in results),
        prompt_tokens=sum(result.said.prompt_tokens for result in results),
        completion_tokens=sum(result.said.completion_tokens for result in results),
        seconds=round(sum(result.said.seconds for result in results), 3),
    )


def share(outcomes: Iterable[tuple[str, bool]]) -> Share:
    """How many of the outcomes, each with the name of its case, are true.

    The interval is Wilson's. Repeats of one case are not new cases: they count as much as the spread of the cases' means shows,
    between one and all of them (the effective sample size of a cluster sample).
    """
    by_case: dict[str, list[bool]] = {}
    for case, outcome in outcomes:
        by_case.setdefault(case, []).append(outcome)
    count, of = sum(map(sum, by_case.values())), sum(map(len, by_case.values()))
    if not of:
        return Share(0, 0, 0.0, 1.0)
    p, cases = count / of, len(by_case)
    worth = float(cases)
    if cases > 1 and 0 < count < of:
        spread, most = variance(map(fmean, by_case.values())), cases * p * (1 - p)
        worth = max(worth, most / max(spread, most / of))
    low, high = wilson(p, worth)
    return Share(count, of, low, high)


def wilson(p: float, n: float) -> tuple[float, float]:
    """Wilson's interval of 95 % for a share `p` of `n` trials."""
    middle, width = p + _Z**2 / (2 * n), _Z * sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    return max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)
