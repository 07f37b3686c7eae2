"""Thousands of requests, many at once, whole and streamed, a third of them left: is every answer right, and is nothing left?

    python tests/soak/soak.py [--minutes 20] [PART ...]

The parts are the engine in this process, the server with scripts that it runs, and servers that break in every way. Each gets
its share of the time. After each round all must have ended: memory, descriptors, threads and child processes are measured
then, and must not grow from the first third of the rounds to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import openai
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from gemma_tools import FunctionGemmaModel
from gemma_tools.data import tiny_path
from gemma_tools.engines import Cancellation, GenerationRequest
from gemma_tools.engines.llama_cpp import LlamaCppEngine
from gemma_tools.errors import EngineError
from support.chat import ALARM, WEATHER, calls, user
from support.servers.loopback import HANG, RESET, Faulty, http
from support.tiny import GREEDY, small_talk
from support.wires import TOKENIZED, WIRES

AT_ONCE = 8
ROUND = 120
"""Requests of a round."""
GROWTH_MB = 12
"""Memory that may be had more at the end than at the beginning: caches fill, and allocators keep some."""
Ask = Callable[[random.Random], str]
"""Puts one request, and tells in a word what came of it; "wrong" and what follows it is a fault."""


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    memory: float
    descriptors: int
    threads: int
    children: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """That of the process now."""
        process = psutil.Process(pid)
        held = process.memory_info().rss / 2**20
        return cls(held, process.num_fds(), process.num_threads(), len(process.children(recursive=True)))


def settled(pid: int) -> Footprint:
    """The footprint once nothing changes any more: what was cancelled needs a moment to end, idle threads five seconds."""
    until, seen = time.monotonic() + 20, Footprint.of(pid)
    time.sleep(5.5)
    while time.monotonic() < until:
        gc.collect()
        last, seen = seen, Footprint.of(pid)
        if (last.descriptors, last.threads, last.children) == (seen.descriptors, seen.threads, seen.children):
            break
        time.sleep(0.5)
    return seen


def soak(name: str, ask: Ask, pid: int, seconds: float) -> bool:
    """Rounds of requests for as long; prints what came of them, and whether something grew."""
    outcomes: Counter[str] = Counter()
    held: list[Footprint] = []
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while time.monotonic() < until or len(held) < 4:
            seeds = range(len(held) * ROUND, (len(held) + 1) * ROUND)
            outcomes.update(pool.map(lambda seed: ask(random.Random(seed)), seeds))
            held.append(settled(pid))
    third = len(held) // 3
    first, last = held[1 : 1 + third], held[-third:]
    grown = [
        f"{field} {begin:g} -> {end:g}"
        for field, most in (("memory", GROWTH_MB), ("descriptors", 0), ("threads", 0), ("children", 0))
        for begin, end in [tuple(median(getattr(one, field) for one in part) for part in (first, last))]
        if end > begin + most
    ]
    wrong = {outcome: number for outcome, number in outcomes.items() if outcome.startswith("wrong")}
    print(f"{name}: {outcomes.total()} requests in {len(held)} rounds: {dict(outcomes)}")
    for when, one in (("first", held[0]), ("last", held[-1])):
        print(
            f"  after the {when} round: {one.memory:.0f} MB, {one.descriptors} descriptors, {one.threads} threads, "
            f"{one.children} children"
        )
    print("  " + ("; ".join(["GREW: " + text for text in grown] + [f"WRONG: {wrong}"] * bool(wrong)) or "flat, and all right"))
    return not grown and not wrong


CITIES = ("Paris", "Lisbon", "Tokyo", "Lima", "Oslo", "Rome")


def in_process(seconds: float) -> bool:
    """The tiny model, called as an application would."""
    engine = LlamaCppEngine(tiny_path(), context=16384, parallel=AT_ONCE, threads=1)
    with FunctionGemmaModel("tiny", engine=engine, model_config_dict={"temperature": 0}) as model:

        def ask(chance: random.Random) -> str:
            city = chance.choice(CITIES)
            fields: dict[str, Any] = {"tools": chance.choice([[WEATHER], [WEATHER, ALARM], [ALARM, WEATHER]])}
            if chance.random() < 0.3:
                fields["tool_choice"] = {"type": "function", "function": {"name": "get_weather"}}
            question = user(f"what is the weather in {city}?")
            way = chance.choice(["whole", "async", "stream", "left", "cancelled"])
            if way == "left":
                chunks: Any = model.run(question, stream=True, **fields)
                next(chunks)
                chunks.close()
                return way
            if way == "cancelled":
                return asyncio.run(_cancelled(model, question, fields, chance.random() * 0.05))
            if way == "async":
                answer = asyncio.run(model.arun(question, **fields))
            elif way == "stream":
                told = [c for chunk in model.run(question, stream=True, **fields) for c in chunk.choices]
                found = [(c.function.name, c.function.arguments) for one in told for c in one.delta.tool_calls or ()]
                return way if found == [("get_weather", f'{{"city": "{city}"}}')] else f"wrong: {found} for {city}"
            else:
                answer = model.run(question, **fields)
            found = calls(answer)
            return way if found == [("get_weather", f'{{"city": "{city}"}}')] else f"wrong: {found} for {city}"

        return soak("the engine in the process", ask, os.getpid(), seconds)


async def _cancelled(model: FunctionGemmaModel, question: Any, fields: dict[str, Any], after: float) -> str:
    try:
        async with asyncio.timeout(after):
            await model.arun(question, **fields)
    except TimeoutError:
        return "cancelled"
    return "whole"


QUICK = "import sys; print(sys.argv[1])"
SLOW = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']); time.sleep(99)"


@contextmanager
def server() -> Iterator[tuple[str, int]]:
    """The server with its scripts in a process of its own: its address and its process id."""
    with TemporaryDirectory() as folder:
        Path(folder, "quick.py").write_text(QUICK, encoding="utf-8")
        Path(folder, "slow.py").write_text(SLOW, encoding="utf-8")
        command = [sys.executable, str(Path(__file__).with_name("server.py")), folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline().strip(), process.pid
            finally:
                children = psutil.Process(process.pid).children(recursive=True)
                process.send_signal(signal.SIGTERM)
                errors = process.communicate(timeout=60)[1]
                assert process.returncode in (0, -signal.SIGTERM), errors
                assert not any(child.is_running() for child in children), "a script outlived the server"


def over_http(seconds: float) -> bool:
    """The server, with scripts that it runs, and callers that go away."""
    with server() as (url, pid), openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:

        def ask(chance: random.Random) -> str:
            word = f"w{chance.randrange(10**6)}"
            way = chance.choice(["whole", "stream", "left", "script", "script left", "gone"])
            text = {"script": f"run quick.py {word}", "script left": "run slow.py x"}.get(way, f"{word} " * 20)
            request: dict[str, Any] = {"model": "m", "messages": user(text)}
            try:
                if way in ("script left", "gone"):
                    client.with_options(timeout=chance.uniform(0.01, 0.6)).chat.completions.create(**request)
                    return "whole" if way == "gone" else "wrong: a script of 99 seconds has ended"
                if way in ("stream", "left"):
                    with client.chat.completions.create(**request, stream=True) as chunks:
                        said = ""
                        for chunk in chunks:
                            said += chunk.choices[0].delta.content or "" if chunk.choices else ""
                            if way == "left" and said:
                                return way
                else:
                    said = client.chat.completions.create(**request).choices[0].message.content or ""
            except openai.APITimeoutError:
                return way
            expected = f"It printed {word}" if way == "script" else text
            return way if said.strip() == expected.strip() else f"wrong: {said!r} for {text!r}"

        return soak("the server", ask, pid, seconds)


def faulty(seconds: float) -> bool:
    """Engines before servers that break off, refuse, send rubbish or fall silent."""

    def ask(chance: random.Random) -> str:
        wire = chance.choice([*WIRES.values()])
        words = [f"w{chance.randrange(100)} " for _ in range(chance.randrange(1, 9))]
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n\r\n" % wire.kind
        told = [head, *(wire.piece(word) for word in words)]
        way = chance.choice(["right", "cut", "reset", "refused", "rubbish", "silent"])
        steps: list[Any] = {
            "right": [*told, wire.last],
            "cut": told,
            "reset": [*told, RESET],
            "refused": [http(503, b"")],
            "rubbish": [*told, b"data: {]\n\n{]\n"],
            "silent": [*told, HANG],
        }[way]
        first = [[TOKENIZED]] if wire.asks_first else []
        cancel, said, whole = Cancellation(), "", "".join(words)
        with Faulty(*first, steps) as server, wire.make(server.url, max_retries=0) as engine:
            try:
                for text in engine.generate(GenerationRequest(small_talk(), GREEDY), cancel=cancel):
                    said += text
                    if way == "silent" and said == whole:
                        cancel.cancel()
            except EngineError as error:
                return f"wrong: {error}" if way in ("right", "silent") else way
        return way if said == whole and way in ("right", "silent") else f"wrong: {said!r} for {way}"

    return soak("servers that break", ask, os.getpid(), seconds)


PARTS = {"process": in_process, "server": over_http, "faulty": faulty}


def main() -> int:
    """Run the parts; how many of them were not flat or not right."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=20)
    options = parser.parse_args()
    names = options.parts or list(PARTS)
    share = options.minutes * 60 / len(names)
    return sum(not PARTS[name](share) for name in names)


if __name__ == "__main__":
    sys.exit(main())
