"""Running tools: Python functions as tools, toolboxes, and the loop in which a model calls them."""

from typing import TYPE_CHECKING, Any

from gemma_tools.tools.functions import FunctionTool, tool
from gemma_tools.tools.loop import (
    Ask,
    CallFinished,
    CallStarted,
    Delta,
    LoopEvent,
    Replied,
    Run,
    arun_tools,
    rounds,
    run_calls,
    run_tools,
)
from gemma_tools.tools.mcp import amcp_toolbox, mcp_toolbox
from gemma_tools.tools.scripts import ScriptResult, script_runner
from gemma_tools.tools.toolbox import Toolable, ToolBox, ToolResult, load_tools
from gemma_tools.tools.transcript import Transcript

if TYPE_CHECKING:
    from gemma_tools.tools.system import get_system_info

__all__ = [
    "Ask",
    "CallFinished",
    "CallStarted",
    "Delta",
    "FunctionTool",
    "LoopEvent",
    "Replied",
    "Run",
    "ScriptResult",
    "ToolBox",
    "ToolResult",
    "Toolable",
    "Transcript",
    "amcp_toolbox",
    "arun_tools",
    "get_system_info",
    "load_tools",
    "mcp_toolbox",
    "rounds",
    "run_calls",
    "run_tools",
    "script_runner",
    "tool",
]


def __getattr__(name: str) -> Any:
    # The only tool that needs an extra on first access.
    if name != "get_system_info":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gemma_tools.tools.system import get_system_info

    return get_system_info
