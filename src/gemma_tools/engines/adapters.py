"""The extra files of a llama.cpp model: LoRA adapters and a projector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from gemma_tools.errors import InvalidRequest

Adapter: TypeAlias = str | Path | tuple[str | Path, float]
"""The file of an adapter, or a pair of the file and its scale; the default scale is 1."""


def scaled(lora: Sequence[Adapter]) -> list[tuple[str | Path, float]]:
    """The files of adapters with their scales.

    Raises:
        InvalidRequest: it is not a list, or an item is neither a file nor a pair.
    """
    if isinstance(lora, str | Path):
        raise InvalidRequest("must be a list of adapters", param="lora", code="invalid_type")
    return [(adapter, 1.0) if isinstance(adapter, str | Path) else _pair(adapter) for adapter in lora]


def read_adapter(text: str) -> Adapter:
    """An adapter from the command line: `FILE` or `FILE=SCALE`."""
    file, equals, scale = text.rpartition("=")
    try:
        return (file, float(scale)) if equals and file else text
    except ValueError:
        return text


def engine_options(mmproj: str | None, lora: Sequence[str]) -> dict[str, Any]:
    """The engine's options for a projector and adapters from the command line; only those that are set."""
    given: dict[str, Any] = {"mmproj": mmproj, "lora": list(map(read_adapter, lora))}
    return {name: value for name, value in given.items() if value}


def _pair(adapter: tuple[str | Path, float]) -> tuple[str | Path, float]:
    try:
        file, scale = adapter
        if isinstance(file, str | Path):
            return file, float(scale)
    except (TypeError, ValueError):
        pass
    raise InvalidRequest("must be files, or pairs of a file and a scale", param="lora", code="invalid_type")
