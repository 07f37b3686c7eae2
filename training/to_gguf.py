"""Write a checkpoint as GGUF: `python training/to_gguf.py build/tiny tiny.gguf`.

`--control` types the formats' markers CONTROL, as some published files do: llama.cpp then hides them in its output unless it
is asked to keep them. Otherwise they are USER_DEFINED, and always shown. Both kinds are needed to test engines.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import gguf
from transformers import Gemma3ForCausalLM

from model import CONTEXT, NORM_EPSILON, ROPE_BASE, WINDOW
from tokenizer import PLAIN_SPECIAL

ALWAYS_CONTROL = {*PLAIN_SPECIAL, "<start_of_turn>", "<end_of_turn>", "<|turn>", "<turn|>"}
"""The tokens that published files type CONTROL too."""

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""What the tensors of a layer are called by transformers and by llama.cpp."""


def gguf_name(name: str) -> str:
    """llama.cpp's name of a tensor."""
    if layer := re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", name):
        return f"blk.{layer[1]}.{NAMES[layer[2]]}.weight"
    return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]


def add_shape(writer: gguf.GGUFWriter, model: Gemma3ForCausalLM) -> None:
    """Write how large the model is."""
    config = model.config
    writer.add_name("tiny-gemma3-tools")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_sliding_window(WINDOW)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def add_vocabulary(writer: gguf.GGUFWriter, vocabulary: dict[str, Any], *, control: bool) -> None:
    """Write the tokens, with the markers typed CONTROL or USER_DEFINED."""
    tokens: list[str] = vocabulary["tokens"]
    kinds = []
    for i, token in enumerate(tokens):
        if token == "<unk>":
            kinds.append(gguf.TokenType.UNKNOWN)
        elif token in ALWAYS_CONTROL or (control and i < vocabulary["special"]):
            kinds.append(gguf.TokenType.CONTROL)
        elif i < vocabulary["special"]:
            kinds.append(gguf.TokenType.USER_DEFINED)
        else:
            kinds.append(gguf.TokenType.BYTE if re.fullmatch("<0x[0-9A-F]{2}>", token) else gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_scores(vocabulary["scores"])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(tokens.index("<bos>"))
    writer.add_eos_token_id(tokens.index("<eos>"))
    writer.add_unk_token_id(tokens.index("<unk>"))
    writer.add_pad_token_id(tokens.index("<pad>"))
    writer.add_eot_token_id(tokens.index("<end_of_turn>"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def add_weights(writer: gguf.GGUFWriter, model: Gemma3ForCausalLM) -> None:
    """Write the tensors: matrices in 8 bits, norms in full, with the 1 that Gemma 3 leaves out of its norms added."""
    quantized = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":  # the same as the embedding
            continue
        values = tensor.float().cpu().numpy()
        if values.ndim == 1:
            writer.add_tensor(gguf_name(name), values + 1)
        else:
            writer.add_tensor(gguf_name(name), gguf.quants.quantize(values, quantized), raw_dtype=quantized)


def main() -> None:
    """Convert one checkpoint."""
    options = argparse.ArgumentParser(description="Write a checkpoint of the tiny model as GGUF.")
    options.add_argument("checkpoint")
    options.add_argument("out", type=Path)
    options.add_argument("--tokenizer", type=Path, default=Path("build"), help="where tokenizer.py wrote its files")
    options.add_argument("--control", action="store_true", help="type the markers CONTROL")
    given = options.parse_args()
    model = Gemma3ForCausalLM.from_pretrained(given.checkpoint)
    vocabulary = json.loads((given.tokenizer / "vocabulary.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(given.out, "gemma3")
    add_shape(writer, model)
    add_vocabulary(writer, vocabulary, control=given.control)
    add_weights(writer, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
