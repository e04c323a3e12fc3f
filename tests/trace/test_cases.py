"""Situations from the field, one small trace each: what is said of it, and what is not. Every law of ``test_laws`` holds on each."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from knnscope.errors import KnnscopeError
from knnscope.report import explanation as report
from knnscope.trace import reader
from knnscope.trace.compare import pairs
from knnscope.trace.database import Tables, connect
from knnscope.trace.explain import Explanation, figures
from knnscope.trace.queries import QUERIES
from knnscope.trace.record import record_of
from tests.trace.test_laws import held
from tests.trace.write import ALL, LAUNCH, MS, SECOND, US, WAIT, Trace, rules_of, steps


def test_a_gpu_that_is_always_busy_gains_nothing_from_waiting_less(path: Path) -> None:
    trace = Trace(path)
    for i in range(200):
        at = SECOND + i * (10 * MS + 4 * US)
        trace.kernel("big", at + 6 * US, at + 10 * MS, trace.call(LAUNCH, at, at + 5 * US))
        trace.call(WAIT, at + 5 * US, at + 10 * MS + 2 * US)
    told = held(trace.done())
    assert told.findings == ()
    assert told.bounds[0].what == "GPU"
    assert told.bounds[0].shares["GPU"] > 0.99


@pytest.mark.parametrize("tables", [("call",), ("call", "range"), ()])
def test_nothing_on_the_gpu_gets_no_advice(path: Path, tables: tuple[str, ...]) -> None:
    trace = Trace(path, tables)
    if "call" in tables:
        trace.call("cuModuleGetLoadingMode", SECOND, SECOND + US)
        trace.call("cudaGetDeviceProperties_v12000", SECOND + 100 * MS, SECOND + 100 * MS + US)
    if "range" in tables:
        trace.range("load", SECOND, SECOND + 100 * MS)
    told = held(trace.done())
    assert told.findings == ()
    assert told.bounds == ()


def test_a_phase_that_never_touches_the_gpu_gets_no_advice(path: Path) -> None:
    trace = Trace(path)
    trace.range("load", 0, SECOND)
    trace.call("cuInit", 10 * MS, 11 * MS)
    steps(trace, 20, lambda _: "step")
    assert not [f for f in held(trace.done()).findings if f.phase == "load"]


def test_an_export_of_the_processors_work_alone_is_one(path: Path) -> None:
    trace = Trace(path, (), gpus=())
    trace.base.execute("CREATE TABLE OSRT_API(start int, end int, globalTid int, nameId int)")
    told = held(trace.done())
    assert "no CUDA activity and no NVTX ranges" in told.trace.lacks[0]
    assert len(told.trace.lacks) == 1


def test_a_database_of_nvprof_is_refused_by_name(path: Path) -> None:
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL(_id_ integer, start int, end int)")
        base.execute("CREATE TABLE StringTable(_id_ integer, value text)")
        base.commit()
    with pytest.raises(KnnscopeError, match=r"nvprof.*nsys profile"):
        reader.read(path)


def test_tables_of_a_later_version_are_read(path: Path) -> None:
    trace = Trace(path, suffix="_V3")
    steps(trace, 20, lambda _: "step")
    told = held(trace.done())
    assert [(p.name, figures(p)["kernels"]) for p in told.phases] == [("step", 1)]
    assert not told.trace.lacks
    with connect(path) as base:
        tables = Tables(base, path)
        assert base.execute(QUERIES["kernels"].build(tables)).fetchall()[0][1] == 20
        assert base.execute(QUERIES["phases"].build(tables)).fetchall()[0][1] == 20


def test_allocating_once_is_no_cost_of_every_time(path: Path) -> None:
    trace = Trace(path)
    trace.call("cudaMalloc_v3020", 900 * MS, 990 * MS)
    trace.call("cudaMalloc_v3020", 990 * MS, 990 * MS + 100 * US)
    steps(trace)
    trace.call("cudaFree_v3020", 2000 * MS, 2001 * MS)
    assert "startup-cost" not in rules_of(held(trace.done()))


def test_allocating_again_and_again_is(path: Path) -> None:
    trace = Trace(path)
    for i in range(40):
        at = SECOND + i * 10 * MS
        trace.call("cudaMalloc_v3020", at, at + 4 * MS)
        trace.kernel("k", at + 4 * MS, at + 9 * MS, trace.call(LAUNCH, at + 4 * MS - US, at + 4 * MS))
    found = rules_of(held(trace.done()))["startup-cost"]
    assert found.rows == 40
    assert found.saving_ms == pytest.approx(160, rel=0.03)


def test_a_few_small_copies_are_charged_for_themselves_alone(path: Path) -> None:
    trace = Trace(path)
    for i in range(20):
        at = SECOND + i * 9500 * US
        trace.copy(1, at + 5 * US, at + 6 * US, 8, trace.call("cudaMemcpyAsync_v3020", at, at + 5 * US), source=0)
        for j in range(1, 31):
            number = trace.call("cudaMemcpyAsync_v3020", at + 10 * US * j, at + 10 * US * j + 5 * US)
            trace.copy(8, at + 300 * US * j, at + 300 * US * j + 290 * US, 8 << 20, number, source=2)
        trace.call("cudaStreamSynchronize_v3020", at + 320 * US, at + 9400 * US)
        trace.kernel("k", at + 6 * US, at + 299 * US)
    assert held(trace.done()).findings == ()


def test_small_copies_up_are_gathered_on_the_host(path: Path) -> None:
    trace = Trace(path)
    for i in range(2000):
        at = SECOND + i * 50 * US
        trace.copy(1, at + 5 * US, at + 7 * US, 1024, trace.call("cuMemcpyHtoDAsync_v2", at, at + 8 * US), source=0)
        trace.kernel("k", at + 32 * US, at + 34 * US, trace.call("cuLaunchKernel", at + 20 * US, at + 30 * US))
    found = rules_of(held(trace.done()))
    assert "Gather the values on the host" in found["tiny-copies"].remedy
    assert "sort or select" not in found["tiny-copies"].remedy
    assert found["tiny-copies"].overlaps == ("blocking-copies",)
    assert found["tiny-copies"].share + found["launch-bound"].share < 1


@pytest.mark.parametrize("whole_graphs", [False, True])
def test_a_graph_that_is_replayed_already(path: Path, whole_graphs: bool) -> None:
    trace = Trace(path, ("graph", "copy", "call", "range") if whole_graphs else ALL)
    for i in range(20):
        at = SECOND + i * MS
        number = trace.call("cudaGraphLaunch_v10000", at, at + 30 * US)
        if whole_graphs:
            trace.graph(at + 40 * US, at + 970 * US, number)
        else:
            for n in range(300):
                trace.kernel("tiny", at + 40 * US + n * 3100, at + 40 * US + n * 3100 + 1500, number)
        trace.call("cudaStreamSynchronize_v3020", at + 31 * US, at + 975 * US)
    told = held(trace.done())
    if whole_graphs:
        assert any("--cuda-graph-trace=node" in lack for lack in told.trace.lacks)
        with connect(path) as base, pytest.raises(KnnscopeError, match="cuda-graph-trace=node"):
            QUERIES["kernels"].build(Tables(base, path))
        return
    assert "replayed from a CUDA graph already" in rules_of(told)["launch-bound"].remedy
    assert "sync-in-loop" not in rules_of(told), "the host waits for work that is queued"


def test_copies_at_the_links_rate_bound_a_run(path: Path) -> None:
    trace = Trace(path)
    for i in range(50):
        at = SECOND + i * 20_005 * US
        trace.copy(1, at + 5 * US, at + 19 * MS, 10**9, trace.call("cudaMemcpyAsync_v3020", at, at + 5 * US), source=1)
        trace.kernel("k", at + 19 * MS + US, at + 20 * MS, trace.call(LAUNCH, at + 6 * US, at + 10 * US))
        trace.call(WAIT, at + 11 * US, at + 20 * MS + US)
    told = held(trace.done())
    assert told.bounds[0].what == "copies"
    found = rules_of(told)["copy-bound"]
    assert found.saving_ms == pytest.approx(50, rel=0.01), "what can be hidden behind the copies: the kernels"
    assert "Copy less" in found.remedy


def test_pages_of_unified_memory(path: Path) -> None:
    trace = Trace(path)
    for i in range(50):
        at = SECOND + i * 10 * MS
        trace.kernel("touch", at + 6 * US, at + 8 * MS, trace.call(LAUNCH, at, at + 5 * US))
        for j in range(20):
            trace.copy(11, at + 10 * US + j * 300 * US, at + 210 * US + j * 300 * US, 2 << 20)
            trace.copy(12, at + 8 * MS + j * 100 * US, at + 8 * MS + j * 100 * US + 80 * US, 1 << 20)
        trace.call(WAIT, at + 6 * US, at + 8 * MS + US)
    told = held(trace.done())
    found = rules_of(told)["unified-memory"]
    assert (found.severity, found.rows) == ("high", 2000)
    assert "2,097 MB up and 1,049 MB back" in found.title
    shown = figures(told.phases[0])
    assert (shown["bytes_to_device"], shown["bytes_to_host"]) == (1000 * (2 << 20), 1000 * (1 << 20))


@pytest.mark.parametrize(("nbytes", "found"), [(80, True), (10_000_000, False)])
def test_a_sort_of_which_a_few_bytes_are_copied_back(path: Path, nbytes: int, found: bool) -> None:
    trace = Trace(path)
    for i in range(10):
        at = SECOND + i * MS
        for j in range(4):
            number = trace.call(LAUNCH, at + j * 10 * US, at + j * 10 * US + 5 * US)
            trace.kernel("DeviceRadixSortOnesweepKernel", at + (100 + j * 100) * US, at + (199 + j * 100) * US, number)
        trace.kernel("cupy_take", at + 500 * US, at + 505 * US, trace.call(LAUNCH, at + 50 * US, at + 55 * US))
        trace.copy(
            2,
            at + 510 * US,
            at + 600 * US,
            nbytes,
            trace.call("cudaMemcpyAsync_v3020", at + 60 * US, at + 605 * US),
            target=0,
        )
    assert ("sort-for-topk" in rules_of(held(trace.done()))) is found


def test_a_sort_whose_order_is_computed_with_is_needed(path: Path) -> None:
    trace = Trace(path)
    for i in range(10):
        at = SECOND + i * MS
        trace.kernel("DeviceRadixSortOnesweepKernel", at, at + 300 * US, trace.call(LAUNCH, at, at + 5 * US))
        trace.kernel("count_different", at + 300 * US, at + 500 * US, trace.call(LAUNCH, at + 6 * US, at + 9 * US))
        trace.copy(
            2,
            at + 510 * US,
            at + 512 * US,
            8,
            trace.call("cudaMemcpyAsync_v3020", at + 10 * US, at + 515 * US),
            target=0,
        )
    assert "sort-for-topk" not in rules_of(held(trace.done()))


def test_work_before_its_launch_is_counted_and_left_out(path: Path) -> None:
    trace = Trace(path)
    steps(trace)
    for i in range(7):
        at = SECOND + i * 10 * MS
        trace.kernel("early", at - 3 * MS, at - 2 * MS, trace.call(LAUNCH, at, at + 5 * US))
    told = held(trace.done())
    assert len(told.trace.kernels) == 20
    assert any(note.startswith("7 of 27 kernels begin up to 3.0 ms before the calls") for note in told.trace.notes)


def test_work_without_a_time_is_counted_and_left_out(path: Path) -> None:
    trace = Trace(path)
    for i in range(20):
        at = 60 * SECOND + i * 10 * MS
        trace.kernel("k", at + 6 * US, at + 10 * MS, trace.call(LAUNCH, at, at + 5 * US))
    trace.kernel("k", 0, 0, 20)
    told = held(trace.done())
    assert told.findings == ()
    low, high = told.trace.span
    assert high - low == 200 * MS
    assert any("1 of 21 rows have impossible times" in note for note in told.trace.notes)


def test_templates_of_one_short_name_are_told_apart(path: Path) -> None:
    trace = Trace(path)
    for i in range(20):
        at = SECOND + i * 10 * MS
        for name, length in (("void elementwise<float>(int)", MS), ("void elementwise<double>(int)", 8 * MS)):
            trace.kernel(name, at, at + length, short="elementwise")
            at += length
    held(trace.done())
    with connect(path) as base:
        rows = base.execute(QUERIES["kernels"].build(Tables(base, path))).fetchall()
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("void elementwise<double>(int)", 20, 160.0),
        ("void elementwise<float>(int)", 20, 20.0),
    ]


def test_what_was_saved_elsewhere_makes_no_prediction_true(path: Path, tmp_path: Path) -> None:
    def loop(where: Path, length: int) -> Explanation:
        trace = Trace(where)
        at = SECOND
        for _ in range(4):
            trace.range("search", at, at + 40 * MS + 100 * length)
            for i in range(100):
                here = at + i * (400 * US + length)
                trace.copy(
                    2,
                    here + 90 * US,
                    here + 91 * US,
                    8,
                    trace.call("cudaMemcpyAsync_v3020", here + 80 * US, here + 95 * US),
                    target=1,
                )
                trace.kernel(
                    "k", here + 200 * US, here + 200 * US + length, trace.call(LAUNCH, here + 195 * US, here + 199 * US)
                )
            at += 50 * MS + 100 * length
        return held(trace.done())

    before = loop(path, 400 * US)
    assert "tiny-copies" in rules_of(before)
    (pair,) = pairs(before, loop(tmp_path / "after.sqlite", 100 * US))
    assert pair.measured_ms == pytest.approx(30)
    assert "tiny-copies" not in pair.gone
    assert pair.predicted_ms == 0
    assert pair.came_true is None


def copied(path: Path, ns: int) -> Explanation:
    """Ten copies of 100 MB that outlast the range that began them, and a quick one, by which the link's rate is known."""
    trace = Trace(path)
    for i in range(10):
        at = SECOND + i * 30 * MS
        trace.range("step", at, at + 100 * US)
        call = trace.call("cudaMemcpyAsync_v3020", at + 10 * US, at + 16 * US)
        trace.copy(1, at + 20 * US, at + 20 * US + ns, 100_000_000, call, source=2)
        trace.call(WAIT, at + 200 * US, at + 21 * MS)
    call = trace.call("cudaMemcpyAsync_v3020", SECOND + 400 * MS, SECOND + 400 * MS + 6 * US)
    trace.copy(1, SECOND + 401 * MS, SECOND + 405 * MS, 100_000_000, call)
    return held(trace.done())


def test_what_a_gpu_saves_is_held_against_its_own_time(path: Path, tmp_path: Path) -> None:
    """The host is in the range for 100 µs before and after; the GPU works for it 20 ms before, 4 ms after."""
    before = copied(path, 20 * MS)
    (pair,) = pairs(before, copied(tmp_path / "after.sqlite", 4 * MS))
    assert "slow-transfer" in pair.gone
    assert pair.measured_ms == pytest.approx(16, rel=0.01)
    assert pair.predicted_ms == pytest.approx(16, rel=0.05)
    assert pair.came_true is True
    assert [(c.what, c.name, c.word, c.before, c.after) for c in pair.changes] == [
        ("copy", "host to device", "shrank", (1, 20), (1, 4))
    ]
    told = report.text(record_of(before, [pair]))
    assert "step -> step: 20.0 ms -> 4.02 ms" in told


def idle(path: Path, gap: int) -> Explanation:
    """Two kernels, and between them what only the host can do."""
    trace = Trace(path)
    for i in range(5):
        at = SECOND + i * 200 * MS
        trace.range("step", at, at + gap + 12 * MS)
        for offset in (10 * US, gap + 6 * MS):
            call = trace.call(LAUNCH, at + offset, at + offset + 6 * US)
            trace.kernel("k", at + offset + 8 * US, at + offset + 8 * US + 5 * MS, call)
        trace.call(WAIT, at + gap + 6 * MS + 50 * US, at + gap + 12 * MS - 20 * US)
    return held(trace.done())


def test_what_only_a_bound_is_known_of_is_no_estimate(path: Path, tmp_path: Path) -> None:
    before = idle(path, 40 * MS)
    assert {f.rule for f in before.findings if f.at_most} == {"host-compute", "gpu-idle"}
    (total,) = before.totals
    estimates = sum(f.saving_ms * f.times for f in before.findings if not f.at_most)
    assert total.saving_ms == pytest.approx(estimates)
    idle_ms = 5 * 41  # and what lies around the kernels
    assert 0.75 * idle_ms < total.up_to_ms < 1.1 * idle_ms, "the two rules count the same time once"
    told = report.text(record_of(before, pairs(before, idle(tmp_path / "after.sqlite", 20 * MS))))
    assert re.search(r"would save up to 4\d\.\d ms of each time through it", told)
    assert re.search(
        r"together they would save up to 1\d\d ms of the whole run, in which the host itself does something;", told
    )
    assert "predicted to save" not in told, "a bound is no promise"
    both = report.text(record_of(replace(before, totals=(replace(total, saving_ms=5.0, share=0.01),))))
    said = r"together they would save about 5\.00 ms of the whole run \(1%\), and up to 1\d\d ms more of what the host itself does;"
    assert re.search(said, both)
