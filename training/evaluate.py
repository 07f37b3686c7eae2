"""Measure a GGUF file: `python training/evaluate.py tiny.gguf` prints how many replies are exactly right.

The model runs in llama.cpp, greedy, with the prompts that the library sends. Values, wordings of known tools, openings and
small talk are not in the training. The same seed gives the same questions.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from data import ENDS, WAITS, Conversation, Family, Mode, Source
from gemma_tools.data import tiny_path
from gemma_tools.engines import Engine, GenerationRequest, Sampling
from gemma_tools.engines.llama_cpp import LlamaCppEngine
from gemma_tools.formats import get_format
from tools import Pool

CELLS: dict[str, tuple[Pool, tuple[Mode, ...], int | None]] = {
    "one call, one tool declared": ("known", ("call",), 1),
    "one call": ("known", ("call",), None),
    "two calls": ("known", ("two calls",), None),
    "three calls": ("known", ("three calls",), None),
    "next call, in a conversation": ("known", ("telling", "call"), None),
    "next call, in one request": ("known", ("chain",), None),
    "telling a result": ("known", ("telling",), None),
    "small talk": ("known", ("small talk",), None),
    "says that no tool fits": ("known", ("no tool fits",), None),
    "one call of a tool made of words": ("held-out verb-noun", ("call",), None),
    "one call of an unseen tool": ("held out", ("call",), None),
}
"""Which tools, what the conversation has, and how many tools; None is one to six."""
FAMILIES: tuple[Family, ...] = ("functiongemma", "gemma4")
LONGEST = 200
"""The maximum number of tokens in an answer."""


def written(engine: Engine, conversation: Conversation) -> str:
    """The model's output for the prompt of a conversation, without the token that ends it."""
    thinking = {"enable_thinking": True} if conversation.thinking else {}
    prompt = get_format(conversation.family).render(conversation.messages[:-1], conversation.tools, **thinking)
    return "".join(engine.generate(GenerationRequest(prompt, Sampling(temperature=0, max_tokens=LONGEST))))


def expected(conversation: Conversation) -> str:
    """The right reply, without the token that ends it."""
    reply = conversation.text[len(conversation.prompt) :]
    return reply.removesuffix(WAITS[conversation.family]).removesuffix(ENDS[conversation.family])


def questions(cell: str, family: Family, count: int, *, thinking: bool = False) -> list[Conversation]:
    """The conversations of a cell, the same every time."""
    pool, modes, tools = CELLS[cell]
    source = Source(random.Random(99), "test")
    return [source.conversation(*modes, pool=pool, family=family, tools=tools, thinking=thinking) for _ in range(count)]


def share(engine: Engine, conversations: list[Conversation], *, show: bool) -> str:
    """The share of right replies in percent."""
    right = 0
    for conversation in conversations:
        wanted, answer = expected(conversation), written(engine, conversation)
        right += wanted == answer
        if show and wanted != answer:
            print(f"  asked  {conversation.messages[-2]['content']}\n  wanted {wanted}\n  wrote  {answer}")
    return f"{right / len(conversations):.0%}".replace("%", " %")


def main() -> None:
    """Print the table of a file."""
    options = argparse.ArgumentParser(description="Measure the tiny model as it ships.")
    options.add_argument("file", type=Path, nargs="?", default=tiny_path())
    options.add_argument("--count", type=int, default=120, help="questions in each cell")
    options.add_argument("--cells", nargs="*", default=list(CELLS), choices=list(CELLS), help="only these")
    options.add_argument("--show", action="store_true", help="print the wrong replies")
    given = options.parse_args()
    with LlamaCppEngine(given.file, threads=1, parallel=1) as engine:
        print("| | FunctionGemma | Gemma 4 | Gemma 4, thinking |\n|---|---|---|---|")
        for cell in given.cells:
            asked = [questions(cell, family, given.count) for family in FAMILIES]
            if len(CELLS[cell][1]) == 1:
                asked.append(questions(cell, "gemma4", given.count, thinking=True))
            shares = [share(engine, conversations, show=given.show) for conversations in asked]
            print(f"| {cell} | {' | '.join([*shares, '-'][:3])} |", flush=True)


if __name__ == "__main__":
    main()
