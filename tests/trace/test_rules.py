"""The rules against recorded traces of every rung, and against traces that were made for them."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from knnscope.search import ladder
from knnscope.trace import intervals
from knnscope.trace.compare import pairs
from knnscope.trace.explain import Explanation, explain, figures
from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.model import Calls, Copies, Gpu, Kernels, Lane, Ranges, Source, Trace
from knnscope.trace.phases import Phase, Run, phases
from knnscope.trace.rules import RULES, rule
from knnscope.trace.windows import windows
from tests.trace import fixtures

READ = ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS")
EXPECTED = {
    # written before the rules were tuned: what has to be found, and what must not be
    "cupy-loop": ({"tiny-copies", "launch-bound"}, set()),
    "cupy-loop-numpy-input": ({"host-compute", "tiny-copies"}, set()),
    "cupy-pinned": ({"tiny-copies"}, {"blocking-copies"}),
    "pageable-bulk": ({"slow-transfer"}, set()),
    "vectorized": ({"tiny-copies"}, set()),
    "argsort": ({"sort-for-topk", "unfused-chain"}, set()),
    "fused": ({"sort-for-topk"}, {"unfused-chain"}),
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


def told(name: str, folder: Path) -> Explanation:
    return explain(fixtures.trace(name, folder))


@pytest.mark.parametrize("recorder", fixtures.RECORDERS)
@pytest.mark.parametrize("rung", EXPECTED)
def test_what_is_slow_about_a_rung_is_found(recorder: str, rung: str, folder: Path) -> None:
    found = {f.rule for f in told(f"{recorder}-{rung}", folder).findings if f.phase == f"search {rung}"}
    wanted, unwanted = EXPECTED[rung]
    assert wanted <= found
    assert not unwanted & found


@pytest.mark.parametrize("recorder", fixtures.RECORDERS)
@pytest.mark.parametrize("rung", ["topk", "fused-topk", "graph"])
def test_what_is_well_made_gives_nothing_to_mend(recorder: str, rung: str, folder: Path) -> None:
    assert not [f for f in told(f"{recorder}-{rung}", folder).findings if f.severity in ("high", "medium")]


@pytest.mark.parametrize("recorder", fixtures.RECORDERS)
def test_a_few_short_kernels_far_apart_are_launch_bound_too(recorder: str, folder: Path) -> None:
    """No loop, but nine kernels in which the GPU works a sixth of the search: 314 µs without a recorder."""
    (found,) = (f for f in told(f"{recorder}-gemm", folder).findings if f.rule == "launch-bound")
    assert (found.phase, found.severity, found.rows) == ("search gemm", "high", 27)
    search = next(phase for phase in phases(fixtures.trace(f"{recorder}-gemm", folder)) if phase.name == found.phase)
    assert 0.4 < found.saving_ms * 1e6 * search.times / (search.host_ns - search.busy_ns) < 0.9


@pytest.mark.parametrize("rung", ladder.RUNGS)
def test_both_recorders_tell_the_same(rung: str, folder: Path) -> None:
    a, b = (fixtures.trace(f"{recorder}-{rung}", folder) for recorder in fixtures.RECORDERS)
    assert len(a.kernels) == len(b.kernels)
    assert [a.names[i] for i in a.kernels.name] == [b.names[i] for i in b.kernels.name]
    assert a.copies.nbytes.tolist() == b.copies.nbytes.tolist()
    assert a.copies.kind.tolist() == b.copies.kind.tolist()
    assert (a.copies.source.tolist(), a.copies.target.tolist()) == (b.copies.source.tolist(), b.copies.target.tolist())
    for events in ("kernels", "copies"):
        first, second = (getattr(t, events).duration for t in (a, b))
        if events == "kernels" and len(first):
            assert first.sum() == pytest.approx(second.sum(), rel=0.1)
    for ours, theirs in zip(phases(a), phases(b), strict=True):
        assert ours.name == theirs.name
        assert ours.shape == theirs.shape
        assert len(ours.windows[0]) == len(theirs.windows[0])


@pytest.mark.parametrize("rung", ["cupy-loop-numpy-input", "cupy-loop", "cupy-pinned"])
def test_both_recorders_stretch_the_host_alike(rung: str, folder: Path) -> None:
    """Launches, copies and synchronisations by name, the median call; where there are enough of them for one."""
    medians = []
    for recorder in fixtures.RECORDERS:
        trace = fixtures.trace(f"{recorder}-{rung}", folder)
        names = np.asarray(trace.names)[trace.calls.name]
        wanted = [
            n for n in np.unique(names) if re.search("Launch|Memcpy|Synchronize", n) and (names == n).sum() >= 100
        ]
        medians.append({n: float(np.median(trace.calls.duration[names == n])) for n in wanted})
    assert medians[0].keys() == medians[1].keys()
    assert len(medians[0]) >= 3
    for name, ours in medians[0].items():
        assert medians[1][name] == pytest.approx(ours, rel=0.25), name


@pytest.mark.parametrize("recorder", fixtures.RECORDERS)
@pytest.mark.parametrize("rung", ladder.RUNGS)
def test_evidence_is_what_its_query_gives(recorder: str, rung: str, folder: Path) -> None:
    with closing(sqlite3.connect(fixtures.unpacked(f"{recorder}-{rung}", folder))) as base:
        for finding in told(f"{recorder}-{rung}", folder).findings:
            given = len(base.execute(finding.sql).fetchall())
            assert given == finding.rows, finding


@pytest.mark.parametrize("name", RULES)
def test_every_rule_survives_an_empty_trace(name: str) -> None:
    trace = made()
    empty = Phase("empty", 0, Run(trace, windows(trace)))
    try:
        assert rule(name).cause(empty).count == 0
        assert list(rule(name).find(empty)) == []
    except CannotTellError as why:
        assert str(why)
    assert explain(made()).findings == ()


def test_what_cannot_be_told_is_said(folder: Path) -> None:
    said = dict(told("nsys-numpy-loop", folder).unanswered)
    assert "no kernels were recorded" in said["launch-bound"]
    assert "no copies were recorded" in said["tiny-copies"]


def test_a_search_lasts_until_its_answer_is_back(folder: Path) -> None:
    found = {phase.name: phase for phase in phases(fixtures.trace("nsys-argsort", folder))}
    search = found["search argsort"]
    assert len(search.windows[0]) == 4
    assert len(search.steady) == 3
    assert search.shape == {"rows": 75000, "dim": 384, "k": 10, "batch": 1}
    assert set(found) == {"load argsort", "build argsort", "search argsort"}
    assert figures(search)["kernels"] == 12
    assert figures(search)["bytes_to_host"] == 80


def test_predictions_are_held_against_the_next_trace(folder: Path) -> None:
    found = pairs(told("nsys-argsort", folder), told("nsys-fused", folder))
    search = next(pair for pair in found if pair.before.name == "search argsort")
    words = {(change.word, change.name) for change in search.changes}
    assert ("vanished", "cupy_square__float32_float32") in words
    assert ("appeared", "fused_distance") in words
    assert search.measured_ms > 0
    assert search.came_true is True
    same = pairs(told("nsys-argsort", folder), told("nsys-argsort", folder))
    assert all(not pair.predicted_ms and pair.came_true is None for pair in same)
    assert not any(pair.changes for pair in same), "what is the same did not grow"


def test_what_findings_that_overlap_promise_counts_once(folder: Path) -> None:
    """Tiny copies, copies that block and waits after them are the same time to a large part."""
    before, after = told("nsys-vectorized", folder), told("nsys-fused-topk", folder)
    found = [f for f in before.findings if f.phase == "search vectorized"]
    assert any(f.overlaps for f in found)
    (search, other) = (next(p for p in e.phases if p.name.startswith("search")) for e in (before, after))
    same = replace(after, phases=(replace(other, name=search.name),))
    (pair,) = pairs(replace(before, phases=(search,)), same)
    assert set(pair.gone) == {"tiny-copies", "blocking-copies", "sync-in-loop"}
    once = intervals.length(intervals.spans(*(f.cause.claim for f in found))) / 1e6 / search.times
    assert 0 < pair.predicted_ms <= once < sum(f.saving_ms for f in found)


def made(
    kernels: list[tuple[int, int, str]] | None = None,
    copies: list[tuple[int, int, int, int]] | None = None,
    calls: list[tuple[int, int, str]] | None = None,
    ranges: list[tuple[int, int, str]] | None = None,
    bandwidth: float = 1e12,
) -> Trace:
    """A trace of kernels (start, end, name), copies (start, end, bytes, kind), calls and ranges."""
    names: dict[str, int] = {}

    def table(rows: list[tuple]) -> list[np.ndarray]:
        start, end = (np.array([r[i] for r in rows], dtype=np.int64) for i in (0, 1))
        name = np.array([names.setdefault(str(r[2]), len(names)) for r in rows], dtype=np.int32)
        return [start, end, name]

    def zeros(rows: list, kind: type = np.int64) -> np.ndarray:
        return np.zeros(len(rows), dtype=kind)

    def launched(rows: list) -> np.ndarray:
        """Each by the call with its number, where there is one."""
        number = np.arange(len(rows), dtype=np.int32)
        return np.where(number < len(a), number, -1).astype(np.int32)

    k, c, a, r = kernels or [], copies or [], calls or [], ranges or []
    nbytes, kind = (np.array([row[i] for row in c], dtype=np.int64) for i in (2, 3))
    tables = (
        Kernels(*table(k), zeros(k), launched(k)),
        Copies(*table([(s, e, "copy") for s, e, *_ in c]), zeros(c), launched(c), nbytes, kind, zeros(c) + 2, zeros(c)),
        Calls(*table(a), zeros(a), np.ones(len(a), dtype=bool)),
        Ranges(*table(r), zeros(r), zeros(r), zeros(r, bool)),
    )
    source = Source(
        {name: name for name in READ},
        dict.fromkeys(READ, frozenset({"shortName", "correlationId", "deviceId", "bytes"})),
    )
    lanes = (Lane(0, 0, 0, 1, 7),)
    return Trace("made", tuple(names), *tables, lanes, {0: Gpu("made up", bandwidth)}, "made", source=source)


def rules_of(trace: Trace) -> dict[str, Finding]:
    return {f.rule: f for f in explain(trace).findings}


def test_a_foreign_program_that_is_well_made_gives_nothing() -> None:
    calls = [(i * 1_000_000, i * 1_000_000 + 5_000, "cudaLaunchKernel") for i in range(50)]
    kernels = [(i * 1_000_000 + 5_000, (i + 1) * 1_000_000 + 4_000, "train_step") for i in range(50)]
    assert rules_of(made(kernels, [], calls)) == {}


def test_an_idle_gpu_and_what_the_host_did() -> None:
    kernels = [(i * 10_000_000, i * 10_000_000 + 2_000_000, "step") for i in range(5)]
    outside = rules_of(made(kernels, calls=[(0, 5_000, "cudaLaunchKernel")]))["gpu-idle"]
    assert "in the program itself" in outside.title
    assert outside.saving_ms == pytest.approx(32)
    assert "launch-bound" not in rules_of(made(kernels)), "such gaps are not launches"
    waiting = [(i * 10_000_000 + 2_000_000, (i + 1) * 10_000_000, "cudaFree") for i in range(5)]
    assert "in CUDA calls" in rules_of(made(kernels, calls=waiting))["gpu-idle"].title


def test_a_chain_waits_between_its_kernels_and_not_between_its_turns() -> None:
    def chain(gap: int) -> Trace:
        starts = [turn * 1_000_000 + i * (10_000 + gap) for turn in range(6) for i in range(5)]
        ranges = [(turn * 1_000_000, turn * 1_000_000 + 500_000, "step") for turn in range(6)]
        return made([(s, s + 10_000, "work") for s in starts], ranges=ranges)

    found = rules_of(chain(20_000))["launch-bound"]
    assert found.saving_ms == pytest.approx(0.08)
    assert found.share == pytest.approx(0.16)
    assert "launch-bound" not in rules_of(chain(10_000)), "it works longer than it waits"


def test_a_slow_copy_is_held_against_the_fastest_of_the_trace() -> None:
    copies = [(0, 1_000_000, 50_000_000, 1), (2_000_000, 12_000_000, 50_000_000, 2)]
    found = rules_of(made(copies=copies, calls=[(0, 12_000_000, "cudaMemcpy")]))["slow-transfer"]
    assert found.saving_ms == pytest.approx(9, abs=0.01)
    quick = [(0, 1_000_000, 50_000_000, 1), (2_000_000, 3_100_000, 50_000_000, 2)]
    assert "slow-transfer" not in rules_of(made(copies=quick, calls=[(0, 3_100_000, "cudaMemcpy")]))


def test_allocation_in_every_pass_is_found_and_in_one_is_not() -> None:
    ranges = [(i * 1_000_000, i * 1_000_000 + 900_000, "step") for i in range(6)]
    kernels = [(s + 400_000, e, "work") for s, e, _ in ranges]
    every = [(s, s + 300_000, "cudaMalloc") for s, _, _ in ranges]
    assert rules_of(made(kernels, calls=every, ranges=ranges))["startup-cost"].share == pytest.approx(1 / 3, abs=0.01)
    assert "startup-cost" not in rules_of(made(kernels, calls=every[2:3], ranges=ranges))


def test_a_kernel_below_its_floor_needs_a_shape() -> None:
    shape = "rows=100000 dim=100 k=10 batch=1"  # 40 MB: 47 µs at 85% of 1 TB/s
    ranges = [(i * 1_000_000, i * 1_000_000 + 400_000, f"knnscope: search mine {shape}") for i in range(3)]
    kernels = [(s + 10_000, s + 310_000, "distances") for s, _, _ in ranges]
    calls = [(s, s + 320_000, "cuLaunchKernel") for s, _, _ in ranges]  # CUDA_LAUNCH_BLOCKING
    found = rules_of(made(kernels, calls=calls, ranges=ranges))["below-floor"]
    assert found.saving_ms == pytest.approx(0.3 - 40e6 / 0.85e12 * 1e3, rel=0.01)
    assert "below-floor" not in rules_of(made(kernels, calls=calls, ranges=ranges, bandwidth=1.3e11))
    many = [(s, e, name.replace("batch=1", "batch=9")) for s, e, name in ranges]
    several = explain(made(kernels, calls=calls, ranges=many))
    assert "below-floor" not in {f.rule for f in several.findings}, (
        "a perfect product of 127 queries took two and a half readings"
    )
    assert "products of 9 queries" in dict(several.unanswered)["below-floor"]
    told = explain(made(kernels, calls=calls, ranges=[(s, e, "mine") for s, e, _ in ranges]))
    assert "no range says" in dict(told.unanswered)["below-floor"]


def test_severities() -> None:
    for share, severity in ((0.5, "high"), (0.3, "high"), (0.2, "medium"), (0.05, "low"), (0.01, None), (-1.0, None)):
        assert Finding("r", "p", "t", "s", 1, 1.0, share, "m").severity == severity
