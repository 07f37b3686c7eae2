"""Gemma on two vLLM replicas with one address: `serve run ray_llm:app model=google/gemma-3-4b-it`."""

from typing import Any

from ray.serve import Application
from ray.serve.config import RequestRouterConfig
from ray.serve.llm import LLMConfig, build_openai_app
from ray.serve.llm.request_router import PrefixCacheAffinityRouter


def app(settings: dict[str, Any]) -> Application:
    """An application with `model`, a name on the Hub or a folder. All other `settings` go to `LLMConfig`."""
    model = settings.pop("model")
    config = LLMConfig(
        model_loading_config={"model_id": "gemma", "model_source": model},
        deployment_config={
            "num_replicas": 2,
            # A request goes to the replica that has the beginning of its prompt in the cache, unless that one is much busier.
            "request_router_config": RequestRouterConfig.model_validate(
                {"request_router_class": PrefixCacheAffinityRouter, "request_router_kwargs": {"imbalanced_threshold": 4}}
            ),
        },
        **settings,
    )
    return build_openai_app({"llm_configs": [config]})
