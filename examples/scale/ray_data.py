"""Render prompts and parse model outputs with Ray Data: `python ray_data.py ROWS.jsonl FOLDER`.

A line of ROWS has `id`, `messages`, `tools` and the model's `output`. FOLDER gets lines with `id`, `prompt` and `calls`.
"""

import json
import sys
from typing import Any

import ray

from gemma_tools.formats import get_format

FORMAT = get_format("functiongemma")


def work(lines: dict[str, Any]) -> dict[str, list[str]]:
    """The prompt and the calls of each line in a batch."""
    rows = [json.loads(line) for line in lines["text"]]
    replies = [FORMAT.parse(row["output"], row["tools"]) for row in rows]
    return {
        "id": [row["id"] for row in rows],
        "prompt": [FORMAT.render(row["messages"], row["tools"]).text for row in rows],
        "calls": [json.dumps([[call.name, call.arguments] for call in reply.tool_calls]) for reply in replies],
    }


def main(rows: str, folder: str) -> None:
    """Process the file `rows` on all CPUs of the cluster."""
    dataset = ray.data.read_text(rows, override_num_blocks=40)
    dataset.map_batches(work, batch_size=256).write_json(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
