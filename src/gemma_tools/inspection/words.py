"""The words that the page and the terminal share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from gemma_tools.inspection.model import Inspection, LevelView, OutputPart, PromptPart
from gemma_tools.inspection.spans import Kind

KINDS: Final[Mapping[Kind, str]] = {
    "content": "content",
    "thought": "thought",
    "call": "call",
    "refused": "refused",
    "passed": "notation",
    "unplaced": "read by the engine",
}
"""How a part of the output was read."""


def tokens(count: int, *, exact: bool) -> str:
    """A number of tokens, and whether it is an estimate."""
    return f"{count:,} token{'' if count == 1 else 's'}" if exact else f"about {count:,} tokens"


def of_part(part: PromptPart, *, exact: bool) -> str:
    """The token count of a part of the prompt."""
    told = tokens(part.count, exact=exact)
    return f"{told}, {part.cached:,} cached" if part.cached else told


def of_output(part: OutputPart) -> str:
    """How a part of the output was read."""
    return " ".join((KINDS[part.kind], ", ".join(part.calls))).strip()


def of_level(level: LevelView) -> str:
    """What a recovery level reads."""
    return ", ".join(level.calls) or "no call"


def facts(shown: Inspection) -> dict[str, str]:
    """The label of a figure about the whole, by its name."""
    told = {"model": shown.model, "format": shown.format, "prompt": tokens(shown.count, exact=shown.exact)}
    if not shown.exact:
        told["prompt"] += " (an estimate: no tokenizer)"
    if shown.cached is not None:
        told["cached"] = tokens(shown.cached, exact=True)
    if shown.output is not None:
        told["output"] = tokens(shown.output.count, exact=shown.exact)
        told["finish"] = shown.output.reply.finish_reason
        told["problems"] = str(len(shown.output.problems))
    if shown.time:
        told["at"] = datetime.fromtimestamp(shown.time).strftime("%Y-%m-%d %H:%M:%S")
    return told
