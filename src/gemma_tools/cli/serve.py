"""`gemma-tools serve`: an OpenAI-compatible server."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer


def serve(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Models to serve, as with --model.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model to serve, or NAME=MODEL to serve it under another name; can be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 1337 by default, and 0 means any free port.")] = None,
    engine: Annotated[str | None, typer.Option(help="The engine of the models.")] = None,
    url: Annotated[str | None, typer.Option(help="The address of that engine's server.")] = None,
    mmproj: Annotated[
        str | None, typer.Option(help="The projector of the model, with which it takes images and audio.")
    ] = None,
    lora: Annotated[
        str | None, typer.Option(help="LoRA adapters of the model: FILE or FILE=SCALE, separated by commas.")
    ] = None,
    context: Annotated[int | None, typer.Option(help="The maximum number of tokens in a conversation.")] = None,
    threads: Annotated[int | None, typer.Option(help="How many threads the engine in process uses.")] = None,
    gpu_layers: Annotated[int | None, typer.Option(help="How many layers of the model run on a GPU; -1 means all.")] = None,
    max_line_bytes: Annotated[int | None, typer.Option(help="The longest line of an answer of an engine's server.")] = None,
    max_answer_bytes: Annotated[int | None, typer.Option(help="The longest answer of an engine's server.")] = None,
    system_prompt: Annotated[Path | None, typer.Option(help="A file with the system text of requests without one.")] = None,
    thinking: Annotated[bool | None, typer.Option(help="Whether to think, for requests that do not say.")] = None,
    temperature: Annotated[float | None, typer.Option(help="The default for requests, like the next five options.")] = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    api_keys: Annotated[str | None, typer.Option(help="API keys, of which clients must send one, separated by commas.")] = None,
    allowed_hosts: Annotated[str | None, typer.Option(help="More host names of the server, separated by commas.")] = None,
    allowed_origins: Annotated[str | None, typer.Option(help="Origins of web pages that may call the server.")] = None,
    alias: Annotated[str | None, typer.Option(help="More names for the first model; '*' means every name.")] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="For each key, or for each address if there are no keys.")
    ] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Likewise.")] = None,
    max_body_bytes: Annotated[int | None, typer.Option(help="The maximum size of a request body.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="How many requests run at the same time.")] = None,
    queue: Annotated[int | None, typer.Option(help="How many requests may wait.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for one request, including the wait.")] = None,
    body_timeout: Annotated[float | None, typer.Option(help="Seconds for a request to arrive.")] = None,
    drain: Annotated[int | None, typer.Option(help="Seconds that running requests get when the server stops.")] = None,
    unknown: Annotated[str | None, typer.Option(help="What happens to unknown fields: warn or refuse.")] = None,
    stored_responses: Annotated[
        int | None, typer.Option(help="How many responses are stored for later requests; 0 means none.")
    ] = None,
    stored_bytes: Annotated[int | None, typer.Option(help="Their maximum size together.")] = None,
    stored_seconds: Annotated[float | None, typer.Option(help="How long each is stored.")] = None,
    metrics: Annotated[bool | None, typer.Option(help="Whether /metrics has counts for Prometheus.")] = None,
    otel: Annotated[bool | None, typer.Option(help="Whether OpenTelemetry records requests.")] = None,
    inspect: Annotated[bool | None, typer.Option(help="Whether /inspect shows the last requests and answers.")] = None,
    log_content: Annotated[bool | None, typer.Option(help="Whether the log contains requests and answers.")] = None,
    run_tools: Annotated[
        str | None, typer.Option(help="Tools that the server runs itself: execute_python, get_system_info.")
    ] = None,
    scripts_dir: Annotated[Path | None, typer.Option(help="The directory of execute_python's scripts.")] = None,
    venvs: Annotated[str | None, typer.Option(help="Virtual environments that execute_python may use.")] = None,
) -> None:
    """Serve models over HTTP with OpenAI's API, on 127.0.0.1:1337.

    Every option is also a setting in the TOML file and in the environment: --max-body-bytes is max_body_bytes in the
    file and GEMMA_TOOLS_MAX_BODY_BYTES in the environment.
    """
    from gemma_tools.server.settings import load_settings

    options = {name: value for name, value in ctx.params.items() if name not in ("names", "model", "config")}
    settings = load_settings({**options, "models": [*(names or ()), *(model or ())] or None}, os.environ, config)

    from gemma_tools.server.log import log_to_stderr
    from gemma_tools.server.run import address_of, make_server

    server, listener = make_server(settings)
    log_to_stderr()
    print(f"gemma-tools: serving {', '.join(settings.models)} at {address_of(listener)}", file=sys.stderr, flush=True)
    if settings.inspect:
        print(
            f"gemma-tools: requests are shown at {address_of(listener).removesuffix('/v1')}/inspect",
            file=sys.stderr,
            flush=True,
        )
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
