"""Measure a checkpoint: `python training/evaluate.py build/tiny` prints how many replies are right, to the last token.

Values are from the test split. With the right tokens before it, every token must be the most likely one; that is the same as
a greedy generation that is right, and takes one pass.
"""

from __future__ import annotations

import argparse
import json
import random

import torch
from transformers import AutoTokenizer, Gemma3ForCausalLM, PreTrainedTokenizerFast

from data import Example, Mode, Pool, Source

CELLS: dict[str, tuple[Pool, Mode]] = {
    "one call, known tools": ("known", "call"),
    "two calls, known tools": ("known", "two calls"),
    "one call, held-out pairs of verb and noun": ("held-out verb-noun", "call"),
    "one call, held-out tools": ("held out", "call"),
    "answer from a result": ("known", "answer"),
    "next request": ("known", "next request"),
    "small talk": ("known", "small talk"),
    "no tool fits": ("known", "no tool fits"),
}


def is_right(model: Gemma3ForCausalLM, tokenizer: PreTrainedTokenizerFast, example: Example) -> bool:
    """Whether a greedy generation gives exactly the example's target."""
    prompt = tokenizer.encode(example.prompt, add_special_tokens=False)
    target = tokenizer.encode(example.target, add_special_tokens=False)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + target], device=model.device)).logits[0]
    return logits[len(prompt) - 1 : -1].argmax(-1).tolist() == target


def evaluate(model: Gemma3ForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int) -> dict[str, float]:
    """The share of right replies in each cell, over `count` examples each; the same examples every time."""
    shares = {}
    for name, (pool, mode) in CELLS.items():
        source = Source(random.Random(99), "test")
        right = sum(is_right(model, tokenizer, source.example(pool=pool, mode=mode)) for _ in range(count))
        shares[name] = round(right / count, 3)
    return shares


def main() -> None:
    """Evaluate a directory that `train.py` wrote."""
    options = argparse.ArgumentParser(description="Measure a checkpoint of the tiny model.")
    options.add_argument("checkpoint")
    options.add_argument("--count", type=int, default=120, help="examples in each cell")
    given = options.parse_args()
    model = Gemma3ForCausalLM.from_pretrained(given.checkpoint).eval()
    print(json.dumps(evaluate(model, AutoTokenizer.from_pretrained(given.checkpoint), given.count), indent=2))


if __name__ == "__main__":
    main()
