"""What a model's name says about where the model is."""

from __future__ import annotations

import re

_PUBLISHED = re.compile(r"(?:google/)?(functiongemma|gemma-(?:3n|3|4))-([a-z0-9]+)(?:-a4b)?-it", re.IGNORECASE)


def model_file(name: str) -> str | None:
    """The model to load in this process, as the engine llama.cpp takes it; None for a model that a server has."""
    if name in ("tiny", "tiny-gemma4"):
        return "tiny"
    return name if name.startswith("hf:") or name.lower().endswith(".gguf") else None


def ollama_name(name: str) -> str:
    """What Ollama calls a model: `google/gemma-3-4b-it` is `gemma3:4b` there. Other names are left as they are."""
    published = _PUBLISHED.fullmatch(name)
    if published is None:
        return name
    family, size = published[1].lower(), published[2].lower()
    return f"{family.replace('-', '')}:{size}"
