"""`examine` inspects an exchange; `inspect` and `watch` are the two ways to get one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gemma_tools.backends.base import BaseModelBackend
from gemma_tools.backends.exchange import Exchange
from gemma_tools.completion import Answer, Heading, TokenUse, Turn, completion
from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.formats.base import Format
from gemma_tools.inspection.model import Inspection, Output, ToolView
from gemma_tools.inspection.output import view_output
from gemma_tools.inspection.prompt_parts import between, declared_places, prompt_parts
from gemma_tools.jsontext import to_json_lines
from gemma_tools.models import family_of_model
from gemma_tools.prompt import Segment
from gemma_tools.request import Message, Tool
from gemma_tools.tokens import EstimatedTokenCounter, GemmaTokenizer, TokenizerCounter
from gemma_tools.validation import parse_request

if TYPE_CHECKING:
    from gemma_tools.tokens import BaseTokenCounter


def inspect(
    request: Mapping[str, Any],
    output: str | None = None,
    *,
    model: BaseModelBackend | str | None = None,
    format: Format | str | None = None,
    tokenizer: GemmaTokenizer | str | Path | None = None,
    finish: Literal["stop", "length"] = "stop",
) -> Inspection:
    """Inspect a request and a model's output: the prompt, tools, tokens, and each part of the output. Nothing is run.

    Args:
        request: the body of an OpenAI chat request.
        output: a model's output, including special tokens.
        model: a backend, or a model's name. It decides the format and, if the model's file is on this machine, the
            tokenizer. The default is the request's own.
        format: a format, or its name, instead of the model's.
        tokenizer: the model's tokenizer, or its file; without one the counts are estimates.
        finish: "length" if the token limit cut the output.

    Raises:
        InvalidRequest: the request is not a valid OpenAI request, or neither a model nor a format is named.
        UnknownName: there is no model or format with that name.
        ModelNotFound: the tokenizer file does not exist.

    Example:
        >>> request = {"model": "gemma4:e2b", "messages": [{"role": "user", "content": "Hello"}]}
        >>> inspect(request, "Hi there!").output.reply.content
        'Hi there!'
    """
    parsed = parse_request(request, unknown="warn")
    named = model if model is not None else parsed.model
    made = _format(named, format)
    found = _tokenizer(named, tokenizer)
    choice = parsed.tool_choice
    allowed = () if choice.mode == "none" else parsed.tools
    if isinstance(model, BaseModelBackend) and format is None:
        prompt = model.prompt(parsed)
    else:
        thinks, keeps = bool(parsed.enable_thinking), parsed.preserve_thinking
        prompt = made.render(parsed.messages, allowed, enable_thinking=thinks, preserve_thinking=keeps)
    counter = _counter(made, found)
    written = 0 if output is None else counter.count(output.removeprefix(prompt.prefill))
    exchange = Exchange(
        model=named.model_type if isinstance(named, BaseModelBackend) else named or "",
        format=made,
        prompt=prompt,
        declared=allowed,
        tools=tuple(tool for tool in allowed if choice.names is None or tool.name in choice.names),
        text=output,
        finish=finish,
        guarded=prompt.guarded,
        tokens=TokenUse(prompt=counter.count_prompt(prompt), completion=written, estimated=not counter.exact),
        warnings=parsed.warnings + prompt.warnings,
        tokenizer=found,
    )
    return examine(exchange)


@contextmanager
def watch(model: BaseModelBackend) -> Iterator[list[Inspection]]:
    """Collect an inspection of every answer of `model` within a `with` block.

    Example:
        >>> with watch(model) as seen:
        ...     model.run(messages, tools=tools)
        >>> seen[-1]
    """
    seen: list[Inspection] = []
    before = model.on_exchange
    model.on_exchange = lambda exchange: seen.append(examine(exchange))
    try:
        yield seen
    finally:
        model.on_exchange = before


def examine(exchange: Exchange) -> Inspection:
    """The inspection of an exchange."""
    use = exchange.tokens
    cached = use.cached if use else None
    places = declared_places(exchange)
    parts = prompt_parts(exchange, places, cached)
    counted = sum(part.count for part in parts)
    left_out = {tool.name: _left_out(exchange.format, tool) for tool in exchange.declared}
    about_tools = {warning for some in left_out.values() for warning in some}
    declared = {place.name: tuple(between(exchange.prompt.segments, place.start, place.end)) for place in places}
    counts = {part.label: part.count for part in parts}
    counter = EstimatedTokenCounter(exchange.format)
    tools = []
    for tool in exchange.declared:
        declaration = declared.get(tool.name) or (Segment(exchange.format.declaration(tool), False),)
        count = counts.get(f"declaration of {tool.name}") or counter.count("".join(part.text for part in declaration))
        tools.append(ToolView(tool.name, to_json_lines(tool.function), declaration, left_out[tool.name], count))
    output = None if exchange.text is None else view_output(exchange, exchange.text)
    return Inspection(
        model=exchange.model,
        format=_told(exchange.format),
        prompt=exchange.prompt,
        parts=parts,
        tools=tuple(tools),
        count=use.prompt if use else counted,
        exact=exchange.tokenizer is not None,
        cached=cached,
        warnings=tuple(warning for warning in exchange.warnings if warning not in about_tools),
        output=output,
        completion=_completion(exchange, output) if output else None,
        error=exchange.error,
        time=exchange.time,
    )


def _left_out(format: Format, tool: Tool) -> tuple[str, ...]:
    """The warnings of a prompt that declares only this tool."""
    asked = [Message("user", "?")]
    return tuple(w for w in format.render(asked, [tool]).warnings if w not in format.render(asked).warnings)


def _completion(exchange: Exchange, output: Output) -> Mapping[str, Any]:
    use = exchange.tokens or TokenUse(prompt=0, completion=output.count, estimated=True)
    if output.reply.reasoning and not use.reasoning:
        thought = _counter(exchange.format, exchange.tokenizer).count(output.reply.reasoning)
        use = replace(use, reasoning=min(thought, use.completion))

    def turn() -> Turn:
        yield from ()
        return Answer(reply=output.reply, text=exchange.text or "", tokens=use, warnings=exchange.warnings)

    return completion(Heading(model=exchange.model, created=int(exchange.time)), [turn()]).model_dump(exclude_unset=True)


def _counter(format: Format, tokenizer: GemmaTokenizer | None) -> BaseTokenCounter:
    return TokenizerCounter(format, tokenizer) if tokenizer else EstimatedTokenCounter(format)


def _told(format: Format) -> str:
    """A format's name and the options that differ from their defaults, and always the recovery level."""
    options: dict[str, Any] = {}
    known: tuple[Field[Any], ...] = fields(format) if is_dataclass(format) else ()
    for option in known:
        value = getattr(format, option.name)
        if option.name == "recovery" or (option.default is not MISSING and value != option.default):
            options[option.name] = value
    return ", ".join([format.name, *(f"{name}={value}" for name, value in options.items())])


def _format(model: BaseModelBackend | str | None, format: Format | str | None) -> Format:
    if isinstance(format, Format):
        return format
    if isinstance(format, str):
        family = family_of_model(model) if isinstance(model, str) else None
        return get_format(format, **(family.options if family and family.name == format else {}))
    if isinstance(model, BaseModelBackend):
        own = getattr(model, "format", None)
        if isinstance(own, Format):
            return own
        raise InvalidRequest("this model has no format: pass format=", param="format", code="missing")
    if model is None:
        raise InvalidRequest("pass a model or a format", param="format", code="missing")
    found = family_of_model(model)
    return get_format(found.name, **found.options)


def _tokenizer(model: BaseModelBackend | str | None, given: GemmaTokenizer | str | Path | None) -> GemmaTokenizer | None:
    if isinstance(given, GemmaTokenizer):
        return given
    if given is not None:
        return GemmaTokenizer.from_file(given)
    if isinstance(model, BaseModelBackend):
        own = getattr(model, "tokenizer", None)
        return own if isinstance(own, GemmaTokenizer) else None
    return GemmaTokenizer.of_model(model) if model else None
