"""Damage outputs at random, for as many cases as asked, and check that no parser raises, hangs or contradicts itself.

    python tests/fuzz_parsers.py [CASES] [SEED]

Starts from outputs of the formats' own writers and, where the conformance vectors lie beside the checkout, from those. Each
case is read whole and in random pieces. Prints the first text that breaks a law and exits with 1.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

from gemma_tools.formats import get_format
from gemma_tools.formats.base import Format
from gemma_tools.reply import Reply
from support.outputs import FORMATS, TOOLS, damage, output, pieces
from support.vectors import SHARED

VECTORS = SHARED / "conformance" / "parse"
LONGEST = 1500
"""Longer texts are left out: they cost time and hold nothing that shorter ones do not."""


def seeds(name: str) -> list[tuple[str, list[dict[str, Any]] | None]]:
    """Texts to damage, each with its tools."""
    format = get_format(name)
    made: list[tuple[str, dict[str, Any]]] = [
        ("book_table", {"name": "Ann", "guests": 4, "dishes": ["a", "b, c"], "contact": {"phone": "0123", "vip": True}}),
        ("tide.level", {"port": "Brest {harbour}"}),
        ("ping", {}),
    ]
    found: list[tuple[str, list[dict[str, Any]] | None]] = [(output(format, made, "I look."), TOOLS)]
    for path in sorted(VECTORS.glob(f"{name}*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            vector = json.loads(line)
            if len(vector["raw"]) < LONGEST:
                found.append((vector["raw"], vector["tools"]))
    return found


def read(format: Format, chunks: list[str], tools: list[dict[str, Any]] | None, opens: Any, finish: Any) -> Reply:
    parser = format.parser(tools, opens=opens)
    for chunk in chunks:
        parser.feed(chunk)
    parser.close(finish)
    return parser.reply


def main(cases: int, seed: int) -> int:
    rng = random.Random(seed)
    starts = {name: seeds(name) for name in FORMATS}
    formats = {(name, level): get_format(name, recovery=level) for name in FORMATS for level in ("strict", "schema", "eager")}
    for case in range(cases):
        name = rng.choice(FORMATS)
        format = formats[name, rng.choice(("strict", "schema", "schema", "eager"))]
        start, declared = rng.choice(starts[name])
        text = damage(name, start, rng)
        tools = rng.choice([declared, declared, None, []])
        opens, finish = rng.choice(["content", "content", "reasoning"]), rng.choice(["stop", "length"])
        chunks = list(text) if case % 8 == 0 else pieces(text, rng)
        try:
            whole = read(format, [text], tools, opens, finish)
            same = read(format, chunks, tools, opens, finish) == whole
            sound = all(isinstance(call.arguments, dict) for call in whole.tool_calls)
            declared_only = tools is None or {c.name for c in whole.tool_calls} <= {t["function"]["name"] for t in tools}
            if same and sound and declared_only:
                continue
            fault = "cutting changes the reply" if not same else "a call is not what it must be"
        except Exception as error:
            fault = repr(error)
        print(f"case {case}, seed {seed}: {fault}\n{format!r}, opens={opens}, finish={finish}, tools={tools}\n{text!r}")
        return 1
    print(f"{cases} cases held")
    return 0


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(arguments + [100_000, 0][len(arguments) :])))
