"""The meaning of errors from chat endpoints and gateways: rate limits, quotas, blocked answers, and unsupported features.

There is no common code for any of these. The patterns are the providers' own words, as documented or as their
users report them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from gemma_tools.engines.answers import Headers, retry_after
from gemma_tools.engines.faults import status_fault
from gemma_tools.errors import AnswerBlocked, EngineError, EngineRejected, ModelNotFound, QuotaExceeded, RateLimited

Feature: TypeAlias = Literal["tools", "tool_choice", "json_schema", "system", "stream_options"]
"""What an endpoint may permanently refuse."""


def _any(*wordings: str) -> re.Pattern[str]:
    return re.compile("|".join(wordings), re.I)


_FEATURES: Final[Mapping[Feature, re.Pattern[str]]] = {
    "tool_choice": _any(r"tool_choice"),
    "tools": _any(
        r"function calling is not (enabled|supported)",  # Gemini
        r"support (tool|function)",  # OpenRouter, Ollama, llama.cpp: "does not support tools", "that support tool use"
        r"tool (use|calling) is not",
        r"tools param requires",
        r"unsupported param: tools",
        r"\btools\b.{0,40}not (enabled|supported|permitted)",
        r"at 'tools\[",  # Gemini, of a schema that it cannot read
    ),
    "json_schema": _any(
        r"json (mode|schema) is not (enabled|supported)",  # Gemini
        r"response_?(format|(json_)?schema)",
        r"structured[ _]outputs?",
        r"handle the requested parameters",  # OpenRouter, with `require_parameters`
    ),
    "system": _any(
        r"developer instruction is not enabled",  # Gemini
        r"system (role|message|prompt|instruction)s?\b.{0,40}not (enabled|supported|allowed)",
    ),
    "stream_options": _any(r"stream_options"),
}
"""In the order in which they are tried."""
_PARAMS: Final[Mapping[Feature, str]] = {"tool_choice": "tool_choice", "tools": "tools", "json_schema": "response_format"}
_NO_PARSER: Final = "--enable-auto-tool-choice"
"""vLLM's message, with the words `tool choice`, if it was started without a parser of calls: then it takes no tools."""
_REFUSING: Final = frozenset({400, 404, 405, 422, 500, 501, None})
"""Statuses with which a feature is refused; None is an error inside a stream."""
_BLOCKED: Final = _any(
    r"content.?filter", r"prohibited.content", r"\bflagged\b", r"safety (setting|filter|system|polic)", r"moderation"
)
_QUOTA: Final = _any(
    r"per.?day",
    r"\b(daily|monthly)\b",
    r"insufficient.?(quota|credit|fund|balance)",
    r"(included|enough|out of|more) credits",
    r"payment required",
)
_NO_MODEL: Final = _any(r"not a valid model", r"model\b[^\n]{0,200}(does not exist|not found|is not supported by any)")
_DELAY: Final = re.compile(r"(?:retryDelay\W{1,4}|retry in )([0-9]{1,6}(?:\.[0-9]{1,12})?)\s?s", re.I)
_UNKNOWN: Final = re.compile(
    r"(?:unknown (?:name|field|parameter)|unrecognized (?:request argument supplied|field)|extra (?:inputs|fields))"
    r"\W{1,4}([a-z_]+)",
    re.I,
)
ENDED_BLOCKED: Final = frozenset(
    {"content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii", "image_safety", "language"}
)
"""Finish reasons of a blocked answer; some gateways pass on Gemini's own, in capitals."""
ENDED_WRONG: Final = frozenset({"error", "malformed_function_call"})
"""Finish reasons of a failed answer: OpenRouter's, and Gemini's for a call that it could not read."""


_LONGEST: Final = 10_000
"""The part of an error that is read, in characters."""


def words_of(body: Any) -> str:
    """The words in an error, and those of the provider if a gateway passes them on."""
    if not isinstance(body, Mapping):
        return str(body)[:_LONGEST]
    said = str(body.get("message") or body.get("error") or body.get("detail") or json.dumps(dict(body), default=str))
    metadata = body.get("metadata")
    if isinstance(metadata, Mapping) and (raw := metadata.get("raw")):
        said = f"{said}: {raw} ({metadata.get('provider_name', 'the provider')})"
    return said[:_LONGEST]


def error_in(text: str) -> Any:
    """The error in the body of an answer: as the object that it is, else as text."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return body["error"] if isinstance(body, Mapping) and body.get("error") else body


def refused_feature(status: int | None, body: Any, sent: frozenset[Feature]) -> Feature | None:
    """Which of the `sent` features an error permanently refuses; None: it is about something else."""
    if status not in _REFUSING:
        return None
    said = words_of(body)
    if _NO_PARSER in said:
        return "tools" if "tools" in sent else None
    param = str(body.get("param") or "").partition(".")[0] if isinstance(body, Mapping) else ""
    return next((f for f, words in _FEATURES.items() if f in sent and (words.search(said) or _PARAMS.get(f) == param)), None)


def unknown_fields(said: str) -> frozenset[str]:
    """The fields that an error names as unknown."""
    return frozenset(_UNKNOWN.findall(said))


def refusal(status: int | None, body: Any, where: str, headers: Headers = MappingProxyType({})) -> EngineError:
    """The typed error for a status, or for an error without one, and the server's message."""
    said = words_of(body)
    if status is None and isinstance(body, Mapping):
        code = body.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else None
    whole = json.dumps(body, default=str)[:_LONGEST] if isinstance(body, Mapping) else said
    told = f"{where} answered with status {status}: {said.strip()[:500]}" if status else f"{where}: {said}"
    if status in (400, 403, 451, None) and _BLOCKED.search(whole):
        return AnswerBlocked(told, status=status)
    if status == 402 or (status in (403, 429) and _QUOTA.search(whole)):
        return QuotaExceeded(told, status=status)
    if status == 429:
        return RateLimited(told, status=status, retry_after=_wait(whole, headers))
    if status in (400, 422) and _NO_MODEL.search(said):
        return ModelNotFound(told)
    return EngineRejected(told) if status is None else status_fault(status, said, where, headers)


def _wait(whole: str, headers: Headers) -> float | None:
    """How many seconds a rate limit asks to wait: from its header, or from the body, as with Gemini."""
    asked, found = retry_after(headers), _DELAY.search(whole)
    return asked if asked is not None or found is None else float(found[1])
