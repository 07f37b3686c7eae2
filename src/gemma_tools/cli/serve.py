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
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Models to serve, as --model takes them.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model to serve, or NAME=MODEL to give it another name. May be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on; 127.0.0.1 if not given.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 1337 if not given, and 0 is any free one.")] = None,
    engine: Annotated[str | None, typer.Option(help="What runs the models.")] = None,
    url: Annotated[str | None, typer.Option(help="Where that engine listens.")] = None,
    mmproj: Annotated[
        str | None, typer.Option(help="The projector of the model, with which it takes images and audio.")
    ] = None,
    lora: Annotated[
        str | None, typer.Option(help="LoRA adapters of the model: FILE or FILE=SCALE, with commas between.")
    ] = None,
    context: Annotated[int | None, typer.Option(help="How many tokens a conversation may have.")] = None,
    threads: Annotated[int | None, typer.Option(help="How many threads the engine in this process uses.")] = None,
    gpu_layers: Annotated[int | None, typer.Option(help="How many layers of the model go to a GPU; -1 is all.")] = None,
    max_line_bytes: Annotated[int | None, typer.Option(help="The longest line of an answer of an engine's server.")] = None,
    max_answer_bytes: Annotated[int | None, typer.Option(help="The longest answer of an engine's server.")] = None,
    system_prompt: Annotated[Path | None, typer.Option(help="A file with the system text of requests without one.")] = None,
    thinking: Annotated[bool | None, typer.Option(help="Whether to think where a request does not say.")] = None,
    temperature: Annotated[float | None, typer.Option(help="For requests that name none; so are the next five.")] = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    api_keys: Annotated[str | None, typer.Option(help="Keys that callers must have, with commas between.")] = None,
    allowed_hosts: Annotated[str | None, typer.Option(help="More names that the server may be called by.")] = None,
    allowed_origins: Annotated[str | None, typer.Option(help="Origins of pages in browsers that may call.")] = None,
    alias: Annotated[str | None, typer.Option(help="More names of the first model; '*' is every name.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="For each key, or address where there are no keys.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Likewise.")] = None,
    max_body_bytes: Annotated[int | None, typer.Option(help="The longest body that is read.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests that are answered at the same time.")] = None,
    queue: Annotated[int | None, typer.Option(help="Requests that may wait.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for one request.")] = None,
    body_timeout: Annotated[float | None, typer.Option(help="Seconds for a request to arrive.")] = None,
    drain: Annotated[int | None, typer.Option(help="Seconds for running requests when the server is stopped.")] = None,
    unknown: Annotated[str | None, typer.Option(help="What becomes of fields that are not known: warn or refuse.")] = None,
    stored_responses: Annotated[int | None, typer.Option(help="Responses that are kept for later requests; 0 is none.")] = None,
    stored_bytes: Annotated[int | None, typer.Option(help="The most that they may take together.")] = None,
    stored_seconds: Annotated[float | None, typer.Option(help="How long each is kept.")] = None,
    metrics: Annotated[bool | None, typer.Option(help="Whether /metrics gives counts for Prometheus.")] = None,
    otel: Annotated[bool | None, typer.Option(help="Whether to tell OpenTelemetry what is done.")] = None,
    inspect: Annotated[bool | None, typer.Option(help="Whether /inspect shows what was last asked and answered.")] = None,
    log_content: Annotated[bool | None, typer.Option(help="Whether to log what is asked and answered.")] = None,
    run_tools: Annotated[
        str | None, typer.Option(help="Tools that the server runs itself: execute_python, get_system_info.")
    ] = None,
    scripts_dir: Annotated[Path | None, typer.Option(help="The directory of execute_python's scripts.")] = None,
    venvs: Annotated[str | None, typer.Option(help="Virtual environments that execute_python may use.")] = None,
) -> None:
    """Serve models over HTTP, as OpenAI does, on 127.0.0.1:1337.

    Every option is also a setting in the TOML file and in the environment: --max-body-bytes is max_body_bytes there and
    GEMMA_TOOLS_MAX_BODY_BYTES here.
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
