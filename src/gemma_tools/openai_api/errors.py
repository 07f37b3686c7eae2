"""Errors in the format of the OpenAI API: a status, and a body with `message`, `type`, `param` and `code`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gemma_tools import errors

logger = logging.getLogger("gemma_tools")

NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}
"""The SDK retries a request after a 429 or 5xx unless this header says no; a backend has already made its own retries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One error as HTTP."""

    status: int
    message: str
    code: str
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: NO_RETRY)

    @property
    def type(self) -> str:
        """OpenAI's general type of the error, which depends on the status."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        return kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")

    @property
    def error(self) -> dict[str, Any]:
        """The object under `error` in a body or a stream event."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}


class Refused(Exception):
    """The HTTP request itself is refused, before any model is used. `failure` describes it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def refuse(status: int, message: str, *, code: str, param: str | None = None, headers: Mapping[str, str] = NO_RETRY) -> Refused:
    """An exception to raise that becomes this HTTP error."""
    return Refused(Failure(status=status, message=message, code=code, param=param, headers=headers))


STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.UnknownName, 404, "model_not_found"),
    (errors.ModelNotFound, 404, "model_not_found"),
    (errors.ContextExceeded, 400, "context_length_exceeded"),
    (errors.EngineUnavailable, 503, "engine_unavailable"),
    (errors.EngineTimeout, 504, "engine_timeout"),
    (errors.RateLimited, 429, "rate_limit_exceeded"),
    (errors.QuotaExceeded, 429, "insufficient_quota"),
    (errors.AnswerBlocked, 400, "content_filter"),
    (errors.EngineRejected, 502, "engine_rejected"),
    (errors.EngineProtocolError, 502, "engine_protocol_error"),
    (errors.EngineError, 502, "engine_error"),
    (errors.UnusableAnswer, 502, "unusable_answer"),
    (errors.MissingDependency, 500, "missing_dependency"),
    (errors.GemmaToolsError, 500, "internal_error"),
)
"""The first row with a matching class gives status and code; `InvalidRequest` has its own code and is always a 400."""


def failure_of(error: BaseException) -> Failure:
    """`error` as HTTP. An unexpected exception is logged and reported only as an internal error."""
    if isinstance(error, Refused):
        return error.failure
    if isinstance(error, errors.InvalidRequest):
        return Failure(status=400, message=str(error), param=error.param, code=error.code)
    for kind, status, code in STATUS:
        if isinstance(error, kind):
            param = "messages" if isinstance(error, errors.ContextExceeded) else None
            return Failure(status=status, message=str(error), code=code, param=param, headers=_headers(error))
    logger.error("a request failed because of an error inside gemma_tools", exc_info=error)
    return Failure(status=500, message="internal error; the log has the details", code="internal_error")


def _headers(error: BaseException) -> Mapping[str, str]:
    """How long to wait, in whole seconds, if an engine asks for it."""
    wait = error.retry_after if isinstance(error, errors.RateLimited) else None
    return NO_RETRY if wait is None else {**NO_RETRY, "retry-after": str(max(1, round(wait)))}
