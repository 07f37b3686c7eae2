"""Reads a model's name: its family and variant, whether it was trained to chat, and where it runs.

The same model is called `google/gemma-3-4b-it`, `bartowski/google_gemma-3-4b-it-GGUF`, `gemma3:4b-it-q4_K_M` or
`my-gemma-3-4b-finetune`. So case, the separators `-`, `_`, `.` and `:`, and words around the family's name make no difference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from gemma_tools.errors import UnknownName
from gemma_tools.gguf import Header, read_header
from gemma_tools.litertlm import model_type


@dataclass(frozen=True, slots=True)
class Family:
    """The meaning of a name: the format's name, its options, and whether the model is a base model."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    base: bool = False
    """Whether the model was only pretrained, and never trained to follow instructions."""


_TINY: Final = {"tiny": Family("functiongemma"), "tiny-gemma4": Family("gemma4", {"longest_string": 512})}

_FAMILIES: Final = {
    "functiongemma": Family("functiongemma"),
    "medgemma": Family("gemma3"),
    "diffusiongemma": Family("gemma4", {"variant": "diffusion"}),
    "gemma3n": Family("gemma3", {"variant": "3n"}),
    "gemma3": Family("gemma3"),
    "gemma4": Family("gemma4"),
}
_OTHERS: Final = {
    "embeddinggemma": "it makes embeddings and does not write text",
    "t5gemma": "it is an encoder-decoder model without a chat format",
    "vaultgemma": "it is a base model without a chat format",
    "translategemma": "its prompt needs two languages, and a chat request has no fields for them",
    "shieldgemma": "it classifies content, and does not chat",
    "paligemma": "it has no chat format",
    "recurrentgemma": "it has the format of an older generation, without tools",
    "codegemma": "it has the format of an older generation, without tools",
    "txgemma": "it has the format of an older generation, without tools",
    "gemma2": "it has the format of an older generation, without tools",
}
"""Other models with the name Gemma, and why no format here fits them."""

_NAMED: Final = "|".join(sorted({*_FAMILIES, *_OTHERS} - {"gemma2", "gemma3", "gemma3n", "gemma4"}))
_MODEL: Final = re.compile(rf"(?<![a-z0-9])(?:({_NAMED})|gemma[-_.: ]?(3n|[234]))(?![a-z0-9])")
_GENERATION: Final = re.compile(r"(?<=[a-z]gemma)[0-9](?:\.[0-9])?(?![a-z0-9])")
"""The number in names such as `medgemma1.5` and `shieldgemma2`."""
_SIZE: Final = re.compile(r"(?<![a-z0-9])(?:e|([0-9]{1,4})x)?([0-9]{1,4}(?:\.[0-9]{1,3})?)([bm])(?![a-z0-9])")
_LARGE: Final = 12e9
"""Gemma 4 models with at least this many parameters use the large template. Source: Ollama's server/renderer_resolution.go."""

_TUNED: Final = re.compile(r"(?<![a-z0-9])(?:it|instruct|chat)(?![a-z0-9])")
_PRETRAINED: Final = re.compile(r"(?<![a-z0-9])(?:pt(?![-_]br)|base|pretrained)(?![a-z0-9])")
_PUBLISHED_BASE: Final = re.compile(
    r"(?:google_)?gemma-(?:3n|3|4)-e?[0-9]+[bm](?:-a4b)?(?:[-.:_](?:gguf|mlx|awq|gptq|fp8|nvfp4|bf16|f16|f32|[0-9]+bit|qat|i?q[0-9]\w*))*"
)
"""Google publishes base models with only the name and size, as gemma-3-270m; Ollama's gemma3:270m follows instructions."""


def family_of(name: str) -> Family:
    """The family in a model's name. For `hf:OWNER/REPO/FILE.gguf` it is the file's name, or else the repository's.

    Raises:
        UnknownName: the name contains no family, or one without a format here; the message says why.
    """
    if name in _TINY:
        return _TINY[name]
    parts = _parts(name)
    for part in parts:
        found = _MODEL.search(part)
        if found is not None:
            word = found[1] or f"gemma{found[2]}"
            if word in _OTHERS:
                raise UnknownName(f"{name!r} cannot be run: {_OTHERS[word]}")
            sizes = " ".join((part[found.end() :], *parts))
            return _sized(_FAMILIES[word], sizes, base=_is_base(part) and not any(map(_TUNED.search, parts)))
    if name.startswith("hf:"):
        raise UnknownName(f"neither the file nor the repository of {name!r} is named after a Gemma model")
    raise UnknownName(f"there is no model {name!r}")


def family_of_file(header: Header, path: str) -> Family:
    """The family in the metadata of a GGUF file. FunctionGemma has Gemma 3's architecture, but other tokens.

    Raises:
        UnknownName: the file contains a model of another architecture.
    """
    architecture = header.get("general.architecture")
    tokens = header.get("tokenizer.ggml.tokens")
    if architecture == "gemma3" and isinstance(tokens, list) and "<start_function_call>" in tokens:
        return _FAMILIES["functiongemma"]
    if architecture not in ("gemma3", "gemma3n", "gemma4"):
        raise UnknownName(
            f"{path} contains a model of the architecture {architecture!r}; known architectures: gemma3, gemma3n, gemma4"
        )
    title = str(header.get("general.name", "")).lower().replace(" ", "-")
    word = "diffusiongemma" if architecture == "gemma4" and "diffusiongemma" in title else architecture
    # Files without a size in their metadata often have one in their own name.
    sizes = " ".join((title, str(header.get("general.size_label", "")).lower(), *_parts(path)))
    base = _is_base(title) and not _TUNED.search(title) and "tokenizer.chat_template" not in header
    return _sized(_FAMILIES[word], sizes, base=base)


def family_of_path(name: str) -> Family | None:
    """The family in the metadata of the model file `name`; None if that is not the name of a local file.

    Raises:
        UnknownName: the file contains a model of another kind.
        ModelNotFound: the file does not exist, or is broken.
    """
    if name.startswith("hf:"):
        return None
    if name.lower().endswith(".gguf"):
        return family_of_file(read_header(Path(name)), name)
    if name.lower().endswith(".litertlm"):
        return _family_of_type(model_type(Path(name)), name)
    return None


def _family_of_type(kind: str | None, path: str) -> Family:
    """The family for LiteRT-LM's type of a model. If the file has no type, its name decides."""
    if kind in (None, "generic"):
        return family_of(path)
    if kind not in _FAMILIES:
        raise UnknownName(f"{path} contains a model of the type {kind}; known types: functiongemma, gemma3, gemma3n, gemma4")
    parts = _parts(path)
    return _sized(_FAMILIES[kind], " ".join(parts), base=_is_base(parts[0]) and not _TUNED.search(parts[0]))


def parameters(text: str) -> float:
    """The first size in `text`, in parameters: of `e4b`, `12b`, `30.7b`, `270m` or `128x2.6b`; 0 if there is none."""
    size = _SIZE.search(text)
    if size is None:
        return 0
    return int(size[1] or 1) * float(size[2]) * (1e9 if size[3] == "b" else 1e6)


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path that may name the model, in lower case: the last part, and for an `hf:` path the repository."""
    steps = [_GENERATION.sub("", step) for step in name.lower().split("/")]
    return (steps[-1], steps[1]) if name.startswith("hf:") and len(steps) > 2 else (steps[-1],)


def _sized(family: Family, sizes: str, *, base: bool) -> Family:
    """The family, with the variant for the first of `sizes`."""
    if family == _FAMILIES["gemma4"] and parameters(sizes) >= _LARGE:
        return Family("gemma4", {"variant": "large"}, base)
    return replace(family, base=base)


def _is_base(part: str) -> bool:
    return (
        _PRETRAINED.search(part) is not None
        or _PUBLISHED_BASE.fullmatch(part.removesuffix(".gguf").removesuffix(".litertlm")) is not None
    )


def family_of_model(name: str) -> Family:
    """The family of a model: from the metadata of a local file, else from the name.

    Raises:
        UnknownName: no family is named, or the file contains a model of another kind.
        ModelNotFound: the file does not exist, or is broken.
    """
    return family_of_path(name) or family_of(name)


def model_file(name: str) -> str | None:
    """The model to load in this process, as the engine llama.cpp takes it; None for a model on a server."""
    if name in _TINY:
        return "tiny"
    if name.lower().endswith(".litertlm"):
        return None
    return name if name.startswith("hf:") or name.lower().endswith(".gguf") else None


_PUBLISHED: Final = re.compile(r"(?:google/)?(functiongemma|medgemma|gemma-(?:3n|3|4))-([a-z0-9]+)(?:-a4b)?-it", re.IGNORECASE)


def ollama_name(name: str) -> str:
    """Ollama's name for a model: `google/gemma-3-4b-it` becomes `gemma3:4b`. Other names are unchanged."""
    published = _PUBLISHED.fullmatch(name)
    if published is None:
        return name
    family, size = published[1].lower(), published[2].lower()
    return f"{family.replace('-', '')}:{size}"
