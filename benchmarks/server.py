"""The time that the library adds to a request, compared with llama-server's own endpoints, and how it works under load.

In the first part every request asks for one token after a cached prompt, so almost only the overhead remains. All ways take
turns, and each is compared with llama-server's raw completion in the same round, so that a busy machine affects them equally.
In the second part many streams run at the same time, in turn on this library's server and on llama-server's chat endpoint.
Each stream of this library must have the same text as when its question runs alone.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import xllamacpp

from gemma_tools import create_model
from gemma_tools.data import tiny_path

ROUNDS = 200
AT_ONCE = 32
LOADS = 8
QUESTION = [{"role": "user", "content": "What is the weather in Lisbon?"}]


@contextmanager
def our_server() -> Iterator[str]:
    """This library's server with the tiny model, in a separate process."""
    command = [sys.executable, "-m", "gemma_tools", "serve", "--model", "tiny", "--port", "0"]
    options = ["--concurrency", str(AT_ONCE)]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as process:
        assert process.stderr is not None
        started = re.search(r"http\S+", process.stderr.readline())
        assert started
        with ThreadPoolExecutor(1) as pool:
            pool.submit(process.stderr.read)  # its log must not fill the pipe
            yield started[0]
            process.terminate()


def llama_server() -> Any:
    """llama-server with the same weights, on a free port."""
    params = xllamacpp.CommonParams()
    params.model.path = str(tiny_path())
    params.n_ctx = 8192
    params.n_parallel = 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.verbosity = 0
    return xllamacpp.Server(params)


def measured(ways: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """The seconds of each way in every round; in a round all ways take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 5):
        for name, way in ways.items():
            begin = perf_counter()
            way()
            if number >= 5:
                times[name].append(perf_counter() - begin)
    return times


def added_time(client: httpx.Client, ours: str, theirs: str) -> None:
    """Print the time that each way adds to llama-server's raw completion: the median of the differences within a round."""
    body = {"model": "tiny", "messages": QUESTION, "max_tokens": 1, "temperature": 0}
    with create_model("tiny", temperature=0, max_tokens=1) as model:
        prompt = model.format.render(QUESTION).text  # type: ignore[attr-defined]
        raw = {"prompt": prompt, "n_predict": 1, "temperature": 0, "cache_prompt": True}

        def post(url: str, value: object) -> None:
            client.post(url, json=value).raise_for_status()

        base, *others = measured(
            {
                "llama-server, raw completion": lambda: post(f"{theirs}/completion", raw),
                "llama-server, chat": lambda: post(f"{theirs}/v1/chat/completions", body),
                "gemma_tools in process": lambda: model.run(QUESTION),
                "gemma_tools server": lambda: post(f"{ours}/chat/completions", body),
            }
        ).items()
    print(f"{base[0]:32} {1000 * statistics.median(base[1]):7.2f} ms")
    for name, times in others:
        more = statistics.median(time - same for time, same in zip(times, base[1], strict=True))
        print(f"{name:32} {1000 * statistics.median(times):7.2f} ms, {1000 * more:+.2f} ms")


def load(ours: str, theirs: str) -> int:
    """Print how many streams per second each server handles, and return how many streams of ours had a wrong text."""
    cities = ("Lisbon", "Oslo", "Paris", "Rome", "Kyoto", "Lima", "Cairo", "Quito")

    def answer(client: httpx.Client, url: str, city: str) -> str:
        messages = [{"role": "user", "content": f"Hello, I am from {city}. Who are you?"}]
        body = {"model": "tiny", "messages": messages, "max_tokens": 32, "temperature": 0, "stream": True}
        *events, done, _ = client.post(f"{url}/chat/completions", json=body).text.split("\n\n")
        assert done == "data: [DONE]", done
        choices = [choice for event in events for choice in json.loads(event.removeprefix("data: "))["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    # llama-server closes a connection after a stream without telling the client, which would use it again.
    limits = httpx.Limits(max_connections=AT_ONCE)
    with (
        httpx.Client(timeout=300, limits=limits, headers={"Connection": "close"}) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        asked = [cities[number % len(cities)] for number in range(AT_ONCE)]
        alone = {url: {city: answer(client, url, city) for city in cities} for url in (ours, theirs)}
        wrong, seconds = dict.fromkeys(alone, 0), dict.fromkeys(alone, 0.0)
        for _ in range(LOADS):
            for url, expected in alone.items():
                begin = perf_counter()
                told = pool.map(partial(answer, client, url), asked)
                wrong[url] += sum(text != expected[city] for city, text in zip(asked, told, strict=True))
                seconds[url] += perf_counter() - begin
    total = LOADS * AT_ONCE
    for name, url in (("gemma_tools server", ours), ("llama-server, chat", theirs)):
        rate = total / seconds[url]
        print(f"{name:32} {rate:7.0f} streams per second, {AT_ONCE} at the same time; {wrong[url]} of {total} lost or wrong")
    print(f"{'gemma_tools / llama-server':32} {seconds[theirs] / seconds[ours]:7.2f}")
    return wrong[ours]


def main() -> None:
    """Run both parts; fail if a stream of ours was lost or wrong."""
    server = llama_server()
    theirs = server.listening_address
    with our_server() as ours:
        with httpx.Client(timeout=120) as client:
            added_time(client, ours, theirs)
        wrong = load(ours, f"{theirs}/v1")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
