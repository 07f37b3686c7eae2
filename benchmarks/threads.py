"""The speed of llama.cpp in this process with the default number of threads, compared with the best number.

    python benchmarks/threads.py model.gguf [--tokens 64] [--rounds 3]

Each number of threads generates the same tokens, in turn with the others: first on the machine as it is, then while other
processes use all cores. It prints ratios of times; the best number of threads has 1.0.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from gemma_tools.engines import GenerationRequest, Sampling, create_engine
from gemma_tools.engines.cores import compute_threads
from gemma_tools.prompt import Prompt


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Other processes that compute all the time."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def seconds(model: str, threads: int, tokens: int) -> float:
    """The time for the tokens, after a first one that loads everything."""
    with create_engine("llama.cpp", model=model, threads=threads, context=2048, parallel=1) as engine:
        request = GenerationRequest(Prompt("<bos>Once upon a time", ()), Sampling(max_tokens=1, temperature=0))
        list(engine.generate(request))
        longer = GenerationRequest(request.prompt, Sampling(max_tokens=tokens, temperature=0, extra={"ignore_eos": True}))
        began = perf_counter()
        list(engine.generate(longer))
        return perf_counter() - began


def main() -> None:
    """Measure, and print one line for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cores = os.cpu_count() or 1
    default = compute_threads() or cores
    counts = sorted({1, default, *(count for count in (2, 4, 8, 16, 32) if count < cores), cores})
    for name, others in (("as it is", 0), (f"with {cores} busy processes", cores)):
        best = dict.fromkeys(counts, float("inf"))
        with busy(others):
            for _ in range(given.rounds):
                for count in counts:
                    best[count] = min(best[count], seconds(given.model, count, given.tokens))
        fastest = min(best.values())
        print(f"{name}: {given.tokens / fastest:.1f} tokens per second at best")
        for count in counts:
            mark = "  (default)" if count == default else ""
            print(f"  {count:3} threads: {best[count] / fastest:6.2f}{mark}", flush=True)


if __name__ == "__main__":
    main()
