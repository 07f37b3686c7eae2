"""Whether a prompt fits the engine's context: what is left out so that it fits, and the refusal if it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from gemma_tools.backends.plan import Plan
from gemma_tools.engines.base import Engine
from gemma_tools.errors import ContextExceeded
from gemma_tools.formats.base import Format
from gemma_tools.log import logger
from gemma_tools.prompt import Prompt
from gemma_tools.request import MEDIA_PARTS, Message
from gemma_tools.tokens import BaseTokenCounter
from gemma_tools.tokens.fit import newest_part


def fitted_plan(
    planned: Callable[[Sequence[Message]], Plan],
    messages: tuple[Message, ...],
    *,
    counter: BaseTokenCounter,
    context: int,
    answer: int | None,
) -> Plan:
    """The plan for the newest part of `messages` that leaves room for `answer` tokens; its warnings say what was left out.

    At most half of the context is reserved for the answer, or a quarter if no limit is set.
    """
    plans: list[Plan] = []

    def count(kept: Sequence[Message]) -> int:
        plans.append(planned(kept))
        return counter.count_prompt(plans[-1].prompt)

    reserve = min(context // 4 if answer is None else answer, context // 2)
    part = newest_part(messages, count, counter=counter, room=context - reserve)
    plan = plans[-1]  # the last version that was counted is kept
    if not part.dropped:
        return plan
    warning = f"the oldest {len(part.dropped)} of {len(messages)} messages were left out to fit the context of {context} tokens"
    logger.info("%s", warning)
    return replace(plan, warnings=(*plan.warnings, warning))


def refuse_too_long(prompt: Prompt, counter: BaseTokenCounter, engine: Engine) -> None:
    """Refuse a prompt that leaves no room for an answer, before the engine reads it. `counter` is exact.

    Images and audio count as their minimum on any engine. A prompt with guarded text is not refused here: an engine that takes
    token ids needs fewer tokens for it.

    Raises:
        ContextExceeded: with both numbers.
    """
    tokens, context = counter.count(prompt.text) + least_of_media(prompt, counter.format), engine.context_length
    if context is not None and tokens >= context and not prompt.guarded:
        message = f"the prompt has {tokens} tokens, but the context is only {context}"
        with advising(engine):
            raise ContextExceeded(message, engine=engine.name, prompt_tokens=tokens, context=context)


@contextmanager
def advising(engine: Engine) -> Iterator[None]:
    """Add to an error about the context how `engine` gets a larger one."""
    try:
        yield
    except ContextExceeded as error:
        if advice := engine.longer_context:
            error.args = (f"{error}: {advice}",)
        raise


def least_of_media(prompt: Prompt, format: Format) -> int:
    """The minimum number of tokens of images and audio, besides their placeholders."""
    return sum(format.least_media_tokens.get(MEDIA_PARTS[part["type"]], 1) - 1 for part in prompt.media)
