"""A gemma_tools model for CAMEL's agents. Our `BaseModelBackend` is not CAMEL's class; this class connects the two."""

from typing import Any

from gemma_tools.backends.base import BaseModelBackend
from gemma_tools.errors import MissingDependency

try:
    from camel.models import BaseModelBackend as CamelBackend
except ModuleNotFoundError as error:
    raise MissingDependency(error.name or "camel", "camel", "a CAMEL agent") from None


class CamelModel(CamelBackend):  # type: ignore[misc]  # CAMEL is not installed where types are checked
    """A model for `ChatAgent(model=...)`. The settings of `model` apply; with `stream` among them the agent streams."""

    def __init__(self, model: BaseModelBackend) -> None:
        # Thoughts are already separate: CAMEL need not search the text for them.
        super().__init__(model.model_type, dict(model.model_config_dict), extract_thinking_from_response=False)
        self._model = model
        self._fields: dict[str, Any] = {"stream_options": {"include_usage": True}} if model.stream else {}

    @property
    def token_counter(self) -> Any:
        """The model's own counter, which has the methods of CAMEL's: `count_tokens_from_messages`, `encode`, `decode`."""
        return self._model.token_counter

    @property
    def token_limit(self) -> int:
        return self._model.token_limit or super().token_limit

    @property
    def stream(self) -> bool:
        return self._model.stream

    def _run(self, messages: Any, response_format: Any = None, tools: Any = None) -> Any:
        return self._model.run(messages, response_format, tools, **self._fields)

    async def _arun(self, messages: Any, response_format: Any = None, tools: Any = None) -> Any:
        return await self._model.arun(messages, response_format, tools, **self._fields)
