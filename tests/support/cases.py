"""Two cases to ask a scripted model: one that a call answers, and one that text does."""

from __future__ import annotations

from gemma_tools.bench import Case, ExpectedCall
from support.chat import ALARM, WEATHER, user

ASKS = Case(
    id="asks",
    category="one",
    messages=user("Weather in Paris?"),
    tools=[WEATHER, ALARM],
    calls=(ExpectedCall("get_weather", {"city": ["Paris"]}),),
)
TALKS = Case(id="talks", category="none", messages=user("Hello"), tools=[WEATHER], says=("hi",))
