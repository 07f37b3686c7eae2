"""Conversations as rows for training, where only what the model itself writes counts in the loss.

```python
input_ids, labels = to_training(messages, tools, tokenizer, format=get_format("gemma4"))
```
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats.base import Format
from gemma_tools.prompt import Prompt, Tokenizer
from gemma_tools.request import RawMessage, RawTool

IGNORED: Final = -100
"""The label of a token that the loss leaves out: the default of PyTorch's `cross_entropy`, and so Hugging Face's."""


class TrainingRow(NamedTuple):
    """The columns that TRL, Unsloth and the Trainer of transformers take as they are. Models shift the labels themselves."""

    input_ids: list[int]
    labels: list[int]
    """The id itself where the model writes it, and else `IGNORED`."""


class TrainingText(NamedTuple):
    """The same as text."""

    text: str
    """What `Prompt.text` is: a control spelling that is not a control token is broken by U+2060."""
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
    """The token ids of a finished conversation, and labels that mask all that the model does not write.

    Raises:
        InvalidRequest: what `training_prompt` raises.
        UnknownName: the vocabulary lacks a control token of the prompt.
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
    """The prompt that shows a finished conversation, for `training_row` and `training_text`.

    Raises:
        InvalidRequest: the messages or tools are not OpenAI's; they hold images or sounds; the model says nothing in them;
            or the format does not tell what the model says.
    """
    prompt = format.render(
        messages,
        tools,
        add_generation_prompt=False,
        enable_thinking=enable_thinking,
        preserve_thinking=preserve_thinking,
    )
    if prompt.turns is None:
        raise InvalidRequest("with these options the format does not tell what the model says", param="format")
    if prompt.media:
        raise InvalidRequest("images, audio and video cannot be exported for training", param="messages")
    if not any(segment.generated for segment in prompt.segments):
        raise InvalidRequest("the model says nothing in this conversation", param="messages")
    return prompt


def training_row(prompt: Prompt, tokenizer: Tokenizer) -> TrainingRow:
    """The ids of a prompt, which are those of `Prompt.token_ids`, and their labels.

    Raises:
        UnknownName: the vocabulary lacks a control token of the prompt.
    """
    input_ids: list[int] = []
    labels: list[int] = []
    for segment in prompt.segments:
        ids = segment.ids(tokenizer)
        input_ids += ids
        labels += ids if segment.generated else [IGNORED] * len(ids)
    return TrainingRow(input_ids, labels)


def training_text(prompt: Prompt) -> TrainingText:
    """The text of a prompt, and where the model's own parts are."""
    texts: list[str] = []
    spans: list[tuple[int, int]] = []
    begin = 0
    for segment in prompt.segments:
        texts.append(segment.text if segment.control else prompt.guard(segment.text))
        end = begin + len(texts[-1])
        if segment.generated and spans and spans[-1][1] == begin:
            spans[-1] = (spans[-1][0], end)
        elif segment.generated:
            spans.append((begin, end))
        begin = end
    return TrainingText("".join(texts), spans)
