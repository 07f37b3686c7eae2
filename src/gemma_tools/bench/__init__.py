"""Measuring: what parsers make of recorded outputs."""

from gemma_tools.bench.parsing import Gemma4BenchmarkResult, Gemma4ToolParser, ToolCallAttempt

__all__ = ["Gemma4BenchmarkResult", "Gemma4ToolParser", "ToolCallAttempt"]
