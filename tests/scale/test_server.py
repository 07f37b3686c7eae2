"""The server's application in Ray Serve's replicas, one of which is killed while requests run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import openai

from support.cluster import Cluster
from support.load import outcomes


def test_answers_are_right_while_a_replica_is_killed(cluster: Cluster, deploy: Callable[[Any], None]) -> None:
    from ray_server import app

    deploy(app)
    assert len(cluster.processes("ServeReplica")) == 2
    with openai.OpenAI(base_url=f"{cluster.url}/v1", api_key="none") as client:
        ask = partial(client.chat.completions.create, model="tiny")
        found = outcomes(
            ask, partial(cluster.kill, "ServeReplica"), broken=lambda error: isinstance(error, openai.APIConnectionError)
        )
    print(dict(found))
    assert found.keys() <= {"right", "right when asked again"}
