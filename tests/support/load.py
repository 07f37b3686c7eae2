"""Many requests at once with a blow in the middle, and whether each was answered right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from support.chat import WEATHER, accumulated, calls, user

CITIES = ("Paris", "Lisbon", "Tokyo", "Lima")
Answer = ChatCompletion | Iterable[ChatCompletionChunk]


def outcomes(
    ask: Callable[..., Answer], blow: Callable[[], object], *, broken: type[Exception], requests: int = 160
) -> Counter[str]:
    """How often each outcome was met among `requests` requests, eight at once; `blow` is called after a quarter of them.

    `ask` takes the fields of a request. Every second one is a stream, and every third one forces a call. Where nothing had
    come of an answer, the client or the engine is to ask again by itself: only after a stream that broke off with
    `broken`, of which a caller must hear, the question is put once more here.
    """
    answered = count(1)

    def one(number: int) -> str:
        city = CITIES[number % len(CITIES)]
        request: dict[str, Any] = {"messages": user(f"what is the weather in {city}?"), "tools": [WEATHER], "temperature": 0}
        if not number % 3:
            request["tool_choice"] = "required"
        outcome = _outcome(ask, request, city, broken) if number % 2 else _judged(ask(**request), city)
        if next(answered) == requests // 4:
            blow()
        return outcome

    def caught(number: int) -> str:
        try:
            return one(number)
        except Exception as error:
            return repr(error)[:2000]

    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(caught, range(requests)))


def _outcome(ask: Callable[..., Answer], request: dict[str, Any], city: str, broken: type[Exception]) -> str:
    stream = ask(**request, stream=True)
    assert not isinstance(stream, ChatCompletion)
    try:
        chunks = list(stream)
    except broken:
        return f"{_judged(ask(**request), city)} when asked again"
    return _judged(accumulated(chunks), city)


def _judged(answer: Answer, city: str) -> str:
    assert isinstance(answer, ChatCompletion)
    said = answer.choices[0].finish_reason, calls(answer)
    return "right" if said == ("tool_calls", [("get_weather", f'{{"city": "{city}"}}')]) else f"{said} for {city}"
