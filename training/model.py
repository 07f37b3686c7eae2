"""The model's shape: Gemma 3's architecture with 0.9 million parameters."""

from __future__ import annotations

from transformers import Gemma3ForCausalLM, Gemma3TextConfig

PAD, EOS, BOS = 0, 1, 2
WINDOW = 1024
CONTEXT = 4096
ROPE_BASE = 1e6
NORM_EPSILON = 1e-6


def make(vocabulary: int, *, width: int = 128, layers: int = 4, heads: int = 4, head_width: int = 32) -> Gemma3ForCausalLM:
    """A model with random weights; one key-value head, every layer with a sliding window, input and output tied."""
    config = Gemma3TextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=1,
        head_dim=head_width,
        query_pre_attn_scalar=head_width,
        max_position_embeddings=CONTEXT,
        sliding_window=WINDOW,
        layer_types=["sliding_attention"] * layers,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": ROPE_BASE},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=BOS,
        tie_word_embeddings=True,
        rms_norm_eps=NORM_EPSILON,
    )
    return Gemma3ForCausalLM(config)
