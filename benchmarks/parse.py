"""The time to parse a call, compared with `json.loads` of the same call as an OpenAI message; and how it grows.

    python benchmarks/parse.py

It prints ratios measured in one run, and asserts nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from time import process_time
from timeit import repeat

from gemma_tools.formats import get_format
from gemma_tools.formats.base import Format

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "reserve_crossing",
            "parameters": {
                "type": "object",
                "properties": {
                    "from_port": {"type": "string"},
                    "to_port": {"type": "string"},
                    "cars": {"type": "integer"},
                    "price_limit": {"type": "number"},
                    "cabin": {"type": "boolean"},
                    "days": {"type": "array", "items": {"type": "string"}},
                    "notes": {"type": "string"},
                },
            },
        },
    }
]
ARGUMENTS = {
    "cabin": True,
    "cars": 2,
    "days": ["2027-03-01", "2027-03-08"],
    "from_port": "Roscoff (Brittany)",
    "notes": "with a small dog",
    "price_limit": 420.5,
    "to_port": "Cork, Ireland",
}


def seconds(function: Callable[[], object], number: int) -> float:
    """The lowest CPU time of one call, in nine rounds."""
    return min(repeat(function, timer=process_time, number=number, repeat=9)) / number


def written(format: Format, arguments: dict[str, object]) -> str:
    """A call as the format writes it."""
    function = {"name": "reserve_crossing", "arguments": arguments}
    turn = format.turn(
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": function}]}
    )
    return turn.split("model\n", 1)[1]


def streamed(format: Format, text: str, size: int) -> Callable[[], object]:
    """Feeds `text` in chunks of `size` characters."""
    pieces = [text[i : i + size] for i in range(0, len(text), size)]

    def run() -> object:
        parser = format.parser(TOOLS)
        for piece in pieces:
            parser.feed(piece)
        parser.close()
        return parser.reply

    return run


def main() -> None:
    message = {"role": "assistant", "content": None}
    call = {"id": "call_0123456789", "type": "function"}
    function = {"name": "reserve_crossing", "arguments": json.dumps(ARGUMENTS)}
    openai = json.dumps({**message, "tool_calls": [{**call, "function": function}]})
    base = seconds(lambda: json.loads(openai), 5000)
    print("format         characters  whole / json.loads  100,000-character string / 10,000, in pieces of 4")
    for name in ("functiongemma", "gemma4", "gemma3"):
        format = get_format(name)
        text = written(format, ARGUMENTS)
        whole = seconds(lambda format=format, text=text: format.parse(text, TOOLS), 1000)
        body = 'if x:\n    return {"a": [x, x + 1]}  # note, with: signs\n'
        times = []
        for size in (10_000, 100_000):
            long = written(format, {"notes": (body * (size // len(body) + 1))[:size]})
            times.append(seconds(streamed(format, long, 4), 3))
        print(f"{name:14} {len(text):10} {whole / base:19.1f} {times[1] / times[0]:18.1f}")


if __name__ == "__main__":
    main()
