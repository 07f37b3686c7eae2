"""Strategies for the headers of GGUF files: such as Gemma's files have, and with other values in their places."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from support.gguf_files import ARRAY, NUMBERS, STRING, Typed, gguf_header, typed

PIECES: Final = {
    **dict.fromkeys(["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<start_function_call>"], 3),
    **{"<unk>": 2, "\n\n": 4, "\u2581\u2581": 4, "<b>": 4, "<start_of_image>": 4, "<unused0>": 5},
    **{f"<0x{byte:02X}>": 6 for byte in (0, 10, 65, 0xC3, 0xA9)},
    **dict.fromkeys(["a", "b", "c", "\u2581", "ab", "bc", "abc", "\u2581a", "\u2581ab", "a\u2581", "é", "日本"], 1),
}
"""The tokens of a small vocabulary, and their types."""
MERGES: Final = ["a b", "b c", "ab c", "a bc", "\u2581 a", "\u2581 ab", "\u2581a b", "a \u2581"]
_VOCABULARY: Final[dict[str, Typed]] = {
    "tokenizer.ggml.model": typed("llama"),
    "tokenizer.ggml.tokens": typed([*PIECES]),
    "tokenizer.ggml.token_type": (ARRAY, (5, [*PIECES.values()])),
    "tokenizer.ggml.scores": typed([-float(number) for number in range(len(PIECES))]),
    "tokenizer.ggml.add_space_prefix": typed(False),
    "tokenizer.ggml.bos_token_id": typed(2),
    "tokenizer.chat_template": typed("{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}"),
}
_MERGED: Final[dict[str, Typed]] = {
    **{key: value for key, value in _VOCABULARY.items() if not key.endswith("scores")},
    "tokenizer.ggml.model": typed("gemma4"),
    "tokenizer.ggml.merges": typed(MERGES),
}
GOOD: Final[list[dict[str, Typed]]] = [
    {
        "general.architecture": typed("gemma3"),
        "general.name": typed("Gemma 3 4b It"),
        "gemma3.context_length": typed(8192),
        **_VOCABULARY,
    },
    {"general.architecture": typed("gemma4"), "general.size_label": typed("31B"), **_MERGED},
    {"general.architecture": typed("gemma4"), "general.name": typed("Diffusiongemma 26B A4B It")},
    {"general.architecture": typed("gemma3n"), "general.name": typed("Gemma 3n E2B")},
    {"general.architecture": typed("clip"), "clip.vision.image_mean": typed([0.5, 0.5, 0.5]), "clip.use_gelu": typed(True)},
]
"""Headers such as files have."""
KEYS: Final = sorted({key for header in GOOD for key in header})

_texts = st.sampled_from([*PIECES, *MERGES, "<0xZZ>", "", "gemma3", "llama"]) | st.text(max_size=6)
_numbers: Final[dict[int, st.SearchStrategy[Any]]] = {
    **{kind: st.integers(0, 256 ** (1 << step) - 1) for step, kind in enumerate((0, 2, 4))},
    **{kind: st.integers(-(128 << bits), (128 << bits) - 1) for kind, bits in ((1, 0), (3, 8), (5, 24), (11, 56))},
    6: st.floats(width=32, allow_nan=False),
    7: st.booleans(),
    10: st.integers(0, 256**8 - 1),
    12: st.floats(allow_nan=False),
}
assert _numbers.keys() == NUMBERS.keys()
_elements: Final = {**_numbers, STRING: _texts}


def _single(kind: int) -> st.SearchStrategy[Typed]:
    return _elements[kind].map(lambda value: (kind, value))


def _array(kind: int) -> st.SearchStrategy[Typed]:
    return st.lists(_elements[kind], max_size=4).map(lambda items: (ARRAY, (kind, items)))


values: Final = st.sampled_from([*_elements]).flatmap(_single) | st.sampled_from([*_elements]).flatmap(_array)
"""A value of each type that is read."""
_nested: Final = st.lists(values.filter(lambda value: value[0] == ARRAY).map(lambda value: value[1]), max_size=3).map(
    lambda arrays: (ARRAY, (ARRAY, arrays))
)
"""Arrays of arrays, which are refused."""
headers: Final = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), values, max_size=8)
"""Headers with any values."""


def as_read(kind: int, value: Any) -> Any:
    """What a value of a file is in Python."""
    if kind != ARRAY:
        return value
    element, items = value
    return items if element == STRING else tuple(items)


@st.composite
def _changed(draw: Any, value: Typed) -> Typed:
    """A value in whose array up to three elements are others of the same type, and which may be longer or shorter."""
    kind, content = value
    if kind != ARRAY or content[0] == ARRAY:
        return draw(_single(kind) if kind in _elements else _nested)  # type: ignore[no-any-return]
    element, items = content[0], [*content[1]]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(items)))
        small = st.integers(0, 7) if element == 5 else _elements[element]
        items[at : at + draw(st.sampled_from([1, 1, 1, 1, 0, 2]))] = [draw(small)]
    return kind, (element, items)


@st.composite
def gguf_files(draw: Any) -> bytes:
    """A file as Gemma's are, in which up to three values are changed, of another type, or left out; and tensors after them."""
    pairs = dict(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from([*pairs, *KEYS]))
        change = draw(st.sampled_from(["change", "change", "replace", "nest", "remove"]))
        if change == "remove":
            pairs.pop(key, None)
        elif change == "change" and key in pairs:
            pairs[key] = draw(_changed(pairs[key]))
        else:
            pairs[key] = draw(_nested if change == "nest" else values)
    shapes = st.lists(st.integers(0, 256), max_size=4).map(tuple)
    tensors = draw(st.lists(st.tuples(_texts, shapes, st.integers(0, 1 << 40)), max_size=2))
    return gguf_header(pairs, tensors, draw(st.sampled_from([3, 3, 3, 3, 2, 1, 3 << 24])))
