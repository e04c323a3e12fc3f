"""What stands around the timeline: the table of findings, the page in print, and what is there where scripts or unpacking are not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Open
from tests.browser.timeline import LOOP, ready, seen


def test_a_finding_in_the_table_shows_where_it_is(opened: Open) -> None:
    page = ready(opened(LOOP))
    page.get_by_role("button", name="launch-bound").click()
    low, high = seen(page)
    assert high - low < page.evaluate("timeline.head.span") / 10
    assert "Give a kernel all rows at once" in page.locator("#said").inner_text()
    box = page.locator("#canvas").bounding_box()
    assert box
    page.keyboard.press("0")
    x = page.evaluate("timeline.view.x(timeline.data.findings[0].start[0])")
    page.mouse.move(box["x"] + x + 3, box["y"] + 34)
    assert page.locator("#tip").inner_text().startswith("launch-bound (high)")


def test_a_name_in_the_table_is_searched(opened: Open) -> None:
    page = ready(opened(LOOP))
    page.get_by_role("button", name="cudaMalloc", exact=True).click()
    assert page.input_value("#search") == "cudaMalloc"
    assert page.locator("#count").inner_text().startswith("1 of ")


def test_print_shows_the_present_view_in_light_colours(opened: Open) -> None:
    page = ready(opened(LOOP, color_scheme="dark"))
    corner = """(() => {
        const copy = document.createElement("canvas").getContext("2d");
        copy.drawImage(timeline.view.canvas, 0, 0);
        return Array.from(copy.getImageData(2, 2, 1, 1).data.slice(0, 3));
    })()"""
    assert max(page.evaluate(corner)) < 60
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(corner) == [255, 255, 255]
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert max(page.evaluate(corner)) < 60
    page.emulate_media(media="print")
    assert page.locator("#canvas").is_visible()
    assert page.locator("#still").is_hidden()
    assert page.locator("#search").is_hidden()


def test_a_browser_that_cannot_unpack_says_so_and_shows_the_picture(opened: Open, files: Any) -> None:
    page = opened(LOOP)
    page.add_init_script("delete window.DecompressionStream")
    page.reload()
    assert "cannot unpack the events" in page.locator("#why").inner_text()
    assert page.locator("#still svg").is_visible()
    assert page.locator("#canvas").is_hidden()


def test_without_scripts_the_picture_is_there(opened: Open) -> None:
    page = opened(LOOP, java_script_enabled=False)
    assert page.locator("#still svg").is_visible()
    assert page.locator("#search").is_hidden()
    assert "JavaScript is off" in page.inner_text("main")


@pytest.mark.parametrize("scripts", [True, False])
def test_on_a_narrow_screen_a_finding_is_a_list_that_hides_nothing(opened: Open, scripts: bool) -> None:
    page = opened("timeline of a loop", 360, java_script_enabled=scripts)
    cells = page.locator("table.stack td")
    assert cells.count() >= 6
    for cell in cells.all():
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert cell.get_attribute("data-head") in ("severity", "rule", "phase", "what is seen", "would save", "remedy")
