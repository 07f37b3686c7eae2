"""What the tests of several machines run on; the nox session `scale` installs it, elsewhere they are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.cluster import Cluster
from support.cluster import cluster as running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Ray cluster for all tests."""
    with running_cluster(pytest.importorskip("ray", reason="nox -s scale installs it")) as running:
        yield running


@pytest.fixture
def deploy(cluster: Cluster) -> Iterator[Callable[[Any], None]]:
    """Runs an application on Ray Serve until the test is over."""
    from ray import serve

    yield serve.run
    serve.delete("default")
