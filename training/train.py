"""Train the model on the fly: `python training/train.py --minutes 60` writes a checkpoint for `evaluate.py` and `to_gguf.py`.

Examples are made while training and never repeat. What is easy comes first: strings to be copied, then requests with one
tool, then everything. Learning is sudden: the form is right after some minutes, values only later, so a run should not be
stopped early.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import Gemma3ForCausalLM, PreTrainedTokenizerFast

from data import Source
from evaluate import evaluate
from model import BOS, EOS, make

Row = tuple[list[int], int]
"""The ids of an example, and how many of them are the prompt."""

COPYING, ONE_TOOL = 0.04, 0.08
"""Up to which part of the run strings are copied, and requests have one tool."""


class Batches:
    """Makes batches of about `tokens` tokens, of examples of like length."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, first_word: int, tokens: int, seed: int) -> None:
        self.tokenizer = tokenizer
        self.first_word = first_word
        self.tokens = tokens
        self.rng = random.Random(seed)
        self.source = Source(self.rng)

    def at(self, progress: float) -> Iterator[list[Row]]:
        """The next few batches, for a run that has come so far (0 to 1)."""
        if progress < COPYING and self.rng.random() < 0.6:
            yield [self._copy(8 + int(60 * progress / COPYING)) for _ in range(self.tokens // 80)]
            return
        tools = 1 if progress < ONE_TOOL else None
        examples = [self.source.example(tools=tools) for _ in range(4 * self.tokens // 200)]
        rows = sorted((self._row(example.prompt, example.target) for example in examples), key=lambda row: len(row[0]))
        batches: list[list[Row]] = [[]]
        for row in rows:
            if batches[-1] and (len(batches[-1]) + 1) * len(row[0]) > self.tokens:
                batches.append([])
            batches[-1].append(row)
        self.rng.shuffle(batches)
        yield from batches

    def _row(self, prompt: str, target: str) -> Row:
        ids = self.tokenizer.encode(prompt, add_special_tokens=False)
        return ids + self.tokenizer.encode(target, add_special_tokens=False), len(ids)

    def _copy(self, longest: int) -> Row:
        ids = [self.rng.randrange(self.first_word, len(self.tokenizer)) for _ in range(self.rng.randint(4, longest))]
        return [BOS, *ids, EOS, *ids, EOS], len(ids) + 2


def loss_of(model: Gemma3ForCausalLM, rows: list[Row], prompt_weight: float) -> torch.Tensor:
    """Cross entropy over a batch; a token of a prompt counts `prompt_weight`, one of a target 1."""
    width = max(len(ids) for ids, _ in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    weights = torch.zeros(len(rows), width)
    for i, (ids, prompt) in enumerate(rows):
        tokens[i, : len(ids)] = torch.tensor(ids)
        weights[i, :prompt] = prompt_weight
        weights[i, prompt : len(ids)] = 1
    tokens, weights = tokens.to(model.device), weights[:, 1:].to(model.device)
    logits = model(input_ids=tokens[:, :-1]).logits.float()
    losses = cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view_as(weights)
    return (losses * weights).sum() / weights.sum()


def train(model: Gemma3ForCausalLM, batches: Batches, minutes: float, rate: float, prompt_weight: float) -> None:
    """Train for that long; the learning rate rises for 60 steps, stays for 15 % of the time and falls to 2 %."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
    begin = time.monotonic()
    step, waiting = 0, iter(())
    while (progress := (time.monotonic() - begin) / (60 * minutes)) < 1:
        rows = next(waiting, None)
        if rows is None:
            waiting = batches.at(progress)
            continue
        fall = max(0.02, min(1.0, (1 - progress) / 0.85))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 60) * fall
        loss = loss_of(model, rows, prompt_weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 100 == 0:
            print(f"{progress:6.1%}  step {step}  loss {loss.item():.3f}", flush=True)


def main() -> None:
    """Train from random weights, or on from a checkpoint, and write a checkpoint."""
    options = argparse.ArgumentParser(description="Train the tiny model.")
    options.add_argument("--tokenizer", type=Path, default=Path("build"), help="where tokenizer.py wrote its files")
    options.add_argument("--out", type=Path, default=Path("build/tiny"))
    options.add_argument("--resume", type=Path, help="a checkpoint to go on from")
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--rate", type=float, default=3e-3)
    options.add_argument("--tokens", type=int, default=4000, help="tokens in a batch")
    options.add_argument("--prompt-weight", type=float, default=0.1, help="what a token of the prompt counts in the loss")
    options.add_argument("--seed", type=int, default=5)
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()

    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(given.tokenizer / "tokenizer.json"),
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        pad_token="<pad>",
    )
    special = json.loads((given.tokenizer / "vocabulary.json").read_text(encoding="utf-8"))["special"]
    model = Gemma3ForCausalLM.from_pretrained(given.resume) if given.resume else make(len(tokenizer))
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    batches = Batches(tokenizer, first_word=special + 256, tokens=given.tokens, seed=given.seed)
    train(model, batches, given.minutes, given.rate, given.prompt_weight)
    model.eval()
    model.save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)
    print(json.dumps(evaluate(model, tokenizer, 40), indent=2))


if __name__ == "__main__":
    main()
