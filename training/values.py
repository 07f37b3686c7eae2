"""Words, names, numbers and other values that requests contain and calls must copy.

About a sixth of all values, chosen by a hash, is the test split, and is not in the training. A model that writes them correctly
has copied them; it cannot remember them.
"""

from __future__ import annotations

import hashlib
import random
import string
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
Split = Literal["train", "test"]

JSON_TYPES = {"int": "integer", "number": "number", "bool": "boolean", "list": "array"}
"""The JSON type of a kind of value; all other kinds are strings."""

ENUMS = {
    "part": ("cpu", "memory", "disk", "all"),
    "size": ("small", "medium", "large"),
    "vehicle": ("train", "bus", "car", "bicycle"),
    "colour": ("red", "blue", "green", "white", "yellow", "black"),
    "order": ("ascending", "descending"),
    "urgency": ("low", "normal", "high"),
}
"""Kinds with few values, which the tool declares as an enum."""

ACCENTS = dict(zip("aaeeioouuncslz", "äáéèíöøüúñçßłž", strict=True))
MARKS = (",", ",", ".", "!", "?", ":", ";", " -", "...")
ENDS = ("com", "org", "net", "io")


@cache
def words() -> dict[str, tuple[str, ...]]:
    """The lists of `words.txt` by name."""
    lists: dict[str, list[str]] = {}
    for line in lines("words.txt"):
        if line.endswith(":"):
            current = lists.setdefault(line[:-1], [])
        else:
            current.extend(line.split())
    return {name: tuple(values) for name, values in lists.items()}


def lines(file: str) -> Iterator[str]:
    """The lines of a file in this folder, without empty lines and comments."""
    text = (HERE / file).read_text(encoding="utf-8")
    return (line for line in text.splitlines() if line.strip() and not line.startswith("#"))


def in_test_split(value: object) -> bool:
    """Whether a value is kept out of the training."""
    return hashlib.md5(f"value {value}".encode()).digest()[0] < 40


class Values:
    """Draws values of one split from a random generator."""

    def __init__(self, rng: random.Random, split: Split = "train") -> None:
        self.rng = rng
        self.split = split

    def value(self, kind: str) -> Any:
        """A value of a kind, from this split; booleans and lists are made of such values."""
        if kind == "bool":
            return self.rng.random() < 0.5
        if kind == "list":
            return [self.value("word") for _ in range(self.rng.randint(1, 3))]
        if kind in ENUMS:
            return self.rng.choice(ENUMS[kind])
        for _ in range(400):
            value = KINDS[kind](self)
            if in_test_split(value) == (self.split == "test"):
                break
        return value

    def word(self, name: str) -> str:
        """A word of one of the lists."""
        return self.rng.choice(words()[name])

    def noun(self) -> str:
        """A noun of any list."""
        return self.word(self.rng.choice(("nouns", "tool_nouns", "more_nouns", "more_nouns")))

    def invented_word(self, *, syllables: tuple[int, int] = (2, 3)) -> str:
        """A word that does not exist."""
        if self.rng.random() < 0.15:
            return "".join(self.rng.choices(string.ascii_lowercase, k=self.rng.randint(3, 7)))
        return "".join(self.word("syllables") for _ in range(self.rng.randint(*syllables)))

    def accented(self, word: str) -> str:
        """The word, sometimes with a letter that is not ASCII."""
        if self.rng.random() < 0.06 and (places := [i for i, letter in enumerate(word) if letter in ACCENTS]):
            place = self.rng.choice(places)
            return word[:place] + ACCENTS[word[place]] + word[place + 1 :]
        return word

    def mixed_word(self) -> str:
        """A word that may exist."""
        drawn = self.rng.random()
        if drawn < 0.35:
            return self.noun()
        return self.word("adjectives") if drawn < 0.5 else self.accented(self.invented_word())


def _name(source: Values, listed: str, *, known: float) -> str:
    return source.word(listed) if source.rng.random() < known else source.accented(source.invented_word()).capitalize()


def _city(source: Values) -> str:
    city = _name(source, "cities", known=0.4)
    return f"{city} {source.invented_word().capitalize()}" if source.rng.random() < 0.12 else city


def _person(source: Values) -> str:
    name = _name(source, "names", known=0.45)
    return f"{name} {source.invented_word().capitalize()}" if source.rng.random() < 0.3 else name


def _email(source: Values) -> str:
    rng = source.rng
    local = _name(source, "names", known=0.5).lower()
    tail = rng.choice(("", "", f".{source.invented_word()}", str(rng.randint(1, 99))))
    domain = source.invented_word() if rng.random() < 0.5 else source.word("domains")
    return f"{local}{tail}@{domain}.{rng.choice(ENDS)}"


def _date(source: Values) -> str:
    rng = source.rng
    drawn = rng.random()
    if drawn < 0.45:
        return f"{rng.randint(2020, 2031)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    if drawn < 0.75:
        return f"{source.word('months')} {rng.randint(1, 28)}"
    return source.word("days")


def _time(source: Values) -> str:
    rng = source.rng
    if rng.random() < 0.65:
        return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
    return f"{rng.randint(1, 12)} {rng.choice(('am', 'pm'))}"


def _number(source: Values) -> int | float:
    rng = source.rng
    if rng.random() < 0.5:
        return rng.randint(1, 999)
    value = round(rng.uniform(0, 10 ** rng.randint(1, 3)), rng.choice((1, 2)))
    return int(value) if value.is_integer() else value


def _text(source: Values) -> str:
    drawn = source.rng.random()
    if drawn < 0.4:
        return f"{source.word('verbs')} the {source.word('adjectives')} {source.noun()}"
    if drawn < 0.6:
        return f"{source.word('adjectives')} {source.noun()} {source.invented_word()}"
    return " ".join(source.mixed_word() for _ in range(source.rng.randint(2, 4)))


def _sentence(source: Values) -> str:
    """Free text with capitals, digits and marks."""
    rng = source.rng
    said = [source.mixed_word() for _ in range(rng.randint(3, 8))]
    for i in range(len(said) - 1):
        drawn = rng.random()
        if drawn < 0.12:
            said[i] += rng.choice(MARKS)
        elif drawn < 0.2:
            said[i] = str(KINDS[rng.choice(("int", "time", "id", "number"))](source))
        elif drawn < 0.25:
            said[i] = rng.choice(("({})", "'{}'", "*{}*", "<{}>", "#{}", "[{}]", "{}=1", "{}_x", "{}/2")).format(said[i])
    text = " ".join(said)
    return text[0].upper() + text[1:] + rng.choice((".", ".", "!", "")) if rng.random() < 0.5 else text


def _word(source: Values) -> str:
    return source.noun() if source.rng.random() < 0.5 else source.accented(source.invented_word())


def _title(source: Values) -> str:
    return " ".join(_word(source).capitalize() for _ in range(source.rng.randint(1, 3)))


def _code(source: Values) -> str:
    if source.rng.random() < 0.5:
        return source.word("currencies")
    return "".join(source.rng.choices(string.ascii_uppercase, k=source.rng.randint(3, 4)))


def _id(source: Values) -> str:
    letters = "".join(source.rng.choices(string.ascii_uppercase, k=2))
    return letters + "-" + "".join(source.rng.choices(string.digits, k=source.rng.randint(3, 5)))


def _slug(source: Values) -> str:
    mark = source.rng.choice("-_./")
    return mark.join(source.mixed_word() for _ in range(source.rng.randint(1, 3)))


def _path(source: Values) -> str:
    folders = "".join(f"{_word(source)}/" for _ in range(source.rng.randint(0, 2)))
    return (
        source.rng.choice(("", "", "/", "~/"))
        + folders
        + _word(source)
        + source.rng.choice((".txt", ".csv", ".md", ".log", ""))
    )


def _url(source: Values) -> str:
    path = "".join(f"/{_word(source)}" for _ in range(source.rng.randint(0, 2)))
    return f"https://{source.invented_word()}.{source.rng.choice(ENDS)}{path}"


def _digits(source: Values, least: int, most: int) -> str:
    return "".join(source.rng.choices(string.digits, k=source.rng.randint(least, most)))


KINDS: dict[str, Callable[[Values], Any]] = {
    "city": _city,
    "person": _person,
    "email": _email,
    "date": _date,
    "time": _time,
    "int": lambda source: source.rng.randint(1, 10 ** source.rng.randint(1, 4)),
    "number": _number,
    "large": lambda source: source.rng.randint(10**6, 10 ** source.rng.randint(8, 12)),
    "text": _text,
    "sentence": _sentence,
    "word": _word,
    "title": _title,
    "code": _code,
    "id": _id,
    "slug": _slug,
    "path": _path,
    "url": _url,
    "phone": lambda source: source.rng.choice(("+", "0", "")) + _digits(source, 2, 4) + " " + _digits(source, 4, 7),
    "script": lambda source: source.rng.choice(("{}.py", "{}_script.py")).format(source.mixed_word()),
    "zip": lambda source: source.rng.choice(("", "0")) + _digits(source, 3, 8),
    "version": lambda source: source.rng.choice(("", "v")) + ".".join(_digits(source, 1, 1) for _ in range(3)),
}
"""How a value of each kind is made."""


def spoken(value: Any) -> str:
    """A value as people say it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return value[0] if len(value) == 1 else f"{', '.join(map(str, value[:-1]))} and {value[-1]}"
    return str(value)
