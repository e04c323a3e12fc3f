"""What is said of several later runs: laws that hold for any, which of them count for which row, and when to measure again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from knnscope.analysis import several
from knnscope.analysis.again import unclear
from knnscope.analysis.change import FEW, Change, changes
from knnscope.analysis.run import ComparisonRun
from knnscope.errors import ArgumentError, KnnscopeError
from knnscope.report import change as report
from tests.analysis.test_change import climbed, hot, outcomes, rung, scaled, with_libraries
from tests.analysis.test_several import EARLIER, approx, figures, without
from tests.analysis.test_verdict import failed
from tests.analysis.test_verdict import rows as made_up
from tests.analysis.two_runs import COSTS, drawn

LATER = [drawn(seed) for seed in (20, 21, 22)]
SLOWER = [scaled(run, 1.15, "numpy") for run in LATER]
STEPS = (-0.02, 0.0, 0.02, -0.04, 0.04, 0.0, 0.02, -0.02)
"""How far an engine lies from its usual time in each of the earlier runs, as a logarithm."""


def with_rows(run: ComparisonRun, engine: str, **values: object) -> ComparisonRun:
    rows = (structs.replace(row, **values) if row.engine == engine else row for row in run.rows)
    return replace(run, rows=tuple(rows))


def wandering(runs: list[ComparisonRun], steps: tuple[float, ...], *engines: str) -> list[ComparisonRun]:
    """Engines that lie so far from their usual times, each in another run the farthest."""
    found = []
    for i, run in enumerate(runs):
        for place, engine in enumerate(engines):
            run = scaled(run, math.exp(steps[(i + 3 * place) % len(steps)]), engine)
        found.append(run)
    return found


def test_one_later_run_is_judged_as_ever() -> None:
    for before in (EARLIER[:1], EARLIER):
        assert changes(before, [SLOWER[0]]) == changes(before, SLOWER[0])


def test_more_later_runs_tell_smaller_changes() -> None:
    earlier = wandering(EARLIER, STEPS, *COSTS)
    later = wandering([*LATER, *(drawn(seed) for seed in (23, 24))], STEPS[2:], *COSTS)
    tells = [hot(changes(earlier, later[:count]))["numpy"].tells for count in (1, 3, 5)]
    assert tells == sorted(tells, reverse=True)
    moved = [scaled(run, 1.12, "numpy") for run in later]
    found = changes(earlier, moved)
    assert outcomes(found) == {**dict.fromkeys(COSTS, "same"), "numpy": "worse"}
    assert {row.later for row in found.rows} == {5}
    assert {row.later for row in changes(earlier, moved[0]).rows} == {None}


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(3)))
def test_the_order_of_the_later_runs_does_not_matter(order: list[int]) -> None:
    there, back = (hot(changes(EARLIER, runs)) for runs in (SLOWER, [SLOWER[i] for i in order]))
    assert {name: figures(row) for name, row in there.items()} == {name: approx(row) for name, row in back.items()}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2), st.floats(0.05, 20))
def test_how_fast_the_machine_was_in_one_of_them_changes_nothing(which: int, factor: float) -> None:
    there = hot(changes(EARLIER, SLOWER))
    runs = [scaled(run, factor) if i == which else run for i, run in enumerate(SLOWER)]
    back = hot(changes(EARLIER, runs))
    assert {name: figures(row) for name, row in there.items()} == {name: approx(row) for name, row in back.items()}


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("factor", [0.6, 1.35])
def test_one_wild_later_run_of_three_decides_nothing(which: int, factor: float) -> None:
    def wild(runs: list[ComparisonRun]) -> list[ComparisonRun]:
        return [scaled(run, factor, "numpy") if i == which else run for i, run in enumerate(runs)]

    assert set(outcomes(changes(EARLIER, wild(LATER))).values()) == {"same"}
    assert outcomes(changes(EARLIER, wild([scaled(run, 1.15, "numpy") for run in SLOWER])))["numpy"] == "worse"


@given(st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=6), st.floats(0.001, 0.1))
def test_the_middle_lies_among_them_and_follows_all(values: list[float], sigma: float) -> None:
    found = several.middle(values, sigma, -1)
    assert min(values) - 1e-12 <= found <= max(values) + 1e-12
    assert several.middle([value + 1 for value in values], sigma, 0) == pytest.approx(found + 1)
    assert several.middle(values, 10, 0) == pytest.approx(fmean(values)), "none is far off"


def test_the_middle_is_that_of_the_formula() -> None:
    assert several.middle([0.0, 0.01, 0.5], 0.02, 0.0) == pytest.approx((0.0 + 0.01 + 0.01 + 1.5 * 0.02) / 3)
    for values in ([0.01, 0.5], [0.5, 0.01]):
        assert several.middle(values, 0.02, 0.0) == pytest.approx(0.01 + 1.5 * 0.02)
        assert several.middle(values, 0.02, 0.6) == pytest.approx(0.5 - 1.5 * 0.02)
    with pytest.raises(ValueError, match="a run was expected"):
        several.middle([], 0.02, 0.0)


def test_of_two_later_runs_a_wild_one_is_held_by_the_other() -> None:
    assert set(outcomes(changes(EARLIER, [LATER[0], scaled(LATER[1], 1.35, "numpy")])).values()) == {"same"}
    assert outcomes(changes(EARLIER, [SLOWER[0], scaled(SLOWER[1], 1.35, "numpy")]))["numpy"] == "worse"


@settings(deadline=None, max_examples=20)
@given(st.floats(0.0, 0.4), st.floats(1.0, 3.0))
def test_later_runs_that_agree_more_than_runs_do_count_for_less(near: float, far: float) -> None:
    """What they share, measured one after the other, is not told by measuring it again. Beside the spread that is counted in."""

    def width(factor: float) -> float:
        steps = tuple(factor * step for step in STEPS)
        row = hot(changes(earlier, wandering(LATER, steps, *COSTS)))["numpy"]
        return row.high / row.low

    earlier = wandering(EARLIER, STEPS, *COSTS)
    assert width(near) > width(1.0)
    assert width(far) >= width(1.0)


def test_a_single_earlier_run_beside_several_later_ones() -> None:
    found = changes(EARLIER[0], [scaled(run, 1.4, "numpy") for run in LATER])
    assert outcomes(found) == {**dict.fromkeys(COSTS, "same"), "numpy": "worse"}
    assert {(row.earlier, row.later) for row in found.rows} == {(None, 3)}
    assert "held against" not in report.text(found)


def test_what_is_wrong_once_is_not_right() -> None:
    evidence = made_up("any", 100, "wrong")[-1].evidence
    wrong = with_rows(LATER[1], "faiss", grade="wrong", status="wrong", evidence=evidence)
    assert outcomes(changes(EARLIER, [LATER[0], wrong, LATER[2]])) == {
        **dict.fromkeys(COSTS, "same"),
        "faiss": "newly wrong",
    }
    crashed = replace(LATER[2], rows=(*without(LATER[2], "faiss").rows, *failed("faiss", "crashed")))
    assert outcomes(changes(EARLIER, [LATER[0], wrong, crashed]))["faiss"] == "newly failed"


def test_a_run_that_was_stopped_or_lacks_a_row_is_left_out_for_it() -> None:
    stopped = with_rows(SLOWER[1], "numpy", status="interrupted")
    found = changes(EARLIER, [SLOWER[0], stopped, without(SLOWER[2], "faiss")])
    counts = {row.engine: row.later for row in found.rows}
    assert counts == {**dict.fromkeys(COSTS, 3), "numpy": 2, "faiss": 2}
    assert report.text(found).splitlines()[-2:] == [
        "judged by 2 to 3 of 3 later runs",
        "held against 8 of 8 earlier runs",
    ]


def test_a_later_run_with_other_libraries_is_left_out_for_their_engines() -> None:
    found = changes(EARLIER, [LATER[0], LATER[1], with_libraries(scaled(LATER[2], 3, "faiss"), faiss_cpu="9")])
    assert {row.engine: row.later for row in found.rows} == {**dict.fromkeys(COSTS, 3), "faiss": 2}
    assert set(outcomes(found).values()) == {"same"}


def test_a_later_run_of_another_machine_is_left_out_and_named() -> None:
    other = replace(LATER[2], environment={**LATER[2].environment, "cpu": {"model": "another", "usable_cores": 2}})
    found = changes(EARLIER, [LATER[0], LATER[1], other])
    assert {row.later for row in found.rows} == {2}
    text = report.text(found)
    assert "left out: later run 3: processor: a processor, then another" in text.splitlines()
    assert text.startswith("A  8 earlier runs, the last run 8\n")  # it is none of them
    one = report.text(changes(EARLIER[:2], [LATER[0], LATER[1], other]))
    assert one.startswith("A  2 earlier runs, the last run 2\n")


def test_runs_that_are_none_are_refused() -> None:
    folder = [replace(run, folder=Path(f"runs/{i}")) for i, run in enumerate(LATER)]
    with pytest.raises(ArgumentError, match="no later run"):
        changes(EARLIER, [])
    with pytest.raises(KnnscopeError, match=r"^runs/1 and runs/1: the same run twice: name each run once$"):
        changes(EARLIER[0], [folder[0], folder[1], folder[1]])
    with pytest.raises(KnnscopeError, match=r"^run 1 and run 3: one is a run of compare, one of ladder$"):
        changes(EARLIER[0], [LATER[0], climbed(rung("a", 1))])


def test_all_texts_say_how_many_runs_a_row_was_judged_by() -> None:
    runs = [replace(run, folder=Path(f"runs/{i}")) for i, run in enumerate(SLOWER)]
    found = changes(EARLIER, runs)
    assert (found.after, found.later) == ("runs/0", ("runs/0", "runs/1", "runs/2"))
    text = report.text(found)
    assert text.startswith("A  8 earlier runs, the last run 8\nB  3 later runs, the first runs/0\n")
    for said in (text, report.markdown(found), report.html(found)):
        assert "judged by 3 of 3 later runs" in said
        assert "later runs" in said
    table = report.table(found)
    assert table.head[-2:] == ("runs", "later runs")
    assert {line[-2:] for line in table.lines} == {(8, 3)}
    head, *lines = report.csv_text(found).splitlines()
    assert {line.split(",")[head.split(",").index("later")] for line in lines} == {"3"}
    assert "judged by" not in report.text(changes(EARLIER, runs[0]))


def test_rows_that_are_not_clear() -> None:
    found = changes(EARLIER, LATER[0])
    assert unclear(found) == ()
    (row, *rest) = found.rows

    def asked(**values: object) -> bool:
        changed: Change = structs.replace(row, **values)
        return unclear(structs.replace(found, rows=(changed, *rest))) == (changed,)

    assert all(asked(outcome=outcome) for outcome in ("worse", "better", "noisy"))
    assert asked(outcome="same", ratio=1.06)
    assert not asked(outcome="same", ratio=1.04)
    assert not asked(outcome="same", ratio=0.9), "what is faster fails no check"
    assert not asked(outcome="noisy", why=f"{FEW}processes to tell"), "each run would have as few"
    assert not asked(outcome="noisy", ratio=None), "no time"
    assert not any(asked(outcome=outcome) for outcome in ("newly wrong", "no control", "gone", "not comparable"))
    assert not asked(outcome="worse", cache="cold")


def test_what_the_machine_did_is_the_middle_of_all_batch_sizes() -> None:
    found = changes(EARLIER, LATER)
    both = tuple(structs.replace(found.shared[0], ratio=ratio) for ratio in (1.0, 1.4))
    (said,) = report.shared(structs.replace(found, shared=both))
    assert "take 1.20 times as long in B as in A" in said
