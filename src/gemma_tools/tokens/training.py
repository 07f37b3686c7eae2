"""Conversations as rows for training, where only the model's own tokens count in the loss.

```python
input_ids, labels = to_training(messages, tools, tokenizer, format=get_format("gemma4"))
```
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats.base import Format
from gemma_tools.prompt import Prompt, Tokenizer
from gemma_tools.request import RawMessage, RawTool
from gemma_tools.validation import validate

IGNORED: Final = -100
"""The label of a token that the loss ignores: the default of PyTorch's `cross_entropy`, and so of Hugging Face's."""


class TrainingRow(NamedTuple):
    """The columns that TRL, Unsloth and the Trainer of transformers use directly. Models shift the labels themselves."""

    input_ids: list[int]
    labels: list[int]
    """The id itself if the model writes the token, otherwise `IGNORED`."""


class TrainingText(NamedTuple):
    """The same as text."""

    text: str
    """The same as `Prompt.text`: text that looks like a special token is broken by U+2060."""
    spans: list[tuple[int, int]]
    """Where the parts that the model writes begin and end, in characters."""


def to_training(
    messages: Sequence[RawMessage],
    tools: Sequence[RawTool] | None,
    tokenizer: Tokenizer,
    *,
    format: Format,
    enable_thinking: bool = False,
    preserve_thinking: bool = False,
) -> TrainingRow:
    """The token ids of a finished conversation, and labels that mask everything that the model does not write.

    Raises:
        InvalidRequest: what `training_prompt` raises.
        UnknownName: the vocabulary lacks a special token of the prompt.
    """
    prompt = training_prompt(
        messages, tools, format=format, enable_thinking=enable_thinking, preserve_thinking=preserve_thinking
    )
    return training_row(prompt, tokenizer)


def training_prompt(
    messages: Sequence[RawMessage],
    tools: Sequence[RawTool] | None = None,
    *,
    format: Format,
    enable_thinking: bool = False,
    preserve_thinking: bool = False,
) -> Prompt:
    """The prompt of a finished conversation, for `training_row` and `training_text`.

    Parts that a format leaves out of a history are left out here: thoughts of earlier exchanges, which `exchanges` keeps.

    Raises:
        InvalidRequest: the messages or tools are not valid OpenAI objects; they contain images or audio; the model writes
            nothing;
            or the format does not know which text the model writes.
    """
    prompt = format.render(
        messages,
        tools,
        add_generation_prompt=False,
        enable_thinking=enable_thinking,
        preserve_thinking=preserve_thinking,
    )
    if prompt.turns is None:
        raise InvalidRequest("with these options the format does not know which text the model writes", param="format")
    if prompt.media:
        raise InvalidRequest("images, audio and video cannot be exported for training", param="messages")
    if not any(segment.generated for segment in prompt.segments):
        raise InvalidRequest("the model writes nothing in this conversation", param="messages")
    return prompt


def exchanges(
    messages: Sequence[RawMessage],
    tools: Sequence[RawTool] | None = None,
    *,
    format: Format,
    enable_thinking: bool = False,
    preserve_thinking: bool = False,
) -> Iterator[tuple[Prompt, int]]:
    """For each exchange (a user's message and everything up to the next one): the prompt up to its end, and its first segment.

    So each thought is shown once, where the model writes it. The context before the first segment is not trained: pass the
    segment's number to `training_row` or `training_text`.

    Raises:
        InvalidRequest: as `training_prompt`.
    """
    said = validate(messages).messages
    later = [i for i, message in enumerate(said) if message.role == "user"][1:]
    for start, end in pairwise((0, *later, len(said))):
        if any(message.role == "assistant" for message in said[start:end]):
            context = format.render(
                said[: start + 1],
                tools,
                add_generation_prompt=False,
                enable_thinking=enable_thinking,
                preserve_thinking=preserve_thinking,
            )
            prompt = training_prompt(
                said[:end], tools, format=format, enable_thinking=enable_thinking, preserve_thinking=preserve_thinking
            )
            yield prompt, len(context.segments) if start else 0


def training_row(prompt: Prompt, tokenizer: Tokenizer, begin: int = 0) -> TrainingRow:
    """The ids of a prompt, as in `Prompt.token_ids`, and their labels, from the segment `begin` on.

    Raises:
        UnknownName: the vocabulary lacks a special token of the prompt.
    """
    input_ids: list[int] = []
    labels: list[int] = []
    for place, segment in enumerate(prompt.segments):
        ids = segment.ids(tokenizer)
        input_ids += ids
        labels += ids if segment.generated and place >= begin else [IGNORED] * len(ids)
    return TrainingRow(input_ids, labels)


def training_text(prompt: Prompt, begin: int = 0) -> TrainingText:
    """The text of a prompt, and the positions of the model's own parts, from the segment `begin` on."""
    texts: list[str] = []
    spans: list[tuple[int, int]] = []
    start = 0
    for place, segment in enumerate(prompt.segments):
        texts.append(segment.text if segment.control else prompt.guard(segment.text))
        end = start + len(texts[-1])
        if segment.generated and place >= begin:
            spans[-1:] = [(spans[-1][0], end)] if spans and spans[-1][1] == start else [*spans[-1:], (start, end)]
        start = end
    return TrainingText("".join(texts), spans)
