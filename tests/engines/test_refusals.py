"""What chat endpoints and gateways say when they refuse, each in its own words, is one typed error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gemma_tools.engines.refusals import refusal, refused_feature
from gemma_tools.errors import (
    AnswerBlocked,
    ContextExceeded,
    EngineRejected,
    ModelNotFound,
    QuotaExceeded,
    RateLimited,
)


def google(code: int, message: str, *details: Any) -> dict[str, Any]:
    return {"code": code, "message": message, "status": "X", "details": list(details)}


def openrouter(code: int, message: str, **metadata: Any) -> dict[str, Any]:
    return {"code": code, "message": message, "metadata": metadata}


DELAY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "18s"}
PER_DAY = {"@type": "x.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
PER_MINUTE = {"@type": "x.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}]}
EXCEEDED = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, google(429, EXCEEDED, PER_MINUTE, DELAY), RateLimited),
        (429, google(429, "Resource has been exhausted (e.g. check quota)."), RateLimited),
        (429, google(429, EXCEEDED, PER_DAY, DELAY), QuotaExceeded),
        (429, openrouter(429, "Provider returned error", raw="m is temporarily rate-limited upstream"), RateLimited),
        (429, openrouter(429, "Rate limit exceeded: free-models-per-day"), QuotaExceeded),
        (402, openrouter(402, "Insufficient credits. Add more using https://openrouter.ai/credits"), QuotaExceeded),
        (402, {"error": "You have exceeded your monthly included credits for Inference Providers."}, QuotaExceeded),
        (429, {"message": "quota", "code": "insufficient_quota"}, QuotaExceeded),
        (429, {"message": "you have used up your daily free allocation of 10,000 neurons"}, QuotaExceeded),
        (429, "slow down", RateLimited),
        (403, openrouter(403, "Your input was flagged", reasons=["violence"], flagged_input="..."), AnswerBlocked),
        (400, {"message": "The response was filtered", "code": "content_filter"}, AnswerBlocked),
        (400, google(400, "The prompt was blocked: PROHIBITED_CONTENT"), AnswerBlocked),
        (404, google(404, "models/gemma-9-it is not found for API version v1main"), ModelNotFound),
        (400, openrouter(400, "google/gemma-9-it is not a valid model ID"), ModelNotFound),
        (400, {"message": "The requested model 'x' is not supported by any provider you have enabled."}, ModelNotFound),
        (400, openrouter(400, "This endpoint's maximum context length is 8192 tokens."), ContextExceeded),
        (401, {"message": "User not found."}, EngineRejected),
        (503, {"message": "The model is overloaded."}, EngineRejected),
        (None, openrouter(429, "Rate limited in the middle of the answer"), RateLimited),
        (None, {"message": "out of memory"}, EngineRejected),
    ],
)
def test_every_refusal_has_its_type(status: int | None, body: Any, kind: type[Exception]) -> None:
    error = refusal(status, body, "the server")
    assert type(error) is kind
    said = body["message"] if isinstance(body, dict) and "message" in body else str(body)
    assert kind is EngineRejected or said[:30] in str(error) or "credits" in str(error)


def test_the_words_of_the_provider_are_passed_on() -> None:
    error = refusal(429, openrouter(429, "Provider returned error", raw="busy", provider_name="Mill"), "the server")
    assert "Provider returned error: busy (Mill)" in str(error)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "7"}, {}, 7),
        ({"retry-after": "7"}, google(429, EXCEEDED, DELAY), 7),
        ({}, google(429, EXCEEDED, DELAY), 18),
        ({}, google(429, EXCEEDED + " Please retry in 2.5s."), 2.5),
        ({}, {"message": "slow down"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], body: Any, seconds: float | None) -> None:
    error = refusal(429, body, "the server", headers)
    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds


ALL = frozenset({"tools", "tool_choice", "json_schema", "system", "stream_options"})


@pytest.mark.parametrize(
    ("status", "body", "feature"),
    [
        (400, google(400, "Function calling is not enabled for models/gemma-3-27b-it"), "tools"),
        (404, openrouter(404, 'No endpoints found that support tool use. Try disabling "f".'), "tools"),
        (404, openrouter(404, "No endpoints found that support the provided 'tool_choice' value."), "tool_choice"),
        (400, {"message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'}, "tools"),
        (400, {"message": "registry.ollama.ai/library/gemma3 does not support tools"}, "tools"),
        (500, {"message": "tools param requires --jinja flag"}, "tools"),
        (405, {"message": "Tool calling is not supported for model: m"}, "tools"),
        (422, {"message": "unexpected", "param": "tools"}, "tools"),
        (400, google(400, "JSON mode is not enabled for models/gemma-3-27b-it"), "json_schema"),
        (404, openrouter(404, "No endpoints found that can handle the requested parameters."), "json_schema"),
        (400, {"message": "x", "param": "response_format"}, "json_schema"),
        (400, google(400, "Developer instruction is not enabled for models/gemma-3-27b-it"), "system"),
        (400, {"message": "System role not supported"}, "system"),
        (400, google(400, "Unknown name \"const\" at 'tools[0].function.parameters': Cannot find field."), "tools"),
        (400, google(400, "Invalid value at 'generation_config.response_schema.type'"), "json_schema"),
        (400, {"message": "Unrecognized request argument supplied: stream_options"}, "stream_options"),
        (None, {"message": "Function calling is not enabled for models/m"}, "tools"),
        (429, google(429, "Function calling is not enabled"), None),
        (400, {"message": "temperature must be at most 2", "param": "temperature"}, None),
    ],
)
def test_a_feature_that_is_refused_for_good_is_known(status: int | None, body: Any, feature: str | None) -> None:
    assert refused_feature(status, body, ALL) == feature
    assert refused_feature(status, body, ALL - {feature}) is None  # type: ignore[arg-type]


def test_long_words_are_cut_and_read_in_linear_time() -> None:
    error = refusal(400, json.dumps({"x": "model " * 200_000}), "the server")
    assert len(str(error)) < 1000
