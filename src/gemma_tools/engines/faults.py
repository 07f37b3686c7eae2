"""What the failures of HTTP clients and servers mean, in this package's own errors."""

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
"""How servers say that a prompt is longer than the context; there is no common code for it."""

_LOST = re.compile(r"\bactor (died|is (dead|temporarily unavailable))", re.I)
"""How Ray says, with a status 500, that the replica which was to answer is gone."""


def transport_fault(error: BaseException, where: str) -> EngineError | None:
    """What an exception of httpx, or of its successor httpx2, means; None if it is none of theirs.

    The classes of both carry the same names, and only one of the two packages may be installed.
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
    """What an exception means that came up while the server at `where` was asked by `gemma_tools.engines.http`."""
    if isinstance(error, (OSError, IncompleteRead)):
        return EngineUnavailable(f"the connection to {where} broke: {error}")
    if isinstance(error, HTTPException):
        return EngineProtocolError(f"{where} does not speak HTTP: {error}")
    return not_understood(error, where)


def status_fault(status: int, message: str, where: str, headers: Headers = MappingProxyType({})) -> EngineError:
    """What an error status means. `message` is the server's own, `headers` those of the answer."""
    said = f"{where} answered with status {status}: {message.strip()[:500]}"
    if status == 404:
        return ModelNotFound(said)
    if status in (400, 413) and _TOO_LONG.search(message):
        return ContextExceeded(said)
    if status == 500 and _LOST.search(message):
        return EngineUnavailable(said)
    return EngineRejected(said, status=status, retry_after=retry_after(headers))


def not_understood(error: BaseException, where: str) -> EngineProtocolError:
    """What any other exception of a client means: the answer was not of its protocol."""
    return EngineProtocolError(f"{where} sent an invalid answer: {error!r}")


def no_character(error: UnicodeEncodeError) -> InvalidRequest:
    """What a text means that cannot be written as UTF-8: half of a surrogate pair is in it."""
    return InvalidRequest(f"{error.object[error.start]!r} is not a character", param="messages")


def refuse_half_characters(*texts: str) -> None:
    """Raise for texts that cannot be written as UTF-8; some clients would send them in pieces that no server understands.

    Raises:
        InvalidRequest: half of a surrogate pair is in some text of the request.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise no_character(error) from None
