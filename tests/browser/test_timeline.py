"""The timeline's page as it is used: by mouse, by keys, by fingers; on wide screens and narrow ones."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from knnscope.trace.reader import read
from tests.browser.conftest import Open
from tests.browser.timeline import LOOP, ONE, middle, ready, seen, show, until
from tests.trace.fixtures import FOLDER


def test_the_browser_unpacks_what_was_recorded(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "trace.sqlite"
    path.write_bytes(lzma.decompress((FOLDER / "nsys-cupy-loop.sqlite.xz").read_bytes()))
    trace = read(path)
    found: dict[str, Any] = ready(opened(LOOP)).evaluate(
        """Object.fromEntries(timeline.data.lanes.map((lane) => [lane.title, {
            count: lane.count,
            starts: lane.start.reduce((a, b) => a + b, 0),
            times: lane.end.reduce((a, b, i) => a + b - lane.start[i], 0),
            last: timeline.data.names[lane.name[lane.count - 1]],
        }]))"""
    )
    low = trace.span[0]
    for title, events in (("kernels", trace.kernels), ("CUDA API calls", trace.calls)):
        assert found[title] == {
            "count": len(events),
            "starts": int((events.start - low).sum()),
            "times": int(events.duration.sum()),
            "last": trace.names[events.name[-1]],
        }


@pytest.mark.parametrize("share", [1, 0.3, 0.05, 0.004])
def test_a_pixel_is_as_dark_as_the_time_that_is_covered(opened: Open, share: float) -> None:
    """Against every event by itself: the tree may move busy time within a pixel's width, and none appears or is lost."""
    page = ready(opened(LOOP))
    found = page.evaluate(
        """(share) => {
            const { view, data } = window.timeline;
            view.show((0.6 - share / 2) * view.head.span, (0.6 + share / 2) * view.head.span);
            return data.lanes.map((lane) => {
                const place = view.place(lane);
                const { low, high, width } = place;
                const scale = width / (high - low);
                view.pixels.begin(1, width, place.block);
                const wide = view.pixels.make(lane, place, view.ink(), 0);
                const made = new Float64Array(width);
                for (let t = 0; t < lane.tones; t++) for (let x = 0; x < width; x++) made[x] += view.pixels.busy[t][x];
                const right = new Float64Array(width);
                const long = [];
                for (let i = 0; i < lane.count; i++) {
                    const [from, to] = [(lane.start[i] - low) * scale, (lane.end[i] - low) * scale];
                    if (to < 0 || from >= width) continue;
                    if (to - from >= 1) {
                        long.push(i);
                        continue;
                    }
                    const busy = Math.max(1, lane.end[i] - lane.start[i]) * scale;
                    const first = Math.floor(from);
                    const before = to > first + 1 ? (first + 1 - from) / (to - from) : 1;
                    if (first >= 0) right[first] += busy * before;
                    if (before < 1 && first + 1 < width) right[first + 1] += busy * (1 - before);
                }
                let [a, b, apart] = [0, 0, 0];
                for (let x = 0; x < width; x++) apart = Math.max(apart, Math.abs((a += made[x]) - (b += right[x])));
                return { title: lane.title, apart, all: b, wide: wide.length, long: long.length };
            });
        }""",
        share,
    )
    assert sum(lane["all"] for lane in found) > 3
    for lane in found:
        assert lane["apart"] < 1, lane
        assert lane["wide"] == lane["long"], lane


def test_what_is_under_the_mouse_is_named(opened: Open) -> None:
    page = ready(opened(LOOP))
    show(page, "kernels", 2000)
    page.mouse.move(*middle(page, "kernels", 2000))
    tip = page.locator("#tip")
    assert tip.is_visible()
    said = tip.inner_text()
    name, took = page.evaluate(
        """(() => {
            const lane = timeline.data.lanes.find((lane) => lane.title === "kernels");
            return [timeline.data.names[lane.name[2000]], lane.end[2000] - lane.start[2000]];
        })()"""
    )
    assert said.splitlines()[0] == name
    assert f"{took / 1000:.2f} µs, from " in said
    assert "launched by cu" in said
    assert "finding: launch-bound (high) in search cupy-loop: 1,200 kernels of" in said
    page.mouse.move(5, 5)
    assert tip.is_hidden()


def test_a_pixel_of_many_events_says_how_many(opened: Open) -> None:
    page = ready(opened(LOOP))
    page.mouse.move(*middle(page, "CUDA API calls", 6000))
    said = page.locator("#tip").inner_text()
    assert "events here, " in said
    assert "zoom in to tell them apart" in said


@pytest.mark.parametrize(("lane", "number"), [("kernels", 2000), ("CUDA API calls", 6000)])
def test_an_arrow_leads_from_launch_to_kernel(opened: Open, lane: str, number: int) -> None:
    page = ready(opened(LOOP))
    show(page, lane, number)
    page.evaluate("timeline.view.arrows = 0")
    before = page.locator("#canvas").screenshot()
    page.mouse.move(*middle(page, lane, number))
    until(page, "timeline.view.arrows > 0")
    assert page.locator("#canvas").screenshot() != before
    call, work = page.evaluate(
        """(() => {
            const { view, data } = window.timeline;
            const { lane, i } = view.hover;
            const caller = data.links.caller(lane, i);
            const call = caller || { lane, i };
            const work = caller ? { lane, i } : data.links.launched(lane, i, 9)[0];
            return [[call.lane.group, call.lane.start[call.i]], [work.lane.group, work.lane.start[work.i]]];
        })()"""
    )
    assert call[0] == "calls"
    assert work[0] != "calls"
    assert call[1] <= work[1]


def test_search_finds_and_walks(opened: Open) -> None:
    page = ready(opened(LOOP))
    page.keyboard.press("/")
    page.keyboard.type("SYNCHRONIZE")
    page.keyboard.press("Enter")
    count = page.locator("#count")
    first = count.inner_text()
    assert first.startswith("1 of ")
    assert "Synchronize" in page.locator("#said").inner_text()
    page.locator("#canvas").focus()
    places = []
    for _ in range(3):
        page.keyboard.press("n")
        places.append(page.evaluate("timeline.view.chosen.lane.start[timeline.view.chosen.i]"))
    assert places == sorted(places)
    page.keyboard.press("p")
    page.keyboard.press("p")
    page.keyboard.press("p")
    assert count.inner_text() == first
    low, high = seen(page)
    assert low <= page.evaluate("timeline.view.chosen.lane.start[timeline.view.chosen.i]") < high
    page.fill("#search", "no such name")
    expect(page.locator("#count")).to_have_text("not found")


def test_every_hit_is_walked_once(opened: Open) -> None:
    page = ready(opened(ONE))
    page.fill("#search", "cu")
    page.press("#search", "Enter")
    hits = page.evaluate("timeline.page.search.count")
    walked = page.evaluate(
        """(count) => {
            const { page, view } = window.timeline;
            const found = [];
            for (let i = 0; i < count; i++) {
                found.push(`${view.chosen.lane.number}:${view.chosen.i}`);
                page.next(1);
            }
            return [found, `${view.chosen.lane.number}:${view.chosen.i}`];
        }""",
        hits,
    )
    assert hits > 20
    assert len(set(walked[0])) == hits
    assert walked[1] == walked[0][0], "and from the last to the first"


def test_keys_move_and_zoom(opened: Open) -> None:
    page = ready(opened(LOOP))
    low, high = seen(page)
    page.keyboard.press("+")
    near = seen(page)
    assert near[1] - near[0] == pytest.approx((high - low) / 1.6)
    page.keyboard.press("ArrowRight")
    right = seen(page)
    assert right[0] > near[0]
    page.keyboard.press("ArrowLeft")
    assert seen(page) == pytest.approx(near)
    page.keyboard.press("-")
    assert seen(page) == pytest.approx((low, high))
    page.keyboard.press("-")
    assert seen(page) == (low, high), "no farther than the window"
    page.keyboard.press("+")
    page.keyboard.press("0")
    assert seen(page) == (low, high)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#help").is_hidden()


def test_tab_reaches_everything_and_keys_every_event(opened: Open) -> None:
    page = ready(opened(ONE))
    reached = []
    for _ in range(200):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
            )
        )
        if reached[-1] == "Lanes":
            break
    controls = ["search", "previous", "next", "earlier", "later", "farther", "closer", "whole", "keys", "canvas"]
    assert [name for name in reached if name in controls] == controls
    assert "Names with most time" in reached
    page.locator("#canvas").focus()
    lanes = []
    for _ in range(page.evaluate("timeline.data.lanes.length")):
        page.keyboard.press("ArrowDown")
        lanes.append(page.evaluate("timeline.view.lane"))
        assert page.evaluate("timeline.data.lanes[timeline.view.lane].title") in page.locator("#said").inner_text()
    assert lanes == list(range(len(lanes)))
    page.keyboard.press("p")
    before = page.locator("#said").inner_text()
    page.keyboard.press("n")
    assert page.locator("#said").inner_text() != before
    page.keyboard.press("Enter")
    start, end, low, high = page.evaluate(
        "(({ chosen: { lane, i }, low, high }) => [lane.start[i], lane.end[i], low, high])(timeline.view)"
    )
    assert low < start < end < high


def test_a_drag_moves_and_ctrl_wheel_zooms_about_the_mouse(opened: Open) -> None:
    page = ready(opened(LOOP))
    page.keyboard.press("+")
    page.keyboard.press("+")
    low, _ = seen(page)
    box = page.locator("#canvas").bounding_box()
    assert box
    x, y = box["x"] + 900, box["y"] + 150
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 100, y, steps=4)
    page.mouse.up()
    moved = seen(page)
    pixel = page.evaluate("timeline.view.pixel")
    assert moved[0] == pytest.approx(low - 100 * pixel, abs=pixel)
    under = page.evaluate("(x) => timeline.view.time(x)", 900)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    until(page, f"timeline.view.high - timeline.view.low < {moved[1] - moved[0]}")
    assert page.evaluate("(x) => timeline.view.time(x)", 900) == pytest.approx(under, rel=1e-6)


def test_fingers_drag_pinch_and_choose(opened: Open) -> None:
    page = ready(opened(LOOP, 360, 740, has_touch=True, is_mobile=True))
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        where = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    assert box
    y = box["y"] + 170
    low, high = seen(page)
    touch("touchStart", (150, y), (200, y))
    for step in range(1, 9):
        touch("touchMove", (150 - 8 * step, y), (200 + 8 * step, y))
    touch("touchEnd")
    pinched = seen(page)
    assert pinched[1] - pinched[0] < 0.6 * (high - low)
    touch("touchStart", (200, y))
    for step in range(1, 9):
        touch("touchMove", (200 - 10 * step, y))
    touch("touchEnd")
    assert seen(page)[0] > pinched[0]
    show(page, "CUDA API calls", 6000, 4)
    page.touchscreen.tap(*middle(page, "CUDA API calls", 6000))
    assert "CUDA API calls" in page.locator("#said").inner_text()
