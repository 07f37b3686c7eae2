"""Options of engines that are integers."""

from __future__ import annotations

from gemma_tools.errors import InvalidRequest


def check_least(least: int, **options: object) -> None:
    """Check that each of `options` is None, or an integer of at least `least`.

    Raises:
        InvalidRequest: `param` names the first that is not.
    """
    for name, value in options.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise InvalidRequest(f"must be a number of at least {least}, got {value!r}", param=name)
