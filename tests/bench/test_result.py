"""Rows of every status against the shipped schema; what is refused; statistics of a row; the file."""

from __future__ import annotations

import json
import math
import statistics
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.bench import result
from knnscope.bench.child import FailedError
from knnscope.bench.plan import CACHES, Case
from knnscope.bench.result import FAILED, Facts, check
from knnscope.bench.runner import Measured
from knnscope.bench.timing import Sample, WarmUp
from knnscope.bench.worker import Built, Warmed
from knnscope.ceilings.record import Ceilings, ReadRate
from knnscope.errors import KnnscopeError
from knnscope.records import Row
from knnscope.search.grading import Evidence, Grade

SCHEMA: dict[str, Any] = json.loads(
    resources.files("knnscope.bench").joinpath("results.schema.json").read_text("utf-8")
)
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


def rows(m: Measured, **more: Any) -> list[Row]:
    return [check(row) for row in result.rows_of(m, FACTS, more.pop("device", "cpu"), "expanded float32", **more)]


def a_row(**changes: Any) -> Row:
    return {**rows(measured())[2], **changes}


@pytest.mark.parametrize("grade", GRADES)
def test_a_measured_case_is_three_rows(grade: str) -> None:
    found = rows(measured(grade=grade), quality={"ndcg_at_10": 0.5, "recall_at_k": 1.0, "mrr_at_10": 0.25})
    assert [row["cache"] for row in found] == list(CACHES)
    assert {row["status"] for row in found} == {"wrong" if GRADES[grade].grade == "wrong" else "ok"}
    assert [row["median_ns"] for row in found] == [9_000, 3_000, 1_004]
    assert [row["fresh"] for row in found] == [True, None, None]
    assert all(row["ndcg_at_10"] == 0.5 and row["judged"] == GRADES[grade].queries for row in found)
    assert [row["floor_ns"] for row in found] == [
        int(found[0]["bytes_moved"] / rate * 1e9) for rate in (2e9, 2e9, 10e9)
    ]
    assert found[2]["product_floor_ns"] == 2 * 1000 * 16 * 5 / 100


@pytest.mark.parametrize("status", FAILED)
def test_a_failed_case_is_one_row_without_figures(status: str) -> None:
    for m in (
        measured(status, rounds=0),
        measured(status, grade="wrong"),
        Measured(Case("x", 1, 1, "device"), status, "r"),
    ):
        (row,) = rows(m, device="cuda")
        assert (row["status"], row["cache"], row["samples_ns"]) == (status, "hot", [])
        assert {row[name] for name in ("grade", "evidence", "median_ns", "cpu_ns", "noisy", "cores")} == {None}
        assert row["floor_ns"] is None, "no ceilings of that device"


def test_an_interrupted_case_keeps_what_it_has() -> None:
    assert [row["cache"] for row in rows(measured("interrupted"))] == list(CACHES)
    assert [row["cache"] for row in rows(measured("interrupted", None, rounds=0))] == ["first", "hot"]
    (row,) = rows(Measured(Case("x", 1, 1, "host"), "interrupted", "stopped"))
    assert (row["status"], row["cache"], row["median_ns"]) == ("interrupted", "hot", None)


SINCE = {"cores", "compile_ns", "build_compile_ns", "quick", "how"}
"""Fields that rows written before they existed lack, and are read all the same."""


def test_every_field_is_always_written_and_declared() -> None:
    fields = set(SCHEMA["properties"])
    for m in (measured(), measured(event=500), measured("oom"), Measured(Case("x", 1, 1, "host"), "missing", "r")):
        assert all(set(row) == fields for row in rows(m))
    assert set(SCHEMA["required"]) | SINCE == fields
    assert SCHEMA["additionalProperties"] is False
    nanoseconds_and_bytes = [name for name in fields if name.endswith(("_ns", "_bytes", "bytes_moved"))]
    assert len(nanoseconds_and_bytes) >= 15
    for name in nanoseconds_and_bytes:
        kind = SCHEMA["properties"][name]["items"]["items"] if name == "samples_ns" else SCHEMA["properties"][name]
        assert "integer" in kind["type"]
        assert "number" not in kind["type"]


WRONG = {"grade": "wrong", "status": "wrong", "beyond": 1, "evidence": None}


@pytest.mark.parametrize(
    "change",
    [
        {"median_ns": 1.5},
        {"median_ns": None},
        {"median_ns": -1},
        {"samples_ns": [[1.5]]},
        {"samples_ns": [[0]]},
        {"samples_ns": [1]},
        {"build_peak_host_bytes": 1.5},
        {"bytes_moved": None},
        {"cores": math.nan},
        {"cores": math.inf},
        {"ndcg_at_10": math.nan},
        {"ndcg_at_10": 1.5},
        {"threads": 0},
        {"k": 0},
        {"metric": "hamming"},
        {"boundary": "both"},
        {"cache": "warm"},
        {"schema_version": 2},
        {"mood": "good"},
        {"grade": None},
        {"grade": "wrong"},
        {"grade": "about right"},
        {"status": "fine"},
        {"status": "crashed", "reason": "a reason"},
        {"status": "oom", "reason": None, "grade": None, "samples_ns": [], "median_ns": None, "cpu_ns": None},
        {"status": "timeout", "reason": "r", "grade": "exact", "samples_ns": [], "median_ns": None, "cpu_ns": None},
        {"status": "missing", "reason": "r", "grade": None, "samples_ns": [[5]], "median_ns": None, "cpu_ns": None},
        {"status": "wrong"},
        WRONG,
        {**WRONG, "evidence": {"query": 1}},
        {**WRONG, "evidence": {**rows(measured(grade="wrong"))[0]["evidence"], "distance": math.nan}},
        {**WRONG, "evidence": rows(measured(grade="wrong"))[0]["evidence"], "grade": "exact"},
    ],
)
def test_what_cannot_be_is_refused(change: Row, tmp_path: Path) -> None:
    assert check(a_row()) == a_row()
    with pytest.raises(KnnscopeError, match=r"not as results\.schema\.json says"):
        check(a_row(**change))
    with pytest.raises(KnnscopeError):
        result.write(tmp_path / "results.jsonl", [a_row(), a_row(**change)])
    assert not list(tmp_path.iterdir()), "whole or not at all"


@pytest.mark.parametrize("name", sorted(SCHEMA["required"]))
def test_no_field_may_be_missing(name: str) -> None:
    row = a_row()
    del row[name]
    with pytest.raises(KnnscopeError):
        check(row)


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    written = [row for grade in GRADES for row in rows(measured(grade=grade))] + rows(measured("crashed"))
    result.write(path, written)
    assert result.read(path) == written
    assert len(path.read_text().splitlines()) == len(written)
    result.write(path, [])
    assert result.read(path) == []


@pytest.mark.parametrize("damage", ["", "{}", "{", "null", "[1]", '"text"', "cut", "NaN"])
def test_a_damaged_file_names_the_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "results.jsonl"
    result.write(path, rows(measured()))
    lines = path.read_text().splitlines()
    good = json.loads(lines[1])
    lines[1] = {"cut": lines[1][:-40], "NaN": json.dumps({**good, "cores": math.nan})}.get(damage, damage)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(KnnscopeError, match=r"results\.jsonl:2: not a result row .*run knnscope compare again"):
        result.read(path)


def timed(walls: list[list[int]], event: int | None = None) -> Row:
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


def test_cpu_time_is_told_from_all_calls_together() -> None:
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
    assert a_row()["bytes_moved"] == result.bytes_moved(FACTS, 5, 10)
