"""Which phase of one trace is held against which of another."""

from __future__ import annotations

from pathlib import Path

from knnscope.report import explanation as report
from knnscope.trace import reader
from knnscope.trace.compare import pairs
from knnscope.trace.explain import Explanation, explain
from knnscope.trace.record import record_of
from tests.trace.write import GPU, LAUNCH, MS, SECOND, US, Trace


def searches(path: Path, **lengths: int) -> Explanation:
    """Of several rungs, one after another, so many milliseconds each."""
    trace, at = Trace(path), SECOND
    for name, ms in lengths.items():
        for _ in range(4):
            trace.range(f"knnscope: search {name} rows=1000 dim=4 k=10 batch=1", at, at + ms * MS)
            trace.kernel("k", at + 6 * US, at + ms * MS - US, trace.call(LAUNCH, at, at + 5 * US))
            at += (ms + 1) * MS
    return explain(reader.read(trace.done()))


def matched(before: Explanation, after: Explanation) -> list[tuple[str, str]]:
    return [(pair.before.name, pair.after.name) for pair in pairs(before, after)]


def test_a_search_is_held_against_itself_where_both_have_it(path: Path) -> None:
    both = searches(path, fused=1, topk=10)
    assert matched(both, both) == [("search fused", "search fused"), ("search topk", "search topk")]
    assert [pair.measured_ms for pair in pairs(both, both)] == [0, 0]
    assert matched(both, searches(path, topk=10)) == [("search topk", "search topk")]
    assert matched(both, searches(path, graph=1)) == [], "nobody says which of the two it replaces"
    assert matched(searches(path, fused=1), both) == [("search fused", "search fused")]


def test_the_only_search_is_held_against_the_only_search(path: Path) -> None:
    assert matched(searches(path, fused=5), searches(path, topk=1)) == [("search fused", "search topk")]


def ranks(path: Path, *lengths: int) -> Explanation:
    """A kernel on each of several GPUs, so many milliseconds each."""
    trace = Trace(path, gpus=(GPU,) * len(lengths))
    for i in range(10):
        at = SECOND + i * 20 * MS
        trace.range("step", at, at + 15 * MS)
        for device, ms in enumerate(lengths):
            call = trace.call(LAUNCH, at + 10 * device * US, at + (10 * device + 5) * US)
            trace.kernel(f"of {device}", at + MS, at + ms * MS, call, device=device)
    return explain(reader.read(trace.done()))


def test_a_gpu_is_held_against_itself_whichever_worked_more(path: Path) -> None:
    found = pairs(ranks(path, 10, 9, 3), ranks(path, 9, 10, 3))
    assert sorted((pair.before.gpu, pair.after.gpu) for pair in found) == [(0, 0), (1, 1), (2, 2)]
    assert all(len(pair.changes) <= 1 for pair in found), "no kernel vanished or appeared"


def test_what_took_no_time_is_not_told_as_so_many_times_as_fast(path: Path) -> None:
    """A range that is empty in the later trace."""

    def steps(length: int) -> Explanation:
        trace = Trace(path)
        for i in range(4):
            trace.range("step", SECOND + i * MS, SECOND + i * MS + length)
        trace.kernel("k", 2 * SECOND, 2 * SECOND + MS)
        return explain(reader.read(trace.done()))

    for before, after in ((500 * US, 0), (0, 500 * US), (0, 0)):
        first = steps(before)
        said = report.text(record_of(first, pairs(first, steps(after))))
        assert "step -> step" in said
        assert "times as fast" not in said
