"""Messages, tools and the tool choice together: the input of rendering."""

from __future__ import annotations

from collections.abc import Sequence

from gemma_tools.request import Conversation, RawChoice, RawMessage, RawTool
from gemma_tools.validation.messages import validate_messages
from gemma_tools.validation.tools import validate_choice, validate_tools


def validate(
    messages: Sequence[RawMessage], tools: Sequence[RawTool] | None = None, tool_choice: RawChoice = "auto"
) -> Conversation:
    """Check a conversation and convert it to one form. Validated objects are returned unchanged.

    Messages, calls and parts may be dicts or objects with `model_dump`, such as the openai package's own.

    Raises:
        InvalidRequest: with the place in OpenAI's style, such as `messages[2].tool_calls[0].function.name`.
    """
    checked = validate_tools(tools)
    return Conversation(validate_messages(messages), checked, validate_choice(tool_choice, checked))
