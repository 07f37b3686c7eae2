"""Files that ship with the package."""

from __future__ import annotations

from pathlib import Path


def tiny_path() -> Path:
    """The tiny model: a GGUF file of 1.2 MB with 1.1 million parameters; docs/tiny.md says what it is for."""
    return Path(__file__).with_name("tiny.gguf")


def own_suite_path() -> Path:
    """The suite of questions about tools that ships with the package: `gemma-tools bench model --suite own`."""
    return Path(__file__).with_name("own_suite.jsonl")
