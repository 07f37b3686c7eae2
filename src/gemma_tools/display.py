"""Displays for people, in notebooks, on pages and in terminals: text that cannot become markup or move the cursor.

Everything that is shown goes through `visible`, and on pages through `escape`. `card` puts an HTML fragment on its own
background, so it is readable in any notebook, light or dark. `display.css` is the style of all of them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

_CONTROLS: Final = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {127: "\u2421"}
_INVISIBLE: Final = (
    *(0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0xFEFF),
    *range(0x80, 0xA0),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
)
"""C1 controls, and characters that are invisible or change the direction of text. Joiners are parts of words and emoji."""
_SHOWN: Final = _CONTROLS | {code: f"⟨U+{code:04X}⟩" for code in _INVISIBLE}
_PLAIN: Final = re.compile("[\ud800-\udfff" + "".join(map(re.escape, map(chr, _SHOWN))) + "]")

_NOTATION: Final = re.compile(r"&lt;\|?(?:&quot;|\w{1,30})\|?&gt;")
"""What looks like a special token, in HTML."""


class Shown(Protocol):
    """A chunk of text to show; `gemma_tools.prompt.Segment` is one."""

    @property
    def text(self) -> str: ...
    @property
    def control(self) -> bool: ...


def visible(text: str) -> str:
    """`text` with every character that a terminal or browser would execute or hide as a symbol or a number.

    A lone surrogate, which no file can contain, is also shown as its number.
    """
    return _PLAIN.sub(lambda m: _SHOWN.get(ord(m[0])) or f"⟨U+{ord(m[0]):04X}⟩", text)


def escape(text: str) -> str:
    """`text` as HTML without markup, also safe inside an attribute's quotation marks."""
    return html.escape(visible(text))


@cache
def style() -> str:
    """The style sheet."""
    return Path(__file__).with_name("display.css").read_text(encoding="utf-8")


def card(body: str) -> str:
    """An HTML fragment for a notebook's output: `body`, which is HTML, with its style."""
    return f'<style>{style()}</style><div class="gemma-tools">{body}</div>'


def pre(body: str) -> str:
    """Monospaced lines; `body` is HTML. HTML drops a leading line break, so one more is written."""
    return f"<pre>\n{body}</pre>"


def segments(shown: Iterable[Shown]) -> str:
    """Segments as HTML: special tokens in bold, and never broken across lines."""
    return "".join(f"<b>{escape(s.text)}</b>" if s.control else escape(s.text) for s in shown)


def table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; the cells are HTML, the head is text. Without a head there is no head row."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    header = f"<thead><tr>{cells}</tr></thead>" if cells else ""
    return f'<div class="wide"><table>{header}<tbody>{lines}</tbody></table></div>'


def facts(pairs: Mapping[str, Any]) -> str:
    """Names and values in one line, all of them text; values that are None or empty are left out."""
    told = ((name, str(value)) for name, value in pairs.items() if value not in (None, ""))
    shown = (f"<span><i>{escape(name)}</i> {escape(value)}</span>" for name, value in told)
    return f'<p class="facts">{" ".join(shown)}</p>'


def rows(labelled: Iterable[tuple[str, str, str, str]]) -> str:
    """A list of labels, small words under them, classes, and the labelled HTML."""
    lines = (
        f'<dt>{escape(label)}<small>{escape(small)}</small></dt><dd class="{kind}">{body}</dd>'
        for label, small, kind, body in labelled
    )
    return f'<dl class="rows">{"".join(lines)}</dl>'


def output(text: str) -> str:
    """Monospaced raw output. What looks like a special token is never broken across lines; whether it is one is not known."""
    return pre(_NOTATION.sub(r'<span class="whole">\g<0></span>', escape(text)))


def tokens(shown: Iterable[tuple[int, str, str]]) -> str:
    """Tokens on alternating backgrounds: their ids, texts and classes (`special`, `cached`); a line break is shown as `⏎`."""
    spans = (
        f'<span title="{number}"{kinds and f" class={chr(34)}{kinds}{chr(34)}"}>{escape(text.replace(chr(10), "⏎"))}</span>'
        for number, text, kinds in shown
    )
    return f'<div class="tokens">{pre("".join(spans))}</div>'
