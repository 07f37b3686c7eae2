"""Evaluations as JSON, Markdown and a page of HTML."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from gemma_tools.bench import Evaluation, as_html, as_json, as_markdown, evaluate
from support.cases import ASKS, TALKS
from support.chat import OSLO, PARIS, user
from support.serving import scripted

NASTY = '<script>alert(1)</script> & "it\'s"'
CASES = [replace(ASKS, category="one|two"), replace(TALKS, messages=user(NASTY))]


@pytest.fixture
def evaluation() -> Evaluation:
    return evaluate(scripted(OSLO.replace("<end_function_call>", ""), NASTY), CASES, ways=["recovery"])


def test_json_holds_the_figures_and_what_is_wrong(evaluation: Evaluation) -> None:
    found = json.loads(json.dumps(as_json(evaluation)))
    assert found["model"] == "m on scripted"
    assert found["sampling"] == {"temperature": 0.0, "seed": 0, "max_tokens": 1024}
    plain = found["ways"]["plain"]
    assert (plain["right"]["count"], plain["right"]["of"], plain["right"]["share"]) == (0, 2, 0.0)
    assert plain["repaired"] == {"end_tag_missing": 1}
    assert plain["categories"]["none"]["refused"]["count"] == 1
    assert {"case": "asks", "way": "plain", "repeat": 0, "fault": "city is 'Oslo', and expected is 'Paris'"} in found["wrong"]


def test_json_shows_what_a_way_gained_and_lost() -> None:
    block = '```json\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n```'
    again = replace(ASKS, id="again", messages=user("Weather, Paris?"))
    ways = as_json(evaluate(scripted(PARIS.replace("city:", "city="), block), [CASES[0], again], ways=["recovery"]))["ways"]
    found = {way: (one["better_than_plain"], one["worse_than_plain"]) for way, one in ways.items()}
    assert found == {"plain": (0, 0), "recovery strict": (0, 1), "recovery schema": (0, 0), "recovery eager": (1, 0)}


def test_markdown_is_tables(evaluation: Evaluation) -> None:
    ways, categories, problems = as_markdown([evaluation]).strip().split("\n\n")
    for table in (ways, categories, problems):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    assert ways.splitlines()[2].startswith("| plain | 0% | 0 to 66 |")
    assert "one\\|two" in categories
    assert "| end_tag_missing | repaired | 1 |" in problems


def test_odd_text_stays_in_its_cell_of_markdown() -> None:
    odd = "a|b\\|c\r\n<script>"
    _, categories, *_ = as_markdown([evaluate(scripted(PARIS), [replace(ASKS, category=odd)])]).split("\n\n")
    assert categories.splitlines()[2:] == ["| a\\|b\\\\\\|c  \\<script> | 1 | 100% |"]


def test_several_models_are_shown_side_by_side(evaluation: Evaluation) -> None:
    other = evaluate(scripted(PARIS, "hi", model="other"), CASES)
    text = as_markdown([evaluation, other])
    assert "| other on scripted | plain | 100% |" in text
    assert "m on scripted, plain" in text
    assert "other on scripted, plain" in as_html([evaluation, other])


class Page(HTMLParser):
    """The elements of a page: each is closed, and none is a script or comes from somewhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that ends at once."""
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """An element ends, and it is the innermost."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data


def read(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(evaluation: Evaluation) -> None:
    html = as_html([evaluation])
    page = read(html)
    tags = {tag for tag, _ in page.seen}
    assert {"table", "svg", "details", "pre"} <= tags
    assert not tags & {"script", "link", "img", "iframe", "base", "form"}
    assert not [
        value
        for _, attributes in page.seen
        for name, value in attributes.items()
        if name in ("src", "href") or name.startswith("on")
    ]
    assert "url(" not in html
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(svg)


def test_the_page_shows_wrong_cases_beside_what_was_expected(evaluation: Evaluation) -> None:
    page = read(as_html([evaluation]))
    assert NASTY in page.text
    assert 'get_weather: {"city": ["Paris"]}' in page.text
    assert "city is 'Oslo', and expected is 'Paris'" in page.text
    assert OSLO.removesuffix("<end_function_call>") in page.text
    assert "the answer says: hi" in page.text
    right = read(as_html([evaluate(scripted(PARIS, "hi"), CASES)]))
    assert "0 cases with a wrong answer" in right.text
    assert NASTY not in right.text


def test_each_wrong_case_is_shown_once_in_whatever_order_its_results_came(evaluation: Evaluation) -> None:
    shuffled = replace(evaluation, results=(*evaluation.results[::2], *evaluation.results[1::2]))
    page = read(as_html([shuffled]))
    assert "2 cases with a wrong answer" in page.text
    assert (page.text.count("one|two: asks "), page.text.count("none: talks ")) == (1, 1)


def test_the_page_marks_where_a_problem_lies() -> None:
    cut = PARIS[:50]
    html = as_html([evaluate(scripted(f"Well. {cut}", "hi"), CASES)])
    [(title, marked)] = re.findall(r'<mark title="(.*?)">(.*?)</mark>', html)
    assert title.startswith("cut: ")
    assert read(marked).text == cut
    assert "<span class=control>&lt;start_function_call&gt;</span>" in marked


def test_a_long_label_loses_its_middle_and_the_chart_keeps_its_size() -> None:
    html = as_html([evaluate(scripted(PARIS), [replace(ASKS, category="x" * 40 + "y" * 5000 + "z" * 40)])])
    widths = [int(width) for width in re.findall(r'<svg[^>]* width="(\d+)"', html)]
    assert max(widths) < 1100
    assert f"{'x' * 36}…" in html


def test_what_would_not_be_seen_is_shown() -> None:
    page = read(as_html([evaluate(scripted("a\u202eb\x1b", "hi"), CASES)]))
    assert "a⟨U+202E⟩b␛" in page.text
