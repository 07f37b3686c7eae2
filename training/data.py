"""Made-up conversations with tools, as OpenAI messages: every reply in them is one that a model is to learn.

Everything is drawn from a `random.Random`, so a seed gives the same conversations again. `values.py` makes the values, and
`tools.py` the tools and the requests for them.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gemma_tools.formats import get_format
from tools import Pool, Tool, Tools, same
from values import spoken

Family = Literal["functiongemma", "gemma4"]
Mode = Literal["call", "two calls", "three calls", "telling", "telling two", "chain", "no tool fits", "small talk"]
Message = dict[str, Any]

WAITS = {"functiongemma": "<start_function_response>", "gemma4": "<|tool_response>"}
"""What a model writes after its calls, when it waits for their results."""

ENDS = {"functiongemma": "<end_of_turn>", "gemma4": "<turn|>"}
"""What ends a model's turn."""

DECLARATION = re.compile(r"<start_function_declaration>(.*?)<end_function_declaration>|<\|tool>(.*?)<tool\|>", re.DOTALL)
QUOTE = re.compile(r'<escape>|<\|"\|>')

CUSTOMARY = {"functiongemma": "You are a model that can do function calling with the following functions", "gemma4": None}
SYSTEM_TEXTS = (
    "You are a helpful assistant.",
    "Be brief.",
    "You are {} of {}.",
    "You help the people of {1}.",
    "Your name is {}.",
)
RULES = (
    "Answer briefly and truthfully.",
    "Say so when you do not know something.",
    "Today is {date}.",
    "It is {time} in {city}.",
    "The user is {person}.",
    "You run on the user's own computer.",
    "Call a tool only when the answer needs it.",
    "Answer from the result of a tool.",
    "Never make up a value.",
    "Be kind.",
    "Do not ask back.",
    "If no tool fits, say so.",
    "The tools are {tools}.",
)
"""What a long system message is made of, besides free sentences."""
OPENINGS = (
    "", "", "", "", "", "", "please ", "can you ", "could you please ", "hey, ", "I would like you to ", "now ", "ok, ",
    "will you ", "hello, please ", "you should ", "let us ", "next, ", "quickly ", "I want you to ", "could I ask you to ",
    "so, ", "go and ", "would you ", "I need you to ", "and now ", "kindly ", "just ", "hi, ", "also ", "hi! please ",
)  # fmt: skip
CLOSINGS = (
    "", "", "", "", "", "", ".", ".", " please", " thanks", "!", ", please", " for me", ", thank you", ", can you?",
    ", if you can", " at once", ", will you?", " soon", " as soon as possible", ", that would be nice", " (thanks)",
    " now", " now", " right away", " immediately", ", would you?", ", could you", "!!", " then", " if possible", ", thanks",
)  # fmt: skip
HELD_OUT_OPENINGS = ("", "would you please ", "hi, could you ", "now I need you to ", "ok, and now ")
HELD_OUT_CLOSINGS = ("", ".", " right now", ", could you?", " immediately, please")
SMALL_TALK = {
    "Hello! How can I help you?": ("hello", "hi there", "good morning", "hi", "hey", "hello there", "good evening", "hey there",
                                   "greetings", "good day"),
    "You are welcome!": ("thank you", "thanks a lot", "thanks", "thank you very much", "great, thanks", "well done", "perfect",
                         "nice work", "thank you so much", "that helped, thanks"),
    "I am a tiny Gemma test model.": ("who are you?", "what are you?", "what is your name?", "tell me who you are"),
    "I can call the tools you give me.": ("what can you do?", "how can you help me?", "what are you able to do?", "help"),
    "Goodbye!": ("bye", "goodbye", "see you later", "good night", "bye bye", "that is all, bye"),
    "I am fine, thank you.": ("how are you?", "how are you doing?", "are you well?", "how do you do?"),
    "One, two, three, four, five.": ("count to five", "count from one to five", "can you count to five?"),
}  # fmt: skip
TALK_OPENINGS = ("", "", "", "", "well, ", "ok, ", "oh, ", "so ", "right, ", "hey, ", "and ", "yes, ", "{}, ")
TALK_CLOSINGS = ("", "", "", "", "", ".", "!", " please", " today", " my friend", " for now", ", {}", " everyone", " really")
HELD_OUT_TALK = {
    "Hello! How can I help you?": ("hi, good morning", "hello again", "hey, good day"),
    "You are welcome!": ("many thanks", "thanks very much", "very nice, thank you"),
    "I am a tiny Gemma test model.": ("who are you then?", "say who you are"),
    "I can call the tools you give me.": ("so what can you do?", "how can you help?"),
    "Goodbye!": ("ok, bye", "good bye, see you"),
    "One, two, three, four, five.": ("count to five please",),
}
OPEN_QUESTIONS = (
    "tell me a story about a {}", "why is the {} {}?", "what is the use of a {}?", "explain the {} to me", "write a song",
    "who was the king of {city}?", "which {} is the best?", "how old is {person}?", "what do you think of {person}?",
    "solve x + {int} = {int}", "how many rivers flow through {city}?", "write an essay on the {} {}", "is a {} a {}?",
    "recite a verse", "do you like {city}?", "what is {int} times the {}?", "where does the {} come from?",
)  # fmt: skip
NO_TOOL_FITS = "I cannot do that with the tools I have."
ERRORS = (
    "not found",
    "no access",
    "timeout",
    "disk full",
    "quota exceeded",
    "unknown {}",
    "the {} is {}",
    "{} failed",
    "no {} there",
)
RESULT_FIELDS = {
    "temperature": "number", "status": "word", "price": "number", "result": "text", "total": "number", "condition": "word",
    "count": "int", "id": "id", "message": "text", "distance": "number", "email": "email", "time": "time", "date": "date",
    "city": "city", "name": "person", "path": "path", "height": "number", "percent": "number", "at": "time",
    "output": "sentence", "free": "int", "return_code": "int", "bytes": "large", "used": "large",
}  # fmt: skip


@dataclass(frozen=True)
class Conversation:
    """A conversation that ends with a reply."""

    family: Family
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...]
    thinking: bool = False

    @property
    def text(self) -> str:
        """All of it, as the family's format prints it, up to the token that ends the last reply."""
        calls = bool(self.messages[-1].get("tool_calls"))
        return self._render(len(self.messages), end=True).rstrip().removesuffix(WAITS[self.family]) + calls * WAITS[self.family]

    @property
    def text_by_chat(self) -> str:
        """The same as a chat endpoint without tools prints it: the declarations are text, without special tokens."""
        return DECLARATION.sub(lambda told: "\n" + QUOTE.sub('"', told[1] or told[2]), self.text)

    @property
    def prompt(self) -> str:
        """What comes before the last reply: what the library sends."""
        return self._render(len(self.messages) - 1, end=False)

    def _render(self, count: int, *, end: bool) -> str:
        thinking = {"enable_thinking": True} if self.thinking else {}
        rendered = get_format(self.family).render(self.messages[:count], self.tools, add_generation_prompt=not end, **thinking)
        return rendered.text


class Source(Tools):
    """Draws whole conversations."""

    def conversation(
        self,
        *modes: Mode,
        family: Family | None = None,
        pool: Pool = "mixed",
        tools: int | None = None,
        thinking: bool | None = None,
    ) -> Conversation:
        """A conversation in which `modes` follow each other, and the last one's reply comes last; what is not said is drawn."""
        rng = self.rng
        family = family or rng.choice(("functiongemma", "gemma4"))
        if thinking is None:
            thinking = family == "gemma4" and len(modes) == 1 and rng.random() < (0.5 if modes == ("small talk",) else 0.3)
        count = tools or rng.choices((1, 2, 3, 4, 5, 6), (0.25, 0.3, 0.2, 0.1, 0.1, 0.05))[0]
        if tools is None and set(modes) <= {"small talk", "no tool fits"} and rng.random() < 0.4:
            count = 0
        offered = self.tools(pool, count)
        messages = [message for mode in modes for message in MODES[mode](self, offered)]
        if thinking:
            messages = [_with_thought(message) for message in messages]
        if text := self._system_text(family, offered):
            messages.insert(0, {"role": "system", "content": text})
        return Conversation(family, tuple(messages), tuple(tool.declared() for tool in offered), thinking)

    def _system_text(self, family: Family, tools: Sequence[Tool]) -> str | None:
        drawn = self.rng.random()
        if drawn < 0.6:
            return CUSTOMARY[family]
        if drawn >= 0.85:
            return None
        text = self.rng.choice(SYSTEM_TEXTS)
        if drawn > 0.75:
            rules = self.rng.sample(RULES, self.rng.randint(2, 5))
            if self.rng.random() < 0.5:
                rules.append(f"{self.value('sentence').rstrip('.')}.")
            text = " ".join([text, *rules]) if self.rng.random() < 0.7 else "\n\n".join([text, " ".join(rules)])
        values = {kind: self.value(kind) for kind in ("date", "time", "city", "person")}
        names = ", ".join(tool.names[0] for tool in tools) or "none"
        return text.format(self.invented_word().capitalize(), self.word("cities"), tools=names, **values)

    def asked(self, text: str) -> Message:
        """A request as people dress it up."""
        openings, closings = (OPENINGS, CLOSINGS) if self.split == "train" else (HELD_OUT_OPENINGS, HELD_OUT_CLOSINGS)
        closing = "" if text[-1] in '?"' else self.rng.choice(closings)
        opening = "" if text.endswith("?") else self.rng.choice(openings)
        if self.split == "train" and self.rng.random() < 0.12:
            opening = " ".join(self.mixed_word() for _ in range(self.rng.randint(1, 3))) + self.rng.choice((" ", ", "))
        text = opening + text + closing
        return {"role": "user", "content": text[0].upper() + text[1:] if self.rng.random() < 0.4 else text}

    def result(self) -> tuple[str, str]:
        """A tool's result, as plain text or JSON, and the sentence that tells it."""
        drawn = self.rng.random()
        if drawn < 0.3:
            value = spoken(self.value(self.rng.choice(("text", "number", "word", "id", "sentence", "time", "title"))))
            return value, f"The result is {value.removesuffix('.')}."
        if drawn < 0.45:
            error = self.rng.choice(ERRORS).format(self.noun(), self.word("adjectives"))
            return json.dumps({"error": error}), f"That did not work: {error}."
        fields = sorted(self.rng.sample(list(RESULT_FIELDS), self.rng.choice((1, 1, 2, 2, 3, 4))))
        values = {
            field if self.rng.random() < 0.7 else self._identifier(): self.value(RESULT_FIELDS[field]) for field in fields
        }
        values = dict(sorted(values.items()))
        told = " and the ".join(f"{field} is {spoken(value).removesuffix('.')}" for field, value in values.items())
        if drawn < 0.55:
            outer = self.noun()
            told = told.replace(" and the ", f" and the {outer} ")
            return json.dumps({outer: values}, ensure_ascii=False), f"The {outer} {told}."
        return json.dumps(values, ensure_ascii=False), f"The {told}."


def _says(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _calls(*calls: tuple[str, dict[str, Any]]) -> Message:
    listed = [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "content": None, "tool_calls": listed}


def _with_thought(message: Message) -> Message:
    """The same with a short thought, if it is a reply that comes first after a request."""
    if message["role"] != "assistant":
        return message
    if calls := message.get("tool_calls"):
        return message | {"reasoning_content": f"I call {' and '.join(call['function']['name'] for call in calls)}."}
    if message["content"] == NO_TOOL_FITS:
        return message | {"reasoning_content": "No tool fits."}
    return message | {"reasoning_content": "I answer."}


def _calling(source: Source, tools: Sequence[Tool], count: int) -> list[Message]:
    requests = [(tool, *source.request(tool)) for tool in (source.rng.choice(tools) for _ in range(count))]
    text = requests[0][1]
    for i, (_, more, _) in enumerate(requests[1:], 2):
        joint = (" and ", " and also ", ", then ", ". Then ", " and ") if i == count else (", ", ", then ", " and ")
        text = text.rstrip("?.") + source.rng.choice(joint) + more
    return [source.asked(text), _calls(*((tool.names[0], arguments) for tool, _, arguments in requests))]


def _one_call(source: Source, tools: Sequence[Tool]) -> list[Message]:
    return _calling(source, tools, 1)


def _two_calls(source: Source, tools: Sequence[Tool]) -> list[Message]:
    return _calling(source, tools, 2)


def _three_calls(source: Source, tools: Sequence[Tool]) -> list[Message]:
    return _calling(source, tools, 3)


def _told(source: Source, messages: list[Message]) -> list[Message]:
    """The messages, a result for each call of the last, and what the model makes of them."""
    told = []
    for call in messages[-1]["tool_calls"]:
        result, sentence = source.result()
        messages.append({"role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"], "content": result})
        told.append(sentence)
    return [*messages, _says(" ".join(told))]


def _telling(source: Source, tools: Sequence[Tool]) -> list[Message]:
    return _told(source, _calling(source, tools, 1))


def _telling_two(source: Source, tools: Sequence[Tool]) -> list[Message]:
    return _told(source, _calling(source, tools, 2))


def _chain(source: Source, tools: Sequence[Tool]) -> list[Message]:
    """A call, and the next one when its result is there, as the request says."""
    (first, text, arguments), (second, more, then) = ((tool, *source.request(tool)) for tool in source.rng.choices(tools, k=2))
    joint = source.rng.choice((". After that, ", ", and when that is done, ", ". When you have the result, "))
    call = _calls((first.names[0], arguments))
    result = {"role": "tool", "tool_call_id": "call_0", "name": first.names[0], "content": source.result()[0]}
    return [source.asked(f"first {text.rstrip('?.')}{joint}{more}"), call, result, _calls((second.names[0], then))]


def _no_tool_fits(source: Source, tools: Sequence[Tool]) -> list[Message]:
    if source.rng.random() < 0.2:
        question = source.rng.choice(OPEN_QUESTIONS)
        kinds = {kind: source.value(kind) for kind in ("city", "person", "int")}
        return [source.asked(question.format(source.noun(), source.word("adjectives"), **kinds)), _says(NO_TOOL_FITS)]
    other = source.tool("mixed")
    while any(same(tool, other) for tool in tools):
        other = source.tool("mixed")
    return [source.asked(source.request(other)[0]), _says(NO_TOOL_FITS)]


def _small_talk(source: Source, tools: Sequence[Tool]) -> list[Message]:
    answer, texts = source.rng.choice(list((SMALL_TALK if source.split == "train" else HELD_OUT_TALK).items()))
    text = source.rng.choice(texts)
    if source.split == "train":
        mark = "?" if text.endswith("?") and source.rng.random() < 0.7 else ""
        text = (
            source.rng.choice(TALK_OPENINGS)
            + text.removesuffix("?")
            + source.rng.choice(TALK_CLOSINGS).rstrip(".!" if mark else "")
        )
        text = text.format(*(source.value("person") for _ in range(2))) + mark
    elif not text.endswith("?"):
        text += source.rng.choice(("", "", ".", "!"))
    return [{"role": "user", "content": text.capitalize() if source.rng.random() < 0.5 else text}, _says(answer)]


MODES: dict[Mode, Callable[[Source, Sequence[Tool]], list[Message]]] = {
    "call": _one_call,
    "two calls": _two_calls,
    "three calls": _three_calls,
    "telling": _telling,
    "telling two": _telling_two,
    "chain": _chain,
    "no tool fits": _no_tool_fits,
    "small talk": _small_talk,
}
"""The messages of each mode, the last of which is a reply; those that end with calls may only come last."""


def main() -> None:
    """Show a few conversations."""
    source = Source(random.Random(1))
    for mode in MODES:
        conversation = source.conversation(mode)
        print(f"{mode}\n{conversation.prompt}\n=> {conversation.text[len(conversation.prompt) :]}\n")


if __name__ == "__main__":
    main()
