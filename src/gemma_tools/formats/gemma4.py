"""Gemma 4: render a request, and make the parser of its replies.

The wire format is that of Google's canonical chat template, published 2026-07-09 in two variants: "small" (E2B, E4B) and
"large" (12B, 26B-A4B, 31B), which opens an empty thought block where the model shall not think; and that of DiffusionGemma
("diffusion"), which is the small one but for a new header of the model after results. docs/formats.md lists where this
departs from the templates, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, Literal

from gemma_tools.formats.base import Opens, Recovery, ToolChoice
from gemma_tools.formats.brace.format import BraceFormat
from gemma_tools.formats.brace.tokens import Dialect
from gemma_tools.formats.brace.writer import Declaration, Notation, Piece
from gemma_tools.formats.rendering import (
    STRING_LENGTHS,
    Declared,
    ToolContent,
    check_option,
    declare_all,
    write_calls,
    write_result,
)
from gemma_tools.jsontext import check_json, is_mapping
from gemma_tools.prompt import Prompt, quote, unquote
from gemma_tools.request import MEDIA_PARTS, Content, Message, Part, RawMessage, RawTool, Tool
from gemma_tools.schema.declare import Path, Schema
from gemma_tools.validation import cached_tool, validate, validate_tools

_DECLARE: Final = ("<|tool>", "<tool|>")
_CHANNEL: Final = ("<|channel>", "<channel|>")
_OPENER_AS_TEXT: Final = quote(_CHANNEL[0])
_NOTATION: Final = Notation(
    delimiter='<|"|>', call=("<|tool_call>", "<tool_call|>"), response=("<|tool_response>", "<tool_response|>")
)
_HEADERS: Final = {
    role: f"<|turn>{'model' if role == 'assistant' else role}\n" for role in ("system", "developer", "user", "assistant")
}


@dataclass(frozen=True)
class Gemma4Format(BraceFormat):
    """The format of Gemma 4. docs/formats.md says what the options do."""

    exact: bool = False
    recovery: Recovery = "schema"
    tool_content: ToolContent = "string"
    variant: Literal["small", "large", "diffusion"] = "small"
    revision: str = "2026-07-09"
    longest_string: int = 4096

    name: ClassVar[str] = "gemma4"
    controls: ClassVar[tuple[str, ...]] = (
        "<bos>",
        "<eos>",
        "<pad>",
        "<unk>",
        "<mask>",
        "<|turn>",
        "<turn|>",
        *_DECLARE,
        *_NOTATION.call,
        *_NOTATION.response,
        '<|"|>',
        *_CHANNEL,
        "<|think|>",
        "<|image|>",
        "<|audio|>",
        "<|video|>",
        "<|image>",
        "<image|>",
        "<|audio>",
        "<audio|>",
    )
    thought: ClassVar[tuple[str, str] | None] = ("<|channel>thought\n", "<channel|>")
    stop: ClassVar[tuple[str, ...]] = ("<turn|>", "<eos>", "<|tool_response>")

    @property
    def dialect(self) -> Dialect:
        """See `BraceFormat.dialect`."""
        return _DIALECT

    def __post_init__(self) -> None:
        check_option("exact", self.exact, (False, True))
        check_option("recovery", self.recovery, ("strict", "schema", "eager"))
        check_option("tool_content", self.tool_content, ("string", "json_object"))
        check_option("variant", self.variant, ("small", "large", "diffusion"))
        check_option("revision", self.revision, ("2026-07-09",))
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
        """See `Format.render`."""
        conversation, declared, choice = validate(messages, tools, tool_choice)
        if choice.mode == "none":
            declared = ()
        losses: list[str] = []
        media: list[Part] = []
        out = ["<bos>"]
        first = conversation[0]
        start = int(first.role in ("system", "developer"))
        if enable_thinking or declared or start:
            out.append("<|turn>system\n<|think|>\n" if enable_thinking else "<|turn>system\n")
            if start:
                # The template writes a space behind each part of a list, and here only.
                parts = first.content if isinstance(first.content, tuple) else ()
                out += [self._part(part, False, media) + " " for part in parts] or [self._body(first.content, False, media)]
            texts, lost = declare_all(declared, _declared, _declare, self.exact)
            losses += lost
            out += [f"<|tool>{text}<tool|>" for text in texts]
            out.append("<turn|>\n")
        end = self._turns(conversation, start, preserve_thinking, add_generation_prompt, out, losses, media)
        opens: Opens = "content"
        if add_generation_prompt:
            if not end:
                out.append("<|turn>model\n")
                if self.variant == "large" and not enable_thinking:
                    out.append("<|channel>thought\n<channel|>")
            elif end == "results" and enable_thinking:
                out.append("<|channel>thought\n")
                opens = "reasoning"
        return Prompt("".join(out), self.controls, opens=opens, stop=self.stop, losses=tuple(losses), media=tuple(media))

    def _turns(
        self,
        messages: tuple[Message, ...],
        start: int,
        preserve_thinking: bool,
        add_generation_prompt: bool,
        out: list[str],
        losses: list[str],
        media: list[Part],
    ) -> str:
        """Write the turns; what the last one, still open, ends with: "calls", "results", or nothing when it is closed."""
        exact = self.exact
        last_user = len(messages) - 1
        while last_user >= 0 and messages[last_user].role != "user":
            last_user -= 1
        previous, end, at = "", "", start
        while at < len(messages):
            message, index = messages[at], at
            role, content, calls, _, name, _, reasoning, responses = message
            at += role != "tool"
            results = at
            if role == "tool" or (calls and not (exact and responses)):
                while at < len(messages) and messages[at].role == "tool":
                    at += 1
            answers = at > results or bool(responses)
            if role == "tool":
                losses.append(f"messages[{index}] follows no call{' and is dropped' if exact else ''}")
                if exact:
                    previous = "tool" if self.variant == "diffusion" else previous
                    continue
                role, content, name = "assistant", None, None
            if role != "assistant" or previous != "assistant":
                out.append(_HEADERS[role])
            previous = role
            if name is not None:
                losses.append(f"messages[{index}].name: turns carry no speaker's name")
            if role != "assistant":
                out += (self._body(content, False, media), "<turn|>\n")
                end = ""
                continue
            if reasoning and (index > last_user or (preserve_thinking and calls)):
                out.append(f"<|channel>thought\n{quote(reasoning)}\n<channel|>")
            text = self._body(content, True, media)
            if _OPENER_AS_TEXT in text:
                losses.append(f"messages[{index}]: what follows an unclosed thought stays text, where the template drops it")
            # In Gemma's own shape, calls and their tool_responses in one message, the text is what the model said after them.
            text_last = bool(responses) or (exact and bool(calls))
            if not text_last:
                out.append(text)
                if text and calls:
                    losses.append(
                        f"messages[{index}]: its text stands before its calls, where the template writes it behind results"
                    )
            if calls:
                write_calls(_NOTATION, message, index, out, losses)
            for response in responses:
                out.append(_NOTATION.write_response(response.name or "unknown", response.response))
            for place in range(results, at):
                self._result(message, messages[place], place, out, losses, media)
                previous = "tool" if self.variant == "diffusion" else previous
            if text_last:
                out.append(text)
            missing = len(calls) - len(responses) - (at - results)
            if missing > 0:
                losses.append(f"messages[{index}]: calls without a result: {missing}")
            following = self._following(messages, at)
            end = "results" if answers else "calls" if calls else ""
            if end == "calls" and (exact or not (following or add_generation_prompt)):
                out.append("<|tool_response>")
            elif following != "assistant" and (following or not end or (text_last and text.strip())):
                out.append("<turn|>\n")
                end = end if exact else ""
        return end

    def _following(self, messages: tuple[Message, ...], at: int) -> str:
        """The role of the turn that follows; results that follow no call make a turn, unless they are dropped."""
        while at < len(messages):
            role = messages[at].role
            if role != "tool":
                return role
            if not self.exact:
                return "assistant"
            at += 1
        return ""

    def _result(
        self, message: Message, result: Message, index: int, out: list[str], losses: list[str], media: list[Part]
    ) -> None:
        """Write a result, and placeholders for its media behind it."""
        name = result.called or result.name
        if self.exact:  # the template compares ids, absent ones too, and the last call that matches gives the name
            name = next((call.name for call in reversed(message.tool_calls) if call.id == result.tool_call_id), result.name)
        if result.called is None and message.tool_calls:
            losses.append(f"messages[{index}] answers no call before it")
        out.append(write_result(_NOTATION, name or "unknown", result.content, self.tool_content))
        if isinstance(result.content, tuple):
            out += [self._part(part, False, media) for part in result.content if part["type"] != "text"]

    def _body(self, content: Content, model: bool, media: list[Part]) -> str:
        """The content of a turn, quoted: texts trimmed one by one, media as placeholders, nothing between them."""
        if isinstance(content, str):
            return quote((self._without_thoughts(content) if model else content).strip())
        return "".join([self._part(part, model, media) for part in content]) if isinstance(content, tuple) else ""

    def _part(self, part: Part, model: bool, media: list[Part]) -> str:
        """A part of a content list: its text, or a placeholder for what then goes into `media`."""
        if part["type"] == "text":
            return quote((self._without_thoughts(part["text"]) if model else part["text"]).strip())
        media.append(part)
        return f"<|{MEDIA_PARTS[part['type']]}|>"

    def _without_thoughts(self, text: str) -> str:
        """Text without its thought spans and stray closers. The template also drops what follows an opener without a closer."""
        opener, closer = _CHANNEL
        if opener not in text and closer not in text:
            return text
        *spans, rest = text.split(closer)
        kept = [span.split(opener, 1)[0] for span in spans]
        return "".join([*kept, rest.split(opener, 1)[0] if self.exact else rest])

    def declaration(self, tool: RawTool) -> str:
        """One tool as the system turn declares it, control tokens around it included."""
        texts, _ = declare_all(validate_tools([tool]), _declared, _declare, self.exact)
        return unquote(f"{_DECLARE[0]}{texts[0]}{_DECLARE[1]}")

    def turn(self, message: RawMessage) -> str:
        """One message as a turn of its own; a call is left open for its result."""
        conversation, _, _ = validate([message])
        out: list[str] = []
        self._turns(conversation, 0, False, False, out, [], [])
        return unquote("".join(out))

    def value(self, value: object) -> str:
        """A JSON value as calls and results write it."""
        check_json(value, "value")
        return unquote(_NOTATION.value(value))


def _property(declaration: Declaration, schema: Schema, path: Path) -> list[Piece]:
    """Each keyword only if it says something, in the template's order; the type last."""
    said = ["description", "type", "nullable"]
    kind = str(schema.get("type", "")).upper()
    groups: list[list[Piece]] = []
    if schema.get("description"):
        groups.append([f"description:{declaration.notation.string(str(schema['description']))}"])
    if kind == "STRING" and schema.get("enum"):
        said.append("enum")
        groups.append([f"enum:{declaration.notation.value(schema['enum'], bare_keys=False)}"])
    if kind == "ARRAY" and is_mapping(schema.get("items")) and schema["items"]:
        said.append("items")
        groups.append(declaration.items(schema["items"], path))
    if schema.get("nullable"):
        groups.append(["nullable:true"])
    if kind == "OBJECT":
        said += ("properties", "required")
        groups.append(_object(declaration, schema, path))
        if schema.get("required"):
            groups.append([f"required:{declaration.names(schema['required'])}"])
    groups.append([f"type:{declaration.type_of(schema)}}}"])
    declaration.drop(schema, said)
    return [piece for group in groups for piece in (",", *group)][1:]


def _object(declaration: Declaration, schema: Schema, path: Path) -> list[Piece]:
    properties = schema.get("properties")
    if not is_mapping(properties):
        # The template takes the schema's other keywords for properties.
        words = ("description", "type", "properties", "required", "nullable")
        properties = {key: value for key, value in schema.items() if key not in words} if declaration.exact else {}
    return ["properties:{", (properties, path), "}"]


def _declare(tool: Tool, exact: bool) -> Declared:
    return Declaration(_NOTATION, _property, exact, response=True).write(tool)


@lru_cache(maxsize=1024)
def _declared(key: bytes, exact: bool) -> Declared:
    return _declare(cached_tool(key), exact)


_DIALECT: Final = Dialect(
    controls=Gemma4Format.controls,
    start=_NOTATION.call[0],
    end=_NOTATION.call[1],
    delimiter=_NOTATION.delimiter,
    turn_start="<|turn>",
    stop=Gemma4Format.stop,
    literal_delimiter='"',
    channel=_CHANNEL,
)
