"""Gemma 4: renders requests, and creates the parser of their replies.

The wire format is that of Google's canonical chat template, published 2026-07-09 in two variants: "small" (E2B, E4B) and
"large" (12B, 26B-A4B, 31B), which writes an empty thought block if the model must not think; and that of DiffusionGemma
("diffusion"), which differs from the small one only by a new model header after results. docs/formats.md lists the differences
from the templates and the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import ClassVar, Final, Literal, TypeAlias

from gemma_tools.formats.base import Opens, Plain, Recovery
from gemma_tools.formats.brace.declaration import Declaration, Piece, declare_in_full
from gemma_tools.formats.brace.format import PLAIN_REPAIRS, PLAIN_RESULT, BraceFormat
from gemma_tools.formats.brace.tokens import Dialect
from gemma_tools.formats.brace.writer import Notation
from gemma_tools.formats.options import Declarations, ToolContent
from gemma_tools.formats.rendering import DeclarationText, Declare, Draft, Request, write_result
from gemma_tools.jsontext import is_mapping
from gemma_tools.prompt import TurnTokens, quote, unquote
from gemma_tools.request import MEDIA_PARTS, Content, Message, Part, Tool
from gemma_tools.schema.declare import Path, Schema

_DECLARE: Final = ("<|tool>", "<tool|>")
_CHANNEL: Final = ("<|channel>", "<channel|>")
_OPENER_AS_TEXT: Final = quote(_CHANNEL[0])
_NOTATION: Final = Notation(
    delimiter='<|"|>', call=("<|tool_call>", "<tool_call|>"), response=("<|tool_response>", "<tool_response|>")
)
_HEADERS: Final = {
    role: f"<|turn>{'model' if role == 'assistant' else role}\n" for role in ("system", "developer", "user", "assistant")
}
_TURNS: Final = TurnTokens(
    "<|turn>",
    "<turn|>",
    call_end=_NOTATION.call[1],
    response=_NOTATION.response,
    thought=("<|channel>thought\n", _CHANNEL[1]),
    plain=_NOTATION.plain(_DECLARE),
)


@dataclass(frozen=True)
class Gemma4Format(BraceFormat):
    """The format of Gemma 4. docs/formats.md describes the options."""

    exact: bool = False
    recovery: Recovery = "schema"
    tool_content: ToolContent = "string"
    variant: Literal["small", "large", "diffusion"] = "small"
    revision: Literal["2026-07-09"] = "2026-07-09"
    declarations: Declarations = "template"
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
    # Up to 280 for an image, and 750 for 30 seconds of audio, with a token before and after: the processor of Gemma 4.
    media_tokens: ClassVar[Mapping[str, int]] = MappingProxyType({"image": 282, "audio": 752})
    declares: ClassVar[tuple[str, str]] = _DECLARE
    plain: ClassVar[Plain] = Plain(
        "You can call the functions that are declared here. To call one, write call:NAME{key:value} with its name and its "
        "parameters, each text in double quotes, on a line of its own, without a code fence and with nothing after it.",
        PLAIN_RESULT,
        PLAIN_REPAIRS,
    )

    @property
    def dialect(self) -> Dialect:
        """See `BraceFormat.dialect`."""
        return _DIALECT

    @property
    def turn_tokens(self) -> TurnTokens:
        """See `GemmaFormat.turn_tokens`."""
        return _TURNS

    @property
    def _declare(self) -> Declare:
        return _IN_FULL if self.declarations == "full" else _AS_TEMPLATE[self.exact]

    def _render(self, request: Request, draft: Draft) -> Opens:
        thinking, lead, out = request.enable_thinking, request.lead, draft.out
        writer = _Turns(self, draft, thoughts_from=_after_last_user(request.messages), preserved=request.preserve_thinking)
        out.append("<bos>")
        if thinking or request.tools or lead:
            out.append("<|turn>system\n<|think|>\n" if thinking else "<|turn>system\n")
            out += writer.system(lead) if lead else ()
            out += (*self._declarations(request.tools, draft), "<turn|>\n")
        end = writer.write(_group(request.messages, int(lead is not None)), request.add_generation_prompt)
        if not request.add_generation_prompt:
            return "content"
        if not end:
            out.append(_HEADERS["assistant"])
            if self.variant == "large" and not thinking:
                out.append("<|channel>thought\n<channel|>")
        elif end == "results" and thinking:
            out.append("<|channel>thought\n")
            return "reasoning"
        return "content"

    def _turn(self, messages: tuple[Message, ...], draft: Draft) -> None:
        _Turns(self, draft).write(_group(messages), False)

    def _value(self, value: object) -> str:
        return unquote(_NOTATION.value(value))


_Turn: TypeAlias = tuple[int, Message | None, tuple[Message, ...]]
"""A message with the tool results that belong to it, and its position in the request's messages.

Results that follow no call have no message.
"""


def _group(messages: tuple[Message, ...], start: int = 0) -> list[_Turn]:
    """The messages from `start` on: calls together with the results after them, and every other message by itself."""
    turns: list[_Turn] = []
    place, end = start, len(messages)
    while place < end:
        message, after = messages[place], place + 1
        alone = message.role == "tool"
        if alone or message.tool_calls:
            while after < end and messages[after].role == "tool":
                after += 1
            turns.append((place, None, messages[place:after]) if alone else (place, message, messages[place + 1 : after]))
        else:
            turns.append((place, message, ()))
        place = after
    return turns


def _after_last_user(messages: tuple[Message, ...]) -> int:
    """The position after the last user message."""
    at = len(messages)
    while at and messages[at - 1].role != "user":
        at -= 1
    return at


class _Turns:
    """Writes turns. Consecutive messages of the model and its tools are one turn, which stays open while results may follow.

    Past thoughts are written for messages from `thoughts_from` on, and with `preserved` for all messages with calls.
    """

    def __init__(self, form: Gemma4Format, draft: Draft, *, thoughts_from: int = 0, preserved: bool = False) -> None:
        self._exact = form.exact
        self._mode = form.tool_content
        self._header_after_results = form.variant == "diffusion"
        self._draft = draft
        self._out = draft.out
        self._thoughts_from = thoughts_from
        self._preserved = preserved
        self._previous = ""
        """The role of the last turn; "tool" if the model's header must be written again."""

    def system(self, message: Message) -> list[str]:
        """The system text. The template writes a space after each part of a list, but only here."""
        content = message.content
        return [self._part(part) + " " for part in content] if isinstance(content, tuple) else [self._body(content)]

    def write(self, turns: list[_Turn], go_on: bool) -> str:
        """Write turns. Return the last part of the open turn: "calls", "results", or nothing if it is closed."""
        end = ""
        for number, (place, message, results) in enumerate(turns, 1):
            dropped = self._exact and results and (message is None or message.tool_responses)
            if message is not None and message.role != "assistant":
                self._other(place, message)
                end = ""
            elif message is not None or not dropped:
                end = self._model(place, message, () if dropped else results, self._following(turns, number), go_on)
            if dropped:  # the template drops results that follow no call, or calls with `tool_responses`
                self._draft.warnings.append(f"messages[{place + (message is not None)}] follows no call and is dropped")
            if results and self._header_after_results:
                self._previous = "tool"
        return end

    def _following(self, turns: list[_Turn], number: int) -> str:
        """The role of `turns[number]`, if any. Results that follow no call make a model turn, or are dropped."""
        if number == len(turns):
            return ""
        message = turns[number][1]
        if message is not None:
            return message.role
        return self._following(turns, number + 1) if self._exact else "assistant"

    def _other(self, index: int, message: Message) -> None:
        """Write a message that is not the model's."""
        if message.name is not None:
            self._draft.lose_name(index)
        self._out.append(f"{_HEADERS[message.role]}{self._body(message.content)}<turn|>\n")
        self._previous = message.role

    def _model(self, place: int, said: Message | None, results: tuple[Message, ...], following: str, go_on: bool) -> str:
        """Write a message of the model, its calls and their results. Return the last part of its open turn."""
        out = self._out
        if self._previous != "assistant":
            out.append(_HEADERS["assistant"])
        self._previous = "assistant"
        message = _NOTHING if said is None else said
        calls, responses, reasoning = message.tool_calls, message.tool_responses, message.reasoning
        if said is None:
            self._draft.warnings.append(f"messages[{place}] follows no call")
        elif message.name is not None:
            self._draft.lose_name(place)
        if reasoning and (place >= self._thoughts_from or (self._preserved and calls)):
            out.append(f"<|channel>thought\n{quote(reasoning)}\n<channel|>")
        text = "" if message.content is None else self._said(place, message.content)
        # In Gemma's own shape, `tool_responses`, the text is the answer after them; the template always writes it so.
        last = bool(responses or (self._exact and calls))
        if not last:
            out.append(text)
            if text and calls:
                self._lose_order(place)
        if calls:
            self._draft.calls(_NOTATION, message, place)
        for response in responses:
            out.append(_NOTATION.write_response(response.name or "unknown", response.response))
        if results:
            self._results(message, results, place + (said is not None))
        if len(calls) > len(responses) + len(results):
            missing = len(calls) - len(responses) - len(results)
            self._draft.warnings.append(f"messages[{place}]: calls without a result: {missing}")
        if last:
            out.append(text)
        end = "results" if results or responses else "calls" if calls else ""
        return self._close(end, following, go_on, answered=last and bool(text.strip()))

    def _said(self, index: int, content: Content) -> str:
        text = self._body(content, model=True)
        if _OPENER_AS_TEXT in text:
            self._draft.warnings.append(f"messages[{index}]: the text after an unclosed thought is kept; the template drops it")
        return text

    def _lose_order(self, index: int) -> None:
        self._draft.warnings.append(
            f"messages[{index}]: its text is written before its calls; the template writes it after the results"
        )

    def _close(self, end: str, following: str, go_on: bool, *, answered: bool) -> str:
        """End a turn of the model, unless it continues: then return its last part."""
        if end == "calls" and (self._exact or not (following or go_on)):
            self._out.append(_NOTATION.response[0])
        elif following != "assistant" and (following or not end or answered):
            self._out.append("<turn|>\n")
            return end if self._exact else ""  # the template then forgets that the turn is closed
        return end

    def _results(self, message: Message, results: tuple[Message, ...], place: int) -> None:
        """Write the results of a message's calls, and placeholders for their media after them."""
        for index, result in enumerate(results, place):
            content = result.content
            name = _name_by_id(message, result) if self._exact else result.called or result.name
            if result.called is None and message.tool_calls:
                self._draft.lose_question(index)
            self._out.append(write_result(_NOTATION, name or "unknown", content, self._mode))
            if isinstance(content, tuple):
                self._out += [self._part(part) for part in content if part["type"] != "text"]

    def _body(self, content: Content, *, model: bool = False) -> str:
        """The content of a turn, quoted: texts trimmed one by one, media as placeholders, no separator."""
        if isinstance(content, str):
            return quote((self._without_thoughts(content) if model else content).strip())
        return "".join([self._part(part, model=model) for part in content]) if isinstance(content, tuple) else ""

    def _part(self, part: Part, *, model: bool = False) -> str:
        """A part of a content list: its text, or a placeholder for media, which are added to the draft."""
        if part["type"] == "text":
            return quote((self._without_thoughts(part["text"]) if model else part["text"]).strip())
        self._draft.media.append(part)
        return f"<|{MEDIA_PARTS[part['type']]}|>"

    def _without_thoughts(self, text: str) -> str:
        """Text without its thought spans and stray closing tokens. The template also drops the text after
        an unclosed thought.
        """
        opener, closer = _CHANNEL
        if opener not in text and closer not in text:
            return text
        *spans, rest = text.split(closer)
        kept = [span.split(opener, 1)[0] for span in spans]
        return "".join([*kept, rest.split(opener, 1)[0] if self._exact else rest])


_NOTHING: Final = Message("assistant")


def _name_by_id(message: Message, result: Message) -> str | None:
    """The template compares ids, even missing ones, and the last matching call gives the name."""
    return next((call.name for call in reversed(message.tool_calls) if call.id == result.tool_call_id), result.name)


def _property(declaration: Declaration, schema: Schema, path: Path) -> list[Piece]:
    """Each keyword if it has content, in the template's order; the type last."""
    said = ["description", "type", "nullable"]
    kind = str(schema.get("type", "")).upper()
    pieces: list[Piece] = []
    if schema.get("description"):
        pieces += (",", f"description:{declaration.notation.string(str(schema['description']))}")
    if kind == "STRING" and schema.get("enum"):
        said.append("enum")
        pieces += (",", f"enum:{declaration.notation.value(schema['enum'], bare_keys=False)}")
    if kind == "ARRAY" and is_mapping(schema.get("items")) and schema["items"]:
        said.append("items")
        pieces += (",", *declaration.items(schema["items"], path))
    if schema.get("nullable"):
        pieces += (",", "nullable:true")
    if kind == "OBJECT":
        said += ("properties", "required")
        pieces += (",", *_object(declaration, schema, path))
        if schema.get("required"):
            pieces += (",", f"required:{declaration.names(schema['required'])}")
    pieces += (",", f"type:{declaration.notation.string(kind)}}}")
    declaration.drop(schema, said)
    return pieces[1:]


def _object(declaration: Declaration, schema: Schema, path: Path) -> list[Piece]:
    properties = schema.get("properties")
    if not is_mapping(properties):
        # The template reads the schema's other keywords as properties.
        words = ("description", "type", "properties", "required", "nullable")
        properties = {key: value for key, value in schema.items() if key not in words} if declaration.exact else {}
    return ["properties:{", (properties, path), "}"]


def _declare(exact: bool, tool: Tool) -> DeclarationText:
    return Declaration(_NOTATION, _property, exact, response=True).write(tool)


_AS_TEMPLATE: Final[dict[bool, Declare]] = {exact: partial(_declare, exact) for exact in (False, True)}
_IN_FULL: Final[Declare] = partial(declare_in_full, _NOTATION)

_DIALECT: Final = Dialect(
    controls=Gemma4Format.controls,
    start=_NOTATION.call[0],
    end=_NOTATION.call[1],
    delimiter=_NOTATION.delimiter,
    turn_start="<|turn>",
    stop=Gemma4Format.stop,
    literal_delimiter='"',
    declaration=("<|tool>", "<tool|>"),
    channel=_CHANNEL,
    either="<|channel|>",
)
