"""Train the model on conversations that are made meanwhile and never repeat: `python training/train.py --minutes 60`.

The loss counts what the model writes, in every turn of a conversation, and nothing else. Short conversations come first. A
checkpoint is written every few minutes; `--resume` goes on from it, with the state of the optimizers and of the generator.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from data import Mode, Source
from model import PAD, WINDOW, Model, begin_from
from optimizer import Muon
from tokenizer import build
from tools import Pool

MODES: dict[Mode, float] = {
    "call": 0.32,
    "two calls": 0.19,
    "three calls": 0.04,
    "telling": 0.14,
    "telling two": 0.03,
    "chain": 0.06,
    "no tool fits": 0.14,
    "small talk": 0.08,
}
"""How often a conversation ends in a mode."""
EARLIER: dict[Mode, float] = {"telling": 0.6, "telling two": 0.1, "no tool fits": 0.2, "small talk": 0.1}
"""How often a mode comes before the last one."""
BY_CHAT = 0.08
"""How many conversations have declarations without special tokens."""
LAST = 0.85
"""From which part of a run most conversations have known tools only."""
FALL = 0.6
"""The part of a run, its end, in which the learning rate falls."""
DRAWN = 48
"""How many conversations are drawn at a time and sorted by length."""


@dataclass
class Elapsed:
    """How far a run has come."""

    processor: float = 0.0
    clock: float = 0.0
    step: int = 0
    tokens: int = 0


class Conversations:
    """Makes batches of conversations of like length."""

    def __init__(self, seed: int, tokens: int, short: float) -> None:
        self.tokenizer, self.vocabulary = build()
        self.tokens, self.short = tokens, short
        self.rng = random.Random(seed)
        self.source = Source(self.rng)
        ids = self.tokenizer.token_to_id
        self._begins = {(ids("<start_of_turn>"), ids("model")), (ids("<|turn>"), ids("model"))}
        self._results = {ids("<start_function_response>"), ids("<|tool_response>")}
        self._told = {ids("<end_function_response>"), ids("<tool_response|>")}
        self._ends = {ids("<end_of_turn>"), ids("<turn|>")} | self._results

    def at(self, progress: float) -> Iterator[list[tuple[list[int], list[bool]]]]:
        """The next few batches, for a run that has come so far (0 to 1): ids, and which of them the model writes."""
        rows = []
        for _ in range(DRAWN):
            ids = self.tokenizer.encode(self._draw(progress), add_special_tokens=False).ids
            if len(ids) < WINDOW:
                rows.append((ids, self.written(ids)))
        rows.sort(key=lambda row: len(row[0]))
        batches: list[list[tuple[list[int], list[bool]]]] = [[]]
        for row in rows:
            if batches[-1] and (len(batches[-1]) + 1) * len(row[0]) > self.tokens:
                batches.append([])
            batches[-1].append(row)
        self.rng.shuffle(batches)
        yield from batches

    def _draw(self, progress: float) -> str:
        rng = self.rng
        last = rng.choices(list(MODES), list(MODES.values()))[0]
        if progress < self.short:
            return self.source.conversation(last, tools=rng.randint(1, 2)).text
        earlier = rng.choices(list(EARLIER), list(EARLIER.values()), k=rng.choices((0, 1, 2, 3), (0.4, 0.25, 0.2, 0.15))[0])
        pool: Pool = "known" if progress > LAST and rng.random() < 0.6 else "mixed"
        conversation = self.source.conversation(*earlier, last, pool=pool)
        return conversation.text_by_chat if rng.random() < BY_CHAT else conversation.text

    def written(self, ids: list[int]) -> list[bool]:
        """Which tokens the model writes: from a turn of its own, or from the last result, up to the token that ends it."""
        marks, writing, after = [], False, (-1, -1, -1)
        for token in ids:
            if not writing:
                writing = after[:2] in self._begins
                writing = writing or (after[2] in self._told and token not in self._results)
            marks.append(writing)
            if writing and token in self._ends:
                writing = False
            after = (after[1], after[2], token)
        return marks


def loss_of(model: Model, rows: list[tuple[list[int], list[bool]]]) -> torch.Tensor:
    """The mean cross entropy over the tokens that the model writes."""
    width = max(len(ids) for ids, _ in rows)
    tokens = torch.full((len(rows), width), PAD)
    written = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, (ids, marks) in enumerate(rows):
        tokens[i, : len(ids)] = torch.tensor(ids)
        written[i, : len(ids)] = torch.tensor(marks)
    chosen = written[:, 1:]
    return cross_entropy(model(tokens[:, :-1], chosen), tokens[:, 1:][chosen])


def optimizers(model: Model, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest."""
    matrices = [weight for weight in model.blk.parameters() if weight.dim() == 2]
    layered = {id(matrix) for matrix in matrices}
    rest = [weight for weight in model.parameters() if id(weight) not in layered]
    return [Muon(matrices, rate), torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)]


def save(path: Path, model: Model, steppers: list[torch.optim.Optimizer], rng: random.Random, elapsed: Elapsed) -> None:
    """Write a checkpoint, which `--resume` reads."""
    state = {
        "model": model.state_dict(),
        "optimizers": [stepper.state_dict() for stepper in steppers],
        "rng": rng.getstate(),
        "elapsed": asdict(elapsed),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def train(given: argparse.Namespace) -> None:
    """Train until the minutes are used up; the learning rate rises for 60 steps, and falls to zero at the end."""
    conversations = Conversations(given.seed, given.tokens, given.short)
    model = Model(len(conversations.vocabulary["tokens"]))
    steppers = optimizers(model, given.rate)
    elapsed = Elapsed()
    if given.resume:
        state: dict[str, Any] = torch.load(given.resume, weights_only=False)
        model.load_state_dict(state["model"])
        for stepper, values in zip(steppers, state["optimizers"], strict=True):
            stepper.load_state_dict(values)
        conversations.rng.setstate(state["rng"])
        elapsed = Elapsed(**state["elapsed"])
    elif given.start:
        begin_from(model, given.start)
    before, begun, saved = elapsed, (time.process_time(), time.monotonic()), time.monotonic()
    elapsed = Elapsed(**asdict(before))
    mean, waiting = 0.0, iter(())
    while True:
        elapsed.processor = before.processor + time.process_time() - begun[0]
        elapsed.clock = before.clock + time.monotonic() - begun[1]
        progress = max(elapsed.processor / 60 / given.minutes, elapsed.clock / 60 / given.clock)
        if progress >= 1:
            break
        rows = next(waiting, None)
        if rows is None:
            waiting = conversations.at(progress)
            continue
        rate = given.rate * min(1.0, (elapsed.step + 1) / 60, (1 - progress) / FALL)
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = rate
        loss = loss_of(model, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        elapsed.step += 1
        elapsed.tokens += sum(len(ids) for ids, _ in rows)
        mean += (loss.item() - mean) / min(elapsed.step - before.step, 50)
        if elapsed.step % 50 == 0:
            log(given.log, progress, mean, elapsed)
        if time.monotonic() - saved > 180:
            save(given.out, model, steppers, conversations.rng, elapsed)
            saved = time.monotonic()
    log(given.log, 1.0, mean, elapsed)
    save(given.out, model, steppers, conversations.rng, elapsed)


def log(path: Path, progress: float, loss: float, elapsed: Elapsed) -> None:
    """Add a line to the log."""
    line = {"progress": round(progress, 4), "loss": round(loss, 4), **{k: round(v) for k, v in asdict(elapsed).items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def main() -> None:
    """Train from random weights, from a GGUF file or on from a checkpoint."""
    options = argparse.ArgumentParser(description="Train the tiny model.")
    options.add_argument("--out", type=Path, default=Path("build/tiny.pt"), help="the checkpoint to write")
    options.add_argument("--resume", type=Path, help="a checkpoint to go on from")
    options.add_argument("--start", type=Path, help="a GGUF file whose weights are the start")
    options.add_argument("--log", type=Path, default=Path("build/log.jsonl"))
    options.add_argument("--minutes", type=float, default=60, help="minutes of the processor")
    options.add_argument("--clock", type=float, default=1e9, help="minutes of the clock after which it ends in any case")
    options.add_argument("--rate", type=float, default=3e-3)
    options.add_argument("--tokens", type=int, default=3072, help="tokens in a batch")
    options.add_argument(
        "--short", type=float, default=0.15, help="the part of a run whose conversations have one mode and two tools"
    )
    options.add_argument("--seed", type=int, default=5)
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    train(given)


if __name__ == "__main__":
    main()
