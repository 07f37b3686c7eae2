"""Errors in the format of the Messages API, with OpenAI's `param` and `code` as extra fields."""

from __future__ import annotations

from typing import Any, Final

from gemma_tools.openai_api.errors import Failure

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(failure: Failure) -> dict[str, Any]:
    """The body, or the data of a stream's `error` event."""
    kind = _TYPES.get(failure.status, "invalid_request_error" if failure.status < 500 else "api_error")
    error = {"type": kind, "message": failure.message, "param": failure.param, "code": failure.code}
    return {"type": "error", "error": error}
