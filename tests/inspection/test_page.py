"""The page and the terminal form: nothing in a request or an output becomes markup, or moves the cursor."""

from __future__ import annotations

import io
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gemma_tools.data import tiny_path
from gemma_tools.display import visible
from gemma_tools.inspection import Inspection, inspect
from gemma_tools.tokens import GemmaTokenizer

TOKENIZER = GemmaTokenizer.from_file(tiny_path())
HOSTILE = [
    "<script>alert(1)</script>", "</pre></div>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;", "<!--", "]]>", "' onclick='x",
    "</style>", "\x1b[31m", "\x1b]8;;http://x\x07", "\r", "\x00", "\u202e", "\ud800", "<end_of_turn>", "\u2028", "[bold]x[/]",
]  # fmt: skip
texts = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=4), min_size=1, max_size=4).map("".join)


class Seen(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def hostile(text: str, name: str) -> Inspection:
    tool = {"name": name, "description": text, "parameters": {"properties": {text: {"type": "string", "default": text}}}}
    request: dict[str, Any] = {
        "model": "tiny",
        "messages": [{"role": "system", "content": text}, {"role": "user", "content": text}],
        "tools": [{"type": "function", "function": tool}],
    }
    return inspect(request, f"{text}<start_function_call>call:{text}{{}}<end_function_call>{text}")


TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "main",
    "h1",
    "h2",
    "h3",
    "p",
    "span",
    "i",
    "strong",
    "dl",
    "dt",
    "dd",
}
TAGS |= {
    "small",
    "pre",
    "b",
    "u",
    "sup",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "code",
    "section",
    "div",
    "details",
    "summary",
}
ATTRIBUTES = {"class", "title", "lang", "charset", "content", "name", "http-equiv"}


@given(text=texts, name=st.from_regex(r"[\w.-]{1,9}", fullmatch=True))
def test_nothing_becomes_markup(text: str, name: str) -> None:
    shown = hostile(text, name)
    page = shown.html()
    page.encode()
    seen = Seen(page)
    assert not seen.open
    assert seen.tags <= TAGS
    assert {attribute for _, attribute in seen.attributes} <= ATTRIBUTES
    assert visible(text).strip() in "".join(seen.text)
    assert not set("\x00\x07\x1b\r\u202e\u2028") & set(page)


@given(text=texts)
def test_nothing_moves_the_cursor(text: str) -> None:
    screen = io.StringIO()
    Console(file=screen, force_terminal=True, width=100, color_system="truecolor").print(hostile(text, "ping"))
    printed = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert not set("\x00\x07\x1b\r\u202e\u2028\ud800") & set(printed)


def test_a_terminal_ends_no_line_in_a_special_token() -> None:
    city = {"type": "string", "enum": ["Lisbon", "Porto", "Vila Real de Santo António"], "description": "A city of Portugal"}
    function = {
        "name": "get_tide",
        "description": "Tells the tide.",
        "parameters": {"type": "object", "properties": {"city": city}},
    }
    messages = [{"role": "user", "content": "How high is the water in Porto, and when is it low again?"}]
    call = "<start_function_call>call:get_tide{city:<escape>Porto<escape>}<end_function_call>" * 3
    request = {"model": "tiny", "messages": messages, "tools": [{"type": "function", "function": function}]}

    def tokens(width: int) -> Counter[str]:
        screen = io.StringIO()
        Console(file=screen, width=width).print(inspect(request, call))
        return Counter(re.findall("<[a-z_]+>", screen.getvalue()))

    wide = tokens(2000)
    assert wide["<escape>"] > 20
    assert all(tokens(width) == wide for width in range(64, 130))


def test_the_page_needs_no_network_and_no_script() -> None:
    page = hostile("x", "ping").html()
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page.replace("&#x27;", "'")


def test_a_line_break_that_comes_first_is_kept() -> None:
    page = inspect({"model": "tiny", "messages": [{"role": "user", "content": "x"}]}, "\nHello").html()
    assert "<pre>\n\nHello</pre>" in page


def test_a_notebook_shows_the_same_in_a_card() -> None:
    shown = hostile("x", "ping")
    card = shown._repr_html_()
    assert card.startswith("<style>")
    assert "Content-Security-Policy" not in card
    assert "declaration of ping" in card
