"""Traces as JSON for ui.perfetto.dev."""

from __future__ import annotations

import io
import json
import sqlite3
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.report import perfetto
from knnscope.trace.excerpt import Window, whole
from knnscope.trace.model import TO_HOST, UNKNOWN, Trace
from knnscope.trace.reader import read
from tests.trace.test_lanes import fixture, loop, made

THREAD = (41 << 24) | 9


def written(trace: Trace, window: Window | None = None) -> tuple[list[dict[str, Any]], dict[tuple[int, int], str]]:
    """The events, and the names of tracks."""
    file = io.StringIO()
    count = perfetto.write(trace, window or whole(trace), file)
    events = json.loads(file.getvalue())["traceEvents"]
    shown = [event for event in events if event["ph"] == "X"]
    assert len(shown) == count
    assert {event["ph"] for event in events} <= {"X", "M", "s", "f"}
    tracks = [event for event in events if event["name"] == "thread_name"]
    names = {(event["pid"], event["tid"]): event["args"]["name"] for event in tracks}
    assert len(names) == len(tracks), "a track is named once"
    assert {(event["pid"], event["tid"]) for event in shown} == set(names), "every track has a name"
    processes = [event["pid"] for event in events if event["name"] == "process_name"]
    assert sorted(processes) == sorted({event["pid"] for event in shown})
    return shown, names


def test_times_are_microseconds_after_the_first_event_to_the_nanosecond() -> None:
    start = 2**53 + 1  # beyond what a float holds
    trace = made(kernels=[(start, start + 1_234_567, "a"), (start + 2_000_003, start + 2_000_004, "b")])
    file = io.StringIO()
    perfetto.write(trace, whole(trace), file)
    assert '"ts":0.000,"dur":1234.567' in file.getvalue()
    assert '"ts":2000.003,"dur":0.001' in file.getvalue()


def test_copies_say_their_bytes_and_direction() -> None:
    shown, _ = written(made(copies=[(0, 10, TO_HOST, 4), (20, 30, UNKNOWN, 8), (40, 50, 4, 1)]))
    assert [event["args"] for event in shown] == [
        {"bytes": 4, "kind": "device to host"},
        {"bytes": 8, "kind": "fill"},
        {"bytes": 1, "kind": "other copies"},
    ]


def test_a_track_for_each_stream_thread_and_ranges() -> None:
    trace = made(
        kernels=[(0, 10, "a"), (5, 15, "b"), (0, 9, "c")],
        streams=[7, 8, (1 << 16) | 7],
        calls=[(0, 100, "outer", THREAD, True), (10, 20, "inner", THREAD, False), (0, 5, "x", THREAD + 1, True)],
        ranges=[(0, 100, "search", 0)],
    )
    shown, names = written(trace)
    by_name = {event["name"]: names[event["pid"], event["tid"]] for event in shown}
    assert by_name == {
        "a": "stream 7",
        "b": "stream 8",
        "c": "stream 7",
        "outer": "API, thread 9",
        "inner": "API, thread 9",
        "x": "API, thread 10",
        "search": "NVTX, thread 5",
    }
    pids = {event["name"]: event["pid"] for event in shown}
    assert pids["a"] != pids["c"], "another GPU is another process"


def test_only_what_lies_in_the_window_and_uncut() -> None:
    trace = made(kernels=[(0, 100, "before"), (150, 1250, "in"), (5000, 5010, "after")])
    shown, _ = written(trace, Window(1000, 2000, "part"))
    assert [(event["name"], event["ts"], event["dur"]) for event in shown] == [("in", 0.15, 1.1)]


def test_names_are_not_trusted() -> None:
    name = '</script>"\\\n\u2028\ud800' + "x" * 5000
    shown, _ = written(made(kernels=[(0, 10, name)], gpu='"}'))
    assert shown[0]["name"].startswith('</script>"\\\n')
    assert len(shown[0]["name"]) == 200


def test_overlapping_events_of_one_stream_move_to_a_track_beside_it() -> None:
    trace = made(kernels=[(0, 100, "a"), (50, 150, "b"), (60, 70, "nested"), (120, 130, "in b"), (200, 300, "c")])
    shown, names = written(trace)
    found = {event["name"]: names[event["pid"], event["tid"]] for event in shown}
    assert found == {
        "a": "stream 7",
        "nested": "stream 7",
        "in b": "stream 7",
        "c": "stream 7",
        "b": "stream 7, overlapping 1",
    }


@pytest.mark.parametrize("seed", range(20))
def test_on_a_track_events_nest_or_are_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = np.sort(rng.integers(0, 200, 30))
    end = start + rng.integers(0, 30, 30)
    track = perfetto.tracks(start, end)
    for i in range(30):
        for j in range(30):
            if track[i] == track[j]:
                crossed = start[i] < start[j] < end[i] < end[j]
                assert not crossed, (seed, i, j)


def test_a_recorded_trace_whole(tmp_path: Path) -> None:
    trace = read(fixture("300-cupy-loop", tmp_path))
    shown, names = written(trace)
    assert len(shown) == sum(len(e) for e in (trace.kernels, trace.copies, trace.calls, trace.ranges))
    assert not any("overlapping" in name for name in names.values())
    assert all(event["args"]["bytes"] > 0 for event in shown if event["cat"] == "copy")


def test_memory_does_not_grow_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each more event numbers stay, and no text."""
    monkeypatch.setattr(perfetto, "CHUNK", 1 << 10)

    class Sink(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.size = 0

        def write(self, text: str) -> int:
            self.size += len(text)
            return len(text)

    def written_of(kernels: int) -> tuple[int, int]:
        trace, sink = loop(kernels), Sink()
        window = whole(trace)
        tracemalloc.start()
        perfetto.write(trace, window, sink)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, sink.size

    written_of(100)  # what the first time alone loads
    (some, some_text), (more, more_text) = written_of(5_000), written_of(10_000)
    assert more_text - some_text > 1e6
    assert more - some < more_text - some_text


def launched(trace: Trace, kernels: list[int], copies: list[int]) -> Trace:
    """With these numbers of the calls that launched what the GPU did."""
    parts = {
        "kernels": replace(trace.kernels, call=np.asarray(kernels, dtype=np.int32)),
        "copies": replace(trace.copies, call=np.asarray(copies, dtype=np.int32)),
    }
    return replace(trace, **parts)


def arrows(trace: Trace, window: Window | None = None) -> list[tuple[str, str]]:
    """The names of what each arrow joins; every rule of the format is held.

    A flow is one "s" and one "f" of the same id, category and name; "f" is no earlier, and both lie in a slice of their track that begins then.
    """
    file = io.StringIO()
    perfetto.write(trace, window or whole(trace), file)
    events = json.loads(file.getvalue(), parse_float=lambda text: int(text.replace(".", "")))["traceEvents"]
    begin: dict[tuple[int, int, int], list[dict[str, Any]]] = {}
    for event in events:
        if event["ph"] == "X":
            begin.setdefault((event["pid"], event["tid"], event["ts"]), []).append(event)
    last = max((i for i, event in enumerate(events) if event["ph"] == "X"), default=0)
    flows = [(i, event) for i, event in enumerate(events) if event["ph"] in "sf"]
    assert all(i > last for i, _ in flows), "read after the slices that begin at the same time"

    def enclosing(event: dict[str, Any]) -> str:
        """The innermost slice that is open there: it begins at that time."""
        return min(begin[event["pid"], event["tid"], event["ts"]], key=lambda one: one["dur"])["name"]

    pairs: dict[int, dict[str, dict[str, Any]]] = {}
    for _, event in flows:
        assert event["ph"] not in pairs.setdefault(event["id"], {}), "an id is followed once"
        pairs[event["id"]][event["ph"]] = event
    found = []
    for pair in pairs.values():
        assert set(pair) == {"s", "f"}
        assert pair["f"]["bp"] == "e"
        assert "bp" not in pair["s"]
        assert pair["s"]["ts"] <= pair["f"]["ts"]
        assert {(event["name"], event["cat"]) for event in pair.values()} == {("launch", "launch")}
        found.append((enclosing(pair["s"]), enclosing(pair["f"])))
    return sorted(found)


def test_an_arrow_leads_from_a_call_to_what_it_launched() -> None:
    calls = [(0, 5, "first", THREAD, True), (10, 15, "graph", THREAD, True), (40, 45, "copying", THREAD + 1, True)]
    trace = made(
        kernels=[(6, 20, "a"), (21, 30, "b"), (31, 31, "c"), (50, 60, "nobody's")],
        copies=[(45, 90, TO_HOST, 4)],
        calls=calls,
    )
    trace = launched(trace, [0, 1, 1, UNKNOWN], [2])
    assert arrows(trace) == [("copying", "copy"), ("first", "a"), ("graph", "b"), ("graph", "c")]


def test_an_arrow_has_both_ends_in_the_window() -> None:
    calls = [(0, 500, "before", THREAD, True), (1000, 1500, "in", THREAD, True), (2000, 2500, "late", THREAD, True)]
    trace = made(kernels=[(1100, 1200, "a"), (1600, 1700, "b"), (9000, 9100, "far")], calls=calls)
    trace = launched(trace, [0, 1, 2], [])
    assert arrows(trace, Window(1000, 3000, "part")) == [("in", "b")]


def test_work_that_begins_before_its_call_has_no_arrow() -> None:
    trace = made(kernels=[(5, 10, "a")], calls=[(6, 9, "c", THREAD, True)])
    assert arrows(launched(trace, [0], [])) == []


@pytest.mark.parametrize("name", ["300-cupy-loop", "nsys-graph", "cupti-topk", "cupti-cupy-loop"])
def test_arrows_of_a_recorded_trace_join_what_has_one_correlation_id(name: str, tmp_path: Path) -> None:
    path = fixture(name, tmp_path)
    trace = read(path)
    with closing(sqlite3.connect(path)) as base:
        parts = [
            f"SELECT c.nameId, k.rowid FROM {table} k JOIN (SELECT correlationId, min(start) AS start, nameId FROM "
            "CUPTI_ACTIVITY_KIND_RUNTIME GROUP BY correlationId) c USING (correlationId) WHERE k.start >= c.start"
            for table in ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET")
            if base.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        ]
        joined = sum(len(base.execute(part).fetchall()) for part in parts)
    found = arrows(trace)
    assert len(found) == joined > 0
    assert all("aunch" in call or "Mem" in call for call, _ in found)
