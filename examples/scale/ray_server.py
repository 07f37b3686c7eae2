"""gemma_tools' server in two Ray Serve replicas: `GEMMA_TOOLS_MODELS=tiny serve run ray_server:app`."""

import os

from ray import serve

from gemma_tools.server.app import App, create_app
from gemma_tools.server.settings import load_settings


def build() -> App:
    """The application of one replica, with the settings in its environment."""
    return create_app(load_settings({}, os.environ))


@serve.ingress(build)
class Server:
    """A replica. It gets its requests from Ray's proxy."""


app = serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0.5})(Server).bind()
