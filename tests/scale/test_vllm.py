"""vLLM's replicas under Ray, one of which is killed while requests run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gemma_tools import FunctionGemmaModel
from gemma_tools.engines import create_engine
from support.cluster import Cluster
from support.load import begun, outcomes
from support.weights import tiny_safetensors

SMALL = {
    "accelerator_config": {"kind": "cpu"},
    "placement_group_config": {"bundles": [{"CPU": 0.1}]},
    "engine_kwargs": {
        "enforce_eager": True,
        "dtype": "float32",
        "max_model_len": 2048,
        "max_num_seqs": 8,
        "num_gpu_blocks_override": 64,
    },
}
"""Settings for a CPU, and for little memory."""


def test_answers_are_right_while_a_replica_is_killed(cluster: Cluster, deploy: Callable[[Any], None]) -> None:
    pytest.importorskip("vllm", reason="nox -s scale installs it where there is one for the platform")
    from ray_llm import app

    deploy(app({"model": str(tiny_safetensors()), **SMALL}))
    assert len(cluster.processes("LLMServer")) == 2
    with create_engine("vllm", model="gemma", url=f"{cluster.url}/v1") as engine:
        found = outcomes(FunctionGemmaModel("tiny", engine=engine).run, lambda: cluster.kill("LLMServer"), broken=begun)
    print(dict(found))
    assert found.keys() <= {"right", "right when asked again"}
