"""The timeline's page for tests: when it is ready, what it shows, and where on the screen that is."""

from __future__ import annotations

from playwright.sync_api import Page, expect

LOOP, ONE = "timeline of a loop", "timeline of one iteration"
MIDDLE = """([title, i]) => {
    const { view } = window.timeline;
    const lane = view.data.lanes.find((lane) => lane.title === title);
    const box = view.canvas.getBoundingClientRect();
    view.draw();
    return [box.left + view.x((lane.start[i] + lane.end[i]) / 2), box.top + view.top(lane.number) + view.room.block / 2];
}"""
"""Where on the screen an event of a lane is."""


def ready(page: Page) -> Page:
    """When the events are there. The page's policy lets nobody evaluate, so nothing waits for a function here."""
    expect(page.locator("#said")).not_to_be_empty()
    return page


def until(page: Page, truth: str) -> None:
    """Wait for what becomes true with the next picture or so."""
    for _ in range(200):
        if page.evaluate(truth):
            return
        page.wait_for_timeout(25)
    raise AssertionError(truth)


def seen(page: Page) -> tuple[float, float]:
    low, high = page.evaluate("[timeline.view.low, timeline.view.high]")
    return low, high


def middle(page: Page, title: str, number: int) -> tuple[float, float]:
    x, y = page.evaluate(MIDDLE, [title, number])
    return x, y


def show(page: Page, title: str, number: int, times: float = 40) -> None:
    """An event in the middle of a view so many times as long."""
    page.evaluate(
        """([title, i, times]) => {
            const { view } = window.timeline;
            const lane = view.data.lanes.find((lane) => lane.title === title);
            const long = Math.max(1, lane.end[i] - lane.start[i]) * times;
            view.show(lane.start[i] - long / 2, lane.start[i] + long / 2);
            view.draw();
        }""",
        [title, number, times],
    )
