"""Write a checkpoint as GGUF: `python training/to_gguf.py build/tiny.pt tiny.gguf`.

With `--control`, the formats' special tokens have the type CONTROL, as in some published files. llama.cpp hides such tokens in
its output unless it is asked to keep them. Otherwise they have the type USER_DEFINED, and are always shown. Tests of engines
need both kinds.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import torch

from model import CONTEXT, HEAD_WIDTH, HEADS, INNER, LAYERS, NORM_EPSILON, WIDTH, WINDOW, gguf_name
from tokenizer import PLAIN_SPECIAL, vocabulary

ALWAYS_CONTROL = {*PLAIN_SPECIAL, "<start_of_turn>", "<end_of_turn>", "<|turn>", "<turn|>"}
"""The tokens that have the type CONTROL in published files too."""
GLOBAL_ROPE_BASE = 1e6
"""Of layers without a window. There are none, but programs that read the file need the value."""


def add_shape(writer: gguf.GGUFWriter) -> None:
    """Write how large the model is."""
    writer.add_name("tiny-gemma3-tools")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD_WIDTH)
    writer.add_value_length(HEAD_WIDTH)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_rope_freq_base(GLOBAL_ROPE_BASE)
    writer.add_sliding_window(WINDOW)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def add_vocabulary(writer: gguf.GGUFWriter, known: dict[str, Any], *, control: bool) -> None:
    """Write the tokens; special tokens have the type CONTROL or USER_DEFINED."""
    tokens: list[str] = known["tokens"]
    kinds = []
    for i, token in enumerate(tokens):
        if token == "<unk>":
            kinds.append(gguf.TokenType.UNKNOWN)
        elif token in ALWAYS_CONTROL or (control and i < known["special"]):
            kinds.append(gguf.TokenType.CONTROL)
        elif i < known["special"]:
            kinds.append(gguf.TokenType.USER_DEFINED)
        else:
            kinds.append(gguf.TokenType.BYTE if re.fullmatch("<0x[0-9A-F]{2}>", token) else gguf.TokenType.NORMAL)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_scores(list(known["scores"]))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(tokens.index("<bos>"))
    writer.add_eos_token_id(tokens.index("<eos>"))
    writer.add_unk_token_id(tokens.index("<unk>"))
    writer.add_pad_token_id(tokens.index("<pad>"))
    writer.add_eot_token_id(tokens.index("<end_of_turn>"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def add_weights(writer: gguf.GGUFWriter, weights: dict[str, torch.Tensor]) -> None:
    """Write the tensors: matrices in 8 bits, norms in full."""
    quantized = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in weights.items():
        values = tensor.float().numpy()
        if values.ndim == 1:
            writer.add_tensor(gguf_name(name), values)
        else:
            writer.add_tensor(gguf_name(name), gguf.quants.quantize(values, quantized), raw_dtype=quantized)


def averaged(checkpoints: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of the weights of runs that began with the same weights. It was better than each of the two runs."""
    states = [torch.load(checkpoint, weights_only=False)["model"] for checkpoint in checkpoints]
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def main() -> None:
    """Convert one checkpoint, or the mean of several."""
    options = argparse.ArgumentParser(description="Write a checkpoint of the tiny model as GGUF.")
    options.add_argument("checkpoints", type=Path, nargs="+")
    options.add_argument("out", type=Path)
    options.add_argument("--control", action="store_true", help="give the special tokens the type CONTROL")
    given = options.parse_args()
    writer = gguf.GGUFWriter(given.out, "gemma3")
    add_shape(writer)
    add_vocabulary(writer, vocabulary(), control=given.control)
    add_weights(writer, averaged(given.checkpoints))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
