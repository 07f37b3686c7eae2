"""Translates failures of HTTP clients and servers to this package's errors."""

from __future__ import annotations

import re
from http.client import HTTPException, IncompleteRead
from types import MappingProxyType

from gemma_tools.engines.answers import Headers, retry_after
from gemma_tools.errors import (
    ContextExceeded,
    EngineError,
    EngineProtocolError,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)

_TOO_LONG = re.compile(r"(exceed|maximum|longer|too (long|large)).*context|context.*(exceed|longer|only)", re.I | re.S)
"""The texts that servers use for a prompt that is longer than the context; there is no common code for it."""

_LOST = re.compile(r"\bactor (died|is (dead|temporarily unavailable))", re.I)
"""Ray's text, with a status 500, for a replica that died."""


def transport_fault(error: BaseException, where: str) -> EngineError | None:
    """The error for an exception of httpx, or of its successor httpx2; None if it is not one of theirs.

    The classes of both have the same names, and only one of the two packages may be installed.
    """
    names = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.split(".")[0] in ("httpx", "httpx2")}
    if "ConnectTimeout" in names or "ConnectError" in names:
        return EngineUnavailable(f"no connection to {where}: {error}")
    if "TimeoutException" in names:
        return EngineTimeout(f"{where} did not answer in time")
    if "RemoteProtocolError" in names and "disconnected" not in str(error) and "closed" not in str(error):
        return EngineProtocolError(f"{where} does not speak HTTP: {error}")
    if "TransportError" in names:
        return EngineUnavailable(f"the connection to {where} broke: {error}")
    if names:
        return EngineProtocolError(f"{where} sent an invalid answer: {error}")
    return None


def http_fault(error: Exception, where: str) -> EngineError:
    """The error for an exception that occurred while `gemma_tools.engines.http` used the server at `where`."""
    if isinstance(error, (OSError, IncompleteRead)):
        return EngineUnavailable(f"the connection to {where} broke: {error}")
    if isinstance(error, HTTPException):
        return EngineProtocolError(f"{where} does not speak HTTP: {error}")
    return not_understood(error, where)


def status_fault(status: int, message: str, where: str, headers: Headers = MappingProxyType({})) -> EngineError:
    """The error for an error status. `message` is the server's own, `headers` those of the answer."""
    said = f"{where} answered with status {status}: {message.strip()[:500]}"
    if status == 404:
        return ModelNotFound(said)
    if status in (400, 413) and _TOO_LONG.search(message):
        return ContextExceeded(said)
    if status == 500 and _LOST.search(message):
        return EngineUnavailable(said)
    return EngineRejected(said, status=status, retry_after=retry_after(headers))


def not_understood(error: BaseException, where: str) -> EngineProtocolError:
    """The error for any other exception of a client: the answer did not follow its protocol."""
    return EngineProtocolError(f"{where} sent an invalid answer: {error!r}")


def no_character(error: UnicodeEncodeError) -> InvalidRequest:
    """The error for a text that cannot be written as UTF-8: it contains half of a surrogate pair."""
    return InvalidRequest(f"{error.object[error.start]!r} is not a character", param="messages")


def refuse_half_characters(*texts: str) -> None:
    """Raise for texts that cannot be written as UTF-8; some clients would send bytes that no server understands.

    Raises:
        InvalidRequest: a text of the request contains half of a surrogate pair.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise no_character(error) from None
