"""What the server costs, against llama-server's own chat endpoint on the same weights, and how it keeps under load.

Every request asks for one token after a prompt that is cached, so that what is left is the way there and back. Each way is
compared with the same work done without it: llama-server's chat with its raw completion, our server with our backend in
process. Then many streams run at once, each of which must give what its question gave alone.
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
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import xllamacpp

from gemma_tools import create_model
from gemma_tools.data import tiny_path

ROUNDS = 200
STREAMS = 256
AT_ONCE = 32
QUESTION = [{"role": "user", "content": "What is the weather in Lisbon?"}]


@contextmanager
def our_server() -> Iterator[str]:
    """Our server with the tiny model, in a process of its own."""
    command = [sys.executable, "-m", "gemma_tools", "serve", "--model", "tiny", "--port", "0"]
    options = ["--concurrency", str(AT_ONCE), "--queue", str(STREAMS)]
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


def medians(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median seconds of each way, measured in turn, so that a busy moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 5):
        for name, way in ways.items():
            begin = perf_counter()
            way()
            if number >= 5:
                times[name].append(perf_counter() - begin)
    return {name: statistics.median(measured) for name, measured in times.items()}


def added_time(client: httpx.Client, ours: str) -> None:
    """Print what each chat endpoint adds to the engine below it."""
    theirs = llama_server()
    body = {"model": "tiny", "messages": QUESTION, "max_tokens": 1, "temperature": 0}
    with create_model("tiny", temperature=0, max_tokens=1) as model:
        prompt = model.format.render(QUESTION).text  # type: ignore[attr-defined]
        raw = {"prompt": prompt, "n_predict": 1, "temperature": 0, "cache_prompt": True}

        def post(url: str, value: object) -> None:
            client.post(url, json=value).raise_for_status()

        seconds = medians(
            {
                "llama-server, raw completion": lambda: post(f"{theirs.listening_address}/completion", raw),
                "llama-server, chat": lambda: post(f"{theirs.listening_address}/v1/chat/completions", body),
                "gemma_tools in process": lambda: model.run(QUESTION),
                "gemma_tools server": lambda: post(f"{ours}/chat/completions", body),
            }
        )
    for name, median in seconds.items():
        print(f"{name:32} {1000 * median:7.2f} ms")
    raw_time, chat_time, alone, served = seconds.values()
    print(f"{'added by llama-server chat':32} {1000 * (chat_time - raw_time):7.2f} ms")
    print(f"{'added by the gemma_tools server':32} {1000 * (served - alone):7.2f} ms")
    print(f"{'gemma_tools server / chat':32} {served / chat_time:7.2f}")


def load(client: httpx.Client, ours: str) -> int:
    """Print how many of many streams at once were lost or were not what their question gives alone, and return it."""
    cities = ("Lisbon", "Oslo", "Paris", "Rome", "Kyoto", "Lima", "Cairo", "Quito")

    def answer(city: str) -> str:
        messages = [{"role": "user", "content": f"Hello, I am from {city}. Who are you?"}]
        body = {"model": "tiny", "messages": messages, "max_tokens": 32, "temperature": 0, "stream": True}
        *events, done, _ = client.post(f"{ours}/chat/completions", json=body).text.split("\n\n")
        assert done == "data: [DONE]", done
        deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events]
        return "".join(delta.get("content") or "" for delta in deltas)

    alone = {city: answer(city) for city in cities}
    asked = [cities[number % len(cities)] for number in range(STREAMS)]
    begin = perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = sum(told != alone[city] for city, told in zip(asked, pool.map(answer, asked), strict=True))
    seconds = perf_counter() - begin
    print(f"{STREAMS} streams, {AT_ONCE} at once: {wrong} lost or wrong, {STREAMS / seconds:.0f} a second")
    return wrong


def main() -> None:
    """Run both parts; fail if a stream went wrong."""
    limits = httpx.Limits(max_connections=AT_ONCE)
    with our_server() as ours, httpx.Client(timeout=120, limits=limits) as client:
        added_time(client, ours)
        wrong = load(client, ours)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
