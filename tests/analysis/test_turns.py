"""What pairs of processes that took turns tell, and what becomes of it among the changes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from knnscope.analysis import run as runs
from knnscope.analysis import turns
from knnscope.analysis.change import Change, Changes, changes
from knnscope.analysis.measurement import Measurement
from knnscope.analysis.run import ComparisonRun
from knnscope.analysis.shifts import Case
from knnscope.analysis.statistics import LEVEL
from tests.analysis.test_verdict import failed
from tests.analysis.test_verdict import rows as made_up
from tests.analysis.two_runs import TOGETHER, measured, run_of

TURNS = runs.Turns(run="together", processes=8, again=2)
PAIRS = 24


def two(
    slower: float = 1.0,
    noise: float = 0.02,
    pairs: int = PAIRS,
    drift: float = 0.5,
    engines: tuple[str, ...] = ("numpy",),
) -> tuple[ComparisonRun, ComparisonRun]:
    """Both sides of a run in which the machine drifts, and the later side's first engine takes ``slower`` times as long."""
    rng = np.random.default_rng(pairs)
    before, after = [], []
    for engine in engines:
        shared = np.exp(np.linspace(0, drift, TOGETHER * pairs))
        luck = np.exp(rng.normal(0, noise, (2, pairs))).repeat(TOGETHER, axis=1)
        before.append(measured(engine, 1, [[0.01 * s] for s in shared * luck[0]]))
        after.append(
            measured(engine, 1, [[0.01 * (slower if engine == engines[0] else 1) * s] for s in shared * luck[1]])
        )
    return by_turns(run_of(before)), by_turns(run_of(after, interpreter="here/python"))


def by_turns(run: ComparisonRun, how: runs.Turns = TURNS) -> ComparisonRun:
    environment = {"interpreter": "there/python", **run.environment}
    return replace(run, environment=environment, facts=structs.replace(run.facts, turns=how))


def only(found: Changes) -> Change:
    (row,) = found.rows
    return row


def test_each_pair_of_processes_counts_once() -> None:
    """By the median of its rounds; a round that one of both lacks is none, and a pair without rounds is none."""
    nan = math.nan
    before = np.array([0, 0, 0, 1, 1, 1, nan, nan, nan, 5.0])
    after = np.array([0.1, 0.2, 9, 1.5, nan, 1.7, 2, 2, 2, 5.0])
    assert turns.pairs(before, after, 3) == pytest.approx([0.2, 0.6, 0.0])
    assert turns.pairs(before, after[:5], 3) == pytest.approx([0.2, 0.5])
    assert turns.pairs(before[:0], after[:0], 3) == []


def test_of_very_many_pairs_neighbors_count_as_one() -> None:
    """The exact test takes the square of their number; the rounds of two processes are never joined."""
    assert len(turns.pairs(np.zeros(16 * 61), np.zeros(16 * 61), 16)) == 31
    assert len(turns.pairs(np.zeros(16 * 60), np.zeros(16 * 60), 16)) == 60
    row = only(changes(*two(1.15, pairs=400)))
    assert (row.outcome, row.pairs) == ("worse", 58)


def test_what_meets_both_sides_is_not_seen() -> None:
    """The machine gets slower by half meanwhile, and 15% are told all the same; nothing else is."""
    row = only(changes(*two(1.15)))
    assert (row.outcome, row.pairs, row.earlier, row.later) == ("worse", PAIRS, None, None)
    assert row.low is not None
    assert row.high is not None
    assert row.ratio is not None
    assert row.low < 1.15 < row.high < 1.2
    assert row.p is not None
    assert row.p < LEVEL / 3
    row = only(changes(*two(1 / 1.15)))
    assert row.outcome == "better"
    row = only(changes(*two()))
    assert row.outcome == "same"
    assert row.tells is not None
    assert row.tells < 1.06


def test_no_other_engine_is_needed_and_every_library_may_be_another() -> None:
    before, after = two(1.15)
    around = {**after.environment, "libraries": {"numpy": "2.1", "faiss-cpu": "2"}, "source_sha256": "1"}
    found = changes(before, replace(after, environment=around))
    assert only(found).outcome == "worse"
    assert only(found).libraries == ("numpy 2.0 -> 2.1",)
    assert (found.by_turns, found.shared, found.before, found.after) == (True, (), "there/python", "here/python")


def test_a_certain_change_of_less_than_5_percent_is_none() -> None:
    assert only(changes(*two(1.03, noise=0.001))).outcome == "same"
    assert only(changes(*two(1.06, noise=0.001))).outcome == "worse"


def test_the_level_is_shared_by_rows_and_by_looks() -> None:
    assert turns.level(1, 0) == LEVEL
    assert turns.level(5, 2) == pytest.approx(LEVEL / 15)
    assert turns.told([0.2] * 6, LEVEL / 2).told == "few", "2^-6 is more"
    assert turns.told([0.2] * 7, LEVEL / 2).told == "worse"
    assert turns.told([0.2] * 7, LEVEL / 5).told == "few"
    assert turns.told([], LEVEL).told == "few"
    before, after = two(1.15, pairs=8)
    assert only(changes(before, after)).outcome == "worse", "2^-8 is less than a third of LEVEL"
    names = ("numpy", "faiss", "usearch")
    rows = changes(*two(1.15, pairs=8, engines=names)).rows
    assert [row.outcome for row in rows] == ["noisy"] * 3, "and more than a ninth"
    assert {row.why for row in rows} == {"too few processes to tell"}


def test_rows_of_first_calls_cost_the_others_nothing() -> None:
    before, after = two(1.15, pairs=8)
    first = [
        structs.replace(run.rows[0], cache="first", samples_ns=[[5]], rounds_a_process=TOGETHER)
        for run in (before, after)
    ]
    found = changes(*(replace(run, rows=(*run.rows, row)) for run, row in zip((before, after), first, strict=True)))
    assert {row.cache: (row.outcome, row.why) for row in found.rows} == {
        "hot": ("worse", ""),
        "first": ("noisy", "too few rounds to tell"),
    }


def test_a_row_is_clear_when_15_percent_can_be_left_out() -> None:
    near = [0.01, -0.02, 0.0, 0.03, -0.01, 0.02, -0.03, 0.01]
    assert turns.clear(near)
    assert turns.clear([-value for value in near])
    assert not turns.clear([value + 0.07 for value in near]), "slower by what matters"
    assert not turns.clear([value - 0.07 for value in near])
    assert not turns.clear([8 * value for value in near]), "not known well enough"
    assert not turns.clear([])


def test_noise_is_said_to_be_noise() -> None:
    row = only(changes(*two(noise=0.5)))
    assert row.outcome == "noisy"
    assert row.tells is not None
    assert row.tells > 1.2


def test_runs_of_another_day_are_no_pair() -> None:
    before, after = two()
    assert changes(before, after).by_turns
    later = by_turns(after, structs.replace(TURNS, run="another"))
    assert not changes(before, later).by_turns
    assert not changes([before, before_again(before)], after).by_turns, "several earlier runs are no pair either"
    plain = replace(before, facts=structs.replace(before.facts, turns=None))
    assert not changes(plain, after).by_turns
    assert not changes(plain, replace(after, facts=structs.replace(after.facts, turns=None))).by_turns


def before_again(run: ComparisonRun) -> ComparisonRun:
    rows = tuple(structs.replace(row, median_ns=1 + row.took_ns) for row in run.rows)
    return replace(run, rows=rows)


def test_what_is_wrong_or_fails_on_one_side_is_told() -> None:
    before, after = two(engines=("numpy", "faiss"))

    def spoilt(run: ComparisonRun, row: Measurement) -> ComparisonRun:
        return replace(run, rows=(run.rows[0], row))

    bad = wrong(after.rows[1])
    assert [row.outcome for row in changes(before, spoilt(after, bad)).rows] == ["same", "newly wrong"]
    assert [row.outcome for row in changes(spoilt(before, bad), after).rows] == ["same", "right again"]
    both = changes(spoilt(before, bad), spoilt(after, bad)).rows[1]
    assert (both.outcome, both.why) == ("same", "wrong in both")
    (crashed,) = failed("faiss", "crashed")
    gone = structs.replace(after.rows[1], **{name: getattr(crashed, name) for name in CRASHED})
    assert [row.outcome for row in changes(before, spoilt(after, gone)).rows] == ["same", "newly failed"]


CRASHED = ("status", "reason", "grade", "samples_ns", "median_ns", "cpu_ns", "low_ns", "high_ns")


def wrong(row: Measurement) -> Measurement:
    *_, bad = made_up(row.engine, 100, "wrong")
    names = ("status", "grade", "judged", "differing", "beyond", "evidence")
    some: dict[str, Any] = {name: getattr(bad, name) for name in names}
    return structs.replace(row, **some)


def test_judge_takes_rows_as_they_are() -> None:
    times = np.log(np.linspace(1, 2, 32))
    key = ("numpy", 10, 1, "host", "hot")
    case = Case(key, "cpu", (times, times + math.log(1.15)), (4, 4))
    assert turns.judge([case], 0)[key].told == "worse"
    assert turns.judge([replace(case, key=(*key[:4], "cold"))], 0)[*key[:4], "cold"].told == "few"


def test_both_sides_are_saved_in_one_folder(tmp_path: Path) -> None:
    before, after = two(1.15)
    runs.save(after, tmp_path)
    assert runs.beside(tmp_path) is None
    runs.save(before, tmp_path / runs.BESIDE)
    (tmp_path / runs.CHANGES).write_text("{}")
    folder = runs.beside(tmp_path)
    assert folder is not None
    found = changes(runs.load(folder), runs.load(tmp_path))
    assert only(found).outcome == "worse"
    assert runs.beside(None) is None
