"""The time of `import gemma_tools`, compared with `import openai`: the median of fresh interpreters, and the ratio.

Python's own start is measured too, and subtracted from both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from time import perf_counter

ROUNDS = 15


def seconds(statement: str) -> float:
    """The time that a fresh interpreter takes for a statement, including its own start."""
    begin = perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return perf_counter() - begin


def main() -> None:
    """Measure the statements in turn, so that a busy moment affects all of them, and print a table."""
    statements = ("pass", "import gemma_tools", "from gemma_tools import get_format", "import openai")
    for statement in statements:
        seconds(statement)  # compiled files are written
    times: dict[str, list[float]] = {statement: [] for statement in statements}
    for _ in range(ROUNDS):
        for statement in statements:
            times[statement].append(seconds(statement))
    start, *rest = (statistics.median(times[statement]) for statement in statements)
    costs = dict(zip(statements[1:], (max(0.0, median - start) for median in rest), strict=True))
    for statement, cost in costs.items():
        print(f"{statement:40} {1000 * cost:7.1f} ms  {cost / costs['import openai']:6.1%} of import openai")


if __name__ == "__main__":
    main()
