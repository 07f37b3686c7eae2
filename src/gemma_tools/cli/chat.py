"""`gemma-tools chat`: a conversation in the terminal, with tools."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from gemma_tools.cli.options import (
    Adapters,
    Context,
    EngineName,
    GpuLayers,
    MaxAnswerBytes,
    MaxLineBytes,
    MaxTokens,
    OtherModel,
    Projector,
    Temperature,
    Threads,
    Url,
    opened,
)
from gemma_tools.errors import GemmaToolsError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

    from gemma_tools.backends.base import BaseModelBackend
    from gemma_tools.backends.config import Settings
    from gemma_tools.reply import ToolCall
    from gemma_tools.tools import LoopEvent, ToolBox, Transcript

_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Characters that a terminal would execute instead of showing."""


def chat(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="The model to chat with.")] = "tiny",
    other: OtherModel = None,
    tools: Annotated[
        str | None,
        typer.Option(help="A Python file with tools, which are run, or a JSON file with tools: then you type the results."),
    ] = None,
    system: Annotated[str | None, typer.Option(help="The system text.")] = None,
    engine: EngineName = None,
    url: Url = None,
    mmproj: Projector = None,
    lora: Adapters = None,
    context: Context = None,
    threads: Threads = None,
    gpu_layers: GpuLayers = None,
    max_line_bytes: MaxLineBytes = None,
    max_answer_bytes: MaxAnswerBytes = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
) -> None:
    """Chat with a model; its calls and their results are shown as they happen.

    Ctrl-C ends a reply, and at the prompt the chat. An empty line or Ctrl-D also ends the chat.
    """
    from gemma_tools.tools import ToolBox, load_tools

    box = load_tools(tools) if tools else ToolBox()
    with suppress(ImportError):
        import readline  # noqa: F401  (it makes input() editable)
    settings: Settings = {}
    if temperature is not None:
        settings["temperature"] = temperature
    if max_tokens is not None:
        settings["max_tokens"] = max_tokens
    with opened(ctx, other or model, **settings) as backend:
        if sys.stdin.isatty():
            print(f"{backend!r}; an empty line ends the chat", file=sys.stderr)
        Conversation(backend, box, system).hold()


class Conversation:
    """The messages so far, and the terminal for the next ones."""

    def __init__(self, backend: BaseModelBackend, box: ToolBox, system: str | None) -> None:
        self.backend = backend
        self.box = box
        self.messages: list[Mapping[str, Any]] = [{"role": "system", "content": system}] if system else []
        self.warned: set[str] = set()
        self.screen = Console(highlight=False, markup=False, soft_wrap=True)

    def hold(self) -> None:
        """Chat until there is no more input.

        On a terminal an error affects only its turn; with input from a file it ends the chat.
        """
        while text := _ask("you> "):
            try:
                self.messages = list(self._answer([*self.messages, {"role": "user", "content": text}]).messages)
            except GemmaToolsError as error:
                if not sys.stdin.isatty():
                    raise
                self._show(f"\n{error}\n", "red")
            except KeyboardInterrupt:
                if not sys.stdin.isatty():
                    raise
                self._show("\n(interrupted; the question is forgotten)\n", "yellow")

    def _answer(self, messages: list[Mapping[str, Any]]) -> Transcript:
        from gemma_tools.tools import run_tools

        transcript = run_tools(self.backend, messages, self.box, on_event=self._tell, stream=True)
        while transcript.stopped == "pending":
            results = [self._result(call) for call in transcript.pending]
            transcript = run_tools(self.backend, [*transcript.messages, *results], self.box, on_event=self._tell, stream=True)
        if transcript.stopped != "answered":
            self._show(f"(stopped: {transcript.stopped})\n", "yellow")
        return transcript

    def _result(self, call: ToolCall) -> Mapping[str, Any]:
        """The result of a call in a reply whose calls are not all run: from its function if it has one, else from the user."""
        if self.box.runs(call.name):
            content = self.box.call(call.name, call.arguments, id=call.id).content
        else:
            self._show(f"→ {call.name} {call.arguments_json}\n", "cyan")
            content = _ask(f"result of {call.name}> ")
        return {"role": "tool", "tool_call_id": call.id, "content": content}

    def _tell(self, event: LoopEvent) -> None:
        from gemma_tools.tools import CallFinished, CallStarted, Delta, Replied

        match event:
            case Delta(chunk) if chunk.choices:
                delta = chunk.choices[0].delta
                self._show(getattr(delta, "reasoning_content", None) or "", "dim")
                self._show(delta.content or "")
            case Replied(_, completion):
                self._replied(completion)
            case CallStarted(call):
                self._show(f"→ {call.name} {call.arguments_json}\n", "cyan")
            case CallFinished(call, result):
                self._show(f"← {call.name} {result.content}\n", "red" if result.fault else "green")

    def _replied(self, completion: ChatCompletion) -> None:
        """End the reply's line, and show its problems and the warnings that are new: an empty reply alone would be a riddle."""
        message = completion.choices[0].message
        self._show("\n" if message.content else "")
        for problem in (message.model_extra or {}).get("problems") or ():
            self._show(f"({problem['kind']}: {problem['message']})\n", "yellow")
        for warning in (completion.model_extra or {}).get("warnings") or ():
            if warning not in self.warned:
                self.warned.add(warning)
                self._show(f"(warning: {warning})\n", "yellow")

    def _show(self, text: str, style: str = "") -> None:
        if text:
            self.screen.print(Text(text.translate(_CONTROLS), style), end="")


def _ask(prompt: str) -> str:
    """A line that the user types; empty at the end of input."""
    try:
        return input(prompt if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""
