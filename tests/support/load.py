"""Many requests at once with a blow in the middle, and whether each was answered right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gemma_tools.errors import EngineError
from support.chat import WEATHER, accumulated, calls, user

CITIES = ("Paris", "Lisbon", "Tokyo", "Lima")
Answer = ChatCompletion | Iterable[ChatCompletionChunk]


def outcomes(
    ask: Callable[..., Answer], blow: Callable[[], object], *, broken: Callable[[Exception], bool], requests: int = 160
) -> Counter[str]:
    """How often each outcome was met among `requests` requests, eight at once; `blow` is called after a quarter of them.

    `ask` takes the fields of a request. Every second one is a stream, and every third one forces a call. Where nothing had
    come of an answer, the client or the engine is to ask again by itself: only where an answer has begun and `broken` says of
    the exception that it broke off, of which a caller must hear, the question is put once more here.
    """
    answered = count(1)

    def one(number: int) -> str:
        city = CITIES[number % len(CITIES)]
        request: dict[str, Any] = {"messages": user(f"what is the weather in {city}?"), "tools": [WEATHER], "temperature": 0}
        if not number % 3:
            request["tool_choice"] = "required"
        try:
            outcome = _judged(ask(**request, stream=bool(number % 2)), city)
        except Exception as error:
            outcome = f"{_judged(ask(**request, stream=False), city)} when asked again" if broken(error) else repr(error)
        if next(answered) == requests // 4:
            blow()
        return outcome

    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(one, range(requests)))


def begun(error: Exception) -> bool:
    """Whether an engine's answer broke off after something of it had come."""
    return isinstance(error, EngineError) and bool(error.text)


def _judged(answer: Answer, city: str) -> str:
    whole = answer if isinstance(answer, ChatCompletion) else accumulated(list(answer))
    said = whole.choices[0].finish_reason, calls(whole)
    return "right" if said == ("tool_calls", [("get_weather", f'{{"city": "{city}"}}')]) else f"{said} for {city}"
