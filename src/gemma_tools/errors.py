"""Every error that gemma_tools raises on purpose.

GemmaToolsError
├── InvalidRequest            the request itself is wrong: `param` names the field, `code` the kind (also a ValueError)
├── UnknownName               no model, format, engine or backend of that name (also a LookupError)
├── MissingDependency         an extra is not installed; the message is the line that installs it (also an ImportError)
├── EngineError               the engine failed; `engine` names it, `text` is what had arrived
│   ├── EngineUnavailable     no connection, or it broke
│   ├── EngineTimeout         no answer in time
│   ├── EngineRejected        it answered with an error; `status` is the HTTP status, if there was one
│   │   ├── RateLimited       too many requests for now; `retry_after` is how long it asks to wait
│   │   ├── QuotaExceeded     what may be used is used up; waiting a little does not help
│   │   └── AnswerBlocked     a safety filter stopped the request or the answer
│   ├── EngineProtocolError   it answered something that is not its protocol
│   ├── ModelNotFound         no such model, or no such model file
│   └── ContextExceeded       the prompt is longer than the context; `prompt_tokens`, `context`
├── UnusableAnswer            the model answered, and the answer breaks what was asked; `text` is the answer
└── ToolError                 raised by a tool: the message is what the model sees, word for word
"""

from __future__ import annotations


class GemmaToolsError(Exception):
    """The root of all errors of this package."""


class InvalidRequest(GemmaToolsError, ValueError):
    """The request cannot be honoured as it stands.

    `param` names the field in OpenAI's manner (`messages[2].tool_calls[0].id`), `code` the kind of fault in one word.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(f"{param}: {message}" if param else message)
        self.message = message
        self.param = param
        self.code = code


class UnknownName(GemmaToolsError, LookupError):
    """No model, format, engine or backend goes by that name; the message lists those that do."""


class MissingDependency(GemmaToolsError, ImportError):
    """A part needs an extra that is not installed; the message holds the line that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'gemma-tools[{extra}]'")
        self.package = package
        self.extra = extra


class EngineError(GemmaToolsError):
    """An engine failed. `engine` is its name, `text` what it had generated before."""

    def __init__(self, message: str, *, engine: str = "", text: str = "") -> None:
        super().__init__(message)
        self.engine = engine
        self.text = text


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or the connection broke."""


class EngineTimeout(EngineError):
    """The engine did not answer in time."""


class EngineRejected(EngineError):
    """The engine answered with an error of its own. `status` is the HTTP status where there is one.

    `retry_after` is how many seconds it asked to wait before the next request; None where it asked for nothing.
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
    """The engine takes no more requests for now."""


class QuotaExceeded(EngineRejected):
    """What the key or the account may use is used up: for the day, for the month, or until it is paid for."""


class AnswerBlocked(EngineRejected):
    """The provider's safety filter blocked the request, or the answer after `text`."""


class EngineProtocolError(EngineError):
    """The engine answered something that its protocol does not know."""


class ModelNotFound(EngineError):
    """The engine has no such model, or the model file is missing or unreadable."""


class ContextExceeded(EngineError):
    """The prompt is longer than the model's context. Both counts are in tokens; None where the engine does not say."""

    def __init__(self, message: str, *, engine: str = "", prompt_tokens: int | None = None, context: int | None = None) -> None:
        super().__init__(message, engine=engine)
        self.prompt_tokens = prompt_tokens
        self.context = context


class UnusableAnswer(GemmaToolsError):
    """The model's answer breaks what was asked of it, and repair did not help. `text` is that answer."""

    def __init__(self, message: str, *, text: str) -> None:
        super().__init__(message)
        self.text = text


class ToolError(GemmaToolsError):
    """Raised by a tool to tell the model what went wrong, in exactly these words."""
