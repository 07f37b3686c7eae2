"""GGUF files that tests write: headers, and projectors and a LoRA adapter for the tiny model with weights drawn at random.

These show how pictures, sounds and adapters are handled. What the model then says of them means nothing.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

WIDTH = 128
"""How long the vectors are that the tiny model reads."""
PICTURE_TOKENS = 4
"""How many tokens a picture takes with these projectors, besides those before and after it."""

Typed: TypeAlias = tuple[int, Any]
"""A value and its type in GGUF. The value of an array is the type of its elements, and the elements."""
Pairs: TypeAlias = Mapping[str, bool | int | float | str | list[float] | list[str]]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
NUMBERS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The types of numbers, as `struct` has them."""
STRING, ARRAY = 8, 9


def gguf_header(
    pairs: Mapping[str, Typed], tensors: Iterable[tuple[str, tuple[int, ...], int]] = (), version: int = 3
) -> bytes:
    """The header of a GGUF file, with the name, the shape and the offset of each tensor (all of type F32)."""
    named = list(tensors)
    head = b"GGUF" + struct.pack("<IQQ", version, len(named), len(pairs))
    head += b"".join(_string(key) + struct.pack("<I", kind) + _content(kind, value) for key, (kind, value) in pairs.items())
    for name, shape, offset in named:
        head += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
    return head


def write_gguf(path: Path, pairs: Pairs, shapes: Shapes, *, scale: float = 0.5) -> Path:
    """A GGUF file with `pairs` in its header, and tensors of `shapes` (the fastest dimension first)."""
    random = Random(1)
    tensors = []
    data = bytearray()
    for name, shape in shapes.items():
        tensors.append((name, shape, len(data)))
        data += array("f", (random.uniform(-scale, scale) for _ in range(prod(shape)))).tobytes()
        data += bytes(-len(data) % 32)
    head = gguf_header({key: typed(value) for key, value in pairs.items()}, tensors)
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


def gemma3_projector(path: Path, *, width: int = WIDTH, side: int = 28, merge: int = 1) -> Path:
    """A projector as Gemma 3's, for pictures: they are made `side` points wide and high, and patches of 14 points are merged.

    Gemma 3's own has a `side` of 896 and a `merge` of 4, which gives 256 tokens.
    """
    size, inner, patch = 8, 16, 14
    layer = {f"attn_{name}": (size, size) for name in ("q", "k", "v", "out")}
    layer |= {"ffn_up": (size, inner), "ffn_down": (inner, size), "ln1": (size,), "ln2": (size,)}
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (patch, patch, 3, size),
        "v.patch_embd.bias": (size,),
        "v.position_embd.weight": (size, (side // patch) ** 2),
        "v.post_ln.weight": (size,),
        "v.post_ln.bias": (size,),
        "mm.soft_emb_norm.weight": (size,),
        "mm.input_projection.weight": (width, size),
    }
    for name, shape in layer.items():
        shapes |= {f"v.blk.0.{name}.weight": shape, f"v.blk.0.{name}.bias": shape[-1:]}
    vision = {**_encoder("vision", size, inner, width), **_pictures(side, patch, merge)}
    return write_gguf(path, {**_KIND, "clip.has_vision_encoder": True, "clip.projector_type": "gemma3", **vision}, shapes)


def gemma4_projector(path: Path, *, width: int = WIDTH) -> Path:
    """A projector as Gemma 4's, for images and audio."""
    size, inner, patch, mel, channels = 8, 16, 4, 128, 4
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (patch, patch, 3, size),
        "v.position_embd.weight": (size, 1024, 2),
        "mm.input_projection.weight": (size, width),
        "a.conv1d.0.weight": (3, 3, 1, channels),
        "a.conv1d.0.norm.weight": (channels,),
        "a.conv1d.1.weight": (3, 3, channels, channels),
        "a.conv1d.1.norm.weight": (channels,),
        "a.input_projection.weight": (channels * mel // 4, size),
        "a.pre_encode.out.weight": (size, size),
        "a.pre_encode.out.bias": (size,),
        "mm.a.input_projection.weight": (size, width),
    }
    layer = {
        **{f"attn_{name}": (size, size) for name in ("q", "k", "v", "out")},
        **{f"{name}": (size,) for name in ("ln1", "ln2", "attn_post_norm", "ffn_post_norm")},
        **{"ffn_up": (size, inner), "ffn_down": (inner, size)},
    }
    seeing = {**layer, "ffn_gate": (size, inner), "attn_q_norm": (size,), "attn_k_norm": (size,)}
    hearing = {
        **layer,
        **{f"{name}": (size,) for name in ("ffn_norm", "ffn_norm_1", "attn_pre_norm", "norm_conv", "conv_norm")},
        **{"ffn_up_1": (size, inner), "ffn_down_1": (inner, size), "ffn_post_norm_1": (size,)},
        **{"conv_pw1": (size, 2 * size), "conv_dw": (5, size), "conv_pw2": (size, size)},
        **{"per_dim_scale": (size,), "attn_k_rel": (size, size)},
    }
    shapes |= {f"v.blk.0.{name}.weight": shape for name, shape in seeing.items()}
    shapes |= {f"a.blk.0.{name}.weight": shape for name, shape in hearing.items()}
    vision = {**_encoder("vision", size, inner, width), **_pictures(28, patch, 3), "clip.vision.projector_type": "gemma4v"}
    audio = {**_encoder("audio", size, inner, width), "clip.audio.num_mel_bins": mel, "clip.audio.projector_type": "gemma4a"}
    kinds = {"clip.has_vision_encoder": True, "clip.has_audio_encoder": True}
    return write_gguf(path, {**_KIND, **kinds, **vision, **audio}, shapes)


def lora_adapter(path: Path, *, architecture: str = "gemma3", rank: int = 4) -> Path:
    """A LoRA adapter that changes what the tiny model writes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for block in range(4):
        name = f"blk.{block}.ffn_down.weight"
        shapes |= {f"{name}.lora_a": (384, rank), f"{name}.lora_b": (rank, WIDTH)}
    kind = {"general.architecture": architecture, "general.type": "adapter", "adapter.type": "lora"}
    return write_gguf(path, {**kind, "adapter.lora.alpha": float(rank)}, shapes, scale=2)


_KIND = {"general.architecture": "clip", "general.type": "mmproj", "clip.use_gelu": True}


def _encoder(kind: str, size: int, inner: int, width: int) -> dict[str, int | float]:
    keys = {
        "embedding_length": size,
        "feed_forward_length": inner,
        "block_count": 1,
        "projection_dim": width,
        "attention.head_count": 1,
        "attention.layer_norm_epsilon": 1e-6,
    }
    return {f"clip.{kind}.{key}": value for key, value in keys.items()}


def _pictures(size: int, patch: int, merge: int) -> dict[str, int | list[float]]:
    return {
        "clip.vision.image_size": size,
        "clip.vision.patch_size": patch,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
        "clip.vision.projector.scale_factor": merge,
    }


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _content(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _string(value)
    if kind == ARRAY:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(_content(element, item) for item in items)
    return struct.pack(f"<{NUMBERS[kind]}", value)


def typed(value: bool | int | float | str | list[float] | list[str]) -> Typed:
    """A value with the type that files have for it."""
    match value:
        case bool():
            return 7, value
        case int():
            return 4, value
        case float():
            return 6, value
        case str():
            return STRING, value
        case [str(), *_]:
            return ARRAY, (STRING, value)
        case _:
            return ARRAY, (6, value)
