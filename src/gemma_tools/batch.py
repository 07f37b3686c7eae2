"""Many requests at once, in the format of OpenAI's Batch API: a line for each request, and a line for each answer.

The format is that of https://platform.openai.com/docs/guides/batch. The same code answers requests over HTTP, so a line of a
batch and a request to the server give the same answer.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from uuid import uuid4

from gemma_tools.engines.base import Cancellation
from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import to_json_lines
from gemma_tools.openai_api.wire import ApiRequest, ApiSettings, dump
from gemma_tools.policy import Unknown
from gemma_tools.routes import Models, handle
from gemma_tools.validation import check_integer

URLS: Final = ("/v1/chat/completions", "/v1/responses", "/v1/messages")
"""The endpoints that a line may use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnswer:
    """The answer to one request. `body` is the completion, or `{"error": ...}` if `status` is not 200."""

    custom_id: str
    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the request was answered."""
        return self.status == 200

    def _repr_html_(self) -> str:
        from gemma_tools.completion import completion_html
        from gemma_tools.display import card, escape, facts, pre

        if self.body.get("object") == "chat.completion":
            body = completion_html(self.body)
        else:
            body = pre(escape(to_json_lines(self.body)))
        return card(facts({"request": self.custom_id, "status": self.status}) + body)

    def line(self) -> dict[str, Any]:
        """The answer as a line of OpenAI's output file."""
        response = {"status_code": self.status, "request_id": f"req_{uuid4().hex}", "body": self.body}
        return {"id": f"batch_req_{uuid4().hex}", "custom_id": self.custom_id, "response": response, "error": None}


def run_batch(
    models: Models,
    requests: Iterable[Mapping[str, Any]],
    *,
    concurrency: int = 4,
    unknown: Unknown = "warn",
) -> Generator[BatchAnswer, None, None]:
    """Answer `requests` with `models`, `concurrency` of them at the same time, and yield each answer when it is ready.

    A request is a line of OpenAI's input file (`custom_id`, `url`, `body`), or a plain chat request, which gets its number as
    its id: `request-1`, ... Requests are taken from the iterable as soon as there is room for them. A request that cannot be
    answered gives an answer with its error; no exception is raised for it. Answers are never streamed: `stream` in a body has
    no effect. Closing the generator stops the running requests.

    Args:
        models: the models, by their names in the requests, for example `{"tiny": create_model("tiny")}`.
        requests: the lines.
        concurrency: how many requests are answered at the same time.
        unknown: what happens to unknown fields; see `policy.Unknown`.

    Raises:
        InvalidRequest: `concurrency` is not at least 1.

    Example:
        >>> with create_model("tiny") as model:
        ...     for answer in run_batch({"tiny": model}, requests):
        ...         print(answer.custom_id, answer.status)
    """
    check_integer(concurrency, "concurrency", 1)
    settings, cancel = ApiSettings(unknown=unknown), Cancellation()
    seen: set[str] = set()

    def answer(number: int, request: Mapping[str, Any]) -> BatchAnswer:
        name = f"request-{number}"
        try:
            name, url, body = read_line(request, name)
            if name in seen:
                raise InvalidRequest(f"{name!r} is already used by another request", param="custom_id", code="duplicate_name")
            seen.add(name)
        except InvalidRequest as wrong:
            error = {"message": str(wrong), "type": "invalid_request_error", "param": wrong.param, "code": wrong.code}
            return BatchAnswer(custom_id=name, status=400, body={"error": error})
        whole = dump({key: value for key, value in body.items() if key not in ("stream", "stream_options")})
        response = handle(ApiRequest("POST", url, whole), models, cancel=cancel, settings=settings)
        assert isinstance(response.body, bytes)
        return BatchAnswer(custom_id=name, status=response.status, body=json.loads(response.body))

    waiting = enumerate(requests, 1)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="gemma_tools-batch") as pool:
        running: set[Future[BatchAnswer]] = set()
        try:
            while True:
                free = concurrency - len(running)
                running |= {pool.submit(answer, number, request) for number, request in islice(waiting, free)}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in done)
        finally:
            cancel.cancel()


def read_line(line: Mapping[str, Any], name: str) -> tuple[str, str, Mapping[str, Any]]:
    """The id, path and body of a request; `name` is for a line without an id.

    Raises:
        InvalidRequest: the line asks for something that a batch does not support.
    """
    if "messages" in line:
        return name, URLS[0], line
    custom_id, url, body = line.get("custom_id", name), line.get("url", URLS[0]), line.get("body")
    if not isinstance(custom_id, str):
        raise InvalidRequest("must be a string", param="custom_id", code="invalid_type")
    if line.get("method", "POST") != "POST":
        raise InvalidRequest("must be POST", param="method")
    if url not in URLS:
        raise InvalidRequest(f"is not one of {', '.join(URLS)}", param="url")
    if not isinstance(body, Mapping):
        raise InvalidRequest("must be an object with the request", param="body", code="invalid_type")
    return custom_id, url, body
