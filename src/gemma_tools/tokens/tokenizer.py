"""Gemma's tokenizer, built from the model's own vocabulary, and exact: the ids are the same as llama.cpp's.

```python
tokenizer = GemmaTokenizer.from_file("gemma-3-4b-it-q4_0.gguf")
tokenizer.count("What is the weather in Lisbon?")
```
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from gemma_tools.data import tiny_path
from gemma_tools.errors import InvalidRequest, ModelNotFound, UnknownName
from gemma_tools.log import logger
from gemma_tools.models import model_file
from gemma_tools.tokens.decoding import TokenDecoder
from gemma_tools.tokens.spellings import longest_of
from gemma_tools.tokens.vocabulary import SPACE, Kind, Vocabulary, read_vocabulary

if TYPE_CHECKING:
    from gemma_tools.engines.base import Engine
    from gemma_tools.tokens.merging import Merger

_HALF: Final = re.compile("[\ud800-\udfff]")
_HTML_TAG: Final = re.compile(r"</?(?!(?:escape|bos|eos|mask|pad|unk)>)[a-z][a-z0-9]*>")
"""Tags, but not the special tokens of Gemma that look like tags."""


class GemmaTokenizer:
    """Converts text to token ids and back.

    Text is text: nothing in it becomes a special token unless `control` names it. Nothing is built before the first use, and
    `from_file` returns one tokenizer per file. Thread-safe.

    A literal U+2581, which vocabularies use for the space, is read as a space, except that white-space runs are searched first,
    as in llama.cpp. So `decode(encode(text))` is `text.replace("\\u2581", " ")`.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._markers: dict[str, int] = {}
        self._words: dict[str, int] = {}
        self._special: set[int] = set()
        for number, kind in enumerate(vocabulary.kinds):
            piece = vocabulary.pieces[number]
            if kind in (Kind.CONTROL, Kind.UNKNOWN) or (kind == Kind.USER_DEFINED and not _is_text(piece)):
                self._markers.setdefault(piece, number)
                self._special.add(number)
            elif kind == Kind.USER_DEFINED:
                self._words.setdefault(piece, number)
        self.controls: Final[frozenset[str]] = frozenset(self._markers)
        """The texts of the special tokens, including those of type USER_DEFINED that are not text (`<start_of_image>`)."""

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The tokenizer of a GGUF file, a Hugging Face `tokenizer.json` (or its folder), or a `tokenizer.model`.

        Raises:
            ModelNotFound: the file does not exist, or is broken.
            InvalidRequest: its tokenizer is of another kind, or its merges are not complete.
        """
        file = Path(path).expanduser()
        try:
            stat = file.stat()
        except OSError:
            return cls(read_vocabulary(file))  # this error says what is wrong
        return cast(Self, _from_file(file.resolve(), stat.st_mtime_ns, stat.st_size, cast(Any, cls)))

    @classmethod
    def of(cls, engine: Engine) -> Self | None:
        """The tokenizer of the model that `engine` runs; None if its vocabulary is not on this machine, or of another kind."""
        if engine.vocabulary is None:
            return None
        try:
            return cls.from_file(engine.vocabulary)
        except (InvalidRequest, ModelNotFound) as error:
            logger.debug("the tokenizer of %s cannot be used: %s", engine.name, error)
            return None

    @classmethod
    def of_model(cls, name: str) -> Self | None:
        """The tokenizer in the file with a model's name; None if that is not a file, or not on this machine.

        Raises:
            ModelNotFound: the file does not exist, or is broken.
            InvalidRequest: see `from_file`.
        """
        file = model_file(name)
        if file is None or file.startswith("hf:"):
            return None
        return cls.from_file(tiny_path() if file == "tiny" else file)

    def encode(self, text: str, *, control: Collection[str] = ()) -> list[int]:
        """The ids of `text`, in which only the tokens in `control` are special tokens.

        Raises:
            UnknownName: the vocabulary lacks a special token in `control`.
        """
        if _HALF.search(text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # halves of one character are joined
        if not control:
            return self._encode_text(text)
        named = {spelling: self._marker(spelling) for spelling in control}
        ids: list[int] = []
        for number, part in enumerate(_splitter(frozenset(named)).split(text)):
            if number % 2:
                ids.append(named[part])
            elif part:
                ids += self._encode_text(part)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, including special tokens. Bytes that are not UTF-8 become U+FFFD.

        Raises:
            InvalidRequest: an id is not in the vocabulary; `param` is "ids".
        """
        decoder = self.decoder()
        return "".join(segment.text for segment in (*decoder.feed(ids), *decoder.close()))

    def decoder(self) -> TokenDecoder:
        """A decoder for ids that arrive in chunks: it separates special tokens from text."""
        return TokenDecoder(self._vocabulary, self._special)

    def count(self, text: str, *, control: Collection[str] = ()) -> int:
        """The number of tokens that `encode` returns."""
        return len(self.encode(text, control=control))

    def id(self, token: str) -> int:
        """The id of a special token.

        Raises:
            UnknownName: the vocabulary has no such special token.
        """
        return self._marker(token)

    def token(self, id: int) -> str:
        """The text of the token `id`: a special token as in `controls`, a byte as `<0x0A>`, a space as a space.

        Raises:
            InvalidRequest: the id is not in the vocabulary.
        """
        return self._vocabulary.pieces[self._checked(id)]

    def __len__(self) -> int:
        """The size of the vocabulary."""
        return len(self._vocabulary.pieces)

    def __repr__(self) -> str:
        return f"<GemmaTokenizer of {len(self):,} tokens>"

    @cached_property
    def _merger(self) -> Merger:
        from gemma_tools.tokens.merging import Merger

        return Merger(self._vocabulary)

    @cached_property
    def _splitter(self) -> re.Pattern[str] | None:
        return longest_of(self._words)

    def _encode_text(self, text: str) -> list[int]:
        """The ids of text between two special tokens."""
        encode, words, prefix = self._merger.encode, self._words, self._vocabulary.space_prefix
        ids: list[int] = []
        for number, part in enumerate(self._splitter.split(text) if self._splitter else (text,)):
            if number % 2:
                ids.append(words[part])
            elif part:
                plain = part.replace(SPACE, " ")
                ids += encode(" " + plain if prefix else plain)
        return ids

    def _checked(self, id: int) -> int:
        if not 0 <= id < len(self._vocabulary.pieces):
            raise InvalidRequest(f"{id} is not a token id: the vocabulary has {len(self):,}", param="ids")
        return id

    def _marker(self, spelling: str) -> int:
        number = self._markers.get(spelling)
        if number is None:
            raise UnknownName(f"the vocabulary has no special token {spelling!r}")
        return number


def _is_text(piece: str) -> bool:
    """Whether a user-defined token is text that stays whole, such as a run of line breaks, and not a special token."""
    return piece.isspace() or _HTML_TAG.fullmatch(piece) is not None


@lru_cache(maxsize=64)
def _splitter(spellings: frozenset[str]) -> re.Pattern[str]:
    pattern = longest_of(spellings)
    assert pattern is not None
    return pattern


@lru_cache(maxsize=8)
def _from_file(path: Path, modified: int, size: int, kind: Any) -> Any:
    return kind(read_vocabulary(path))
