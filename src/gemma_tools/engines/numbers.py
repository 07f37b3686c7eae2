"""Options of engines that are integers."""

from __future__ import annotations

from collections.abc import Mapping

from gemma_tools.errors import InvalidRequest


def check_least(least: int, **options: object) -> None:
    """Check that each of `options` is None, or an integer of at least `least`.

    Raises:
        InvalidRequest: `param` names the first that is not.
    """
    for name, value in options.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise InvalidRequest(f"must be a number of at least {least}, got {value!r}", param=name)


def token_biases(given: Mapping[str, float] | None, vocabulary: int | None = None) -> dict[int, float]:
    """`logit_bias` by token id. `vocabulary` is how many tokens the model has; None where that is not known.

    Raises:
        InvalidRequest: a key is not the id of a token.
    """
    try:
        biases = {int(token): bias for token, bias in (given or {}).items()}
    except ValueError:
        raise InvalidRequest("its keys must be token ids, integers from 0", param="logit_bias") from None
    for token in biases:
        if token < 0 or (vocabulary is not None and token >= vocabulary):
            known = "from 0" if vocabulary is None else f"from 0 to {vocabulary - 1} for this model"
            raise InvalidRequest(f"its keys must be token ids, integers {known}, got {token}", param="logit_bias")
    return biases
