"""An inspection as HTML: one page without scripts and network access. All text goes through `display.escape`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gemma_tools.display import card, escape, facts, pre, rows, segments, style, table, tokens
from gemma_tools.inspection import words
from gemma_tools.inspection.model import Inspection, Output, OutputPart, OutputPiece, PromptPart, ToolView
from gemma_tools.jsontext import to_json_lines

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of the page: even injected markup could not load or run anything."""


def page(shown: Inspection) -> str:
    """A whole page."""
    return document(shown.model or "Inspection", _body(shown))


def fragment(shown: Inspection) -> str:
    """The same for a notebook's output."""
    return card(_body(shown))


def document(title: str, body: str) -> str:
    """A page around `body`, which is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>body {{ margin: 0 }} .gemma-tools {{ border-radius: 0; min-height: 100vh; "
        f"box-sizing: border-box }} main {{ max-width: 75em; margin: auto }}\n{style()}</style></head>\n"
        f'<body class="gemma-tools"><main>{body}</main></body></html>\n'
    )


def _body(shown: Inspection) -> str:
    return "\n".join(_sections(shown))


def _sections(shown: Inspection) -> Iterator[str]:
    yield f"<h1>{escape(shown.model or 'Inspection')}</h1>{facts(words.facts(shown))}"
    if shown.error:
        yield f'<p class="warning"><strong>Failed</strong> {escape(shown.error)}</p>'
    yield from _warnings(shown.warnings)
    if shown.output is not None:
        yield from _output(shown.output)
    yield "<h2>Prompt</h2>" + rows(_prompt_row(part, exact=shown.exact) for part in shown.parts)
    if shown.tools:
        yield "<h2>Tools</h2>" + "".join(_tool(tool, exact=shown.exact) for tool in shown.tools)
    if any(part.tokens for part in shown.parts):
        yield _tokens(shown.parts)
    if shown.completion is not None:
        yield f'<h2>OpenAI object</h2><div class="panel">{pre(escape(to_json_lines(shown.completion)))}</div>'


def _warnings(warnings: Iterable[str]) -> Iterator[str]:
    return (f'<p class="warning"><strong>Left out</strong> {escape(warning)}</p>' for warning in warnings)


def _prompt_row(part: PromptPart, *, exact: bool) -> tuple[str, str, str, str]:
    return part.label, words.of_part(part, exact=exact), "", pre(segments(part.segments))


def _tool(tool: ToolView, *, exact: bool) -> str:
    return (
        f'<section class="tool"><h3>{escape(tool.name)} <small>{words.tokens(tool.count, exact=exact)}</small></h3>'
        f'<div class="two"><div class="panel"><i>its schema</i>{pre(escape(tool.schema))}</div>'
        f'<div class="panel"><i>what the model sees</i>{pre(segments(tool.declaration))}</div></div>'
        f"{''.join(_warnings(tool.warnings))}</section>"
    )


def _output(output: Output) -> Iterator[str]:
    yield "<h2>Output</h2>" + rows(_output_row(part) for part in output.parts)
    if output.problems:
        found = (
            (str(view.number), f"<code>{escape(view.problem.kind)}</code>", escape(view.problem.message), escape(view.advice))
            for view in output.problems
        )
        yield "<h3>Problems</h3>" + table(("", "kind", "what was found", "what would change it"), found)
    if output.levels:
        read = ((f"{level.level}{' (used)' * level.used}", escape(words.of_level(level))) for level in output.levels)
        yield "<h3>What each recovery level reads</h3>" + table(("level", "calls"), read)


def _output_row(part: OutputPart) -> tuple[str, str, str, str]:
    return words.of_output(part), "", part.kind, pre("".join(map(_piece, part.pieces)))


def _piece(piece: OutputPiece) -> str:
    marks = f"<sup>{' '.join(map(str, piece.begins))}</sup>" if piece.begins else ""
    body = f"<b>{escape(piece.text)}</b>" if piece.control else escape(piece.text)
    return marks + (f"<u>{body}</u>" if piece.problems else body)


def _tokens(parts: Sequence[PromptPart]) -> str:
    shown = [
        (token.id, token.text, " ".join(["special"] * token.special + ["cached"] * (number < (part.cached or 0))))
        for part in parts
        for number, token in enumerate(part.tokens)
    ]
    return f"<details><summary>{len(shown):,} tokens of the prompt, one by one</summary>{tokens(shown)}</details>"
