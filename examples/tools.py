"""Tools for `gemma-tools chat tiny --tools examples/tools.py`."""

from datetime import UTC, datetime, timedelta

HOURS = {"Lisbon": 0, "Paris": 1, "Tokyo": 9, "Lima": -5}


def get_weather(city: str) -> str:
    """Gets the current weather for a city.

    Args:
        city: The city name
    """
    return "sunny"


def get_time(city: str) -> str:
    """Gets the local time in a city.

    Args:
        city: The city name
    """
    if city not in HOURS:
        raise ValueError(f"no clock for {city}; there are clocks for {', '.join(HOURS)}")
    return (datetime.now(UTC) + timedelta(hours=HOURS[city])).strftime("%H:%M")
