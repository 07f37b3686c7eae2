"""The EBNF in the library that it is for: xgrammar, which `nox -s "engines(vllm)"` installs with vLLM."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from typing import Any

import pytest

from gemma_tools.formats import get_format
from gemma_tools.grammar import Grammar
from support.grammar_tools import BRACES, properties, tool, write
from support.schemas import SCHEMAS

xgrammar = pytest.importorskip("xgrammar", reason='nox -s "engines(vllm)" installs it')


@cache
def compiler() -> Any:
    """For a vocabulary of single bytes."""
    pieces = [f"<0x{byte:02X}>" for byte in range(256)] + ["<eos>"]
    return xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo(pieces, vocab_type=xgrammar.VocabType.BYTE_FALLBACK, stop_token_ids=[256])
    )


def takes(ebnf: str, text: str) -> bool:
    """Whether a reply may be `text` and end there."""
    matcher = xgrammar.GrammarMatcher(compiler().compile_grammar(xgrammar.Grammar.from_ebnf(ebnf)))
    return bool(matcher.accept_string(text) and matcher.accept_token(256))


def put(family: str, schema: Any) -> Grammar:
    """The grammar of a call with one argument of this schema."""
    return get_format(family).grammar([tool("put", properties("v", v=schema))], tool_choice="required")


@pytest.mark.parametrize("family", BRACES)
@pytest.mark.parametrize(("schema", "good", "bad"), SCHEMAS, ids=str)
def test_a_schema_is_enforced(family: str, schema: Any, good: list[Any], bad: list[Any]) -> None:
    ebnf = put(family, schema).ebnf
    taken = [value for value in (*good, *bad) if takes(ebnf, write(family, "put", {"v": value}))]
    assert taken == good


@pytest.mark.parametrize(
    ("pattern", "alphabet"),
    [
        ("^a(b+)?$", "ab"),
        ("^a(cb+)?$", "abc"),
        ("^(a|a{1,2})$", "a"),
        (r"^x(\.[0-9]{1,9})?z$", "x.1z"),
        ("^((a|b){1,2}|b)c?$", "abc"),
    ],
)
def test_a_pattern_is_read_as_it_is_meant(pattern: str, alphabet: str) -> None:
    """xgrammar may take the ends of two branches for one, which must not add texts to a pattern."""
    grammar = put("functiongemma", {"type": "string", "pattern": pattern})
    assert grammar.warnings == ()
    texts = ["".join(text) for length in range(5) for text in product(alphabet, repeat=length)]
    taken = [text for text in texts if takes(grammar.ebnf, write("functiongemma", "put", {"v": text}))]
    assert taken == [text for text in texts if re.search(pattern, text)]
