"""The tiny model in the forms that other engines load, made of the GGUF file that ships with the package.

The packages that it takes are those of `nox -s engines`. What was made once is kept in `build/`, under the file's checksum.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib
from importlib.machinery import ModuleSpec
from pathlib import Path
from shutil import copy, rmtree
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from gemma_tools.data import tiny_path
from gemma_tools.gguf import read_header
from support.real import as_tokenizer_json

_TENSORS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
}
"""What llama.cpp calls the tensors, and what transformers does."""


def tiny_safetensors(kind: str = "safetensors", **config: Any) -> Path:
    """The folder of the tiny model for transformers, vLLM and mlx-lm; `config` is what config.json says besides."""
    folder = _folder(kind)
    if not (folder / "tokenizer_config.json").exists():
        rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write_weights(folder / "model.safetensors")
        _write_configuration(folder, config)
    return folder


def tiny_mlx() -> Path:
    """The same for mlx-lm, which reads neither the kind of each layer nor `rope_parameters`."""
    return tiny_safetensors("mlx", sliding_window_pattern=1, rope_theta=1e4)


def tiny_litertlm() -> Path:
    """The tiny model as a file of LiteRT-LM, with a context of 4,096 tokens; making it takes a minute of the processor."""
    path = _folder("litertlm") / "tiny-functiongemma.litertlm"
    if not path.exists():
        source = tiny_safetensors()
        with TemporaryDirectory() as folder:
            _export(source, Path(folder))
            parts = Path(folder) / "parts"
            _builder("unpack", "--input", str(Path(folder) / "model.litertlm"), "--output", str(parts))
            _complete(parts, source / "tokenizer.json")
            path.parent.mkdir(parents=True, exist_ok=True)
            _builder("toml", "--path", str(parts / "model.toml"), "output", "--path", str(path))
    return path


def _export(source: Path, folder: Path) -> None:
    """Let litert-torch convert the model. It imports a part of TensorFlow, which is not here; LiteRT has that part, too."""
    from ai_edge_litert import schema_py_generated

    for name in ("tensorflow", "tensorflow.lite", "tensorflow.lite.python"):
        package = ModuleType(name)
        package.__spec__, package.__path__ = ModuleSpec(name, None, is_package=True), []
        sys.modules[name] = package
    package.schema_py_generated = schema_py_generated
    sys.modules[f"{package.__name__}.schema_py_generated"] = schema_py_generated
    from litert_torch.generative.export_hf.export import export

    export(model=str(source), output_dir=str(folder), prefill_lengths=[64], cache_length=4096, bundle_litert_lm=True)


def _complete(parts: Path, tokenizer: Path) -> None:
    """Say what the converter leaves out: the type and the start token. Its own tokenizer has lost the pieces for bytes."""
    toml, metadata = parts / "model.toml", parts / "LlmMetadataProto.pbtext"
    copy(tokenizer, parts)
    sections = re.sub(r'"SP_Tokenizer"\ndata_path = ".*"', '"HF_Tokenizer"\ndata_path = "tokenizer.json"', toml.read_text())
    toml.write_text(sections)
    said = re.sub(r"gemma3 {\s*}", "function_gemma { }", metadata.read_text())
    metadata.write_text(f"{said}\nstart_token {{ token_ids {{ ids: 2 }} }}\n")


def _builder(*arguments: str) -> None:
    subprocess.run([str(Path(sys.executable).with_name("litert-lm-builder")), *arguments], check=True)


def _folder(form: str) -> Path:
    checksum = zlib.crc32(tiny_path().read_bytes())
    return Path(__file__).parents[2] / "build" / f"tiny-{checksum:08x}" / form


def _write_weights(path: Path) -> None:
    import gguf
    from safetensors.numpy import save_file

    tensors = {}
    for tensor in gguf.GGUFReader(tiny_path()).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        *layer, name, _ = tensor.name.split(".")
        where = f"model.layers.{layer[1]}." if layer else ""
        # llama.cpp adds the 1 to the norms that transformers adds when it runs.
        tensors[f"{where}{_TENSORS[name]}.weight"] = values if values.ndim > 1 else values - 1
    save_file(tensors, path, metadata={"format": "pt"})


def _write_configuration(folder: Path, more: dict[str, Any]) -> None:
    header = read_header(tiny_path())
    ends = {name: header[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos", "eot", "padding")}
    tokens = {"bos_token_id": ends["bos"], "eos_token_id": [ends["eos"], ends["eot"]], "pad_token_id": ends["padding"]}
    layers = header["gemma3.block_count"]
    config = {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "dtype": "float32",
        "vocab_size": len(header["tokenizer.ggml.tokens"]),
        "hidden_size": header["gemma3.embedding_length"],
        "intermediate_size": header["gemma3.feed_forward_length"],
        "num_hidden_layers": layers,
        "num_attention_heads": header["gemma3.attention.head_count"],
        "num_key_value_heads": header["gemma3.attention.head_count_kv"],
        "head_dim": header["gemma3.attention.key_length"],
        "query_pre_attn_scalar": header["gemma3.attention.key_length"],
        "max_position_embeddings": header["gemma3.context_length"],
        "sliding_window": header["gemma3.attention.sliding_window"],
        "layer_types": ["sliding_attention"] * layers,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": header["gemma3.rope.freq_base"]},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        "rms_norm_eps": header["gemma3.attention.layer_norm_rms_epsilon"],
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
        **tokens,
        **more,
    }
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", tokens)
    (folder / "tokenizer.json").write_bytes(as_tokenizer_json(tiny_path()).read_bytes())
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
