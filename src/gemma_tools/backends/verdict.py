"""Whether an answer satisfies its plan, and what to tell the model if not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gemma_tools.backends.checks import answer_fault, argument_problems, json_text
from gemma_tools.backends.plan import Plan
from gemma_tools.reply import Problem, Reply
from gemma_tools.request import Call, Message


@dataclass(frozen=True, slots=True)
class Verdict:
    """`fault` is None if `reply` may be returned; else `again` is the message to the model (empty: give up)."""

    reply: Reply
    fault: str | None = None
    cause: str = ""
    """The kind of fault, in one word."""
    again: tuple[Message, ...] = ()
    rewritten: bool = False
    """The content of `reply` is no longer the raw output: words and fences around the JSON were removed."""


def judge(plan: Plan, reply: Reply) -> Verdict:
    """Compare `reply` with `plan`. A cut answer is accepted as it is: its finish reason says so."""
    if reply.tool_calls:
        return _judge_calls(plan, reply)
    if reply.finish_reason == "length":
        return Verdict(reply)
    if plan.forced:
        again = _asked_to_call(plan, reply) if plan.told_to_call or plan.must_call else ()
        return Verdict(reply, "the model did not call an allowed tool, but tool_choice requires a call", "no_call", again)
    return _judge_answer(plan, reply) if plan.answer is not None else Verdict(reply)


def _asked_to_call(plan: Plan, reply: Reply) -> tuple[Message, ...]:
    names = ", ".join(tool.name for tool in plan.tools)
    text = f"That is not a call. Call one of these functions, and write nothing else: {names}"
    return (Message("assistant", reply.content), Message("user", text))


def _judge_calls(plan: Plan, reply: Reply) -> Verdict:
    problems = argument_problems(reply, plan.tools) if plan.on_invalid else ()
    if not problems:
        return Verdict(reply)
    if plan.on_invalid == "report":
        return Verdict(replace(reply, problems=reply.problems + problems))
    fault = "; ".join(problem.message for problem in problems)
    again = _with_errors(reply, problems) if plan.on_invalid == "retry" else ()
    return Verdict(replace(reply, problems=reply.problems + problems), fault, "invalid_arguments", again)


def _with_errors(reply: Reply, problems: Sequence[Problem]) -> tuple[Message, ...]:
    """The calls as the model made them, each answered with its error."""
    faults = {problem.index: problem.message for problem in problems}
    calls = tuple(Call(call.id, call.name, call.arguments) for call in reply.tool_calls)
    results = (
        Message(
            "tool",
            f"error: {faults[index]}" if index in faults else "not run, because another call was wrong; call it again",
            tool_call_id=call.id,
            called=call.name,
        )
        for index, call in enumerate(reply.tool_calls)
    )
    return (Message("assistant", reply.content, calls, reasoning=reply.reasoning), *results)


def _judge_answer(plan: Plan, reply: Reply) -> Verdict:
    assert plan.answer is not None
    text = json_text(reply.content) if plan.told else reply.content or ""
    fault = answer_fault(text, plan.answer)
    if fault is None:
        return Verdict(replace(reply, content=text), rewritten=plan.told)
    again = (
        Message("assistant", reply.content),
        Message("user", f"That is not the JSON that was asked for: {fault}\nAnswer again, with that JSON and nothing else."),
    )
    return Verdict(reply, f"the answer is not the requested JSON: {fault}", "not_json", again if plan.told else ())
