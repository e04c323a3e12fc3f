"""What is said of two runs: laws that hold for any, what forbids a comparison, what becomes of a row, and what files may hold."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from knnscope import analysis
from knnscope.analysis import run as runs
from knnscope.analysis.change import Change, Changes, changes
from knnscope.analysis.measurement import SCHEMA_VERSION, Measurement, RungMeasurement, to_dict
from knnscope.analysis.run import CompareFacts, ComparisonRun, LadderFacts, LadderRun
from knnscope.errors import KnnscopeError
from knnscope.report import change as report
from tests.analysis.test_run import EVERY, VALUES
from tests.analysis.test_verdict import failed
from tests.analysis.test_verdict import rows as made_up
from tests.analysis.two_runs import COSTS, ENVIRONMENT, drawn, run_of

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
OPPOSITE = {
    "worse": "better",
    "better": "worse",
    "newly wrong": "right again",
    "right again": "newly wrong",
    "newly failed": "works again",
    "newly missing": "works again",
    "new": "gone",
    "gone": "new",
}


def hot(found: Changes) -> dict[str, Change]:
    """By engine, and the batch where it is not 1."""
    return {row.engine + (f" {row.batch}" if row.batch != 1 else ""): row for row in found.rows if row.cache == "hot"}


def outcomes(found: Changes) -> dict[str, str]:
    return {name: row.outcome for name, row in hot(found).items()}


def scaled(run: ComparisonRun, factor: float, *engines: str) -> ComparisonRun:
    """Every time of these engines, or of all, so many times as long."""
    return replace(
        run,
        rows=tuple(
            structs.replace(
                row,
                samples_ns=[[round(factor * ns) for ns in some] for some in row.samples_ns],
                median_ns=round(factor * row.took_ns),
            )
            if row.median_ns is not None and (not engines or row.engine in engines)
            else row
            for row in run.rows
        ),
    )


def with_libraries(run: ComparisonRun, **versions: str) -> ComparisonRun:
    known = {**ENVIRONMENT["libraries"], **{name.replace("_", "-"): version for name, version in versions.items()}}
    return replace(run, environment={**run.environment, "libraries": known})


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in RESULTS.glob("*/results.jsonl")), ids=lambda p: p.name
)
def test_a_run_against_itself_has_no_change(folder: Path) -> None:
    """Of runs as they were saved, some of them long ago."""
    run = analysis.load(folder)
    found = changes(run, run)
    assert found.rows
    assert {row.outcome for row in found.rows} <= {"same", "noisy", "no control"}
    assert all(row.ratio is None or row.ratio == 1 for row in found.rows)
    assert not found.differences
    assert report.text(found)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 99), st.integers(0, 99), st.floats(0.5, 2), st.sampled_from(sorted(COSTS)))
def test_swapping_the_runs_swaps_what_is_said(a: int, b: int, factor: float, engine: str) -> None:
    before, after = drawn(a, noise=0.05), scaled(drawn(b, noise=0.05), factor, engine)
    there, back = hot(changes(before, after)), hot(changes(after, before))
    for name, row in there.items():
        other = back[name]
        assert other.outcome == OPPOSITE.get(row.outcome, row.outcome)
        assert (row.ratio, row.low, row.high) == pytest.approx((1 / other.ratio, 1 / other.high, 1 / other.low))
        assert row.tells == pytest.approx(other.tells)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.02, 50), st.integers(0, 99))
def test_what_all_share_is_the_machine_and_no_engines_fault(factor: float, seed: int) -> None:
    before, after = drawn(seed), scaled(drawn(seed + 1), factor)
    found = changes(before, after)
    assert set(outcomes(found).values()) == {"same"}
    (shared,) = (one for one in found.shared if one.cache == "hot")
    assert shared.ratio == pytest.approx(factor, rel=0.02)
    assert shared.engines == tuple(COSTS)
    moved = with_libraries(after, numpy="3", faiss_cpu="3", scikit_learn="3", usearch="3", llvmlite="3")
    untold = changes(before, moved)
    assert set(outcomes(untold).values()) == {"no control"}
    assert not untold.shared
    assert "worse" not in report.text(untold)


@pytest.mark.parametrize("machine", [0.6, 1.0, 2.5])
@pytest.mark.parametrize("engine", sorted(COSTS))
def test_a_planted_change_is_found_whatever_the_machine_does(engine: str, machine: float) -> None:
    before, after = drawn(1), scaled(drawn(2), machine)
    for factor, outcome in ((1.15, "worse"), (1 / 1.15, "better"), (1.03, "same")):
        found = changes(before, scaled(after, factor, engine))
        assert outcomes(found) == {**dict.fromkeys(COSTS, "same"), engine: outcome}, factor
        row = hot(found)[engine]
        assert row.low < factor < row.high
        assert row.ratio == pytest.approx(factor, rel=0.02)
        assert row.before_ns * factor * machine == pytest.approx(row.after_ns, rel=0.05)


def test_an_engine_with_another_library_is_no_control() -> None:
    """With numpy of another version, numpy and what computes with it: two that did not change suffice, one does not."""
    before, after = drawn(1), scaled(drawn(2), 1.3, "numpy", "sklearn", "usearch")
    found = changes(before, with_libraries(after, numpy="2.1", usearch="3"))
    assert outcomes(found) == {
        "numpy": "worse",
        "sklearn": "worse",
        "usearch": "worse",
        "faiss": "no control",
        "certified": "no control",
    }
    assert hot(found)["sklearn"].libraries == ("numpy 2.0 -> 2.1",)
    assert hot(found)["faiss"].libraries == ()
    assert [d.what for d in found.differences] == ["numpy", "usearch"]
    text = report.text(found)
    assert re.search(
        r"^worse: numpy at batch 1, k = 10: 1\.\d\d times as long \(1\.\d\d to 1\.\d\d\), numpy 2\.0 -> 2\.1; ",
        text,
        re.M,
    )
    assert re.search(r"^numpy +2\.0 +2\.1 +may change numpy and sklearn$", text, re.M)
    own = changes(before, replace(after, environment={**ENVIRONMENT, "source_sha256": "1"}))
    assert hot(own)["certified"].libraries
    assert not hot(own)["numpy"].libraries


def test_fewer_than_two_controls_tell_nothing() -> None:
    before = drawn(1, {"numpy": 1.0, "faiss": 2.0})
    assert set(outcomes(changes(before, scaled(before, 3, "numpy"))).values()) == {"no control"}


FORBIDDEN = [
    ({"cpu": {"model": "another", "usable_cores": 2}}, "processor: a processor, then another"),
    ({"cpu": {"model": "a processor", "usable_cores": 4}}, "usable cores: 2, then 4"),
    (
        {"cpu": {"model": "a processor", "usable_cores": 2, "quota_cores": 1.5}},
        "control group grants: not recorded, then 1.5",
    ),
    ({"cpu": {}}, "processor: a processor, then not recorded"),
    (
        {
            "geometry": {
                **dict.fromkeys(("smallest", "median", "largest"), 9.0),
                "metric": "l2",
                "queries": 1,
                "alike": {},
            }
        },
        "norms",
    ),
]


@pytest.mark.parametrize(("around", "why"), FORBIDDEN)
def test_another_machine_is_not_comparable(around: dict[str, Any], why: str) -> None:
    before = drawn(1)
    if "geometry" in around:
        geometry = {**around["geometry"], "largest": 10.0}
        before = replace(before, environment={**before.environment, "geometry": geometry})
    after = replace(before, environment={**before.environment, **around})
    found = changes(before, after)
    assert {row.outcome for row in found.rows} == {"not comparable"}
    assert all(why in row.why for row in found.rows)
    assert not found.shared
    assert "not comparable" in report.text(found)


@pytest.mark.parametrize(
    ("field", "value"),
    [("rows", 999), ("dim", 17), ("dtype", "int8"), ("metric", "ip"), ("threads", 1), ("dataset", "x/y")],
)
def test_other_data_and_other_threads_are_not_comparable(field: str, value: Any) -> None:
    before = drawn(1)
    after = replace(before, rows=tuple(structs.replace(row, **{field: value}) for row in before.rows))
    assert {row.outcome for row in changes(before, after).rows} == {"not comparable"}


def test_the_folder_of_a_file_and_the_load_do_not_matter_but_are_known() -> None:
    before, after = (
        replace(
            run_of([structs.replace(row, dataset=name) for row in drawn(seed).rows], other_cores=load, python=name),
            folder=Path(name),
        )
        for seed, name, load in ((1, "/a/v.npy", 0.1), (2, "/b/v.npy", 1.2))
    )
    found = changes(before, after)
    assert set(outcomes(found).values()) == {"same"}
    assert {d.what for d in found.differences} == {"Python", "cores kept busy by other work"}
    assert report.text(found).startswith("A  /a/v.npy\nB  /b/v.npy\n")


def test_another_gpu_concerns_the_rows_of_a_gpu_alone() -> None:
    rows = [row for name in "abc" for row in made_up(name, 100)] + made_up("d", 100, device="cuda")
    before, after = (run_of(rows, gpus=[{"name": name}]) for name in ("H100", "H200"))
    found = outcomes(changes(before, after))
    assert found.pop("d") == "not comparable"
    assert set(found.values()) == {"no control"}  # names that no list of engines has


def test_what_becomes_of_a_row() -> None:
    before = run_of(
        [
            *made_up("right", 100),
            *made_up("spoilt", 100),
            *made_up("mended", 100, "wrong"),
            *made_up("wrong", 100, "wrong"),
            *made_up("lost", 100),
            *made_up("broken", 100),
            *failed("back", "oom"),
            *failed("never", "crashed"),
            *made_up("gone", 100),
            *made_up("moved", 100),
        ]
    )
    after = run_of(
        [
            *made_up("right", 100, "float32"),
            *made_up("spoilt", 100, "wrong"),
            *made_up("mended", 100),
            *made_up("wrong", 100, "wrong"),
            *failed("lost", "missing"),
            *failed("broken", "crashed"),
            *made_up("back", 100),
            *failed("never", "crashed"),
            *made_up("fresh", 100),
            *made_up("moved", 100, device="cuda"),
        ]
    )
    found = changes(before, after)
    assert outcomes(found) == {
        "right": "no control",
        "spoilt": "newly wrong",
        "mended": "right again",
        "wrong": "no control",
        "lost": "newly missing",
        "broken": "newly failed",
        "back": "works again",
        "fresh": "new",
        "gone": "gone",
        "moved": "not comparable",
    }
    rows = hot(found)
    assert rows["right"].why.endswith("; grade exact -> float32")
    assert rows["wrong"].why.endswith("; wrong in both")
    assert rows["lost"].why == "missing: for a reason"
    text = report.text(found)
    assert "newly failed: broken at batch 1, k = 10 (crashed: for a reason)" in text
    assert "never" not in text


def test_a_quick_run_tells_large_changes_only() -> None:
    before, after = (
        replace(run, rows=tuple(structs.replace(row, quick=True) for row in run.rows)) for run in (drawn(1), drawn(2))
    )
    for factor, outcome in ((1.3, "same"), (1.7, "worse"), (0.5, "better")):
        assert outcomes(changes(before, scaled(after, factor, "faiss")))["faiss"] == outcome


def rung(name: str, ns: int, **more: Any) -> RungMeasurement:
    values = {
        "changed": "",
        "dataset": "y",
        "rows": 9,
        "dim": 2,
        "k": 1,
        "device": "cpu",
        "status": "ok",
        "grade": "exact",
    }
    samples = [ns + i for i in range(5)]
    return RungMeasurement(
        schema_version=SCHEMA_VERSION, rung=name, samples_ns=samples, wall_ns=ns + 2, **{**values, **more}
    )


def climbed(*rungs: RungMeasurement) -> LadderRun:
    return LadderRun(rungs, LadderFacts(dataset="y", rows=9, dim=2, k=1, device="cpu"), ENVIRONMENT)


def test_rungs_are_compared_as_a_quick_run_is() -> None:
    before = climbed(rung("a", 1000), rung("b", 2000), rung("c", 3000), rung("d", 500, scaled=True))
    after = climbed(rung("a", 2000), rung("b", 4010), rung("c", 12000), rung("d", 1000, scaled=True))
    found = changes(before, after)
    assert outcomes(found) == {"a": "same", "b": "same", "c": "worse", "d": "same"}
    assert hot(found)["c"].ratio == pytest.approx(2, rel=0.01)
    with pytest.raises(KnnscopeError, match="one is a run of compare, one of ladder"):
        changes(before, drawn(1))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, len(EVERY) - 1), st.sampled_from(list(Measurement.__struct_fields__)), VALUES),
        min_size=1,
        max_size=6,
    ),
    st.recursive(VALUES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner)),
    st.sampled_from(["cpu", "gpus", "libraries", "options", "threads", "commit", "memory", "source_sha256", "python"]),
)
def test_whatever_files_hold_they_are_compared_or_refused(
    mutations: list[tuple[int, str, Any]], value: Any, name: str
) -> None:
    lines = [to_dict(row) for row in EVERY]
    for place, field, new in mutations:
        lines[place][field] = new
    before = run_of(EVERY)
    with TemporaryDirectory() as where:
        folder = Path(where)
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "environment.json").write_text(json.dumps({**ENVIRONMENT, name: value}))
        try:
            after = analysis.load(folder)
        except KnnscopeError:
            return
    for found in (changes(before, after), changes(after, before)):
        assert report.text(found)
        assert report.markdown(found)
        assert report.html(found)
        assert len(report.csv_text(found).splitlines()) >= 1 + len(found.rows)
        assert not any(c in report.text(found) for c in "\x1b\x07")


def test_very_many_rounds_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that somebody made."""
    long = replace(
        drawn(1),
        rows=tuple(
            structs.replace(row, samples_ns=[*row.samples_ns, *[[1]] * 20_000], rounds_a_process=2**40)
            for row in drawn(1).rows
        ),
    )
    assert set(outcomes(changes(drawn(1), long)).values()) <= {"same", "noisy"}


def test_deeply_nested_values_are_no_values(tmp_path: Path) -> None:
    runs.save(drawn(1), tmp_path)
    nested = "[" * 400 + "]" * 400
    (tmp_path / "environment.json").write_text(
        json.dumps({**ENVIRONMENT, "python": 0}).replace(": 0,", f": {nested},", 1)
    )
    found = changes(drawn(1), analysis.load(tmp_path))
    assert outcomes(found)


def test_a_run_without_an_environment_is_not_comparable() -> None:
    bare = ComparisonRun(drawn(1).rows, {}, CompareFacts())
    found = changes(bare, bare)
    assert {row.outcome for row in found.rows} == {"not comparable"}
    assert found.rows[0].why == "processor: not recorded, then not recorded"
    assert math.isfinite(found.rows[0].before_ns or math.inf)
