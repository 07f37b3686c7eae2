"""Rendering and parsing on Ray Data, with a worker killed on the way: the rows are those of a plain loop."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event, Thread

from gemma_tools.formats import get_format
from support.chat import WEATHER, user
from support.cluster import Cluster

ROWS = 10_000


def test_all_rows_are_there_though_a_worker_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    import ray_data

    rows = [_row(number) for number in range(ROWS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    killed, over = Event(), Event()
    assassin = Thread(target=_kill_one, args=(cluster, tmp_path / "done", killed, over))
    assassin.start()
    try:
        ray_data.main(str(tmp_path / "rows.jsonl"), str(tmp_path / "done"))
    finally:
        over.set()
        assassin.join()
    assert killed.is_set()
    lines = [line for file in (tmp_path / "done").iterdir() for line in file.read_text(encoding="utf-8").splitlines()]
    done = {row["id"]: row for row in map(json.loads, lines)}
    assert len(lines) == len(done) == ROWS
    format = get_format("functiongemma")
    for row in rows:
        number, city = row["id"], f"city {row['id']}"
        assert done[number]["prompt"] == format.render(row["messages"], row["tools"]).text
        assert json.loads(done[number]["calls"]) == [["get_weather", {"city": city}]]


def _row(number: int) -> dict[str, object]:
    call = f"<start_function_call>call:get_weather{{city:<escape>city {number}<escape>}}<end_function_call>"
    return {"id": number, "messages": user(f"what is the weather in city {number}?"), "tools": [WEATHER], "output": call}


def _kill_one(cluster: Cluster, done: Path, killed: Event, over: Event) -> None:
    """Kill a worker at work on a batch, once others have written theirs."""
    while not (killed.is_set() or over.wait(0.05)):
        if done.exists() and len(list(done.iterdir())) > 4 and cluster.kill("MapBatches"):
            killed.set()
