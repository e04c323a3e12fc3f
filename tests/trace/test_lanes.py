"""Which part of a trace is shown, as which blocks."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from knnscope.errors import KnnscopeError
from knnscope.trace import lanes as lanes_of
from knnscope.trace import rows as rows_of
from knnscope.trace.excerpt import Window, around, between, phase, whole
from knnscope.trace.lanes import Lane as Shown
from knnscope.trace.lanes import lanes
from knnscope.trace.model import TO_DEVICE, TO_HOST, UNKNOWN, Calls, Copies, Gpu, Kernels, Lane, Ranges, Trace
from knnscope.trace.reader import read

FIXTURES = Path(__file__).parent.parent / "fixtures" / "traces"
Row = tuple[int, int, str]


def made(
    kernels: Sequence[Row] = (),
    copies: Sequence[tuple[int, int, int, int]] = (),
    calls: Sequence[tuple[int, int, str, int, bool]] = (),
    ranges: Sequence[tuple[int, int, str, int]] = (),
    gpu: str = "A GPU",
    streams: Sequence[int] | None = None,
) -> Trace:
    """A trace of these rows: copies are (start, end, kind, bytes), calls end in thread and outer, ranges in depth."""
    names: dict[str, int] = {"copy": 0}

    def columns(rows: Sequence[tuple[int, ...]], named: Sequence[str]) -> list[np.ndarray]:
        start, end = (np.asarray([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
        number = np.asarray([names.setdefault(name, len(names)) for name in named], dtype=np.int32)
        return [start, end, number]

    def column(rows: Sequence[tuple[object, ...]], i: int) -> np.ndarray:
        return np.asarray([row[i] for row in rows], dtype=np.int64)

    numbers = list(dict.fromkeys([7, *(streams or ())]))  # a stream, and from bit 16 on its GPU
    lane = np.asarray(
        [numbers.index(s) for s in streams] if streams is not None else [0] * len(kernels), dtype=np.int32
    )
    sevens = np.zeros(len(copies), dtype=np.int32)
    unlaunched = [np.full(len(rows), UNKNOWN, dtype=np.int32) for rows in (kernels, copies)]
    kind, nbytes, memory = column(copies, 2), column(copies, 3), np.full(len(copies), UNKNOWN)
    host = np.full(len(ranges), (41 << 24) | 5, dtype=np.int64)
    events = (
        Kernels(*columns(kernels, [row[2] for row in kernels]), lane, unlaunched[0]),
        Copies(*columns(copies, ["copy"] * len(copies)), sevens, unlaunched[1], nbytes, kind, memory, memory),
        Calls(*columns(calls, [row[2] for row in calls]), column(calls, 3), column(calls, 4).astype(bool)),
        Ranges(
            *columns(ranges, [row[2] for row in ranges]), host, column(ranges, 3), np.zeros(len(ranges), dtype=bool)
        ),
    )
    lanes = tuple(Lane(41, number >> 16, number >> 16, 1, number & 0xFFFF) for number in numbers)
    return Trace("made.sqlite", tuple(names), *events, lanes, {0: Gpu(gpu)}, "made")


def fixture(name: str, folder: Path) -> Path:
    """A recorded trace, unpacked."""
    path = folder / f"{name}.sqlite"
    path.write_bytes(lzma.decompress((FIXTURES / f"{name}.sqlite.xz").read_bytes()))
    return path


def loop(count: int, apart: int = 10_000) -> Trace:
    """Iterations of a kernel and a copy to the host."""
    return made(
        kernels=[(i * apart, i * apart + 1000, "step") for i in range(count)],
        copies=[(i * apart + 2000, i * apart + 3000, TO_HOST, 4) for i in range(count)],
    )


def named(found: list[Shown]) -> dict[str, Shown]:
    return {lane.title: lane for lane in found}


def test_blocks_of_a_pixel_and_wider_stay_alone_and_keep_their_times() -> None:
    trace = made(kernels=[(0, 400, "a"), (500, 1000, "b")])
    (lane,) = lanes(trace, Window(0, 1000, ""), 10)
    assert lane.start.tolist() == [0, 500]
    assert lane.end.tolist() == [400, 1000]
    assert lane.label == ("a", "b")
    assert lane.share.tolist() == [1, 1]
    assert (lane.drawn, lane.busy) == (2, 900)


def test_events_of_one_pixel_become_one_block_that_knows_how_dense_they_are() -> None:
    trace = made(kernels=[(100 * i, 100 * i + 25, "k") for i in range(1000)])
    (lane,) = lanes(trace, Window(0, 100_000, ""), 100)
    assert len(lane.start) == 100, "ten to a pixel"
    assert lane.share == pytest.approx(0.25)
    assert set(lane.label) == {""}
    assert lane.drawn == 1000
    assert lane.busy == 25_000
    assert (np.diff(lane.start) == 1000).all()


def test_blocks_are_as_few_as_pixels_however_many_events() -> None:
    rng = np.random.default_rng(0)
    start = np.sort(rng.integers(0, 1_000_000, 200_000))
    trace = made(kernels=[(int(s), int(s) + 90_000, "k") for s in start])
    (lane,) = lanes(trace, Window(0, 1_100_000, ""), 50)
    assert len(lane.start) <= 100, "overlapping ones are joined too"
    assert lane.drawn == 200_000


def test_what_crosses_the_window_is_cut_and_what_is_outside_is_gone() -> None:
    trace = made(kernels=[(0, 100, "before"), (150, 250, "in"), (280, 900, "out"), (300, 310, "after")])
    (lane,) = lanes(trace, Window(200, 300, ""), 10)
    assert lane.label == ("in", "out")
    assert (lane.start.tolist(), lane.end.tolist()) == ([200, 280], [250, 300])
    assert lane.took.tolist() == [100, 620], "uncut"
    assert lane.busy == 70


def test_copies_have_a_lane_for_each_direction_and_sum_their_bytes() -> None:
    kinds = [TO_DEVICE, TO_HOST, TO_HOST, 8, UNKNOWN, 4]
    trace = made(copies=[(i * 100, i * 100 + 50, kind, 10**i) for i, kind in enumerate(kinds)])
    found = named(lanes(trace, whole(trace), 1000))
    assert {title: (lane.drawn, lane.nbytes) for title, lane in found.items()} == {
        "host to device": (1, 1),
        "device to host": (2, 110),
        "within the GPU": (1, 1000),
        "fills": (1, 10_000),
        "other copies": (1, 100_000),
    }
    assert found["device to host"].label == ("10 B", "100 B")


def test_calls_are_the_outermost_of_each_thread_by_what_they_do() -> None:
    rows = [
        (0, 100, "cudaLaunchKernel", 1, True),
        (10, 90, "cuLaunchKernel", 1, False),
        (200, 300, "cudaStreamSynchronize", 1, True),
        (0, 300, "cudaMalloc", 2, True),
    ]
    trace = made(calls=rows)
    found = named(lanes(trace, whole(trace), 100))
    assert list(found) == ["API, thread 1", "API, thread 2"]
    one = found["API, thread 1"]
    assert one.label == ("cudaLaunchKernel", "cudaStreamSynchronize")
    assert [rows_of.CALL_TONES[i] for i in one.tone] == ["launch", "wait"]


def test_many_threads_share_a_lane() -> None:
    trace = made(calls=[(i * 10, i * 10 + 9, "cudaFree", i, True) for i in range(50)])
    found = lanes(trace, whole(trace), 100)
    assert len(found) == rows_of.PICTURE.threads + 1
    assert sum(lane.drawn for lane in found) == 50


def test_the_tone_of_a_pixel_is_that_of_most_of_its_time() -> None:
    rows = [(0, 10, "cudaLaunchKernel", 1, True), (20, 30, "cudaLaunchKernel", 1, True)]
    trace = made(calls=[*rows, (40, 90, "cudaMemcpyAsync", 1, True), (9_990, 10_000, "cudaFree", 1, True)])
    (lane,) = lanes(trace, Window(0, 10_000, ""), 10)
    assert rows_of.CALL_TONES[lane.tone[0]] == "copy"


def test_nested_ranges_have_lanes_of_their_own() -> None:
    trace = made(ranges=[(0, 1000, "knnscope: search x rows=3", 0), (10, 500, "inner", 1), (20, 30, "deep", 7)])
    found = named(lanes(trace, whole(trace), 100))
    assert list(found) == ["NVTX ranges", "nested ranges", "nested ranges 2"]
    assert found["NVTX ranges"].label == ("search x rows=3",)
    assert rows_of.PHASE_TONES[found["NVTX ranges"].tone[0]] == "search"


def test_an_iteration_lies_between_two_copies_with_one_before_and_one_after() -> None:
    window = around(loop(20), 10)
    assert window.focus == (83_000, 93_000)
    assert window.focus_title == "iteration 10"
    assert 70_000 < window.low <= 73_000
    assert 103_000 <= window.high < 106_000


@pytest.mark.parametrize("number", [1, 2, 19, 20])
def test_the_ends_of_a_loop_have_a_window_too(number: int) -> None:
    trace = loop(20)
    window = around(trace, number)
    end = (number - 1) * 10_000 + 3000
    assert window.focus is not None
    assert window.focus[1] == end
    assert window.low < window.focus[0] < end <= window.high
    assert 2000 < window.high - window.low <= 40_000
    assert named(lanes(trace, window, 1000))["kernels"].drawn >= 1


def test_a_pause_in_the_loop_does_not_fill_the_window() -> None:
    times = [i * 1000 for i in range(10)] + [10**9 + i * 1000 for i in range(10)]
    trace = made(copies=[(t, t + 100, TO_HOST, 4) for t in times])
    for number in (10, 11):
        window = around(trace, number)
        assert window.high - window.low < 20_000
    assert around(trace, 11).focus_title == "before copy to the host 11", "how long it took is not known"


def test_without_copies_to_the_host_kernels_are_counted() -> None:
    trace = made(kernels=[(i * 100_000, i * 100_000 + 50_000, "k") for i in range(5)])
    assert around(trace, 3).focus == (150_000, 250_000)
    with pytest.raises(KnnscopeError, match=r"--around 6: the trace has 5 .*kernel"):
        around(trace, 6)


def test_one_copy_alone() -> None:
    trace = made(copies=[(500_000, 600_000, TO_HOST, 4), (0, 10, TO_DEVICE, 4)])
    window = around(trace, 1)
    assert window.low < 500_000
    assert window.high >= 600_000


def test_a_phase_is_the_last_time_through_the_first_with_that_in_its_name() -> None:
    ranges = [
        (0, 5000, "load a", 0),
        (6000, 9000, "Search b", 0),
        (9000, 19000, "search c", 0),
        (20000, 29000, "Search b", 0),
    ]
    trace = made(ranges=ranges)
    window = phase(trace, "search")
    assert (window.low, window.high) == (20000, 29000)
    assert "last of 2" in window.title
    assert phase(trace, "search c").title == "search c"
    with pytest.raises(KnnscopeError, match="there are: load a; Search b; search c"):
        phase(trace, "sort")
    with pytest.raises(KnnscopeError, match="there are"):
        phase(trace, "")
    with pytest.raises(KnnscopeError, match="no NVTX ranges"):
        phase(loop(3), "search")


def test_a_search_of_ours_is_shown_until_its_answer_is_back() -> None:
    shape = "topk rows=9 dim=3 k=1 batch=1"
    ranges = [(0, 50000, f"knnscope: search {shape}", 0), (60000, 90000, f"knnscope: copy back {shape}", 0)]
    window = phase(made(ranges=ranges), "search")
    assert (window.low, window.high) == (0, 90000)


def test_a_part_by_time() -> None:
    trace = loop(2000)
    window = between(trace, 1.0, 2.5)
    assert (window.low, window.high) == (1_000_000, 2_500_000)
    assert between(trace, None, 1.0).low == 0
    assert between(trace, 5, None).high == trace.span[1]
    with pytest.raises(KnnscopeError, match="ends after"):
        between(trace, 20.1, None)
    with pytest.raises(KnnscopeError, match="nothing happens"):
        between(made(kernels=[(0, 10, "a"), (9_000_000, 9_000_010, "b")]), 1, 2)


def test_an_empty_trace() -> None:
    with pytest.raises(KnnscopeError, match="nothing to draw"):
        whole(made())


def test_busy_counts_what_overlaps_once() -> None:
    trace = made(kernels=[(0, 100, "a"), (300, 400, "b")], copies=[(50, 150, TO_HOST, 4)])
    assert lanes_of.busy(trace, 0, 1000, 0) == 250
    assert lanes_of.busy(trace, 90, 310, 0) == 70


def test_a_recorded_loop(tmp_path: Path) -> None:
    trace = read(fixture("300-cupy-loop", tmp_path))
    found = named(lanes(trace, around(trace, 100), 1300))
    assert found["kernels"].drawn == 12, "three iterations of four kernels"
    assert {"cupy_sqrt__float32_float32", "DeviceReduceSingleTileKernel"} < set(found["kernels"].label)
    assert found["device to host"].drawn == 4
    assert "cuLaunchKernel" in found["CUDA API calls"].label
