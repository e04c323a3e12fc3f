"""The report of a run in a browser: charts answer, engines are switched off, rows sorted and filtered, the theme is chosen, paper is white."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Open

GPU, CPU, CLIMB = "report of a GPU run", "report of a CPU run", "report of a climb"
RUNS = pytest.mark.parametrize("name", [GPU, CPU, CLIMB])
FIRST = {GPU: "latency-host-k10", CPU: "latency-host-k10", CLIMB: "rungs"}
WHITE = "rgb(255, 255, 255)"


def chart(page: Page, name: str) -> Locator:
    """A chart that has come alive."""
    figure = page.locator(f"#chart-{name}")
    figure.scroll_into_view_if_needed()
    expect(figure).to_have_class(re.compile("answers"))
    return figure


def data(figure: Locator) -> list[dict[str, object]]:
    """What its marks are made of."""
    found: list[dict[str, object]] = json.loads(figure.locator("script").first.text_content() or "")["datasets"][
        "marks"
    ]
    return found


@RUNS
def test_a_chart_answers_to_the_pointer(opened: Open, name: str) -> None:
    page = opened(name)
    figure = chart(page, FIRST[name])
    marks = figure.locator(".mark-symbol path")
    assert marks.count() == len(data(figure))
    marks.first.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element.visible")
    expect(tooltip).to_be_visible()
    said = tooltip.inner_text()
    assert any(str(mark["engine"]) in said and str(mark["hint"]) in said for mark in data(figure))


@pytest.mark.parametrize("name", [GPU, CPU])
def test_an_engine_is_switched_off_everywhere_and_on_again(opened: Open, name: str) -> None:
    page = opened(name)
    figure = chart(page, FIRST[name])
    before = figure.locator(".mark-symbol path").count()
    mine = [mark for mark in data(figure) if mark["engine"] == "faiss"]
    box = page.get_by_role("checkbox", name="faiss", exact=True)
    box.focus()
    page.keyboard.press("Space")
    expect(figure.locator(".mark-symbol path")).to_have_count(before - len(mine))
    rows = page.locator('#speed tr[data-engine="faiss"]')
    assert rows.count() > 0
    assert not any(row.is_visible() for row in rows.all())
    later = chart(page, "roofline")  # drawn after the choice was made
    assert "faiss" in {mark["engine"] for mark in data(later)}
    expect(later.locator(".mark-symbol path")).to_have_count(sum(m["engine"] != "faiss" for m in data(later)))
    box.check()
    expect(later.locator(".mark-symbol path")).to_have_count(len(data(later)))


@RUNS
def test_rows_are_sorted_and_filtered(opened: Open, name: str) -> None:
    page = opened(name)
    table = page.locator("#rows table")
    title = "wall" if name == CLIMB else "median"
    head = table.get_by_role("columnheader", name=title)
    column = head.evaluate("head => head.cellIndex")
    for order in ("ascending", "descending"):
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == order
        cells = table.locator(f"tbody tr td:nth-child({column + 1})")
        values = cells.evaluate_all("cells => cells.map(cell => Number(cell.dataset.value ?? NaN)).filter(isFinite)")
        assert values == sorted(values, reverse=order == "descending")
        assert len(values) > 2
    every = table.locator("tbody tr")
    word = data(chart(page, FIRST[name]))[0]["engine"]
    page.locator("#rows input[type=search]").fill(str(word))
    texts = every.evaluate_all("rows => rows.filter(row => !row.hidden).map(row => row.textContent)")
    assert 0 < len(texts) < every.count()
    assert all(str(word) in text for text in texts)


@RUNS
def test_the_theme_is_chosen_by_keyboard_and_charts_follow(opened: Open, name: str) -> None:
    page = opened(name, color_scheme="light")
    figure = chart(page, FIRST[name])
    inks = {}
    button = page.get_by_role("button", name=re.compile("Theme"))
    for _ in range(3):
        button.press("Enter")
        said = button.inner_text().removeprefix("Theme: ")
        ground, ink = (
            page.evaluate("getComputedStyle(document.documentElement).backgroundColor"),
            figure.locator("text").first.evaluate("text => getComputedStyle(text).fill"),
        )
        inks[said] = ground, ink
    assert inks["light"] == inks["as the system"]
    assert inks["light"][0] == WHITE
    assert inks["dark"][0] != WHITE
    assert inks["dark"][1] != inks["light"][1]


@RUNS
def test_paper_is_white_and_has_every_chart(opened: Open, name: str) -> None:
    page = opened(name, color_scheme="dark", java_script_enabled=False)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == WHITE
    shown = page.locator("figure.chart:visible .drawn > svg")
    assert shown.count() == page.locator("figure.chart:visible").count() > 0
    assert page.locator("nav").is_hidden()


@RUNS
def test_every_chart_is_drawn_without_scripts(opened: Open, name: str) -> None:
    page = opened(name, java_script_enabled=False)
    figures = page.locator("figure.chart")
    assert page.locator(".scripted:visible").count() == 0
    for figure in figures.all():
        assert figure.locator(".drawn > svg path").count() > 0
        assert len(figure.locator(".drawn").get_attribute("aria-label") or "") > 20
        assert figure.locator("table tbody tr").count() > 0


def test_what_came_into_the_page_neither_runs_nor_asks(browser: Browser, files: Callable[[str], Path]) -> None:
    """The policy names the page's own scripts; escaping is not the only wall."""
    page = browser.new_page()
    page.goto(files(CPU).as_uri())
    page.evaluate(
        """() => {
            window.refused = 0;
            document.addEventListener("securitypolicyviolation", () => window.refused++);
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            new Image().src = "https://example.invalid/a.png";
        }"""
    )
    page.wait_for_timeout(300)
    assert page.evaluate("[window.ran === undefined, window.refused]") == [True, 2]
    page.close()
