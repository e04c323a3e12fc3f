"""The page of a trace: what is packed is what happened, and names are text and nothing else."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import os
import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.timeline_page import SIZE
from benchmarks.timeline_page import made as large
from knnscope.api import explaining
from knnscope.errors import KnnscopeError
from knnscope.report.lane_colours import COLOURS, ON_DARK
from knnscope.report.text import plain
from knnscope.report.timeline_page import page, still
from knnscope.report.timeline_page.pack import signed, steps, varints
from knnscope.trace.excerpt import Window, whole
from knnscope.trace.explain import explain
from knnscope.trace.findings import Cause, Finding
from knnscope.trace.model import TO_DEVICE, TO_HOST, UNKNOWN, Trace
from knnscope.trace.nesting import outer_of
from knnscope.trace.reader import read
from knnscope.trace.rows import CALL_TONES, PHASE_TONES
from tests.report.timeline_apart import Parsed, expected, held, numbers, running, taken_apart, unsigned
from tests.trace import mutate
from tests.trace.fixtures import FOLDER
from tests.trace.test_lanes import fixture, made

THREAD = (41 << 24) | 9
MUTATIONS = int(os.environ.get("KNNSCOPE_MUTATIONS", "500")) // 5
LATEST = 1 << 61
"""No time of a trace is later: reader.LATEST."""


TIME = st.one_of(st.integers(0, 60), st.integers(0, 10**7), st.integers(0, LATEST - 1))
LENGTH = st.one_of(st.integers(0, 3), st.integers(0, 1000), st.integers(0, 1 << 50))
NAME = st.text(min_size=1, max_size=20).map(lambda text: plain(text) or "unnamed")


@st.composite
def traces(draw: st.DrawFn) -> tuple[Trace, Window]:
    """Events of every kind, overlapping as they like, and a window in which at least one lies."""

    def times(most: int) -> list[tuple[int, int]]:
        pairs = draw(st.lists(st.tuples(TIME, LENGTH), max_size=most))
        return [(start, min(start + length, LATEST)) for start, length in sorted(pairs)]

    kinds = st.sampled_from((TO_DEVICE, TO_HOST, 8, 10, 12, UNKNOWN, 4))
    calls = [(*t, draw(NAME), draw(st.sampled_from((THREAD, THREAD + 1))), True) for t in times(8)]
    kernels = [(*t, draw(NAME)) for t in times(12)]
    copies = [(*t, draw(kinds), draw(st.integers(0, 1 << 40))) for t in times(6)]
    ranges = [(*t, draw(NAME), draw(st.integers(0, 5))) for t in times(6)]
    if not (calls or kernels or copies or ranges):
        kernels = [(5, 9, "k")]
    streams = [draw(st.sampled_from((7, 8, (1 << 16) | 7))) for _ in kernels]
    trace = made(kernels, copies, calls, ranges, streams=streams)
    held_by = trace.calls
    outer = outer_of(held_by.start, held_by.end, held_by.thread)
    trace = replace(trace, calls=replace(held_by, outer=outer))
    launched = st.integers(UNKNOWN, len(calls) - 1)
    trace = replace(
        trace,
        kernels=replace(trace.kernels, call=np.asarray([draw(launched) for _ in kernels], dtype=np.int32)),
        copies=replace(trace.copies, call=np.asarray([draw(launched) for _ in copies], dtype=np.int32)),
    )
    window = whole(trace)
    if draw(st.booleans()):
        low = draw(st.integers(window.low, window.high - 1))
        part = Window(low, draw(st.integers(low + 1, window.high)), "a part")
        window = part if expected(trace, part) else window
    return trace, window


@given(traces())
def test_what_is_unpacked_is_what_happened(case: tuple[Trace, Window]) -> None:
    trace, window = case
    assert held(taken_apart(trace, window), window) == expected(trace, window)


@given(st.lists(st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)), max_size=50))
def test_numbers_come_back(values: list[int]) -> None:
    assert list(numbers(varints(np.asarray(values, dtype=np.uint64)))) == values


@given(st.lists(st.integers(-(2**62), 2**62), max_size=50))
def test_numbers_with_a_sign_come_back(values: list[int]) -> None:
    column = np.asarray(values, dtype=np.int64)
    assert [unsigned(int(v)) for v in signed(column)] == values
    found = [int(v) for v in steps(np.sort(column))]
    assert running([unsigned(v) for v in found[:1]] + found[1:]) == sorted(values)


def test_an_event_that_began_before_the_window_keeps_its_beginning() -> None:
    trace = made(kernels=[(100, 900, "long"), (950, 960, "in")])
    (lane,) = taken_apart(trace, Window(500, 1500, "part")).lanes
    assert (lane["start"], lane["took"]) == ([-400, 450], [800, 10])


@pytest.mark.parametrize("name", sorted(path.name.removesuffix(".sqlite.xz") for path in FOLDER.glob("*.xz")))
def test_recorded_traces_whole_with_their_findings(name: str, tmp_path: Path) -> None:
    trace = read(fixture(name, tmp_path))
    told = explain(trace)
    found = taken_apart(trace, findings=told.findings)
    shown = sum(lane["count"] for lane in found.lanes)
    assert shown == sum(len(e) for e in (trace.kernels, trace.copies, trace.calls, trace.ranges))
    assert [finding["rule"] for finding in found.head["findings"]] == [finding.rule for finding in told.findings]
    for finding, places in zip(told.findings, found.findings, strict=True):
        low = trace.span[0]
        begin, end = finding.cause.claim
        assert places[0][0] == begin[0] - low
        assert max(end for _, end in places) == end.max() - low
        assert finding.rule in found.parsed.cells


def test_a_page_of_a_million_events_has_room_to_spare() -> None:
    """Per event, since a million of them take seconds: benchmarks/timeline_page.py has the million."""
    trace = large(60_000)
    found = io.StringIO()
    count = page.write(trace, whole(trace), (), found)
    assert count > 55_000
    fixed = 250_000  # the script, the style, the still picture, the tables
    assert len(found.getvalue()) < fixed + 0.6 * count * SIZE / 1e6


def test_two_gpus_have_lanes_of_their_own() -> None:
    kernels = [(0, 10, "a"), (5, 15, "b"), (20, 30, "c")]
    found = taken_apart(made(kernels, streams=[7, 8, (1 << 16) | 7]))
    assert {lane["title"]: (lane["gpu"], lane["name"]) for lane in found.lanes} == {
        "GPU 0: kernels, stream 7": (0, ["a"]),
        "GPU 0: kernels, stream 8": (0, ["b"]),
        "GPU 1: kernels": (1, ["c"]),
    }


def test_host_calls_only() -> None:
    calls = [(0, 100, "cudaMalloc", THREAD, True), (10, 20, "cuMemAlloc", THREAD, False)]
    found = taken_apart(made(calls=calls))
    assert [lane["title"] for lane in found.lanes] == ["CUDA API calls", "calls in calls"]
    assert [CALL_TONES[tone] for lane in found.lanes for tone in lane["tone"]] == ["memory", "memory"]


def test_ranges_have_their_threads_lanes_and_tones() -> None:
    trace = made(ranges=[(0, 90, "knnscope: search x rows=3", 0), (1, 5, "inner", 1), (95, 99, "other", 0)])
    found = taken_apart(trace)
    assert [lane["title"] for lane in found.lanes] == ["NVTX ranges", "nested ranges"]
    assert [PHASE_TONES[tone] for tone in found.lanes[0]["tone"]] == ["search", "other range"]
    two = replace(trace, ranges=replace(trace.ranges, thread=np.asarray([THREAD, THREAD, THREAD + 1])))
    titles = [lane["title"] for lane in taken_apart(two).lanes]
    assert titles == ["NVTX ranges, thread 9", "nested ranges, thread 9", "NVTX ranges, thread 10"]


def test_what_is_not_shown_is_counted() -> None:
    depths = range(page.PAGE.depths + 2)
    found = taken_apart(made(ranges=[(depth, 1000 - depth, f"r{depth}", depth) for depth in depths]))
    assert len(found.lanes) == page.PAGE.depths
    assert "<p>2 more are not shown: " in found.text
    assert "not shown" not in taken_apart(made(kernels=[(0, 5, "k")])).text


def test_a_threads_ranges_stand_above_its_calls() -> None:
    calls = [(i, i + 1, "cudaFree", THREAD + (i > 2), True) for i in range(9)]
    trace = made(calls=calls, ranges=[(0, 3, "one", 0), (3, 9, "two", 0), (4, 5, "nobody's", 0)])
    threads = np.asarray([THREAD, THREAD + 1, THREAD + 7])
    trace = replace(trace, ranges=replace(trace.ranges, thread=threads))
    assert [lane["title"] for lane in taken_apart(trace).lanes] == [
        "NVTX ranges, thread 10",
        "API, thread 10",
        "NVTX ranges, thread 9",
        "API, thread 9",
        "NVTX ranges, thread 16",
    ]


def test_a_page_has_a_bounded_number_of_lanes() -> None:
    calls = [(i, i + 5, "cudaFree", THREAD + i, True) for i in range(500)]
    kernels = [(i, i + 5, "k") for i in range(500)]
    found = taken_apart(made(kernels, calls=calls, streams=list(range(500))))
    assert len(found.lanes) == 2 * 25
    assert sum(lane["count"] for lane in found.lanes) == 1000


def test_a_findings_places_are_bounded_and_cover_its_times() -> None:
    rng = np.random.default_rng(1)
    begin = np.cumsum(rng.integers(2, 1000, 5000))
    end = begin + 1
    finding = Finding("tiny-copies", "p", "t", "", 1, 1.0, 0.5, "r", cause=Cause(5000, (begin, end)))
    low, high = finding.where(400)
    assert len(low) == 400
    assert (low[1:] > high[:-1]).all()
    place = np.searchsorted(low, begin, "right") - 1
    assert ((low[place] <= begin) & (end <= high[place])).all()
    assert (low[1:] - high[:-1]).min() >= np.sort(begin[1:] - end[:-1])[-399], "the nearest became one"
    assert [len(part) for part in finding.where(5000)] == [5000, 5000]
    assert len(finding.where(1)[0]) == 1


def test_a_finding_outside_the_window_is_counted() -> None:
    cause = Cause(1, (np.asarray([10]), np.asarray([20])))
    finding = Finding("tiny-copies", "p", "<b>t</b>", "", 1, 1.0, 0.5, "r", cause=cause)
    trace = made(kernels=[(0, 30, "a"), (1000, 2000, "b")])
    found = taken_apart(trace, Window(500, 2000, ""), (finding,))
    assert found.head["findings"] == []
    assert "1 elsewhere in the trace: knnscope explain shows all" in found.text
    assert taken_apart(trace, findings=(finding,)).findings == [[(10, 20)]]


EVIL = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    '" style="x" onload="alert(1)',
    "&lt;b&gt; &amp;",
    "\\u003c/script\\u003e",
    "javascript:alert(1)",
)


@given(st.lists(st.one_of(st.sampled_from(EVIL), st.text(max_size=30)), min_size=1, max_size=6))
def test_names_are_text_and_nothing_else(texts: list[str]) -> None:
    names = [plain(text) or "unnamed" for text in texts]
    kernels = [(i * 100, i * 100 + 50, name) for i, name in enumerate(names)]
    trace = made(kernels, ranges=[(0, 1000, names[0], 0)], gpu=names[-1])
    trace = replace(trace, path=f"/tmp/{names[0]}.sqlite", recorder=names[0])
    cause = Cause(1, (np.asarray([0]), np.asarray([60])))
    finding = Finding("gpu-idle", names[0], names[-1], "", 1, 1.0, 0.5, names[0], cause=cause)
    window = replace(whole(trace), title=names[0])
    harmless = made([(i * 100, i * 100 + 50, f"k{i}") for i in range(len(set(names)))], ranges=[(0, 1000, "k0", 0)])
    found, like = (taken_apart(t, w, (finding,)) for t, w in ((trace, window), (harmless, None)))
    assert set(found.parsed.tags) - {"rect"} == set(like.parsed.tags) - {"rect"}
    assert found.parsed.tags.count("script") == 3
    assert found.parsed.attributes == like.parsed.attributes
    assert found.parsed.ids == like.parsed.ids
    assert set(names) <= set(found.parsed.cells) | {""}
    assert set(found.names) == set(names)
    assert found.head["findings"][0]["title"] == names[-1]
    assert "<" not in found.parsed.blocks["head"] + found.parsed.blocks["columns"]


def test_damaged_traces_have_whole_pages(tmp_path: Path) -> None:
    """Those that can be read: the page unpacks, and Perfetto's file is JSON."""
    path, drawn = tmp_path / "trace.sqlite", 0
    for name, data in itertools.islice(mutate.mutations(20_261_129, mutate.small()), MUTATIONS):
        path.write_bytes(data)
        try:
            explaining.Trace(path).draw(tmp_path / "x.html")
            explaining.Trace(path).draw(tmp_path / "x.json")
        except KnnscopeError:
            continue
        except Exception as error:
            error.add_note(name)
            raise
        drawn += 1
        parsed = Parsed((tmp_path / "x.html").read_text("utf-8"))
        assert parsed.tags.count("script") == 3, name
        head = json.loads(parsed.blocks["head"])
        columns = zlib.decompress(base64.b64decode(parsed.blocks["columns"]))
        sizes = [head["names"]["sizes"], *(lane["columns"] for lane in head["lanes"])]
        sizes += [finding["sizes"] for finding in head["findings"]]
        assert sum(map(sum, sizes)) == len(columns), name
        json.loads((tmp_path / "x.json").read_text("utf-8"))
    assert drawn > MUTATIONS // 5


def test_only_the_pages_own_script_and_style_may_run() -> None:
    found = taken_apart(made(kernels=[(0, 10, "a")]))
    for directive, block in (("script-src", "script"), ("style-src", "style")):
        digest = base64.b64encode(hashlib.sha256(found.parsed.blocks[block].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in found.parsed.policy
    assert "default-src 'none'" in found.parsed.policy
    assert "unsafe" not in found.parsed.policy
    assert not re.search(r"https?://|//[a-z]+\.", found.text.replace("http://www.w3.org", "")), "nothing to fetch"
    assert not {name for name in found.parsed.attributes if name.startswith("on") or name in ("style", "src", "href")}


def test_names_are_timed_inside_the_window() -> None:
    trace = made(kernels=[(0, 90_000, "long"), (500, 600, "in")])
    cells = taken_apart(trace, Window(0, 1000, "part")).parsed.cells
    at = cells.index("long")
    assert cells[at - 1 : at + 5] == ["kernel", "long", "1", "1.00 µs", "100%", "90.0 µs"]


def test_without_a_script_there_is_a_picture_with_every_lane() -> None:
    trace = made(kernels=[(0, 10_000, "a"), (20_000, 20_001, "b")], copies=[(5, 9, TO_HOST, 4)])
    drawn = still.still(trace, whole(trace))
    assert drawn.count("<svg") == 1
    assert ">kernels<" in drawn
    assert ">device to host<" in drawn
    named = set(re.findall(r'class="(p?c\d+-\d+)"', drawn))
    assert {still.classes_of("kernels", 0), "p" + still.classes_of("kernels", 0)} <= named
    styles = taken_apart(trace).parsed.blocks["style"]
    assert all(f".{name}{{" in styles for name in named)


@pytest.mark.parametrize("least", [1, 1.5, 3e-9, 7.1, 999, 123456.7])
def test_ticks_are_one_two_five(least: float) -> None:
    step = still.step_of(least)
    assert least <= step * (1 + 1e-6)
    assert step <= 2.5 * least * (1 + 1e-6)
    assert round(step / 10 ** np.floor(np.log10(step) + 1e-9)) in (1, 2, 5)


def test_every_colour_can_be_told_from_its_ground() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    for colours in COLOURS.values():
        for colour in colours:
            night = luminance(ON_DARK.get(colour, colour))
            assert (night + 0.05) / (luminance("#14171c") + 0.05) >= 3, colour
