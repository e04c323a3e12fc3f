"""The documentation's site, as ./dev docs built it, opened from a disk: it asks for nothing else, its search works, everybody can use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.test_every_page import ALIKE, NARROW, WIDE, grave

SITE = Path(__file__).resolve().parents[2] / "dist" / "docs"
PAGES = (
    "index",
    "proof",
    "how-do-i",
    "grades",
    "reference/functions",
    "files/knnscope/certified/bound.py",
    "drop-ins-text",
)
"""One of each kind: pictures, code, links, wide tables, many headings, a file."""
SCREENS = ((NARROW, "dark"), (NARROW, "light"), (WIDE, "light"), (WIDE, "dark"))
Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens a page of the site by its name; the test fails if the console had an error or anything outside the site was asked for."""
    assert (SITE / "index.html").is_file(), "there is no site in dist/docs: run ./dev docs"
    contexts, wrong = [], []

    def open_page(name: str, width: int = WIDE, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 1000}, offline=True, **options)
        contexts.append(context)
        context.on("request", lambda r: None if within(r.url) else wrong.append(f"asks for {r.url}"))
        page = context.new_page()
        page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((SITE / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def within(url: str) -> bool:
    return url.startswith((SITE.as_uri(), "data:"))


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        *((name, *screen) for name in PAGES[:2] for screen in SCREENS),
        *((name, *screen) for name in PAGES[2:] for screen in SCREENS[::2]),
    ],
)
def test_a_page_fits_and_axe_finds_nothing_serious(visit: Visit, name: str, width: int, scheme: str) -> None:
    page = visit(name, width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").count() == 1
    found = (
        Axe().run(page, context=ALIKE, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    )
    assert not grave(found), "\n".join(grave(found))


def test_every_page_opens_without_an_error(visit: Visit) -> None:
    every = sorted(SITE.rglob("*.html"))
    assert len(every) > 60
    page = visit("index")
    for file in every:
        page.goto(file.as_uri())
        assert page.title()


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_a_search_from_a_disk_leads_to_the_page(visit: Visit, width: int) -> None:
    page = visit("index", width)
    if width == NARROW:
        page.locator("label.nav-overlay-icon").click()
    page.get_by_label("Search").first.fill("triangle inequality")
    page.get_by_label("Search").first.press("Enter")
    result = page.locator("#search-results li a", has_text="How exactness is certified").first
    result.click()
    page.wait_for_url("**/proof.html*")
    assert "How exactness is certified" in page.inner_text("h1")


def test_a_search_for_what_is_not_there_says_so(visit: Visit) -> None:
    page = visit("search")
    page.goto(f"{page.url}?q=xylophone")
    page.get_by_text("did not match any documents").wait_for()


def test_it_reads_without_scripts(visit: Visit) -> None:
    page = visit("proof", java_script_enabled=False)
    assert "triangle inequality" in page.inner_text("article")
    page.locator(".sidebar-tree a", has_text="Every command").click()
    assert "knnscope compare" in page.inner_text("article")


def test_the_theme_can_be_chosen(visit: Visit) -> None:
    page = visit("index", color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(colour)
    for _ in range(3):  # auto, light and dark follow each other
        page.locator(".theme-toggle:visible").first.click()
        if page.evaluate(colour) != before:
            return
    raise AssertionError("the page stays as it is")
