"""Validates OpenAI requests once and converts them to one form.

`validate` takes the messages, tools and tool choice of a request in every form that OpenAI code and agent frameworks send;
`parse_request` takes a whole request body. Both raise `InvalidRequest` with the name of the wrong field, and never change their
arguments. `policy.FIELD_POLICY` says how every field of the body is handled.
"""

from gemma_tools.validation.body import parse_request
from gemma_tools.validation.conversation import validate
from gemma_tools.validation.messages import validate_messages
from gemma_tools.validation.tools import cached_tool, validate_choice, validate_tools
from gemma_tools.validation.values import check_flag, check_integer, check_number, check_object, check_text

__all__ = [
    "cached_tool",
    "check_flag",
    "check_integer",
    "check_number",
    "check_object",
    "check_text",
    "parse_request",
    "validate",
    "validate_choice",
    "validate_messages",
    "validate_tools",
]
