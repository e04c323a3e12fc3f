"""A rule names only what is true of the trace. Every law of ``test_laws`` holds on each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knnscope.report import explanation as report
from knnscope.trace import reader
from knnscope.trace.asking import answer
from knnscope.trace.excerpt import whole
from knnscope.trace.explain import explain, figures
from knnscope.trace.lanes import lanes
from knnscope.trace.record import from_dict, record_of
from tests.trace.test_laws import held
from tests.trace.write import GPU, LAUNCH, MS, SECOND, US, WAIT, Trace, rules_of


def copied(trace: Trace, kind: int = 1, nbytes: int = 200_000_000, streams: tuple[int, ...] = (7,)) -> Trace:
    """Ten times a copy of 10 ms on each stream, which the host waits for."""
    for i in range(10):
        at = SECOND + i * 12 * MS
        for stream in streams:
            call = trace.call("cudaMemcpyAsync_v3020", at, at + 5 * US)
            trace.copy(kind, at + 10 * US, at + 10 * MS + 10 * US, nbytes, call, stream=stream)
        trace.call(WAIT, at + 6 * US, at + 11 * MS)
    return trace


@pytest.mark.parametrize(("ns", "believed"), [(1, False), (1000, False), (10_000, True)])
def test_a_copy_faster_than_any_link_says_nothing_of_the_link(path: Path, ns: int, believed: bool) -> None:
    """20 GB/s are no slow transfer, but beside 105 GB/s."""
    trace = copied(Trace(path))
    trace.copy(1, 2 * SECOND, 2 * SECOND + ns, 1 << 20)
    assert ("slow-transfer" in rules_of(held(trace.done()))) is believed


def test_a_gpu_is_held_against_its_own_link(path: Path) -> None:
    trace = copied(Trace(path, gpus=(GPU, GPU)))
    trace.copy(1, 2 * SECOND, 2 * SECOND + MS, 400_000_000, device=1)
    assert "slow-transfer" not in rules_of(held(trace.done()))


def test_copies_that_share_the_link_are_not_slow(path: Path) -> None:
    """Two streams of 12.5 GB/s are 25 GB/s."""
    assert "slow-transfer" not in rules_of(held(copied(Trace(path), nbytes=125_000_000, streams=(7, 8)).done()))
    found = rules_of(held(copied(Trace(path), nbytes=25_000_000, streams=(7, 8)).done()))["slow-transfer"]
    assert "5.0 GB/s" in found.title
    assert found.saving_ms == pytest.approx(80, rel=0.01)


def test_both_ways_at_once_save_no_more_than_the_slower_one_takes(path: Path) -> None:
    trace = copied(Trace(path), nbytes=50_000_000)
    for i in range(10):
        at = SECOND + i * 12 * MS + 10 * US
        trace.copy(2, at, at + 10 * MS, 50_000_000, stream=8)
    assert rules_of(held(trace.done()))["slow-transfer"].saving_ms == pytest.approx(80, rel=0.01)


def test_copies_of_unknown_size_are_not_called_tiny(path: Path) -> None:
    trace = Trace(path)
    for i in range(40):
        at = SECOND + i * 12 * MS
        trace.copy(1, at + 10 * US, at + 10 * MS, 0, trace.call("cudaMemcpyAsync_v3020", at, at + 10 * MS), source=0)
    trace.base.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_MEMCPY DROP COLUMN bytes")
    told = explain(reader.read(trace.done()))
    said = dict(told.unanswered)
    for rule in ("tiny-copies", "slow-transfer", "copy-bound"):
        assert said[rule] == "the sizes of copies were not recorded"
    for found in told.findings:
        assert len(answer(path, found.sql, 1000).lines) == found.rows


@pytest.mark.parametrize(("chunks", "never"), [(100, False), (1, True)])
def test_rows_that_were_copied_in_pieces_were_copied(path: Path, chunks: int, never: bool) -> None:
    """400 MB of rows, in pieces of 4 MB."""
    trace = Trace(path)
    for i in range(chunks):
        at = i * MS
        trace.copy(1, at + 10 * US, at + 900 * US, 4_000_000, trace.call("cudaMemcpyAsync_v3020", at, at + 5 * US))
    for i in range(4):
        at = SECOND + i * 12 * MS
        trace.range("knnscope: search x rows=1000000 dim=100 k=10 batch=1", at, at + 11 * MS)
        trace.kernel("k", at + 8 * MS, at + 9 * MS, trace.call(LAUNCH, at + 8 * MS - 9 * US, at + 8 * MS))
        trace.call(WAIT, at + 8 * MS, at + 9 * MS)
    assert ("no copy of the rows" in rules_of(held(trace.done()))["host-compute"].title) is never


@pytest.mark.parametrize("kind", [None, 0, 77, -4, 1 << 40])
def test_a_copy_of_unknown_kind_is_no_fill(path: Path, kind: Any) -> None:
    trace = reader.read(copied(Trace(path), kind=kind).done())
    assert [lane.title for lane in lanes(trace, whole(trace), 100)] == ["CUDA API calls", "other copies"]


def test_sums_stay_sums_however_long_and_many(path: Path) -> None:
    """9,000 kernels of 13 days are more nanoseconds than 64 bits hold."""
    trace = Trace(path, (*("kernel", "copy", "call", "range"), "fill"))
    length = reader.LONGEST - 1
    for i in range(9000):
        trace.kernel("k", i, i + length, trace.call(LAUNCH, i, i + length))
        trace.copy(1, i, i + length, 1 << 40)
    told = explain(reader.read(trace.done()))
    assert told.whole[0].gpu_ms == pytest.approx(18_000 * length / 1e6)
    assert figures(told.phases[0])["bytes_to_device"] == 9000 << 40
    for question, column in (("kernels", 3), ("api-time", 4), ("copies", -1)):
        assert answer(path, question).lines[0][column] == pytest.approx(9000 * length / 1e6)
    assert answer(path, "copy-throughput").lines[0][2] == 9000 << 40


def test_work_that_is_not_done_every_time_is_not_told_as_none(path: Path) -> None:
    """A kernel and a copy every other time: half a one each time, and not 0 in 7 ms of work."""
    trace = Trace(path)
    for i in range(9):
        at = SECOND + i * 20 * MS
        trace.range("step", at, at + 15 * MS)
        if i % 2:
            trace.kernel("k", at + 6 * US, at + 14 * MS, trace.call(LAUNCH, at, at + 5 * US))
            trace.copy(1, at + 14 * MS, at + 15 * MS, 3 << 20, trace.call("cudaMemcpy_v3020", at + MS, at + 15 * MS))
    told = held(trace.done())
    shown = figures(told.phases[0])
    assert (shown["kernels"], shown["copies"], shown["bytes_to_device"]) == (0.5, 0.5, 3 << 19)
    record = record_of(told)
    assert [line[6:8] for line in report.phases(record)] == [("0.5", "0.5")]
    assert from_dict(record.to_dict()) == record


def test_a_trace_of_no_time_is_bound_by_nothing(path: Path) -> None:
    trace = Trace(path)
    trace.kernel("k", 5, 5)
    told = explain(reader.read(trace.done()))
    assert told.bounds == ()
    assert "nothing was recorded on the GPU" not in report.text(record_of(told))
