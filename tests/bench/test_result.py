"""Rows of every status, and the statistics of a row."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from knnscope.analysis import jsonl
from knnscope.analysis.measurement import CACHES, FAILED, Measurement
from knnscope.bench import result
from knnscope.bench.failures import FailedError
from knnscope.bench.plan import Case
from knnscope.bench.result import Facts
from knnscope.bench.runner import Measured
from knnscope.bench.timing import Sample, WarmUp
from knnscope.bench.worker import Built, Warmed
from knnscope.ceilings.record import Ceilings, ReadRate
from knnscope.search import catalog
from knnscope.search.grading import Evidence, Grade

CEILINGS = Ceilings("cpu", "some processor", 2, (ReadRate(1, 10e9, 2e9),), 5e9, {"float32": 100e9})
FACTS = Facts("made up", 1000, 16, "float32", 4, "l2", 2, {"cpu": CEILINGS})
EVIDENCE = Evidence(3, 1, 7, 8, 2.5, 1.5, 0.1, (7, 8), (8, 7), "is nearer and comes later")
GRADES = {
    "exact": Grade("exact", 30, 0, 0),
    "float32": Grade("float32", 30, 2, 0, EVIDENCE),
    "wrong": Grade("wrong", 30, 2, 1, EVIDENCE),
    "no row": Grade("wrong", 1, 1, 1, Evidence(0, 1, -1, None, None, None, None, (-1,), (4,), "is no row")),
}


def measured(status: str = "ok", grade: str | None = "exact", rounds: int = 7, event: int | None = None) -> Measured:
    warmed = Warmed(WarmUp(Sample(9_000, 8_000, event), 6, True, 1_000), True, 4096, None, 100)
    m = Measured(
        Case("numpy", 10, 5, "host"),
        "ok" if status in FAILED else status,
        None if status == "ok" else "for a reason",
        Built(500, 2048, None),
        warmed,
        None,
        [[Sample(1_000 + i, 2_000, event), Sample(1_002 + i, 2_000, event)] for i in range(rounds)],
        [[Sample(3_000, 900, event)]] * min(rounds, 2),
        GRADES[grade] if grade else None,
        1,
    )
    if status in FAILED:
        m.fail(FailedError(status, "for a reason"))
        m.hot += [[], []]  # the rounds that follow
    return m


def rows(m: Measured, **more: Any) -> list[Measurement]:
    about = result.About(more.pop("device", "cpu"), "expanded float32", **more)
    return [jsonl.check(row) for row in result.rows_of(m, FACTS, about)]


def a_row(**changes: Any) -> Measurement:
    """The hot row of a measured case, with other values: what the constructor refuses is refused here."""
    return replace(rows(measured())[2], **changes)


@pytest.mark.parametrize("grade", GRADES)
def test_a_measured_case_is_three_rows(grade: str) -> None:
    found = rows(measured(grade=grade), quality={"ndcg_at_10": 0.5, "recall_at_k": 1.0, "mrr_at_10": 0.25})
    assert [row.cache for row in found] == list(CACHES)
    assert {row.status for row in found} == {"wrong" if GRADES[grade].grade == "wrong" else "ok"}
    assert [row.median_ns for row in found] == [9_000, 3_000, 1_004]
    assert [row.fresh for row in found] == [True, None, None]
    assert all(row.ndcg_at_10 == 0.5 and row.judged == GRADES[grade].queries for row in found)
    assert [row.floor_ns for row in found] == [int(found[0].bytes_moved / rate * 1e9) for rate in (2e9, 2e9, 10e9)]
    assert found[2].product_floor_ns == 2 * 1000 * 16 * 5 / 100


@pytest.mark.parametrize("status", FAILED)
def test_a_failed_case_is_one_row_without_figures(status: str) -> None:
    for m in (
        measured(status, rounds=0),
        measured(status, grade="wrong"),
        Measured(Case("x", 1, 1, "device"), status, "r"),
    ):
        (row,) = rows(m, device="cuda")
        assert (row.status, row.cache, row.samples_ns) == (status, "hot", [])
        assert {getattr(row, name) for name in ("grade", "evidence", "median_ns", "cpu_ns", "noisy", "cores")} == {None}
        assert row.floor_ns is None, "no ceilings of that device"


def test_an_interrupted_case_keeps_what_it_has() -> None:
    assert [row.cache for row in rows(measured("interrupted"))] == list(CACHES)
    assert [row.cache for row in rows(measured("interrupted", None, rounds=0))] == ["first", "hot"]
    (row,) = rows(Measured(Case("x", 1, 1, "host"), "interrupted", "stopped"))
    assert (row.status, row.cache, row.median_ns) == ("interrupted", "hot", None)


def timed(walls: list[list[int]], event: int | None = None) -> Measurement:
    return result.timings([[Sample(w, 2 * w, event) for w in some] for some in walls])


@given(st.lists(st.lists(st.integers(1, 10**12), max_size=5), min_size=1, max_size=9).filter(any))
def test_median_and_interval(walls: list[list[int]]) -> None:
    found = timed(walls)
    medians = [statistics.median(w) for w in walls if w]
    assert found["samples_ns"] == walls
    assert found["median_ns"] == round(statistics.median(medians))
    assert found["cores"] == 2
    if len(medians) > 1:
        assert round(min(medians)) <= found["low_ns"] <= found["median_ns"] <= found["high_ns"] <= round(max(medians))
    else:
        assert (found["low_ns"], found["high_ns"], found["noisy"]) == (None, None, None)
    assert all(value is None or isinstance(value, (int, list)) for name, value in found.items() if name != "cores")


def test_cpu_time_is_the_median_over_rounds() -> None:
    """A single call that stood still for two seconds says nothing of how long others compute."""
    calls = [[Sample(1_000_000, 1_000_000)] * 3 for _ in range(19)]
    found = result.timings([*calls, [Sample(1_000_000, 1_000_000)] * 2 + [Sample(2_000_000_000, 1_000_000)]])
    assert (found["median_ns"], found["cpu_ns"]) == (1_000_000, 1_000_000)
    busy = result.timings([*calls, [Sample(1_000_000, 900_000_000)] * 3])
    assert busy["cpu_ns"] == 1_000_000


def test_cpu_time_of_who_computes_in_other_processes_is_left_blank() -> None:
    assert [catalog.ENGINES[name].elsewhere for name in ("dask", "certified")] == [True, False]
    for row in rows(measured(), elsewhere=True):
        assert (row.cpu_ns, row.cores) == (None, None)
        assert row.median_ns


def test_cpu_time_is_told_from_all_calls_of_a_round_together() -> None:
    """The time of other threads comes in ticks of 4 ms: no single call of 3 ms shows what it took."""
    calls = [Sample(3_000_000, 3_000_000 + (4_000_000 if i % 4 else 0), None) for i in range(40)]
    found = result.timings([calls])
    assert found["cores"] == 2
    assert found["cpu_ns"] == 6_000_000


def test_a_99th_percentile_needs_100_samples() -> None:
    walls = [list(range(1 + 10 * i, 11 + 10 * i)) for i in range(10)]
    assert timed(walls)["p99_ns"] == 100
    assert timed([*walls[:9], walls[9][:9]])["p99_ns"] is None
    assert timed([[5] * 200])["p99_ns"] == 5
    many = [[int(x) for x in np.random.default_rng(0).integers(1, 10**6, 50)] for _ in range(20)]
    assert timed(many)["p99_ns"] == pytest.approx(np.percentile(many, 99), rel=0.01)


def test_noisy_is_an_interval_wider_than_a_fifth() -> None:
    assert timed([[100], [101], [102], [103], [104], [105], [106]])["noisy"] is False
    assert timed([[100], [150], [80], [170], [90], [130], [60]])["noisy"] is True
    assert timed([[], [], [100], []])["noisy"] is None
    assert timed([[], []]) == {"samples_ns": [], **dict.fromkeys([k for k in timed([[1]]) if k != "samples_ns"])}


def test_events_of_a_gpu() -> None:
    assert timed([[10, 20]], event=7)["event_ns"] == 7
    assert timed([[10, 20]])["event_ns"] is None


def test_bytes_moved_counts_everything_once() -> None:
    assert result.bytes_moved(FACTS, 5, 10) == 1000 * 16 * 4 + 5 * 16 * 4 + 5 * 10 * (8 + 4)
    assert a_row().bytes_moved == result.bytes_moved(FACTS, 5, 10)
