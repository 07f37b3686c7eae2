"""Tools that run: Python functions as tools, boxes of them, and the loop in which a model calls them.

from gemma_tools.tools import run_tools, tool

@tool
def get_weather(city: str) -> str:
    "Gets the current weather for a city."
    return "sunny"

print(run_tools("functiongemma", "What is the weather in Lisbon?", [get_weather]))
"""

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
    run_tools,
)
from gemma_tools.tools.toolbox import Toolable, ToolBox, ToolResult, load_tools
from gemma_tools.tools.transcript import Transcript

__all__ = [
    "Ask",
    "CallFinished",
    "CallStarted",
    "Delta",
    "FunctionTool",
    "LoopEvent",
    "Replied",
    "Run",
    "ToolBox",
    "ToolResult",
    "Toolable",
    "Transcript",
    "arun_tools",
    "load_tools",
    "rounds",
    "run_tools",
    "tool",
]
