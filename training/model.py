"""The model: Gemma 3's architecture, with llama.cpp's names for its tensors. It can start from the weights of a GGUF file.

It computes the same as llama.cpp and transformers, but only what a training needs.
"""

from __future__ import annotations

import re
from pathlib import Path

import gguf
import torch
from torch import nn
from torch.nn.functional import gelu, linear, rms_norm, scaled_dot_product_attention

PAD, EOS, BOS = 0, 1, 2
WINDOW = 1024
CONTEXT = 4096
ROPE_BASE = 1e4
"""Of layers with a sliding window. All layers here have one: in Gemma 3 the sixth is the first without."""
NORM_EPSILON = 1e-6
WIDTH, LAYERS, HEADS, HEAD_WIDTH, INNER = 128, 5, 4, 32, 384
ADDED_LAYER = 2
"""If the start has one layer less, a new layer is inserted before this one."""


class Layer(nn.Module):
    """Attention with one key-value head, and a gated feed-forward network; norms before and after both."""

    def __init__(self) -> None:
        super().__init__()
        self.attn_norm = nn.Parameter(torch.ones(WIDTH))
        self.attn_q = nn.Parameter(torch.randn(HEADS * HEAD_WIDTH, WIDTH) * 0.02)
        self.attn_k = nn.Parameter(torch.randn(HEAD_WIDTH, WIDTH) * 0.02)
        self.attn_v = nn.Parameter(torch.randn(HEAD_WIDTH, WIDTH) * 0.02)
        self.attn_q_norm = nn.Parameter(torch.ones(HEAD_WIDTH))
        self.attn_k_norm = nn.Parameter(torch.ones(HEAD_WIDTH))
        self.attn_output = nn.Parameter(torch.randn(WIDTH, HEADS * HEAD_WIDTH) * 0.02)
        self.post_attention_norm = nn.Parameter(torch.ones(WIDTH))
        self.ffn_norm = nn.Parameter(torch.ones(WIDTH))
        self.ffn_gate = nn.Parameter(torch.randn(INNER, WIDTH) * 0.02)
        self.ffn_up = nn.Parameter(torch.randn(INNER, WIDTH) * 0.02)
        self.ffn_down = nn.Parameter(torch.randn(WIDTH, INNER) * 0.02)
        self.post_ffw_norm = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor], chosen: torch.Tensor | None) -> torch.Tensor:
        """The next state of each token, or of the `chosen` ones."""
        count, length, _ = x.shape
        inputs = linear(normed(x, self.attn_norm), torch.cat((self.attn_q, self.attn_k, self.attn_v)))
        heads = inputs.view(count, length, HEADS + 2, HEAD_WIDTH).transpose(1, 2)
        query = turned(normed(heads[:, :HEADS], self.attn_q_norm), turns)
        key = turned(normed(heads[:, HEADS : HEADS + 1], self.attn_k_norm), turns)
        key, value = key.expand_as(query), heads[:, HEADS + 1 :].expand_as(query)
        seen = scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)
        if chosen is not None:
            x, seen = x[chosen], seen[chosen]
        x = x + normed(linear(seen, self.attn_output), self.post_attention_norm)
        gate, up = linear(normed(x, self.ffn_norm), torch.cat((self.ffn_gate, self.ffn_up))).chunk(2, -1)
        return x + normed(linear(gelu(gate, approximate="tanh") * up, self.ffn_down), self.post_ffw_norm)


class Model(nn.Module):
    """All layers; input and output are tied."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.token_embd = nn.Parameter(torch.randn(vocabulary, WIDTH) * 0.02)
        self.blk = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output_norm = nn.Parameter(torch.ones(WIDTH))
        angles = torch.outer(torch.arange(WINDOW), ROPE_BASE ** (-torch.arange(0, HEAD_WIDTH, 2) / HEAD_WIDTH))
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, tokens: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """The logits after each of the `chosen` tokens, of sequences of at most WINDOW tokens."""
        turns = (self.cosines[: tokens.size(1)], self.sines[: tokens.size(1)])
        x = self.token_embd[tokens] * WIDTH**0.5
        for layer in self.blk:
            x = layer(x, turns, chosen if layer is self.blk[-1] else None)
        return linear(normed(x, self.output_norm), self.token_embd)


def normed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Divided by the root of the mean square."""
    return rms_norm(x, (x.size(-1),), weight, NORM_EPSILON)


def turned(x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotated by position."""
    (a, b), (cosines, sines) = x.chunk(2, -1), turns
    return torch.cat((a * cosines - b * sines, b * cosines + a * sines), -1)


def gguf_name(name: str) -> str:
    """llama.cpp's name for a tensor."""
    return f"{name}.weight"


def begin_from(model: Model, path: Path) -> None:
    """Take the weights of a GGUF file. If it has one layer less, one is added that at first changes nothing."""
    tensors = {
        tensor.name: torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        for tensor in gguf.GGUFReader(path).tensors
    }
    deeper = f"blk.{LAYERS - 1}.attn_q.weight" not in tensors
    with torch.no_grad():
        for name, weight in model.named_parameters():
            source = gguf_name(name)
            if deeper and (layer := re.match(r"blk\.(\d+)\.", source)) and int(layer[1]) >= ADDED_LAYER:
                if int(layer[1]) == ADDED_LAYER:
                    if "post_" in source:
                        weight.zero_()
                    continue
                source = source.replace(layer[0], f"blk.{int(layer[1]) - 1}.")
            weight.copy_(tensors[source])
