"""Evaluations as one self-contained HTML page: tables, charts, and each case with a wrong answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from gemma_tools import __version__
from gemma_tools.bench.asking import Said
from gemma_tools.bench.cases import Case
from gemma_tools.bench.evaluate import Evaluation
from gemma_tools.bench.report import percent, tables
from gemma_tools.bench.results import Result
from gemma_tools.bench.scores import score
from gemma_tools.display import escape
from gemma_tools.formats import get_format
from gemma_tools.inspection.page import POLICY
from gemma_tools.jsontext import to_json, to_json_lines

_STYLE: Final = """
:root { color-scheme: light dark; --line: #c4c8ce; --soft: #f2f4f7; --bar: #2563a8; --mark: #fde68a;
  --good: #1b6e35; --bad: #a8201a; --control: #8a1c7c; }
@media (prefers-color-scheme: dark) { :root { --line: #4a5058; --soft: #1f242b; --bar: #6ea8e8; --mark: #6b5300;
  --good: #74cf8f; --bad: #ff8f87; --control: #f0a5e4; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
pre { background: var(--soft); padding: .6rem .8rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere;
  margin: .25rem 0; font: 13px/1.45 ui-monospace, monospace; }
details { border: 1px solid var(--line); border-radius: 6px; padding: .3rem .8rem; margin: .4rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 0 1rem; }
.control { color: var(--control); white-space: pre; } .role { font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); }
mark { background: var(--mark); color: inherit; }
svg { max-width: 100%; height: auto; display: block; }
svg path { stroke-width: 2; } svg text { fill: currentColor; font: 13px system-ui, sans-serif; }
"""

_BARS: Final = 340
"""The width of a 100 % bar, in the page's units."""
_ROW: Final = 24
_LABEL: Final = 72
"""The most characters of a label; a longer one loses its middle."""


def as_html(evaluations: Sequence[Evaluation]) -> str:
    """A page with the tables, charts, and every wrong answer next to the expected answer and the raw output."""
    title = "How well " + ", ".join(dict.fromkeys(evaluation.model for evaluation in evaluations)) + " calls tools"
    ways, categories, *problems = tables(evaluations)
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{_told(evaluation)}</p>" for evaluation in evaluations),
        "<h2>All ways</h2>",
        _table(ways),
        _chart("Right, with the interval of 95 %", [_way_bars(evaluations)]),
        "<h2>By category</h2>",
        _table(categories),
        _chart("Right in each category", _category_bars(evaluations)),
        *_problems(problems),
        *(part for evaluation in evaluations for part in _wrong(evaluation)),
        f"<p>gemma-tools {__version__}</p>",
    ]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>"
    )
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _told(evaluation: Evaluation) -> str:
    sampling = evaluation.sampling
    drawn = f"temperature {sampling.temperature:g}, first seed {sampling.seed}" if sampling.temperature else "greedy"
    repeats = 1 + max((result.repeat for result in evaluation.results), default=0)
    cases = len({result.case.id for result in evaluation.results})
    asked = _counted(cases) + (f", each asked {repeats} times" if repeats > 1 else "")
    return escape(f"{evaluation.model}: {asked}; {drawn}; at most {sampling.max_tokens} tokens an answer.")


def _counted(cases: int) -> str:
    return "1 case" if cases == 1 else f"{cases} cases"


def _table(table: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in table[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table[1:])
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


Bar = tuple[str, float, float, float, str]
"""Label, share, its interval, and the text next to it."""


def _way_bars(evaluations: Sequence[Evaluation]) -> list[Bar]:
    return [
        _bar(way if len(evaluations) == 1 else f"{evaluation.model}, {way}", evaluation.of(way))
        for evaluation in evaluations
        for way in evaluation.ways
    ]


def _category_bars(evaluations: Sequence[Evaluation]) -> list[list[Bar]]:
    """The bars of each category."""
    return [
        [
            _bar(f"{name}, {way}" if len(evaluations) == 1 else f"{name}, {evaluation.model}, {way}", evaluation.of(way, name))
            for evaluation in evaluations
            for way in evaluation.ways
        ]
        for name in dict.fromkeys(name for evaluation in evaluations for name in evaluation.categories)
    ]


def _bar(label: str, results: Sequence[Result]) -> Bar:
    right = score(results).right
    if len(label) > _LABEL:
        label = f"{label[: _LABEL // 2]}…{label[-_LABEL // 2 :]}"
    return label, right.value or 0.0, right.low, right.high, f"{percent(right)} of {right.of}"


def _chart(title: str, groups: Sequence[Sequence[Bar]]) -> str:
    """Bars from the left with the interval as a line, as SVG with a title for screen readers."""
    left = 16 + 7 * max((len(bar[0]) for bars in groups for bar in bars), default=0)
    lines: list[str] = []
    y = 4.0
    for bars in groups:
        for label, value, low, high, note in bars:
            middle = y + _ROW / 2 - 2
            lines.append(
                f'<text x="{left - 8}" y="{middle + 4}" text-anchor="end">{escape(label)}</text>'
                f'<rect x="{left}" y="{y}" width="{value * _BARS:.1f}" height="{_ROW - 6}" fill="var(--bar)" opacity="0.75"/>'
                f'<path d="M{left + low * _BARS:.1f} {middle}H{left + high * _BARS:.1f}" stroke="currentColor"/>'
                f'<text x="{left + _BARS + 8}" y="{middle + 4}">{escape(note)}</text>'
            )
            y += _ROW
        y += _ROW / 2
    height, width = y - _ROW / 2, left + _BARS + 120
    frame = f'<path d="M{left} 0V{height}M{left + _BARS} 0V{height}" stroke="var(--line)"/>'
    return (
        f'<h3>{escape(title)}</h3><svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height + 4}"'
        f' width="{width}">{frame}{"".join(lines)}</svg>'
    )


def _problems(tables: Sequence[Sequence[Sequence[str]]]) -> Iterator[str]:
    for table in tables:
        yield "<h2>What was repaired, and what was lost</h2>"
        yield "<p>The kinds are those of the page Recovery in the documentation.</p>"
        yield _table(table)


def _wrong(evaluation: Evaluation) -> Iterator[str]:
    """Each case that some way got wrong, with all its answers."""
    by_case: dict[str, list[Result]] = {}
    for result in evaluation.results:
        by_case.setdefault(result.case.id, []).append(result)
    wrong = [results for results in by_case.values() if not all(result.right for result in results)]
    yield f"<h2>{escape(evaluation.model)}: {_counted(len(wrong))} with a wrong answer</h2>"
    for results in wrong:
        case = results[0].case
        ways = ", ".join(dict.fromkeys(result.way for result in results if not result.right))
        title = f"{escape(case.category)}: {escape(case.id)}"
        yield f"<details><summary>{title} <span class=bad>({escape(ways)})</span></summary>"
        yield _question(case)
        alike: dict[tuple[str, str], list[str]] = {}
        for result in results:
            name = f"{result.way}, repeat {result.repeat + 1}" if result.repeat else result.way
            alike.setdefault((_verdict(result), _said(result.said)), []).append(name)
        for (verdict, said), names in alike.items():
            yield f"<h3>{escape('; '.join(names))}: {verdict}</h3>{said}"
        yield "</details>"


def _question(case: Case) -> str:
    messages = "\n".join(f'<span class="role">{escape(str(one.get("role")))}</span> {_message(one)}' for one in case.messages)
    calls = "\n".join(f"{call.name}: {to_json(call.arguments)}" for call in case.calls) or "no call"
    says = "".join(f"\nthe answer says: {text}" for text in case.says)
    names = ", ".join(tool["function"]["name"] for tool in case.tools) or "none"
    return (
        f"<h3>Asked</h3><pre>{messages}</pre>"
        f"<details><summary>Tools: {escape(names)}</summary><pre>{escape(to_json_lines(list(case.tools)))}</pre></details>"
        f"<h3>Expected, with the values that are right</h3><pre>{escape(calls + says)}</pre>"
    )


def _message(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    calls = message.get("tool_calls")
    told = [content if isinstance(content, str) else to_json(content)] if content else []
    return escape(" ".join([*told, to_json(calls) if calls else ""]))


def _verdict(result: Result) -> str:
    return "<span class=good>right</span>" if result.right else f"<span class=bad>{escape(str(result.fault))}</span>"


def _said(said: Said) -> str:
    """What was read, and the raw output."""
    read = "\n".join([*(f"{name}: {arguments}" for name, arguments in said.calls), *([said.content] if said.content else [])])
    wrote = "" if said.text is None else f"<div>The model wrote<pre>{written(said)}</pre></div>"
    problems = "".join(f"<li>{escape(problem['kind'])}: {escape(problem['message'])}</li>" for problem in said.problems)
    shown = f'<div class="pair"><div>Read as<pre>{escape(read) or "nothing"}</pre></div>{wrote}</div>'
    return shown + (f"<ul>{problems}</ul>" if problems else "")


def written(said: Said) -> str:
    """The raw output as HTML: special tokens in colour, and the problems marked at their positions."""
    text = said.text or ""
    places = sorted(
        (problem["start"], problem["end"], f"{problem['kind']}: {problem['message']}")
        for problem in said.problems
        if problem.get("end") is not None
    )
    made, position = [], 0
    for start, end, title in places:
        if start >= position:
            made.append(_coloured(text[position:start]))
            made.append(f'<mark title="{escape(title)}">{_coloured(text[start:end])}</mark>')
            position = end
    return "".join(made) + _coloured(text[position:])


def _coloured(text: str) -> str:
    pieces = _controls().split(text)
    return "".join(f"<span class=control>{escape(one)}</span>" if i % 2 else escape(one) for i, one in enumerate(pieces))


@cache
def _controls() -> re.Pattern[str]:
    """The special tokens of all families, each in its own group."""
    spellings = {token for name in ("functiongemma", "gemma3", "gemma4") for token in get_format(name).controls}
    return re.compile(f"({'|'.join(map(re.escape, sorted(spellings, key=len, reverse=True)))})")
