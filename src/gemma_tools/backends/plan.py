"""Chooses how to satisfy a request's tool_choice, strict and response_format: grammar, prefill, validation or refusal.

Each request has one `Plan`, made before anything is generated. What cannot be satisfied is refused here, never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from gemma_tools.backends.checks import check_schema
from gemma_tools.engines.base import GRAMMARS, Capabilities, Constraint
from gemma_tools.errors import InvalidRequest
from gemma_tools.formats.base import MOST_CALLS, Format
from gemma_tools.grammar import Grammar, answer_grammar
from gemma_tools.jsontext import to_json
from gemma_tools.prompt import Prompt
from gemma_tools.request import ChatRequest, Message, ResponseFormat, Tool
from gemma_tools.schema.check import can_check

OnInvalid: TypeAlias = Literal["report", "retry", "raise"]

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
"""The schema for `response_format={"type": "json_object"}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one request is sent to the model, and what its answer must satisfy."""

    prompt: Prompt
    messages: tuple[Message, ...]
    """The source of the prompt, for an engine that writes its own."""
    declared: tuple[Tool, ...]
    """The tools that are declared to the model."""
    tools: tuple[Tool, ...]
    """The tools whose calls count: those that the tool choice allows."""
    thinking: bool = False
    """The model must think first."""
    constraint: Constraint | None = None
    thought_end: str | None = None
    """The end of the thought before the constraint applies; None if it applies from the start."""
    max_calls: int = MOST_CALLS
    """Stop after this number of complete calls."""
    forced: bool = False
    """An answer without a call violates the tool choice."""
    answer: ResponseFormat | None = None
    """The JSON that the answer must be if it is not a call; None: any text."""
    told: bool = False
    """That JSON was only asked for in the prompt: nothing enforces it."""
    way: Literal["raw", "native", "prompted"] = "raw"
    """How the model is asked: with a prompt, or with chat messages and the tools in their own field or in the text."""
    must_call: bool = False
    """The chat endpoint itself must force a call."""
    call_as_json: bool = False
    """The constraint makes the answer one call in JSON: see `gemma_tools.backends.chat_plan.call_schema`."""
    told_to_call: bool = False
    """A call was only asked for in the prompt: nothing enforces it."""
    warnings: tuple[str, ...] = ()
    """The parts of the request that neither the prompt nor the constraint can express."""
    on_invalid: OnInvalid | None = None
    """What happens to calls with invalid arguments; None: they are not validated."""

    def fits(self, engine: Capabilities) -> bool:
        """Whether an engine with these capabilities can be asked in this way, and can enforce the constraint."""
        if self.way != "raw" and (self.way not in engine.chat or (self.must_call and not engine.forces_calls)):
            return False
        return self.constraint is None or any(getattr(self.constraint, form) is not None for form in engine.constraints)

    @property
    def needs_markers(self) -> bool:
        """Whether the answer can be read only with the special tokens in it."""
        return bool(self.tools) or self.thinking

    @property
    def rounds(self) -> int:
        """The maximum number of attempts: one, and more if the model is shown its errors."""
        return 3 if self.on_invalid == "retry" else 2

    @property
    def held(self) -> Literal["nothing", "calls", "all"]:
        """What may not be sent before it is validated; "calls" means everything from the first call on."""
        if self.told or self.told_to_call or self.must_call:
            return "all"
        return "calls" if self.on_invalid in ("retry", "raise") else "nothing"


class Demands(NamedTuple):
    """What a request requires of its answer, on any engine."""

    tools: tuple[Tool, ...]
    """The tools that may be called."""
    declared: tuple[Tool, ...]
    parallel: bool
    max_calls: int
    forced: bool
    answer: ResponseFormat | None
    """The JSON that the answer must be; None: any text, or a call."""


def demands_of(request: ChatRequest, format: Format) -> Demands:
    """What `request` requires.

    Raises:
        InvalidRequest: the schema of its response format cannot be used.
    """
    choice = request.tool_choice
    tools = () if choice.mode == "none" else tuple(t for t in request.tools if choice.names is None or t.name in choice.names)
    parallel = format.several_calls if request.parallel_tool_calls is None else request.parallel_tool_calls
    max_calls = MOST_CALLS if parallel and not request.legacy_functions else 1
    forced = bool(tools) and choice.mode == "required"
    declared = () if choice.mode == "none" else request.tools
    return Demands(tools, declared, parallel, max_calls, forced, None if forced else _json_answer(request))


def make_plan(
    request: ChatRequest, format: Format, engine: Capabilities, *, thinking: bool, on_invalid: OnInvalid | None
) -> Plan:
    """The plan for `request` in `format`, on an engine with these capabilities.

    Raises:
        InvalidRequest: the engine cannot satisfy the request; `param` names the field.
    """
    tools, declared, parallel, max_calls, forced, answer = demands_of(request, format)
    if request.grammar is not None:
        check_grammar(request, engine)
    if request.continues:
        check_continued(forced, answer)
    told = answer is not None and (bool(tools) or not engine.constraints)
    takes_grammar = bool(engine.constraints & GRAMMARS)
    by_grammar = takes_grammar and (forced or any(tool.strict for tool in tools))
    begin = format.call_opening if forced and not by_grammar else None
    if forced and not by_grammar and not (begin and engine.raw_prompt):
        message = "this engine supports neither grammars nor prefilled answers, so it cannot force a call: use another engine"
        raise InvalidRequest(message, param="tool_choice", code="unsupported_parameter")

    # A prefilled call leaves no room for a thought before it.
    thinking = thinking and begin is None and not request.continues
    messages = instructed(request.messages, wanted_json(answer)) if answer is not None and told else request.messages
    said = messages[:-1] if request.continues else messages
    prompt = format.render(said, declared, enable_thinking=thinking, preserve_thinking=request.preserve_thinking)
    if request.continues:
        prompt = prompt.continued(str(messages[-1].content))
    grammar: Grammar | None = None
    constraint: Constraint | None = None
    thought_end: str | None = None
    if by_grammar:
        mode = "required" if forced else "auto"
        grammar = format.grammar(tools, tool_choice=mode, parallel=parallel, opens=prompt.opens, max_calls=max_calls)
    elif begin is not None:
        before, after = begin
        prompt = prompt.begun(before + tools[0].name + after if len(tools) == 1 else before)
    elif answer is not None and not told:
        schema = answer.schema or ANY_OBJECT
        if takes_grammar:
            grammar = answer_grammar(schema, format.controls)
        else:
            constraint = Constraint(json_schema=schema)
    elif request.grammar is not None:
        constraint = Constraint(gbnf=request.grammar)
    if (constraint or (grammar and not by_grammar)) and thinking and format.thought:
        opening, thought_end = format.thought
        prompt = prompt if prompt.opens == "reasoning" else prompt.begun(opening)
    forms = engine.constraints & GRAMMARS
    if grammar is not None:
        if grammar.needs_lark and "lark" in forms and engine.nests_lark:
            forms = frozenset({"lark"})  # no other notation enforces it
        constraint = Constraint(**{form: getattr(grammar, form) for form in forms})
    unheld = grammar.warnings if grammar else ()
    if grammar is None or (grammar.needs_lark and forms != {"lark"}):
        unheld += unheld_grammars(tools)
    return Plan(
        prompt=prompt,
        messages=messages,
        declared=declared,
        tools=tools,
        thinking=thinking,
        constraint=constraint,
        thought_end=thought_end,
        max_calls=max_calls,
        forced=forced,
        answer=answer,
        told=told,
        on_invalid=policy_of(on_invalid, tools, bound=grammar is not None and not unheld),
        warnings=prompt.warnings + unheld,
    )


def unheld_grammars(tools: tuple[Tool, ...]) -> tuple[str, ...]:
    """A sentence about each tool with a Lark grammar, if nothing enforces it: no validation of a call knows it either."""
    sentence = "the Lark grammar of its input is shown to the model, but not enforced"
    return tuple(f"{tool.name}: {sentence}" for tool in tools if _has_lark(tool))


def _has_lark(tool: Tool) -> bool:
    properties = (tool.parameters or {}).get("properties")
    return isinstance(properties, Mapping) and any(isinstance(one, Mapping) and "x-lark" in one for one in properties.values())


def check_grammar(request: ChatRequest, engine: Capabilities) -> None:
    """Refuse a request's own grammar if it cannot be enforced."""
    if "gbnf" not in engine.constraints:
        raise InvalidRequest("this engine does not support GBNF grammars", param="grammar", code="unsupported_parameter")
    if request.response_format is not None and request.response_format.type != "text":
        raise InvalidRequest("use grammar or response_format, not both", param="grammar")
    if request.tools and request.tool_choice.mode != "none":
        raise InvalidRequest("a grammar constrains the whole answer: it cannot be combined with tools", param="grammar")


def check_continued(forced: bool, answer: ResponseFormat | None) -> None:
    """Refuse what a prefilled answer cannot satisfy."""
    message = "it cannot constrain an answer that is already prefilled: leave out the last assistant message"
    if forced:
        raise InvalidRequest(message, param="tool_choice", code="unsupported_value")
    if answer is not None:
        raise InvalidRequest(message, param="response_format", code="unsupported_value")


def _json_answer(request: ChatRequest) -> ResponseFormat | None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.schema is not None:
        check_schema(wanted.schema, "response_format.json_schema.schema")
    return wanted


def wanted_json(wanted: ResponseFormat) -> str:
    """The text that asks the model for the JSON, if nothing enforces it."""
    if wanted.schema is None:
        return "Answer with one JSON object and nothing else."
    return f"Answer with JSON that fits this JSON Schema, and nothing else:\n{to_json(wanted.schema)}"


def instructed(messages: tuple[Message, ...], *texts: str) -> tuple[Message, ...]:
    """The messages with `texts` at the end of the system text."""
    if not texts:
        return messages
    text = "\n\n".join(texts)
    first = messages[0]
    if first.role not in ("system", "developer"):
        return (Message("system", text), *messages)
    if isinstance(first.content, tuple):
        return (first._replace(content=(*first.content, {"type": "text", "text": text})), *messages[1:])
    return (first._replace(content=f"{first.content or ''}\n\n{text}"), *messages[1:])


def policy_of(on_invalid: OnInvalid | None, tools: tuple[Tool, ...], *, bound: bool) -> OnInvalid | None:
    """How calls are validated: as configured; strict tools always, unless a grammar enforces all of it; else "report"."""
    if not tools:
        return None
    strict = not bound and any(tool.strict for tool in tools)
    policy = on_invalid if on_invalid not in (None, "report") else "retry" if strict else on_invalid
    if policy is None:
        return "report" if can_check() else None
    for index, tool in enumerate(tools):
        if tool.parameters:
            check_schema(tool.parameters, f"tools[{index}].function.parameters")
    return policy
