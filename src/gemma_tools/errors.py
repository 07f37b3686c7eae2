"""All exceptions that gemma_tools raises on purpose.

GemmaToolsError
├── InvalidRequest            the request is invalid: `param` names the field, `code` the kind (also a ValueError)
├── UnknownName               there is no model, format, engine or backend with that name (also a LookupError)
├── MissingDependency         an extra is not installed; the message is the command that installs it (also an ImportError)
├── EngineError               the engine failed; `engine` names it, `text` is what had arrived
│   ├── EngineUnavailable     no connection, or the connection was lost
│   ├── EngineTimeout         no answer in time
│   ├── EngineRejected        the engine answered with an error; `status` is the HTTP status, if there was one
│   │   ├── RateLimited       too many requests for now; `retry_after` is how long to wait
│   │   ├── QuotaExceeded     the quota is used up; a short wait does not help
│   │   └── AnswerBlocked     a safety filter stopped the request or the answer
│   ├── EngineProtocolError   the answer does not follow the engine's protocol
│   ├── ModelNotFound         the model or the model file does not exist
│   └── ContextExceeded       the prompt is longer than the context; `prompt_tokens`, `context`
├── UnusableAnswer            the model's answer does not satisfy the request; `text` is the answer
└── ToolError                 raised by a tool: the message is what the model sees, word for word
"""

from __future__ import annotations


class GemmaToolsError(Exception):
    """The root of all errors of this package."""


class InvalidRequest(GemmaToolsError, ValueError):
    """The request cannot be honoured.

    `param` names the field in OpenAI's style (`messages[2].tool_calls[0].id`), `code` the kind of error in one word.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(f"{param}: {message}" if param else message)
        self.message = message
        self.param = param
        self.code = code


class UnknownName(GemmaToolsError, LookupError):
    """There is no model, format, engine or backend with that name. The message lists the known names."""


class MissingDependency(GemmaToolsError, ImportError):
    """A feature needs an extra that is not installed. The message contains the command that installs it.

    `command` is that command, if it is not simply the one for the extra.
    """

    def __init__(self, package: str, extra: str, purpose: str, command: str | None = None) -> None:
        command = command or f"pip install 'gemma-tools[{extra}]'"
        super().__init__(f"{purpose} needs {package}: {command}")
        self.package = package
        self.extra = extra


class EngineError(GemmaToolsError):
    """An engine failed. `engine` is its name, `text` what it had generated before."""

    def __init__(self, message: str, *, engine: str = "", text: str = "") -> None:
        super().__init__(message)
        self.engine = engine
        self.text = text


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or the connection was lost."""


class EngineTimeout(EngineError):
    """The engine did not answer in time."""


class EngineRejected(EngineError):
    """The engine answered with an error. `status` is the HTTP status, if there is one.

    `retry_after` is how many seconds to wait before the next request, as the engine asked; None if it did not ask.
    """

    def __init__(
        self,
        message: str,
        *,
        engine: str = "",
        text: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, engine=engine, text=text)
        self.status = status
        self.retry_after = retry_after


class RateLimited(EngineRejected):
    """The engine accepts no more requests for now."""


class QuotaExceeded(EngineRejected):
    """The quota of the key or the account is used up: for the day, for the month, or until it is paid for."""


class AnswerBlocked(EngineRejected):
    """The provider's safety filter blocked the request, or the answer after `text`."""


class EngineProtocolError(EngineError):
    """The engine's answer does not follow its protocol."""


class ModelNotFound(EngineError):
    """The engine does not have the model, or the model file is missing or unreadable."""


class ContextExceeded(EngineError):
    """The prompt is longer than the model's context. Both counts are in tokens; None if the engine does not report them."""

    def __init__(self, message: str, *, engine: str = "", prompt_tokens: int | None = None, context: int | None = None) -> None:
        super().__init__(message, engine=engine)
        self.prompt_tokens = prompt_tokens
        self.context = context


class UnusableAnswer(GemmaToolsError):
    """The model's answer does not satisfy the request, and retries did not help. `text` is that answer."""

    def __init__(self, message: str, *, text: str) -> None:
        super().__init__(message)
        self.text = text


class ToolError(GemmaToolsError):
    """Raised by a tool to tell the model what went wrong, with exactly this message."""
