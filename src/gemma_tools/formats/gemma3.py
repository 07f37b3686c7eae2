"""Gemma 3 and 3n: renders requests, and creates the parser of their replies.

The turns are those of the chat template of google/gemma-3-*-it, which has no tools and no system turns. Everything about tools
is a prompting convention: the two instructions are those of https://ai.google.dev/gemma/docs/capabilities/function-calling, and
docs/formats.md describes how declarations, calls and results are written into the turns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats.base import Opens, Recovery
from gemma_tools.formats.family import GemmaFormat
from gemma_tools.formats.literals.names import Names
from gemma_tools.formats.literals.source import Source
from gemma_tools.formats.literals.text import TextReader
from gemma_tools.formats.literals.writer import python_text
from gemma_tools.formats.options import ToolContent
from gemma_tools.formats.reading import Buffer, Declared, Parser, ReplyBuilder
from gemma_tools.formats.rendering import DeclarationText, Declare, Draft, Request, result_of
from gemma_tools.jsontext import to_json, to_json_lines
from gemma_tools.prompt import TurnTokens, quote
from gemma_tools.request import MEDIA_PARTS, Call, Content, Message, Part, RawChoice, RawTool, Tool

if TYPE_CHECKING:
    from gemma_tools.grammar import Grammar

ToolStyle = Literal["pythonic", "json"]

_FORM: Final = {
    "pythonic": "[func_name1(params_name1=params_value1, params_name2=params_value2...), func_name2(params)]",
    "json": '{"name": function name, "parameters": dictionary of argument name and its value}',
}
_INSTRUCTION: Final = {
    style: "You have access to functions. If you decide to invoke any of the function(s), you MUST put it in the format of "
    f"{form}\n\nYou SHOULD NOT include any other text in the response if you call a function"
    for style, form in _FORM.items()
}
_PLACEHOLDERS: Final = {
    "3": {"image": "<start_of_image>"},
    "3n": {"image": "<image_soft_token>", "audio": "<audio_soft_token>"},
}
_HEADERS: Final = {"user": "<start_of_turn>user\n", "model": "<start_of_turn>model\n"}
_END: Final = "<end_of_turn>\n"
_NEXT: Final = {side: _END + header for side, header in _HEADERS.items()}
_NAMELESS: Final = "unknown"
_READABLE_KEY: Final = re.compile(r"[^\s,()\[\]{}<`\"'=:*]+")
_TURNS: Final = TurnTokens("<start_of_turn>", "<end_of_turn>")


@dataclass(frozen=True)
class Gemma3Format(GemmaFormat):
    """The format of Gemma 3 and 3n. docs/formats.md describes the options."""

    exact: bool = False
    recovery: Recovery = "schema"
    tool_content: ToolContent = "string"
    tool_style: ToolStyle = "pythonic"
    variant: Literal["3", "3n"] = "3"
    longest_string: int = 4096

    name: ClassVar[str] = "gemma3"
    controls: ClassVar[tuple[str, ...]] = (
        "<bos>",
        "<eos>",
        "<pad>",
        "<unk>",
        "<mask>",
        "<start_of_turn>",
        "<end_of_turn>",
        "<start_of_image>",
        "<end_of_image>",
        "<image_soft_token>",
        "<audio_soft_token>",
    )
    stop: ClassVar[tuple[str, ...]] = ("<end_of_turn>", "<eos>")
    tools_in_template: ClassVar[bool] = False
    # 256 for an image, 188 for audio, one token before and after, and two blank lines: the processors of Gemma 3 and 3n.
    media_tokens: ClassVar[Mapping[str, int]] = MappingProxyType({"image": 260, "audio": 192})
    least_media_tokens: ClassVar[Mapping[str, int]] = MappingProxyType({"image": 256, "audio": 188})

    @property
    def call_opening(self) -> tuple[str, str]:
        """See `Format.call_opening`."""
        return ("[", "(") if self.tool_style == "pythonic" else ('{"name": "', '", "parameters": {')

    @property
    def several_calls(self) -> bool:
        """See `Format.several_calls`: the JSON style documents one object."""
        return self.tool_style == "pythonic"

    @property
    def turn_tokens(self) -> TurnTokens:
        """See `GemmaFormat.turn_tokens`."""
        return _TURNS

    @property
    def _declare(self) -> Declare:
        return _declare

    def _render(self, request: Request, draft: Draft) -> Opens:
        writer = _Turns(self, draft)
        if request.enable_thinking:
            draft.warnings.append("enable_thinking: Gemma 3 has no thought channel")
        blocks = [self._system(request.lead, writer)] if request.lead else []
        if request.tools:
            functions = ",\n".join(self._declarations(request.tools, draft))
            blocks += (_INSTRUCTION[self.tool_style], f"[\n{functions}\n]")
        if not blocks and request.messages[0].role == "assistant":
            draft.warnings.append("messages[0]: an empty user turn is added before it, because the user must begin")
        writer.begin("".join([block + "\n\n" for block in blocks if block]))
        writer.write(request.messages, int(request.lead is not None))
        draft.out.append(_END)
        if request.add_generation_prompt:
            draft.out.append(_HEADERS["model"])
        return "content"

    def _system(self, message: Message, writer: _Turns) -> str:
        """The text before the first user's text; the template trims nothing there, and uses only one part."""
        content = message.content
        if not self.exact or not content:
            return writer.body(content, 0)
        text = content if isinstance(content, str) else content[0].get("text") if isinstance(content, tuple) else None
        return quote(text or "")

    def _turn(self, messages: tuple[Message, ...], draft: Draft) -> None:
        _Turns(self, draft).write(messages, 0)
        draft.out.append(_END)

    def _value(self, value: object) -> str:
        return python_text(value) if self.tool_style == "pythonic" else to_json(value)

    def _parser(
        self,
        declared: Declared,
        *,
        opens: Opens = "content",
        guarded: Collection[str] = (),
        strict: bool = False,
        max_calls: int | None = None,
    ) -> Parser:
        # Both tool styles are read, whichever the prompt asks for.
        one_object = max_calls is None and not self.several_calls
        exact = strict or declared is None
        buffer = Buffer()
        builder = ReplyBuilder(buffer, max_calls=max_calls)
        names = Names(declared, exact=exact)
        reader = TextReader(Source(buffer, guarded), builder, names, exact=exact, one_object=one_object)
        return Parser(buffer, builder, reader.read())

    def _grammar(self, tools: Sequence[RawTool], *, tool_choice: RawChoice, opens: Opens, max_calls: int) -> Grammar:
        from gemma_tools.formats.literals.grammar import gemma3_grammar
        from gemma_tools.grammar.values import Bounds

        bounds = Bounds(string=self.longest_string)
        return gemma3_grammar(
            self.tool_style, self.controls, tools, tool_choice=tool_choice, max_calls=max_calls, bounds=bounds
        )


class _Turns:
    """Writes alternating user and model turns: consecutive messages of one side are one turn."""

    def __init__(self, form: Gemma3Format, draft: Draft) -> None:
        self._draft = draft
        self._out = draft.out
        self._mode = form.tool_content
        self._call_text = _pythonic_calls if form.tool_style == "pythonic" else _json_calls
        self._placeholders = _PLACEHOLDERS[form.variant]
        self._side = ""
        self._filled = False
        self._results = False
        self._waiting = 0
        """Calls that have no result yet."""

    def begin(self, lead: str) -> None:
        """Begin the prompt and the first turn, which is always the user's."""
        self._draft.out += ("<bos>", _HEADERS["user"], lead)
        self._side = "user"

    def write(self, messages: tuple[Message, ...], start: int) -> None:
        """Write the messages from `start` on; the last turn stays open."""
        said, answered = self._message, self._answer
        for index in range(start, len(messages)):
            message = messages[index]
            (answered if message.role == "tool" else said)(index, message)
        if self._waiting:
            self._draft.warnings.append(f"at the end: calls without a result: {self._waiting}")

    def _answer(self, index: int, result: Message) -> None:
        if result.called is None:
            self._draft.lose_question(index)
        elif self._waiting:
            self._waiting -= 1
        self._result(result.called or result.name, result.content, index)

    def _message(self, index: int, message: Message) -> None:
        role, content, calls, _, name, _, reasoning, responses = message
        if self._waiting and role != "assistant":
            self._draft.warnings.append(f"before messages[{index}]: calls without a result: {self._waiting}")
            self._waiting = 0
        text = quote(content.strip()) if content.__class__ is str else self.body(content, index)
        if role != "assistant":
            self._add("user", text)
        elif not responses:
            self._add("model", text)
        if calls:
            self._calls(calls, index, "\n" if text else "\n\n")
            self._waiting += max(0, len(calls) - len(responses))
        for response in responses:
            self._result(response.name, response.response, index)
        if responses and text:  # Gemma's own shape: the text is the model's answer after the results
            self._add("model", text)
        if reasoning:
            self._draft.lose_thought(index, "Gemma 3")
        if name is not None:
            self._draft.lose_name(index)

    def body(self, content: Content, index: int) -> str:
        """The content of a message, quoted: texts trimmed one by one, media as placeholders, no separator."""
        if isinstance(content, str):
            return quote(content.strip())
        return self._parts(content, index) if isinstance(content, tuple) else ""

    def _parts(self, parts: Sequence[Part], index: int, *, media_only: bool = False) -> str:
        out = []
        for i, part in enumerate(parts):
            if part["type"] == "text":
                out.append("" if media_only else quote(part["text"].strip()))
                continue
            kind = MEDIA_PARTS[part["type"]]
            if kind not in self._placeholders:
                readable = " and ".join(("text", *self._placeholders))
                raise InvalidRequest(
                    f"this Gemma reads only {readable}", param=f"messages[{index}].content[{i}]", code="unsupported_content"
                )
            self._draft.media.append(part)
            out.append(self._placeholders[kind])
        return "".join(out)

    def _add(self, side: str, text: str, gap: str = "\n\n") -> None:
        """Add to the turn of `side`, which is opened if necessary; `gap` separates `text` from the turn's earlier text."""
        out = self._out
        if side != self._side:
            out.append(_NEXT[side] if self._side else _HEADERS[side])
            self._side = side
            self._filled = False
        if text:
            if self._filled:
                out.append(gap)
            out.append(text)
            self._filled = True
        self._results = False

    def _calls(self, calls: Sequence[Call], index: int, gap: str) -> None:
        self._add("model", quote(self._call_text(calls)), gap)
        for i, call in enumerate(calls):
            if not call.readable:
                self._draft.lose_arguments(index, i)
            elif self._call_text is _pythonic_calls:
                for key in call.arguments:
                    if not key.isidentifier() and not _READABLE_KEY.fullmatch(key):
                        self._draft.lose_key(index, i, key)

    def _result(self, name: str | None, content: object, index: int) -> None:
        """A tool's result, in its own fence."""
        said = content if content.__class__ is str and self._mode == "string" else result_of(content, self._mode)
        text = said if isinstance(said, str) else "" if said is None else to_json(said)
        media = self._parts(content, index, media_only=True) if isinstance(content, tuple) else ""
        gap = "\n" if self._results else "\n\n"
        self._add("user", f"```tool_output\n{quote(f'{name or _NAMELESS}: {text}')}\n```{media}", gap)
        self._results = True


def _pythonic_calls(calls: Sequence[Call]) -> str:
    """`[f(a=1, b='x'), g()]`."""
    written = []
    for _, name, arguments, _ in calls:
        said = [
            f"{key}={value!r}" if value.__class__ is str else f"{key}={python_text(value)}" for key, value in arguments.items()
        ]
        written.append(f"{name}({', '.join(said)})")
    return f"[{', '.join(written)}]"


def _json_calls(calls: Sequence[Call]) -> str:
    """The object of a single call, or an array of several."""
    written = [f'{{"name": {to_json(call.name)}, "parameters": {to_json(call.arguments)}}}' for call in calls]
    return written[0] if len(written) == 1 else f"[{', '.join(written)}]"


def _declare(tool: Tool) -> DeclarationText:
    """The function as a list entry."""
    return quote("  " + to_json_lines(tool.function, 1)), ()
