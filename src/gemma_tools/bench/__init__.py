"""Evaluation: how well a model calls tools, and what parsers read from recorded outputs."""

from gemma_tools.bench.asking import Endpoint, Said, Sampling
from gemma_tools.bench.cases import Case, ExpectedCall, read_cases, sample, write_cases
from gemma_tools.bench.evaluate import Evaluation, evaluate
from gemma_tools.bench.html import as_html
from gemma_tools.bench.parsing import Gemma4BenchmarkResult, Gemma4ToolParser, ToolCallAttempt
from gemma_tools.bench.report import as_json, as_markdown
from gemma_tools.bench.results import Result
from gemma_tools.bench.scores import Score, Share
from gemma_tools.bench.suites import bfcl_cases, load_suite

__all__ = [
    "Case",
    "Endpoint",
    "Evaluation",
    "ExpectedCall",
    "Gemma4BenchmarkResult",
    "Gemma4ToolParser",
    "Result",
    "Said",
    "Sampling",
    "Score",
    "Share",
    "ToolCallAttempt",
    "as_html",
    "as_json",
    "as_markdown",
    "bfcl_cases",
    "evaluate",
    "load_suite",
    "read_cases",
    "sample",
    "write_cases",
]
