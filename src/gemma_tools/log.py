"""What gemma_tools writes to the standard logging module.

There is one logger, `gemma_tools`. At INFO it says what happened (a request was answered, with how many tokens and calls),
never any message text. Prompts, raw output and tool results are logged at DEBUG, and only while the environment has
`GEMMA_TOOLS_LOG_CONTENT=1`. So a service that turns on DEBUG to find a bug does not write its users' messages to disk.
"""

from __future__ import annotations

import logging
import os

logger = logging.getLogger("gemma_tools")
logger.addHandler(logging.NullHandler())


def log_content(what: str, text: object) -> None:
    """Log message text at DEBUG, if that is allowed; `what` names it: "prompt", "output", "result of add"."""
    if logger.isEnabledFor(logging.DEBUG) and os.environ.get("GEMMA_TOOLS_LOG_CONTENT") == "1":
        logger.debug("%s: %s", what, text)
