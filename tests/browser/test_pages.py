"""The pages in a real browser, which `nox -s browser` brings: nothing runs, nothing loads, and everything can be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from gemma_tools import get_format
from gemma_tools.inspection import inspect
from support.serving import QUESTION, WEATHER, scripted, serving

HOSTILE = (
    "</pre><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\"> \u202e<turn|> " + "x" * 200
)
VIEWS = {"light": ("light", 1100), "dark": ("dark", 1100), "narrow": ("dark", 390)}

CONTRAST = """() => {
  const light = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const color = numbers(getComputedStyle(node).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || parent.tagName === 'STYLE') continue;
    const [a, b] = [numbers(getComputedStyle(parent).color), ground(parent)].map(luminance).sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.data.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["GEMMA_TOOLS_BROWSER"], args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=VIEWS)
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    scheme, width = VIEWS[request.param]
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})  # type: ignore[arg-type]
    yield page
    page.close()


def hostile() -> str:
    tool = {
        "name": "tide",
        "description": HOSTILE,
        "parameters": {"properties": {"port": {"type": "string", "default": HOSTILE}}},
    }
    asked: dict[str, Any] = {
        "model": "tiny-gemma4",
        "messages": [{"role": "user", "content": HOSTILE}],
        "tools": [{"type": "function", "function": tool}],
    }
    calls = '<|tool_call>call:tide{port:Brest}<tool_call|><|tool_call>call:snow{a:<|"|>b<|"|>}<tool_call|>'
    return inspect(asked, f"<|channel>thought\n{HOSTILE}<channel|>{HOSTILE}{calls} {HOSTILE}").html()


def check(page: Page) -> None:
    """Everything can be read: no text is too faint, nothing is wider than the window, no special token is broken."""
    faint = [found for found in page.evaluate(CONTRAST) if found[0] < 4.5]
    assert not faint
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("pre b").count()
    assert page.evaluate("[...document.querySelectorAll('pre b')].every(b => b.getClientRects().length === 1)")
    assert "mono" in page.evaluate("getComputedStyle(document.querySelector('pre')).fontFamily")


def test_nothing_runs_and_nothing_loads(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(hostile(), encoding="utf-8")
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(file.as_uri())
    assert (asked, faults) == ([file.as_uri()], [])
    assert page.title() == "tiny-gemma4"
    assert page.locator("img, script").count() == 0
    page.locator("summary").click()
    assert page.locator(".tokens .special").first.is_visible()
    check(page)


def test_the_pages_of_a_server(page: Page) -> None:
    with serving(scripted("Hello.", HOSTILE), inspect=True) as url:
        for _ in range(2):
            httpx.post(f"{url}/chat/completions", json={"model": "m", "messages": QUESTION, "tools": [WEATHER]})
        page.goto(f"{url.removesuffix('/v1')}/inspect")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.get_by_role("link", name="2", exact=True).click()
        page.wait_for_url("**/inspect/2")
        assert page.get_by_role("heading", name="Output").is_visible()
        assert page.title() == "m"
        check(page)


@pytest.mark.parametrize("theme", ["true", "false"])
def test_displays_are_readable_whatever_the_notebook_is(page: Page, theme: str) -> None:
    shown = get_format("gemma4").render([{"role": "user", "content": HOSTILE}], [WEATHER])._repr_html_()
    ground = "#fff" if theme == "true" else "#111"
    page.set_content(f'<body data-jp-theme-light="{theme}" style="background: {ground}; color: gray">{shown}</body>')
    page.wait_for_function("document.querySelector('.gemma-tools') !== null")
    check(page)
    light = page.evaluate("getComputedStyle(document.querySelector('.gemma-tools')).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (theme == "true")


NOTEBOOK = """
  .output dl, .output dt, .output dd { display: block; }
  .output dt { float: left; width: 20%; padding: 0; margin: 0; }
  .output dd { float: left; width: 80%; padding: 0; margin: 0; }
  :not(.markdown).output td, :not(.markdown).output tr { text-align: right; line-height: normal; }
  .output tbody tr:nth-child(even) { background: #888; }
  .output table { table-layout: fixed; margin-left: auto; }
"""
"""The styles of JupyterLab for lists and tables in outputs, which are stronger than a rule for one class."""


def test_styles_of_a_notebook_do_not_spoil_a_display(page: Page) -> None:
    text = '<|channel>thought\nShort.<channel|>Soon.<|tool_call>call:nobody{port:<|"|>Brest<|"|>}<tool_call|>'
    shown = get_format("gemma4").parse(text, [WEATHER])._repr_html_()

    def boxes() -> object:
        return page.evaluate(
            """() => [...document.querySelectorAll('.gemma-tools :is(dt, dd, td, th)')].map(node => {
              const box = node.getBoundingClientRect(), style = getComputedStyle(node);
              return [box.x, box.y, box.width, box.height, style.textAlign, style.backgroundColor];
            })"""
        )

    page.set_content(f'<div class="output">{shown}</div>')
    own = boxes()
    assert own
    page.set_content(f'<style>{NOTEBOOK}</style><div class="output">{shown}</div>')
    assert boxes() == own
