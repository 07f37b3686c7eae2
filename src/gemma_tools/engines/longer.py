"""How to increase the context, as text for the error about a prompt that is too long: `Engine.longer_context`.

Sources: the documentation of each server's own options.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

BY_OPTION: Final = "set a larger context with context=..., on the command line with --context"
"""For engines with an option `context`."""
OF_MODEL: Final = "this is the model's maximum"
BY_SERVER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "llama-server": "start llama-server with a larger --ctx-size",
        "vllm": "start vLLM with a larger --max-model-len",
        "sglang": "start SGLang with a larger --context-length",
        "lm-studio": "load the model with a longer context in LM Studio",
    }
)
"""For servers, by the names of their engines."""
