"""Look for inputs that break a property of `test_fuzz.py`, guided by which branches they take.

    python tests/fuzz/drive.py [--seconds 600] [TARGET ...]

A target is a property without its `test_`; without one, all take their turn, each for so many seconds. What atheris finds
interesting is kept in `.fuzz/TARGET`, where the next run goes on. After an input that breaks a property, `pytest tests/fuzz`
tries it first, and prints it. Keep it as an `@example`, or as a row of `tests/data/replies`.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
KEPT = HERE.parents[1] / ".fuzz"
LAZY = (
    *(f"gemma_tools.engines.{name}" for name in ("llama_server", "openai_completions", "ollama")),
    "gemma_tools.tokens.merging",
)
"""Modules that are imported on first use: imported here, so that their branches are seen."""
LIMITS = ("-timeout=300", "-rss_limit_mb=4096", "-max_len=8192", "-len_control=0", "-print_final_stats=1")
SEEDS = 50
"""Random inputs to begin with, long enough to be a whole example."""


def targets() -> list[str]:
    """The names of the properties."""
    return re.findall(r"^def test_(\w+)", (HERE / "test_fuzz.py").read_text(encoding="utf-8"), re.MULTILINE)


def fuzz(target: str, arguments: list[str]) -> None:
    """Fuzz one property in this process, which atheris ends."""
    import atheris

    sys.path[:0] = [str(HERE), str(HERE.parent)]
    with atheris.instrument_imports(include=["gemma_tools"]):
        properties, *_ = [importlib.import_module(name) for name in ("test_fuzz", *LAZY)]
    one_input = getattr(properties, f"test_{target}").hypothesis.fuzz_one_input
    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


def main() -> int:
    """Fuzz each target in a process of its own; the number of those that were broken."""
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(targets()))
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    broken = []
    for target in options.targets or targets():
        folder = KEPT / target
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(SEEDS):
            (folder / f"seed-{seed}").write_bytes(Random(seed).randbytes(2000))
        limits = [*LIMITS, f"-max_total_time={options.seconds}", f"-artifact_prefix={KEPT}/{target}-"]
        command = [sys.executable, __file__, "--one", target, str(folder), *limits]
        run = subprocess.run(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True, errors="replace")
        tries = re.search(r"number_of_executed_units: (\d+)", run.stdout)
        covered = re.findall(r"cov: (\d+)", run.stdout)
        print(f"{target:20} {tries[1] if tries else '?':>9} inputs, {covered[-1] if covered else '?'} branches", flush=True)
        if run.returncode:
            broken.append(target)
            print(run.stdout[-6000:])
    print(f"broken: {', '.join(broken)}" if broken else "none broken")
    return len(broken)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
