"""Inspection: the details of a request, its prompt and a model's output; as data, as a page, and in a terminal."""

from gemma_tools.backends.exchange import Exchange
from gemma_tools.inspection.make import examine, inspect, watch
from gemma_tools.inspection.model import (
    Inspection,
    LevelView,
    Output,
    OutputPart,
    OutputPiece,
    ProblemView,
    PromptPart,
    ToolView,
)

__all__ = [
    "Exchange",
    "Inspection",
    "LevelView",
    "Output",
    "OutputPart",
    "OutputPiece",
    "ProblemView",
    "PromptPart",
    "ToolView",
    "examine",
    "inspect",
    "watch",
]
