"""What holds for every page that knnscope writes: it asks for nothing, it fits any screen, everybody can use it."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import Open
from tests.browser.pages import PAGES

NARROW, WIDE = 360, 1600
ALIKE = {"exclude": [["tbody tr:nth-child(n+6)"]]}
"""Later rows of a long table, which are as those before; axe would take a minute for them."""
every_page = pytest.mark.parametrize("name", PAGES)


def seen(page: Page) -> None:
    """Scroll through all of it, so that what waits to be seen is drawn."""
    page.evaluate(
        """async () => {
            for (const fold of document.querySelectorAll("details")) fold.open = true;
            for (const figure of document.querySelectorAll("figure, section, footer")) {
                figure.scrollIntoView();
                await new Promise((done) => setTimeout(done, 60));
            }
        }"""
    )
    page.wait_for_timeout(500)


def grave(found: list[Any]) -> list[str]:
    """What axe found that is serious, a line each."""
    return [
        f"{v['id']}: {v['help']}: {[node['html'][:200] for node in v['nodes'][:3]]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


@every_page
@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("scripts", [True, False])
def test_it_fits_without_sideways_scrolling(opened: Open, name: str, width: int, scripts: bool) -> None:
    page = opened(name, width, java_script_enabled=scripts)
    if scripts:
        seen(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@every_page
@pytest.mark.parametrize(("width", "scheme"), [(NARROW, "dark"), (WIDE, "light"), (WIDE, "dark")])
def test_axe_finds_nothing_serious(opened: Open, name: str, width: int, scheme: str) -> None:
    page = opened(name, width, color_scheme=scheme)
    seen(page)
    found = Axe().run(page, context=ALIKE, options={"resultTypes": ["violations"]}).response["violations"]
    assert not grave(found), "\n".join(grave(found))


@every_page
def test_no_title_of_a_table_is_cut_or_broken_at_every_word(opened: Open, name: str) -> None:
    page = opened(name, NARROW)
    seen(page)
    found = page.evaluate(
        """() => [...document.querySelectorAll("caption")].map((one) => {
            const text = document.createRange();
            text.selectNodeContents(one.firstElementChild);
            return [one.textContent, text.getBoundingClientRect().right, text.getClientRects().length];
        })"""
    )
    for title, right, lines in found:
        assert right <= NARROW, title
        assert lines <= 1 + len(title) // 25, title


@every_page
def test_it_reads_without_scripts(opened: Open, name: str) -> None:
    page = opened(name, java_script_enabled=False)
    assert len(page.inner_text("main")) > 200
    assert page.locator("h1").count() == 1
