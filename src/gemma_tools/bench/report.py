"""Evaluations as tables: rows of text, JSON and Markdown. Several evaluations are shown side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from gemma_tools.bench.evaluate import Evaluation
from gemma_tools.bench.scores import Score, Share

HEADS: Final = ("model", "way", "right", "95 %", "name", "valid", "refused", "repaired", "lost", "tokens", "seconds")
"""The columns of `rows`; see the attributes of `Score`. Tokens are generated tokens."""


def rows(evaluations: Iterable[Evaluation]) -> list[tuple[str, ...]]:
    """A row for each model and way, with the columns `HEADS`."""
    return [(evaluation.model, way, *_cells(evaluation.score(way))) for evaluation in evaluations for way in evaluation.ways]


def _cells(score: Score) -> tuple[str, ...]:
    return (
        percent(score.right),
        f"{100 * score.right.low:.0f} to {100 * score.right.high:.0f}",
        *(percent(share) for share in (score.named, score.valid, score.refused)),
        *(str(sum(counts.values())) for counts in (score.repaired, score.lost)),
        f"{score.completion_tokens:,}",
        f"{score.seconds:.1f}",
    )


def percent(share: Share) -> str:
    """A share in percent; a dash if there is nothing to count."""
    return "-" if share.value is None else f"{share.value:.0%}"


def category_rows(evaluations: Sequence[Evaluation]) -> list[tuple[str, ...]]:
    """The correct answers in each category: first the heads (category, cases, and each model's ways), then a row for each."""
    heads, columns = _columns(evaluations)
    made: list[tuple[str, ...]] = [("category", "cases", *heads)]
    for name in dict.fromkeys(name for evaluation in evaluations for name in evaluation.categories):
        cases = {result.case.id for evaluation in evaluations for result in evaluation.results if result.case.category == name}
        made.append((name, str(len(cases)), *(percent(evaluation.score(way, name).right) for evaluation, way in columns)))
    return made


def problem_rows(evaluations: Sequence[Evaluation]) -> list[tuple[str, ...]]:
    """Repairs and lost calls, with counts: first the heads (kind, what, each model's ways), then a row for each kind."""
    heads, columns = _columns(evaluations)
    scores = [evaluation.score(way) for evaluation, way in columns]
    made: list[tuple[str, ...]] = [("kind", "", *heads)]
    for what in ("repaired", "lost"):
        counts: list[Mapping[str, int]] = [getattr(score, what) for score in scores]
        kinds = dict.fromkeys(kind for counted in counts for kind in counted)
        made += [(kind, what, *(str(counted.get(kind, 0)) for counted in counts)) for kind in kinds]
    return made


def _columns(evaluations: Sequence[Evaluation]) -> tuple[list[str], list[tuple[Evaluation, str]]]:
    """The ways of all models, and their heads."""
    columns = [(evaluation, way) for evaluation in evaluations for way in evaluation.ways]
    return [way if len(evaluations) == 1 else f"{evaluation.model}, {way}" for evaluation, way in columns], columns


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The figures, by way and by category, and each wrong answer."""
    return {
        "model": evaluation.model,
        "sampling": asdict(evaluation.sampling),
        "ways": {way: _way(evaluation, way) for way in evaluation.ways},
        "wrong": [
            {"case": result.case.id, "way": result.way, "repeat": result.repeat, "fault": result.fault}
            for result in evaluation.results
            if not result.right
        ],
    }


def _way(evaluation: Evaluation, way: str) -> Mapping[str, Any]:
    plain = {(result.case.id, result.repeat): result.right for result in evaluation.of("plain")}
    own = [(plain.get((result.case.id, result.repeat)), result.right) for result in evaluation.of(way)]
    return {
        **evaluation.score(way).as_dict(),
        "better_than_plain": sum(before is False and now for before, now in own),
        "worse_than_plain": sum(before is True and not now for before, now in own),
        "categories": {name: evaluation.score(way, name).as_dict() for name in evaluation.categories},
    }


def tables(evaluations: Sequence[Evaluation]) -> list[list[tuple[str, ...]]]:
    """All tables, heads first: the ways, the categories, and repairs and lost calls, if there were any.

    If there is only one evaluation, the model is not named.
    """
    ways = [HEADS, *rows(evaluations)]
    if len(evaluations) == 1:
        ways = [row[1:] for row in ways]
    return [table for table in (ways, category_rows(evaluations), problem_rows(evaluations)) if len(table) > 1]


def as_markdown(evaluations: Sequence[Evaluation]) -> str:
    """The tables in Markdown: all ways, the categories, and repairs and lost calls."""
    return "\n\n".join(map(_table, tables(evaluations))) + "\n"


def _table(table: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(_ODD.sub(_escaped, cell) for cell in row)} |" for row in table]
    return "\n".join([lines[0], "|" + " --- |" * len(table[0]), *lines[1:]])


_ODD: Final = re.compile(r"\s|[|<\\]")


def _escaped(odd: re.Match[str]) -> str:
    """A line break as a space, and what Markdown would read as a cell's end, HTML or an escape with a backslash."""
    return " " if odd[0].isspace() else f"\\{odd[0]}"
