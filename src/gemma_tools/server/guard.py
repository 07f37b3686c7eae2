"""Checks of Host, Origin, API key and Content-Type, made before a request's body is read.

Every web page that the user opens can reach a server on loopback. Three checks keep pages out: the Host must be one of ours (so
no foreign name can point to this address), no foreign Origin is answered, and a body must be JSON, which a page cannot send to
another origin without a preflight request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from gemma_tools.openai_api.errors import refuse
from gemma_tools.server.settings import Settings, is_loopback

Headers = Mapping[str, str]
"""By lower-case name."""


class Guard:
    """Checks the head of each request against the settings."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [_digest(key.encode()) for key in settings.api_keys]
        own = {"localhost", "127.0.0.1", "::1"} if settings.on_loopback else set()
        self._hosts = own | {settings.host.lower()} | {host.lower() for host in settings.allowed_hosts}
        self._origins = frozenset(settings.allowed_origins)
        # Beyond loopback a client needs a key, and a page with a foreign host name does not have one.
        self._any_host = "*" in self._hosts or not (settings.on_loopback or settings.allowed_hosts)

    def check_caller(self, headers: Headers) -> None:
        """Refuse a request with a foreign host name or from a foreign page."""
        host = headers.get("host", "")
        if not self._any_host and _hostname(host) not in self._hosts:
            raise refuse(
                403, f"the host name of this server is not {host!r}; add names with allowed_hosts", code="host_not_allowed"
            )
        origin = headers.get("origin")
        if origin is not None and self._allows(origin):
            return
        foreign = origin is not None and _netloc(origin) != host
        if foreign or headers.get("sec-fetch-site", "").lower() in ("cross-site", "same-site"):
            message = f"requests from {origin or 'other origins'} are refused; allow them with allowed_origins"
            raise refuse(403, message, code="origin_not_allowed")

    def cross_origin(self, headers: Headers) -> dict[str, str]:
        """The headers that let the page read the answer, if `allowed_origins` allows it."""
        origin = headers.get("origin")
        if origin is None or not self._allows(origin):
            return {}
        allowed = {"access-control-allow-origin": origin, "vary": "origin", "access-control-expose-headers": _READ_BY_CLIENTS}
        if "access-control-request-method" in headers:
            asked = headers.get("access-control-request-headers", "content-type, authorization, x-api-key")
            allowed |= {"access-control-allow-methods": "GET, HEAD, POST, DELETE", "access-control-allow-headers": asked}
        return allowed

    def _allows(self, origin: str) -> bool:
        return origin in self._origins or "*" in self._origins

    def check_local(self, headers: Headers, address: str) -> None:
        """Refuse a request that did not come from this machine, or used a public name, for example through a proxy."""
        if not is_loopback(_hostname(headers.get("host", ""))) or not (address == "local" or is_loopback(address)):
            raise refuse(403, "only browsers on this machine can open this page", code="host_not_allowed")

    def check_key(self, headers: Headers, *, browser: bool = False) -> str | None:
        """A short name of the client's key, for limits and logs; None if no key is required.

        A `browser` may send it as the password that it asks for, with any user name.
        """
        if not self._keys:
            return None
        # Anthropic's clients use x-api-key. They send both if both are set, such as the key of an account and a server's token.
        sent = [headers.get("x-api-key", "")]
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            sent.append(key)
        elif browser and scheme.lower() == "basic":
            sent.append(_password(key))
        known = [given for given in map(_given, sent) if self._knows(given)]
        if not known:
            message = "send one of this server's keys as `Authorization: Bearer KEY`"
            raise refuse(401, message, code="invalid_api_key", headers=_ASKING if browser else _CHALLENGE)
        return f"key-{known[0].hex()[:8]}"

    def _knows(self, given: bytes) -> bool:
        # All keys are compared, each in constant time, so the time does not show which key was similar or how similar.
        return bool(sum([hmac.compare_digest(given, key) for key in self._keys]))

    def check_type(self, headers: Headers) -> None:
        """Refuse a body whose content type is not JSON."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise refuse(415, "send the body with `Content-Type: application/json`", code="unsupported_media_type")


_READ_BY_CLIENTS = "x-request-id, retry-after, x-should-retry"
_CHALLENGE = {"www-authenticate": "Bearer", "x-should-retry": "false"}
_ASKING = {"www-authenticate": 'Basic realm="use a key of this server as the password", charset="UTF-8"'}


def _password(credentials: str) -> str:
    """The password of `Authorization: Basic`, in the text form of header bytes; empty if there is none."""
    try:
        return base64.b64decode(credentials, validate=True).decode("latin-1").partition(":")[2]
    except ValueError:
        return ""


def _given(key: str) -> bytes:
    return _digest(key.strip().encode("latin-1"))  # this is how the bytes of a header became text


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
