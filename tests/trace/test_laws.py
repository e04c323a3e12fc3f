"""Laws that hold for every trace: no finding saves more than it can, evidence is exact, phases and what is outside them add up, per GPU."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.trace import evidence, intervals, reader
from knnscope.trace.database import Tables, connect
from knnscope.trace.explain import Explanation, explain, part
from knnscope.trace.findings import CannotTellError
from knnscope.trace.phases import Phase
from knnscope.trace.queries import QUERIES
from knnscope.trace.rules import ON_GPU, RULES, gpu_idle, rule
from knnscope.trace.windows import fold
from tests.trace.write import ALL, MS, TABLES, US, Trace

THREADS = (100 << 24 | 100, 100 << 24 | 101, 200 << 24 | 200)
RANGES = (
    "step",
    "step 1",
    "step 2",
    "step 33",
    "train",
    "it's",
    "",
    "knnscope: search a rows=9 dim=2 k=1 batch=1",
    "knnscope: copy back a",
)
CALLS = (
    "cudaLaunchKernel_v7000",
    "cuLaunchKernel",
    "cudaGraphLaunch_v10000",
    "cudaMemcpyAsync_v3020",
    "cudaMemcpy_v3020",
    "cudaDeviceSynchronize_v3020",
    "cudaStreamSynchronize_v3020",
    "cudaMalloc_v3020",
    "cuKernelGetName",
)
KERNELS = ("cupy_add", "elementwise", "reduce", "DeviceRadixSortOnesweep", "take", "gemm's")
TIME = st.one_of(st.integers(0, 40).map(lambda n: n * 50 * US), st.integers(0, 30 * MS))
LENGTH = st.one_of(st.integers(0, 3 * US), st.integers(0, 40).map(lambda n: n * 50 * US), st.integers(0, 20 * MS))


@st.composite
def traces(draw: st.DrawFn) -> list[tuple]:
    """Rows of a trace, by table; now and then one without sense."""
    rows: list[tuple] = []
    threads = THREADS[: draw(st.integers(1, 3))]
    own = draw(st.booleans()) and draw(st.booleans())
    for _ in range(draw(st.sampled_from((8, 3, 1, 0)))):
        start = draw(TIME)
        end = draw(st.one_of(LENGTH.map(lambda n, s=start: s + n), st.none(), st.integers(-5, 5)))
        name = draw(st.sampled_from(RANGES[-3:] if own else RANGES[:-2]))
        rows.append(
            (
                "range",
                name,
                start - draw(st.sampled_from((0, 0, 0, 5 * MS))),
                end,
                draw(st.sampled_from((59, 60))),
                draw(st.sampled_from(threads)),
                draw(st.sampled_from((0, 0, 0, 1, 2))),
            )
        )
    for repeat in range(draw(st.integers(0, 3))):
        many, period, thread = (
            draw(st.sampled_from((20, 40, 5, 1))),  # the first two are loops to the rules
            draw(st.sampled_from((20 * US, 100 * US, 2 * MS))),
            draw(st.sampled_from(threads)),
        )
        call, work, at = draw(st.sampled_from(CALLS)), draw(st.sampled_from(("kernel", "copy", "none"))), draw(TIME)
        length, device, stream = draw(LENGTH), draw(st.integers(0, 1)), draw(st.sampled_from((7, 65543)))
        name, kind, nbytes = (
            draw(st.sampled_from(KERNELS)),
            draw(st.sampled_from((1, 2, 1, 2, 8, 10, 11, 12))),
            draw(st.sampled_from((8, 4096, 70_000, 5 << 20))),
        )
        senseless_sizes = draw(st.booleans())
        late = draw(st.sampled_from((5 * US, 5 * US, 30 * MS, -1 * MS)))
        for i in range(many):
            start = at + i * period
            number = repeat * 1000 + i + 1 if draw(st.integers(0, 30)) else 0
            rows.append(("call", call, start, start + 8 * US, thread, number))
            if draw(st.integers(0, 9)) == 0:
                rows.append(("call", "cuLaunchKernel", start + US, start + 2 * US, thread, 0))
            begin = max(0, start + late)
            if work == "kernel":
                rows.append(("kernel", name, begin, begin + length, number, device, stream, thread >> 24))
            elif work == "copy":
                rows.append(
                    (
                        "copy",
                        kind,
                        begin,
                        begin + length,
                        (None, -5)[i % 2] if senseless_sizes and i % 5 < 2 else nbytes,
                        number,
                        device,
                        stream,
                        thread >> 24,
                        draw(st.integers(0, 2)),
                    )
                )
    senseless = st.sampled_from(((0, 0), (9, 3), (-7, 5 * US), (1 << 62, 1 << 62)))
    rows += [("kernel", "odd", *draw(senseless), 0, 0, 7, 100) for _ in range(draw(st.integers(0, 2)))]
    return rows


def written(path: Path, rows: list[tuple], without: str) -> Path:
    trace = Trace(
        path, tuple(name for name in (*ALL, "fill") if name != without), gpus=(("A", 10**12, 1), ("B", 10**12, 1))
    )
    if without != "range":
        trace.range("cuBLAS", 0, None, 75, THREADS[0], 1)
        trace.range("mine", 0, None, 75, THREADS[0], 2)
    for what, *row in rows:
        if what == without:
            continue
        if what == "range":
            trace.range(*row)
        elif what == "call":
            trace.call(*row)
        elif what == "kernel":
            *some, process = row
            trace.kernel(*some, process=process)
        else:
            kind, start, end, nbytes, number, device, stream, process, source = row
            trace.copy(kind, start, end, nbytes, number, device=device, stream=stream, process=process, source=source)
    return trace.done()


def held(path: Path) -> Explanation:
    """Every law, on one file."""
    told = explain(reader.read(path))
    with closing(sqlite3.connect(path)) as base:
        savings_are_capped(told)
        evidence_is_exact(told, base)
        all_adds_up(told, base)
    queries_agree(path)
    return told


def savings_are_capped(told: Explanation) -> None:
    for phase in told.phases:
        for name in RULES:
            try:
                cause, found = rule(name).cause(phase), list(rule(name).find(phase))
            except CannotTellError:
                continue
            assert intervals.length(intervals.spans(cause.claim)) == cause.ns, name
            if name not in ON_GPU and name != "blocking-copies":
                assert intervals.length(intervals.common(cause.claim, phase.idle)) == cause.ns, (
                    f"{name} counts time in which the GPU works; a rule that saves GPU time belongs in ON_GPU"
                )
            for finding in found:
                assert finding.rule == name, finding
                saved = finding.saving_ms * finding.times * 1e6
                cap = phase.idle_ns if name not in ON_GPU else intervals.length(phase.work)
                assert saved <= cap + 1, finding
                assert saved <= finding.cause.ns + 1, finding
                assert finding.share <= 1 + 1e-9, finding
    low, high = told.trace.span
    for total in told.totals:
        assert total.saving_ms * 1e6 <= high - low + 1
        assert total.saving_ms <= sum(f.saving_ms * f.times for f in told.findings if f.gpu == total.gpu) + 1e-6
        found = [f for f in told.findings if f.gpu == total.gpu]
        if not any(f.rule in ON_GPU for f in found):
            idle = intervals.spans(*(p.idle for p in told.phases if p.gpu == total.gpu))
            assert total.saving_ms * 1e6 <= intervals.length(idle) + 1, "together they save no more than the host can"
    for bound in told.bounds:
        assert sum(bound.shares.values()) == pytest.approx(1)


def evidence_is_exact(told: Explanation, base: sqlite3.Connection) -> None:
    for phase in told.phases:
        for few in (evidence.FEW, 0):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(evidence, "FEW", few)
                for finding in [f for name in RULES for f in found_by(name, phase)]:
                    assert len(base.execute(finding.sql).fetchall()) == finding.rows, finding
                counts_agree(phase, base)


def found_by(name: str, phase: Phase) -> list:
    try:
        return list(rule(name).find(phase))
    except CannotTellError:
        return []


def counts_agree(phase: Phase, base: sqlite3.Connection) -> None:
    """Also where no rule finds anything."""
    tables = phase.trace.source.tables
    if reader.KERNEL in tables:
        times = [row[:2] for row in base.execute(evidence.kernels(phase)).fetchall()]
        mine = phase.kernels
        assert sorted((max(0, a), b) for a, b in times) == sorted(
            zip(mine.start.tolist(), mine.end.tolist(), strict=True)
        )
        named = mine.name == (mine.name[0] if len(mine) else 0)
        some = evidence.kernels(phase, [phase.trace.names[int(mine.name[0])]] if len(mine) else [])
        assert len(base.execute(some).fetchall()) == int(named.sum())
    if reader.MEMCPY in tables:
        given = base.execute(evidence.copies(phase, "copyKind IN (1, 2)")).fetchall()
        assert len(given) == int(np.isin(phase.copies.kind, (1, 2)).sum())
    if reader.RUNTIME in tables:
        given = base.execute(evidence.calls(phase)).fetchall()
        assert sorted(row[0] for row in given) == sorted(phase.calls.start.tolist())
        waits = phase.named("Synchronize")
        numbers = np.unique(phase.calls.name[waits]).tolist()
        assert len(base.execute(evidence.calls(phase, numbers)).fetchall()) == int(waits.sum())
    if phase.gpu in phase.run.busy:
        lows, highs = gpu_idle.cause(phase).claim
        given = base.execute(evidence.gaps(phase, gpu_idle.LONG_NS)).fetchall()
        assert sorted(given) == sorted(zip(lows.tolist(), highs.tolist(), strict=True))


def all_adds_up(told: Explanation, base: sqlite3.Connection) -> None:
    for i, whole in enumerate(told.whole):
        if told.outside:
            parts = [part(phase) for phase in told.phases if phase.gpu == whole.gpu] + [told.outside[i]]
            assert sum(p.kernels for p in parts) == whole.kernels
            assert sum(p.copies for p in parts) == whole.copies
            assert sum(p.gpu_ms for p in parts) == pytest.approx(whole.gpu_ms)
            inside = intervals.length(intervals.spans(*(phase.windows for phase in told.phases))) / 1e6
            assert inside + told.outside[i].host_ms == pytest.approx(whole.host_ms)
    assert sum(whole.kernels for whole in told.whole) == len(told.trace.kernels)
    assert sum(whole.copies for whole in told.whole) == len(told.trace.copies)


def queries_agree(path: Path) -> None:
    """What the named questions add up is what plain SQL adds up, over rows with possible times."""
    sane = "end >= start AND end > 0 AND end < 1e18"
    with connect(path) as base:
        tables = Tables(base, path)
        for name, table, count, total in (
            ("kernels", reader.KERNEL, "launches", "total_ms"),
            ("api-time", reader.RUNTIME, "calls", "total_ms"),
            ("copies", reader.MEMCPY, "copies", "total_ms"),
        ):
            if table not in tables.columns:
                continue
            cursor = base.execute(QUERIES[name].build(tables))
            head = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
            n, ns = base.execute(
                f"SELECT count(*), total(end - max(start, 0)) FROM {tables.actual[table]} WHERE {sane}"
            ).fetchone()
            assert sum(row[head.index(count)] for row in rows) == n
            assert sum(row[head.index(total)] for row in rows) == pytest.approx(ns / 1e6, abs=0.001 * (len(rows) + 1))


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laws") / "trace.sqlite"


@pytest.mark.parametrize("kind", [1, 2, 8, 10, 11, 12])
def test_a_loop_of_copies_of_which_some_have_no_sensible_size(where: Path, kind: int) -> None:
    """Evidence that compares bytes, not SIZE, leaves out what the reader counts as 0."""
    rows: list[tuple] = []
    for i in range(100):
        at = MS + i * 100 * US
        rows.append(("call", "cudaMemcpyAsync_v3020", at, at + 30 * US, THREADS[0], i + 1))
        rows.append(("copy", kind, at + 40 * US, at + 42 * US, (8, None, -5)[i % 3], i + 1, 0, 7, 100, 1))
    told = held(written(where, rows, "range"))
    assert "tiny-copies" in {f.rule for f in told.findings} or kind not in (1, 2)


@settings(max_examples=100, deadline=None)
@given(rows=traces(), without=st.sampled_from(("", "", "", "", "call", "range", "kernel", "copy")))
def test_generated_traces(where: Path, rows: list[tuple], without: str) -> None:
    held(written(where, rows, without))


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(rows=traces(), without=st.sampled_from(("", "", "", "", "call", "range", "kernel", "copy")))
def test_two_thousand_generated_traces(where: Path, rows: list[tuple], without: str) -> None:
    held(written(where, rows, without))


@given(st.text(alphabet="ab#019 -.", max_size=20))
def test_a_folded_name_has_one_mark_for_each_number(text: str) -> None:
    assert fold(text) == re.sub("[0-9#]+", "#", text)
    with closing(sqlite3.connect(":memory:")) as base:
        assert base.execute(f"SELECT {evidence._folded('?1')}", (text,)).fetchone()[0] == fold(text)


def test_every_table_that_is_written_is_known() -> None:
    assert {text.partition("(")[0] for text in TABLES.values()} <= {*evidence.WORK, reader.RUNTIME, "NVTX_EVENTS"}
