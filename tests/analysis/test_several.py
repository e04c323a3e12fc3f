"""What is said of a run beside several earlier ones: laws that hold for any, which runs count for which row, and what becomes of a wild one."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from knnscope.analysis import several
from knnscope.analysis.change import Change, changes
from knnscope.analysis.run import ComparisonRun
from knnscope.errors import ArgumentError, KnnscopeError
from knnscope.report import change as report
from tests.analysis.test_change import climbed, hot, outcomes, rung, scaled, with_libraries
from tests.analysis.test_verdict import failed
from tests.analysis.two_runs import COSTS, drawn, simulated

EARLIER = [drawn(seed) for seed in range(8)]
SLOWER = scaled(drawn(9), 1.15, "numpy")


def without(run: ComparisonRun, *engines: str) -> ComparisonRun:
    return replace(run, rows=tuple(row for row in run.rows if row.engine not in engines))


def figures(row: Change) -> tuple[Any, ...]:
    return row.outcome, row.ratio, row.low, row.high, row.tells, row.p, row.earlier


def approx(row: Change) -> Any:
    return tuple(pytest.approx(value, rel=1e-3) if isinstance(value, float) else value for value in figures(row))


def test_what_one_pair_cannot_tell_several_runs_can() -> None:
    """On a simulated machine, which is under another load in each run."""
    earlier = [simulated(seed, COSTS) for seed in range(1000, 1008)]
    after = simulated(1008, {**COSTS, "numpy": 1.15 * COSTS["numpy"]})
    alone, many = changes(earlier[-1], after), changes(earlier, after)
    assert {row.outcome for row in alone.rows if row.engine == "numpy"} == {"noisy"}
    assert {row.outcome for row in many.rows if row.engine == "numpy"} == {"worse"}
    assert {row.earlier for row in many.rows} == {8}
    assert {row.earlier for row in alone.rows} == {None}


def test_a_single_earlier_run_is_compared_as_ever() -> None:
    assert changes([EARLIER[0]], SLOWER) == changes(EARLIER[0], SLOWER)
    other = replace(EARLIER[1], environment={**EARLIER[1].environment, "cpu": {"model": "another"}})
    found = changes([other, EARLIER[0]], SLOWER)
    assert found.rows == changes(EARLIER[0], SLOWER).rows
    assert [(one.run, "processor" in one.why) for one in found.left_out] == [("run 1", True)]


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(8)))
def test_the_order_of_the_earlier_runs_does_not_matter(order: list[int]) -> None:
    there, back = (hot(changes(runs, SLOWER)) for runs in (EARLIER, [EARLIER[i] for i in order]))
    assert {name: figures(row) for name, row in there.items()} == {name: approx(row) for name, row in back.items()}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 8), st.floats(0.05, 20))
def test_how_fast_the_machine_was_in_one_of_the_runs_changes_nothing(which: int, factor: float) -> None:
    runs = [*EARLIER, SLOWER]
    there = hot(changes(runs[:-1], runs[-1]))
    runs[which] = scaled(runs[which], factor)
    back = hot(changes(runs[:-1], runs[-1]))
    assert {name: figures(row) for name, row in there.items()} == {name: approx(row) for name, row in back.items()}


@given(
    st.lists(st.floats(-0.2, 0.2), min_size=1, max_size=9),
    st.floats(1, 5),
    st.floats(0.001, 0.3),
    st.booleans(),
)
def test_more_spread_never_makes_it_surer(values: list[float], wider: float, moved: float, quick: bool) -> None:
    """The same middle, every other run farther from it."""
    near = several.spread(values, quick)
    far = several.spread([near.centre + wider * (value - near.centre) for value in values], quick)
    assert far.centre == pytest.approx(near.centre)
    assert far.variance >= near.variance * (1 - 1e-9)
    assert far.freedom == near.freedom == len(values) - 1


@settings(deadline=None, max_examples=20)
@given(st.floats(1, 3), st.floats(3.1, 8))
def test_an_engine_that_wanders_more_is_told_less(less: float, more: float) -> None:
    def wandering(factor: float) -> Change:
        steps = (-0.01, 0.0, 0.01, -0.02, 0.02, 0.0, 0.01, -0.01)
        runs = [scaled(run, math.exp(factor * step), "faiss") for run, step in zip(EARLIER, steps, strict=True)]
        return hot(changes(runs, scaled(drawn(9), 1.3, "faiss")))["faiss"]

    a, b = wandering(less), wandering(more)
    assert (a.tells, a.p) <= (b.tells, b.p)
    assert b.high / b.low > a.high / a.low


def test_the_spread_is_that_of_the_formula() -> None:
    assert several.spread([0.03]) == several.Spread(0.03, 0.0, 0)
    assert several.spread([0.0, 0.02]) == several.Spread(0.01, pytest.approx(0.0002), 1)
    chance = random.Random(3)
    values = [chance.gauss(0.5, 0.02) for _ in range(2000)]
    found = several.spread(values)
    assert found.centre == pytest.approx(0.5, abs=0.002)
    assert math.sqrt(found.variance) == pytest.approx(0.02, rel=0.05)
    with pytest.raises(ValueError, match="a run was expected"):
        several.spread([])


def test_one_wild_run_does_not_blind_the_others() -> None:
    for factor in (0.5, 2):
        wild = [*EARLIER[:-1], scaled(EARLIER[-1], factor, "numpy")]
        assert outcomes(changes(wild, SLOWER)) == {**dict.fromkeys(COSTS, "same"), "numpy": "worse"}
        assert set(outcomes(changes(wild, drawn(9))).values()) == {"same"}


def test_a_later_run_on_a_busy_machine_is_trusted_less() -> None:
    """By the spread of its processes, and by how far the other engines moved in it."""
    calm = hot(changes(EARLIER, SLOWER))["numpy"]
    rough = hot(changes(EARLIER, scaled(drawn(9, noise=0.2), 1.15, "numpy")))["numpy"]
    assert rough.tells > 1.04 * calm.tells
    moved = scaled(scaled(scaled(SLOWER, 1.2, "faiss"), 1 / 1.2, "sklearn"), 1.2, "usearch")
    assert hot(changes(EARLIER, moved))["numpy"].tells > 1.1 * calm.tells


def test_an_engine_that_changed_is_no_control_in_the_second_look() -> None:
    after = scaled(drawn(9), 1.5, "numpy", "faiss")
    found = outcomes(changes(EARLIER, with_libraries(after, numpy="3", faiss_cpu="3")))
    assert {name for name, outcome in found.items() if outcome == "worse"} == {"numpy", "faiss"}
    assert "better" not in found.values()


def test_a_run_that_lacks_the_row_is_left_out_for_it() -> None:
    runs = [without(run, "usearch") if i in (1, 7) else run for i, run in enumerate(EARLIER)]
    found = hot(changes(runs, scaled(drawn(9), 1.3, "usearch")))
    assert (found["usearch"].outcome, found["usearch"].earlier) == ("worse", 6)
    assert found["usearch"].why == "2 of 8 earlier runs left out: without it"
    assert (found["numpy"].outcome, found["numpy"].earlier, found["numpy"].why) == ("same", 8, "")


def test_a_run_with_other_libraries_is_left_out_for_their_engines() -> None:
    """Those of the last earlier run count: whoever asks wants to know what changed since then."""
    runs = [with_libraries(scaled(run, 2, "faiss"), faiss_cpu="1.8") for run in EARLIER[:3]] + EARLIER[3:]
    found = hot(changes(runs, drawn(9)))
    assert (found["faiss"].outcome, found["faiss"].earlier) == ("same", 5)
    assert found["faiss"].why == "3 of 8 earlier runs left out: other libraries: faiss-cpu 1.8 -> 1.9"
    assert found["numpy"].earlier == 8
    assert found["numpy"].outcome == "same"


def test_controls_are_looked_for_in_the_runs_that_have_them() -> None:
    runs = [without(run, "faiss", "sklearn", "usearch") for run in EARLIER[:5]] + EARLIER[5:]
    found = hot(changes(runs, scaled(drawn(9), 1.4, "numpy")))
    assert (found["numpy"].outcome, found["numpy"].earlier) == ("worse", 3)
    assert found["numpy"].why == "5 of 8 earlier runs left out: fewer than two unchanged engines beside it"
    few = [without(run, "faiss", "sklearn", "usearch") for run in EARLIER]
    assert set(outcomes(changes(few, without(drawn(9), "faiss", "sklearn", "usearch"))).values()) == {"no control"}


def test_another_machine_is_left_out_and_named() -> None:
    other = replace(EARLIER[2], environment={**EARLIER[2].environment, "cpu": {"model": "<b>", "usable_cores": 2}})
    found = changes([other, *EARLIER[3:]], SLOWER)
    assert {row.earlier for row in found.rows} == {5}
    assert outcomes(found)["numpy"] == "worse"
    line = "left out: run 1: processor: <b>, then a processor"
    assert line in report.text(found).splitlines()
    assert "left out: run 1: processor: &lt;b&gt;" in report.html(found)
    assert "left out: run 1" in report.markdown(found)
    nothing = changes([other, replace(other, rows=EARLIER[3].rows)], SLOWER)
    assert {row.outcome for row in nothing.rows} == {"not comparable"}
    assert report.text(nothing).endswith("held against 0 of 2 earlier runs")
    one = changes([other, EARLIER[3]], SLOWER)
    assert report.text(one).startswith("A  run 2, one of 2 earlier runs\n")
    assert report.text(one).endswith("held against 1 of 2 earlier runs")


def test_another_gpu_is_left_out_for_rows_of_a_gpu_alone() -> None:
    def on_gpu(run: ComparisonRun, gpu: str) -> ComparisonRun:
        rows = [structs.replace(row, device="cuda") if row.engine != "numpy" else row for row in run.rows]
        return replace(run, rows=tuple(rows), environment={**run.environment, "gpus": [{"name": gpu}]})

    runs = [on_gpu(run, "H100" if i < 2 else "H200") for i, run in enumerate(EARLIER)]
    found = hot(changes(runs, on_gpu(drawn(9), "H200")))
    assert found["faiss"].earlier == 6
    assert found["faiss"].why == "2 of 8 earlier runs left out: GPU: H100, then H200"
    assert found["numpy"].outcome == "no control"


def test_what_is_no_time_is_held_against_the_last_run() -> None:
    crashed = replace(drawn(9), rows=(*without(drawn(9), "faiss").rows, *failed("faiss", "crashed")))
    assert outcomes(changes(EARLIER, crashed))["faiss"] == "newly failed"
    back = changes([*EARLIER, replace(crashed, rows=(*crashed.rows, *failed("extra", "oom")))], drawn(10))
    assert outcomes(back)["faiss"] == "works again"
    assert outcomes(changes(EARLIER, without(drawn(9), "faiss")))["faiss"] == "gone"
    assert outcomes(changes([without(run, "faiss") for run in EARLIER], drawn(9)))["faiss"] == "new"


def test_runs_of_one_process_tell_what_its_luck_does_not_explain() -> None:
    quick = [replace(run, rows=tuple(structs.replace(row, quick=True) for row in run.rows)) for run in EARLIER]
    after = replace(drawn(9), rows=tuple(structs.replace(row, quick=True) for row in drawn(9).rows))
    for factor, outcome in ((1.15, "same"), (1.35, "worse"), (1 / 1.35, "better")):
        assert outcomes(changes(quick, scaled(after, factor, "faiss")))["faiss"] == outcome
    found = hot(changes([*EARLIER[:2], *quick[2:]], after))["faiss"]
    assert (found.earlier, found.why) == (6, "2 of 8 earlier runs left out: not quick")


def test_rungs_are_held_against_several_climbs() -> None:
    climbs = [
        climbed(rung("a", 1000 + i), rung("b", 2000 + 3 * i), rung("c", 3000 - i), rung("d", 500)) for i in range(5)
    ]
    found = changes(climbs, climbed(rung("a", 2001), rung("b", 4020), rung("c", 9000), rung("d", 1000)))
    assert outcomes(found) == {"a": "same", "b": "same", "c": "worse", "d": "same"}
    assert {row.earlier for row in found.rows} == {5}


def test_runs_that_are_none_are_refused() -> None:
    folder = [replace(run, folder=Path(f"runs/{i}")) for i, run in enumerate(EARLIER)]
    with pytest.raises(ArgumentError, match="no earlier run"):
        changes([], SLOWER)
    with pytest.raises(KnnscopeError, match=r"^runs/1 and runs/1: the same run twice: name each run once$"):
        changes([folder[0], folder[1], folder[1]], SLOWER)
    with pytest.raises(KnnscopeError, match=r"^runs/0 and run 3: the same run twice"):
        changes(folder[:2], replace(folder[0], folder=None))
    with pytest.raises(KnnscopeError, match=r"^run 1 and run 3: one is a run of compare, one of ladder$"):
        changes(EARLIER[:2], climbed(rung("a", 1)))


def test_all_texts_say_how_many_runs_it_was_held_against() -> None:
    runs = [replace(run, folder=Path(f"runs/{i}")) for i, run in enumerate(EARLIER)]
    found = changes(runs, SLOWER)
    assert (found.before, found.earlier) == ("runs/7", tuple(f"runs/{i}" for i in range(8)))
    text = report.text(found)
    assert text.startswith("A  8 earlier runs, the last runs/7\nB  the later run\n")
    assert text.endswith("\nheld against 8 of 8 earlier runs")
    assert "held against 8 of 8 earlier runs" in report.markdown(found)
    assert "held against 8 of 8 earlier runs" in report.html(found)
    head, *lines = report.csv_text(found).splitlines()
    column = head.split(",").index("earlier")
    assert {line.split(",")[column] for line in lines} == {"8"}
    alone = report.text(changes(runs[0], SLOWER))
    assert "held against" not in alone
    assert alone.startswith("A  runs/0\n")
