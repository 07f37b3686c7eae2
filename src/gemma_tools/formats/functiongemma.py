"""FunctionGemma: renders requests, and creates the parser of its replies.

The wire format is that of the chat template of google/functiongemma-270m-it and of the formatting guide at
https://ai.google.dev/gemma/docs/functiongemma. docs/formats.md lists the differences from the template and the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats.base import Opens, Plain, Recovery
from gemma_tools.formats.brace.declaration import Declaration, Piece, declare_in_full
from gemma_tools.formats.brace.format import PLAIN_REPAIRS, PLAIN_RESULT, BraceFormat
from gemma_tools.formats.brace.tokens import Dialect
from gemma_tools.formats.brace.writer import Notation
from gemma_tools.formats.options import Declarations, ToolContent
from gemma_tools.formats.rendering import DeclarationText, Declare, Draft, Request, result_of, write_result
from gemma_tools.jsontext import is_mapping
from gemma_tools.prompt import TurnTokens, quote, unquote
from gemma_tools.request import Content, Message, Tool
from gemma_tools.schema.declare import Path, Schema

INSTRUCTION: Final = "You are a model that can do function calling with the following functions"
"""The developer text that the model was trained with; Google's guide calls it essential."""

_DECLARE: Final = ("<start_function_declaration>", "<end_function_declaration>")
_SCHEMA_WORDS: Final = frozenset(("description", "type", "properties", "required", "nullable"))
_NOTATION: Final = Notation(
    delimiter="<escape>",
    call=("<start_function_call>", "<end_function_call>"),
    response=("<start_function_response>", "<end_function_response>"),
)
_NOTATIONS: Final = {False: _NOTATION, True: Notation(_NOTATION.delimiter, _NOTATION.call, _NOTATION.response, null="None")}
"""By `exact`: the template prints null as Python does."""
_TURNS: Final = TurnTokens(
    "<start_of_turn>",
    "<end_of_turn>",
    call_end=_NOTATION.call[1],
    response=_NOTATION.response,
    plain=_NOTATION.plain(_DECLARE),
)


@dataclass(frozen=True)
class FunctionGemmaFormat(BraceFormat):
    """The format of FunctionGemma (270M). docs/formats.md describes the options."""

    exact: bool = False
    recovery: Recovery = "schema"
    tool_content: ToolContent = "json_object"
    default_instruction: bool = False
    declarations: Declarations = "template"
    longest_string: int = 512  # the model is small and easily writes on and on

    name: ClassVar[str] = "functiongemma"
    controls: ClassVar[tuple[str, ...]] = (
        "<bos>",
        "<eos>",
        "<pad>",
        "<unk>",
        "<mask>",
        "<start_of_turn>",
        "<end_of_turn>",
        *_DECLARE,
        *_NOTATION.call,
        *_NOTATION.response,
        "<escape>",
        "<start_of_image>",
        "<end_of_image>",
        "<image_soft_token>",
    )
    stop: ClassVar[tuple[str, ...]] = ("<end_of_turn>", "<eos>", "<start_function_response>")
    declares: ClassVar[tuple[str, str]] = _DECLARE
    plain: ClassVar[Plain] = Plain(result=PLAIN_RESULT, repairs=PLAIN_REPAIRS)

    @property
    def dialect(self) -> Dialect:
        """See `BraceFormat.dialect`."""
        return _DIALECT

    @property
    def turn_tokens(self) -> TurnTokens | None:
        """See `GemmaFormat.turn_tokens`; None with `exact`: the template joins a user's text to the result before it."""
        return None if self.exact else _TURNS

    @property
    def _declare(self) -> Declare:
        return _IN_FULL if self.declarations == "full" else _AS_TEMPLATE[self.exact]

    def _render(self, request: Request, draft: Draft) -> Opens:
        if request.enable_thinking:
            draft.warnings.append("enable_thinking: FunctionGemma has no thought channel")
        lead, tools = request.lead, request.tools
        draft.out.append("<bos>")
        if tools or lead:
            text = _body(lead.content, 0) if lead else ""
            if not text and tools and self.default_instruction:
                text = INSTRUCTION
            draft.out += (_HEADERS["developer"], text, *self._declarations(tools, draft), _END)
        self._turns(request.messages, int(lead is not None), request.add_generation_prompt, draft)
        return "content"

    def _turn(self, messages: tuple[Message, ...], draft: Draft) -> None:
        self._turns(messages, 0, False, draft)

    def _turns(self, messages: tuple[Message, ...], start: int, go_on: bool, draft: Draft) -> None:
        writer = _Turns(self.exact, self.tool_content, draft)
        write = {"assistant": writer.answer, "tool": writer.result}
        for index in range(start, len(messages)):
            message = messages[index]
            write.get(message.role, writer.other)(index, message)
        writer.end(go_on)

    def _value(self, value: object) -> str:
        return unquote(_NOTATIONS[self.exact].value(value))


class _Turns:
    """Writes turns. A model turn with calls stays open for its results, and for the model's text after them."""

    def __init__(self, exact: bool, tool_content: ToolContent, draft: Draft) -> None:
        self._exact = exact
        self._notation = _NOTATIONS[exact]
        self._mode = tool_content
        self._draft = draft
        self._out = draft.out
        self._open = ""
        """The last part of the open model turn, "calls" or "results"; empty if no turn is open."""
        self._waiting = 0
        """Calls of the open turn that have no result yet."""

    def other(self, index: int, message: Message) -> None:
        """Write a message that is neither the model's nor a tool's."""
        header = _HEADERS[message.role]
        if self._open or self._waiting:
            header = self._leave(index, header)
        self._out.append(f"{header}{_body(message.content, index)}<end_of_turn>\n")
        self._open = ""
        if message.name is not None:
            self._draft.lose_name(index)

    def answer(self, index: int, message: Message) -> None:
        """Write a message of the model, and its calls."""
        _, content, calls, _, name, _, reasoning, responses = message
        out = self._out
        if self._open != "results":
            header = _HEADERS["assistant"]
            out.append(self._leave(index, header) if self._open or self._waiting else header)
        text = "" if content is None else _body(content, index)
        self._open = "calls" if calls else ""
        if not responses:
            out.append(text)
        if calls:
            self._waiting += max(0, len(calls) - len(responses))
            self._draft.calls(self._notation, message, index)
        if responses:  # Gemma's own shape, calls and their results in one message: the text is the model's answer after them
            out += [self._notation.write_response(response.name or "unknown", response.response) for response in responses]
            out.append(text)
            self._open = "" if text else "results"
        if reasoning:
            self._draft.lose_thought(index, "FunctionGemma")
        if name is not None:
            self._draft.lose_name(index)
        if not self._open:
            out.append(_END)

    def _leave(self, index: int, header: str) -> str:
        """Start another turn: `header`, and before it the end of the model's turn, if that is still open.

        The template forgets the end, and after a result also the header. Calls without a result are reported.
        """
        results = self._open == "results"
        if results and self._exact:
            return ""
        if results:
            self._draft.warnings.append(f"messages[{index}] has its own turn; the template joins it to the result")
        if self._waiting:
            self._draft.warnings.append(f"before messages[{index}]: calls without a result: {self._waiting}")
            self._waiting = 0
        return _END + header if self._open and not self._exact else header

    def result(self, index: int, result: Message) -> None:
        """Write a result into the open model turn. If none is open, open one, which the template forgets."""
        content = result.content
        if content.__class__ is tuple:
            content = _text_only(content, index)
        if result.called is None:
            self._draft.lose_question(index)
        elif self._waiting:
            self._waiting -= 1
        if not self._open and not self._exact:
            self._out.append(_HEADERS["assistant"])
        self._open = "results"
        if not content or (isinstance(content, tuple) and not result_of(content, "string")):
            fate = "is left out" if self._exact else "the template leaves out"
            self._draft.warnings.append(f"messages[{index}] is an empty result, which {fate}")
            if self._exact:
                return
        self._out.append(write_result(self._notation, result.name or result.called or "unknown", content, self._mode))

    def end(self, go_on: bool) -> None:
        """Leave the model at a point where it can continue, if it should. The template starts another turn after open calls."""
        if self._waiting:
            self._draft.warnings.append(f"at the end: calls without a result: {self._waiting}")
        called = self._open == "calls"
        if called and (self._exact or not go_on):
            self._out.append(_NOTATION.response[0])
        if go_on and (not self._open or (called and self._exact)):
            self._out.append(_HEADERS["assistant"])


_END: Final = "<end_of_turn>\n"
_HEADERS: Final = {
    "system": "<start_of_turn>system\n",
    "developer": "<start_of_turn>developer\n",
    "user": "<start_of_turn>user\n",
    "assistant": "<start_of_turn>model\n",
}


def _body(content: Content, index: int) -> str:
    """The text of a turn, trimmed and quoted; parts are trimmed one by one and joined without a separator."""
    if isinstance(content, str):
        return quote(content.strip())
    parts = _text_only(content, index)
    return "".join([quote(part["text"].strip()) for part in parts]) if isinstance(parts, tuple) else ""


def _text_only(content: Content, index: int) -> Content:
    if isinstance(content, tuple):
        for i, part in enumerate(content):
            if part["type"] != "text":
                raise InvalidRequest(
                    "FunctionGemma reads only text", param=f"messages[{index}].content[{i}]", code="unsupported_content"
                )
    return content


def _described(schema: Schema, exact: bool) -> str:
    """The description of a property; the template prints `None` for null."""
    description = schema.get("description", "")
    return "" if description is None and not exact else str(description)


def _property(declaration: Declaration, schema: Schema, path: Path) -> list[Piece]:
    """The description first, then the keywords of the type, then the type."""
    said = ["description", "type"]
    pieces: list[Piece] = [f"description:{declaration.notation.string(_described(schema, declaration.exact))}"]
    kind = str(schema.get("type", "")).upper()
    if kind == "STRING" and schema.get("enum"):
        said.append("enum")
        pieces.append(f",enum:{declaration.notation.value(schema['enum'], bare_keys=False)}")
    elif kind == "OBJECT":
        said += ("properties", "required")
        properties = schema.get("properties")
        if not is_mapping(properties):
            properties = schema if declaration.exact else {}
        pieces += [",properties:{", (properties, path), "}"]
        if schema.get("required"):
            pieces.append(f",required:{declaration.names(schema['required'])}")
    elif kind == "ARRAY" and is_mapping(schema.get("items")) and schema["items"]:
        said.append("items")
        pieces += [",", *declaration.items(schema["items"], path)]
    declaration.drop(schema, said)
    pieces.append(f",type:{declaration.notation.string(kind)}}}")
    return pieces


def _declare(exact: bool, tool: Tool) -> DeclarationText:
    return Declaration(_NOTATIONS[exact], _property, exact, undeclared=_SCHEMA_WORDS).write(tool)


_AS_TEMPLATE: Final[dict[bool, Declare]] = {exact: partial(_declare, exact) for exact in (False, True)}
_IN_FULL: Final[Declare] = partial(declare_in_full, _NOTATION)

_DIALECT: Final = Dialect(
    controls=FunctionGemmaFormat.controls,
    start=_NOTATION.call[0],
    end=_NOTATION.call[1],
    delimiter=_NOTATION.delimiter,
    turn_start="<start_of_turn>",
    stop=FunctionGemmaFormat.stop,
    literal_delimiter=_NOTATION.delimiter,
    declaration=("<start_function_declaration>", "<end_function_declaration>"),
)
