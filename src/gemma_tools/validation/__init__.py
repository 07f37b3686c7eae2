"""What OpenAI code sends, validated once and brought into one form.

`validate` takes the messages, tools and tool choice of a request in every shape that OpenAI code and the agent frameworks
send; `parse_request` takes a whole request body. Both raise `InvalidRequest` with the name of the field that is wrong, and
never change what they are given. `policy.FIELD_POLICY` says of every field of the body what is done with it.
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
