"""FunctionGemma: render a request, and make the parser of its replies.

The wire format is that of the chat template of google/functiongemma-270m-it and of the formatting guide at
https://ai.google.dev/gemma/docs/functiongemma. docs/formats.md lists where this departs from the template, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats.base import Recovery, ToolChoice
from gemma_tools.formats.brace.format import BraceFormat
from gemma_tools.formats.brace.tokens import Dialect
from gemma_tools.formats.brace.writer import Declaration, Notation, Piece
from gemma_tools.formats.rendering import (
    STRING_LENGTHS,
    Declared,
    ToolContent,
    check_option,
    declare_all,
    result_of,
    write_calls,
    write_result,
)
from gemma_tools.jsontext import check_json, is_mapping
from gemma_tools.prompt import Prompt, quote, unquote
from gemma_tools.request import Content, Message, RawMessage, RawTool, Tool
from gemma_tools.schema.declare import Path, Schema
from gemma_tools.validation import cached_tool, validate, validate_tools

INSTRUCTION: Final = "You are a model that can do function calling with the following functions"
"""The developer text that the model was trained with; Google's guide calls it essential."""

_DECLARE: Final = ("<start_function_declaration>", "<end_function_declaration>")
_SCHEMA_WORDS: Final = frozenset(("description", "type", "properties", "required", "nullable"))
_NOTATION: Final = Notation(
    delimiter="<escape>",
    call=("<start_function_call>", "<end_function_call>"),
    response=("<start_function_response>", "<end_function_response>"),
)
_NOTATION_EXACT: Final = Notation(_NOTATION.delimiter, _NOTATION.call, _NOTATION.response, null="None")


@dataclass(frozen=True)
class FunctionGemmaFormat(BraceFormat):
    """The format of FunctionGemma (270M). docs/formats.md says what the options do."""

    exact: bool = False
    recovery: Recovery = "schema"
    tool_content: ToolContent = "json_object"
    default_instruction: bool = False
    longest_string: int = 512  # the model is small and runs on easily

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

    @property
    def dialect(self) -> Dialect:
        """See `BraceFormat.dialect`."""
        return _DIALECT

    def __post_init__(self) -> None:
        check_option("exact", self.exact, (False, True))
        check_option("recovery", self.recovery, ("strict", "schema", "eager"))
        check_option("tool_content", self.tool_content, ("string", "json_object"))
        check_option("default_instruction", self.default_instruction, (False, True))
        check_option("longest_string", self.longest_string, STRING_LENGTHS)

    def render(
        self,
        messages: Sequence[RawMessage],
        tools: Sequence[RawTool] | None = None,
        *,
        tool_choice: ToolChoice = "auto",
        add_generation_prompt: bool = True,
        enable_thinking: bool = False,
        preserve_thinking: bool = False,
    ) -> Prompt:
        """See `Format.render`. FunctionGemma has no thought channel and reads text only.

        Raises:
            InvalidRequest: the request is not OpenAI's, or holds an image, audio or video part.
        """
        conversation, declared, choice = validate(messages, tools, tool_choice)
        losses: list[str] = []
        if enable_thinking:
            losses.append("enable_thinking: FunctionGemma has no thought channel")
        if choice.mode == "none":
            declared = ()
        out = ["<bos>"]
        first = conversation[0]
        start = int(first.role in ("system", "developer"))
        if declared or start:
            text = _body(first.content, 0) if start else ""
            if not text and declared and self.default_instruction:
                text = INSTRUCTION
            texts, losses_of_tools = declare_all(declared, _declared, _declare, self.exact)
            losses += losses_of_tools
            opened, closed = _DECLARE
            out += ("<start_of_turn>developer\n", text, *[f"{opened}{text}{closed}" for text in texts], "<end_of_turn>\n")
        self._turns(conversation, start, add_generation_prompt, out, losses)
        return Prompt("".join(out), self.controls, stop=self.stop, losses=tuple(losses))

    def _turns(
        self, messages: tuple[Message, ...], start: int, add_generation_prompt: bool, out: list[str], losses: list[str]
    ) -> None:
        """Write the turns. A model turn with calls stays open for its results, and for what the model says after them."""
        exact, notation = self.exact, _NOTATION_EXACT if self.exact else _NOTATION
        state = ""  # what the open model turn ends with, "calls" or "results"; empty when no turn is open
        waiting = 0  # calls of the open turn that have no result yet
        for index in range(start, len(messages)):
            role, content, calls, _, name, called, reasoning, responses = messages[index]
            if role == "tool":
                if called is None:
                    losses.append(f"messages[{index}] answers no call before it")
                elif waiting:
                    waiting -= 1
                if not state and not exact:
                    out.append("<start_of_turn>model\n")
                state = "results"
                content = _text_only(content, index)
                if not content or (isinstance(content, tuple) and not result_of(content, "string")):
                    losses.append(
                        f"messages[{index}] is an empty result, which {'is left out' if exact else 'the template leaves out'}"
                    )
                    if exact:
                        continue
                out.append(write_result(notation, name or called or "unknown", content, self.tool_content))
                continue
            if state != "results" or not (exact or role == "assistant"):
                if state and not exact:
                    out.append("<end_of_turn>\n")
                    if state == "results":
                        losses.append(f"messages[{index}] has a turn of its own, where the template joins it to the result")
                if waiting > 0:
                    losses.append(f"before messages[{index}]: calls without a result: {waiting}")
                    waiting = 0
                out.append(_HEADERS[role])
            text = _body(content, index)
            # In Gemma's own shape, calls and their tool_responses in one message, the text is what the model said after them.
            if not responses:
                out.append(text)
            state = "calls" if calls else ""
            waiting += max(0, len(calls) - len(responses))
            if calls:
                write_calls(notation, messages[index], index, out, losses)
            for response in responses:
                out.append(notation.write_response(response.name or "unknown", response.response))
            if responses:
                out.append(text)
                state = "" if text else "results"
            if reasoning:
                losses.append(f"messages[{index}].reasoning: FunctionGemma has no thought channel")
            if name is not None:
                losses.append(f"messages[{index}].name: turns carry no speaker's name")
            if not state:
                out.append("<end_of_turn>\n")
        if waiting > 0:
            losses.append(f"at the end: calls without a result: {waiting}")
        if state == "calls" and (exact or not add_generation_prompt):
            out.append("<start_function_response>")
        if add_generation_prompt and (not state or (exact and state == "calls")):
            out.append("<start_of_turn>model\n")

    def declaration(self, tool: RawTool) -> str:
        """One tool as the developer turn declares it, control tokens around it included."""
        texts, _ = declare_all(validate_tools([tool]), _declared, _declare, self.exact)
        return unquote(f"{_DECLARE[0]}{texts[0]}{_DECLARE[1]}")

    def turn(self, message: RawMessage) -> str:
        """One message as a turn of its own; a call is left open for its result."""
        conversation, _, _ = validate([message])
        out: list[str] = []
        self._turns(conversation, 0, False, out, [])
        return unquote("".join(out))

    def value(self, value: object) -> str:
        """A JSON value as calls and results write it."""
        check_json(value, "value")
        return unquote((_NOTATION_EXACT if self.exact else _NOTATION).value(value))


_HEADERS: Final = {
    "system": "<start_of_turn>system\n",
    "developer": "<start_of_turn>developer\n",
    "user": "<start_of_turn>user\n",
    "assistant": "<start_of_turn>model\n",
}


def _body(content: Content, index: int) -> str:
    """The text of a turn, trimmed and quoted; parts are trimmed one by one and joined with nothing."""
    if isinstance(content, str):
        return quote(content.strip())
    parts = _text_only(content, index)
    return "".join([quote(part["text"].strip()) for part in parts]) if isinstance(parts, tuple) else ""


def _text_only(content: Content, index: int) -> Content:
    if isinstance(content, tuple):
        for i, part in enumerate(content):
            if part["type"] != "text":
                raise InvalidRequest(
                    "FunctionGemma reads text only", param=f"messages[{index}].content[{i}]", code="unsupported_content"
                )
    return content


def _described(schema: Schema, exact: bool) -> str:
    """The description of a property; the template prints one that is null as `None`."""
    description = schema.get("description", "")
    return "" if description is None and not exact else str(description)


def _property(declaration: Declaration, schema: Schema, path: Path) -> list[Piece]:
    """Description always, then what belongs to the type, then the type."""
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
    pieces.append(f",type:{declaration.type_of(schema)}}}")
    return pieces


def _declare(tool: Tool, exact: bool) -> Declared:
    notation = _NOTATION_EXACT if exact else _NOTATION
    return Declaration(notation, _property, exact, undeclared=_SCHEMA_WORDS).write(tool)


@lru_cache(maxsize=1024)
def _declared(key: bytes, exact: bool) -> Declared:
    return _declare(cached_tool(key), exact)


_DIALECT: Final = Dialect(
    controls=FunctionGemmaFormat.controls,
    start=_NOTATION.call[0],
    end=_NOTATION.call[1],
    delimiter=_NOTATION.delimiter,
    turn_start="<start_of_turn>",
    stop=FunctionGemmaFormat.stop,
    literal_delimiter=_NOTATION.delimiter,
)
