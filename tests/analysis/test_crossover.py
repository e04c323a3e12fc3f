"""Crossings found on simulated machines: the real worker, runner, judge and rows, with a clock of their own; and the record of a search."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from knnscope.analysis import bisection, crossover, explained_crossings, statistics
from knnscope.analysis.bisection import crossings, grid, seen, wanted
from knnscope.analysis.crossover import CrossoverRun, Probe, Question
from knnscope.bench import result
from knnscope.bench.crossover import Measured, search
from knnscope.bench.plan import Case, Options
from knnscope.bench.runner import Runner
from knnscope.errors import KnnscopeError
from knnscope.report import crossover as report
from knnscope.search.grading import Judge
from knnscope.search.rounding import DEFINITION
from tests.analysis.test_simulated import MachineClock, OnMachine
from tests.analysis.test_verdict import rows as made_up
from tests.bench.small import ANSWERS, FACTS, QUERIES, ROWS, Here

Cost = Callable[[int], float]
"""Seconds by size."""
QUESTION = Question(
    dataset="made up",
    dim=6,
    dtype="float32",
    metric="l2",
    k=2,
    engines=("a", "b"),
    over="rows",
    low=500,
    high=200_000,
    fixed=(1,),
    queries=5,
)


class Quiet:
    """A simulated machine whose processes are lucky or not for life; calls vary, and some are disturbed."""

    def __init__(self, seed: int, luck: float = 0.02, call: float = 0.05) -> None:
        self.chance, self.now, self._call, self._luck = random.Random(seed), 0.0, call, luck

    def process(self) -> float:
        return math.exp(self.chance.gauss(0, self._luck))

    def call(self, cost: float) -> None:
        disturbed = 3 if self.chance.random() < 0.02 else 1
        self.now += cost * disturbed * math.exp(self.chance.gauss(0, self._call))


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bootstrap takes longest and decides nothing here."""
    monkeypatch.setattr(statistics, "bootstrap", partial(statistics.bootstrap, draws=10))


def measuring(
    machine: Quiet, costs: Mapping[str, Cost], wrong: Sequence[str] = ()
) -> Callable[[Sequence[str], int, int], Measured]:
    """Engines of these costs, in new processes at every probe."""
    judge = Judge(ROWS, QUERIES, ANSWERS, "l2")

    def measure(engines: Sequence[str], at: int, fixed: int) -> Measured:
        def start(name: str) -> Here:
            engine = OnMachine(machine, costs[name](at) * machine.process(), name not in wrong)  # type: ignore[arg-type]
            return Here(engine, ROWS, QUERIES, "l2", lambda: MachineClock(machine))  # type: ignore[arg-type]

        options = Options(seed=at, rounds=5, seconds=0.2, cold=False, quick=True)
        runner = Runner(start, lambda _, answer: judge.grade(answer[1], answer[0], DEFINITION), len(QUERIES), options)
        run = runner.run([Case(name, 2, fixed, "host") for name in engines])
        facts = replace(FACTS, rows=at, quick=True, rounds_a_process=5)
        return [row for m in run.measured for row in result.rows_of(m, facts, result.About("cpu"))], {"cpu": {}}

    return measure


def searched(costs: Mapping[str, Cost], seed: int = 0, wrong: Sequence[str] = (), **machine: float) -> CrossoverRun:
    question = changed(QUESTION, engines=tuple(costs))
    measure = measuring(Quiet(seed, **machine), costs, wrong)
    return search(CrossoverRun(question=question, environment={}), measure, lambda _: None)


def affine(call_us: float, row_ns: float) -> Cost:
    return lambda rows: call_us * 1e-6 + rows * row_ns * 1e-9


def pair(seed: int) -> tuple[dict[str, Cost], float]:
    """Two engines that cross once, and where."""
    chance = random.Random(seed)
    at = math.exp(chance.uniform(math.log(2000), math.log(60_000)))
    call, row, less = chance.uniform(1, 20), 30.0, chance.uniform(0, 15)
    return {"a": affine(call, row), "b": affine(call + (row - less) * at / 1000, less)}, at


@pytest.mark.parametrize("runs", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_simulated_crossings_are_found_within_five_percent(runs: int) -> None:
    """And lie in their interval, which is at most a factor of 2 wide."""
    off, probes = [], []
    for seed in range(runs):
        costs, at = pair(seed)
        run = searched(costs, seed)
        (found,) = crossings(run.probes, "rows", 1)
        assert (found.before, found.after) == ("a", "b")
        assert run.finished
        probes.append(len(run.probes))
        if found.told:
            assert found.at is not None
            assert found.high <= 2 * found.low
            off.append(abs(found.at / at - 1))
            assert found.low <= at <= found.high
    off.sort()
    print(
        f"told {len(off)} of {runs}; off by {off[len(off) // 2]:.1%}, 95%: {off[int(0.95 * len(off)) - 1]:.1%}, largest {off[-1]:.1%}"
    )
    print(f"probes {sorted(probes)[runs // 2]}, most {max(probes)}")
    assert len(off) >= 0.9 * runs
    assert off[int(0.95 * len(off)) - 1] <= 0.05
    assert off[len(off) // 2] <= 0.03


def test_a_crossing_of_two_that_no_size_has_both_of_lies_in_the_middle() -> None:
    """Where one runs out of memory the other, which takes no smaller size, leads: no ratio says where between them."""
    rows = {
        at: tuple(changed(row, rows=at, quick=True) for row in made_up(name, 10))
        for name, at in (("a", 500), ("b", 900))
    }
    probes = tuple(Probe(at=at, measurements=some) for at, some in rows.items())
    run = CrossoverRun(question=changed(QUESTION, high=900), environment={}, probes=probes, finished=True)
    (found,) = crossings(probes, "rows", 1)
    assert (found.before, found.low, found.after, found.high) == ("a", 500, "b", 900)
    assert found.at == pytest.approx(math.sqrt(500 * 900))
    assert "a is fastest up to 500 rows, b from 900 on; they cross at about 671" in report.text(run)


def test_more_than_one_crossing_is_found() -> None:
    """A step, as where rows leave a cache, makes one engine slower in the middle only."""
    costs = {"a": affine(20, 10), "b": lambda rows: affine(60, 2)(rows) * (8 if 30_000 < rows < 90_000 else 1)}
    run = searched(costs)
    found = crossings(run.probes, "rows", 1)
    assert [(c.before, c.after) for c in found] == [("a", "b"), ("b", "a"), ("a", "b")]
    assert [c.told for c in found] == [True] * 3
    for crossing, at in zip(found, (5000, 30_000, 90_000), strict=True):
        assert crossing.low <= at <= crossing.high


def test_no_crossing_is_said_to_be_none() -> None:
    run = searched({"a": affine(10, 5), "b": affine(50, 20)})
    assert run.finished
    assert len(run.probes) == len(grid(500, 200_000))
    assert "no crossing found from 500 rows to 200,000 rows: a is fastest, " in report.text(run)


def test_engines_alike_are_too_noisy_to_tell() -> None:
    run = searched({"a": affine(10, 5), "b": affine(10, 5)})
    assert run.finished
    assert crossings(run.probes, "rows", 1) == []
    assert "too noisy to tell a and b apart at any size" in report.text(run)
    assert len(run.probes) <= 2 * len(grid(500, 200_000))


def test_loud_machines_tell_nothing_false() -> None:
    """Processes that are a third faster or slower, calls that vary as much."""
    for seed in range(3):
        costs, at = pair(seed)
        for found in crossings(searched(costs, seed, luck=0.3, call=0.3).probes, "rows", 1):
            assert found.low <= at * 1.5
            assert found.high >= at / 1.5


def test_a_wrong_engine_leads_nowhere() -> None:
    run = searched({"a": affine(10, 5), "b": affine(1, 0.1), "c": affine(40, 1)}, wrong=["b"])
    assert {s.leader for s in seen(run.probes, "rows", 1)} <= {"a", "c", None}
    (found,) = crossings(run.probes, "rows", 1)
    assert found.low <= 7500 <= found.high
    assert "b at 500, " in report.text(run)
    assert leading(run) == ["a", "c"]


def leading(run: CrossoverRun) -> list[str]:
    return [r.engine for r in explained_crossings.leaders(run)[1] if r.engine]


def test_of_three_engines_each_leads_where_it_is_fastest() -> None:
    run = searched({"a": affine(5, 30), "b": affine(100, 5), "c": affine(500, 0.5)})
    assert leading(run) == ["a", "b", "c"]
    first, second = crossings(run.probes, "rows", 1)
    assert first.low <= 3800 <= first.high
    assert second.low <= 88_889 <= second.high
    assert "fastest: a 500 to " in report.text(run)


def test_it_says_why() -> None:
    run = searched({"a": affine(5, 30), "b": affine(200, 5)}, luck=0.0, call=0.01)
    (found,) = explained_crossings.explained(run)
    a, b = found.costs
    assert (a.engine, b.engine) == ("a", "b")
    assert a.each_ns == pytest.approx(30, rel=0.1)
    assert b.call_ns == pytest.approx(200_000, rel=0.1)
    assert "b takes 2" in found.why[0]


def test_where_a_gpus_time_goes_is_told_at_both_ends() -> None:
    def probe(at: int, cpu: float) -> Probe:
        gpu = {"device": "cuda", "noise": 0.0}
        rows = (
            made_up("cpu", cpu, noise=0.0)
            + made_up("gpu", 100, event_us=95, **gpu)
            + made_up("gpu", 40, boundary="device", event_us=30, **gpu)
        )
        return Probe(at=at, measurements=tuple(msgspec.structs.replace(row, rows=at) for row in rows))

    question = changed(QUESTION, engines=("cpu", "gpu"), low=1000, high=1500)
    some = [probe(at, us) for at, us in ((1000, 20), (1500, 500)) for _ in range(2)]
    run = CrossoverRun(question=question, environment={}, probes=tuple(some), finished=True)
    (found,) = explained_crossings.explained(run)
    assert [(at, s.transfer_ns, s.launch_ns, s.compute_ns) for at, s in found.splits] == [
        (1000, 60_000, 10_000, 30_000),
        (1500, 60_000, 10_000, 30_000),
    ]
    assert (
        "gpu at 1,500 rows: of 100 µs, 60.0 µs transfer, 10.0 µs launch, 30.0 µs compute; its first call"
        in report.text(run)
    )
    assert json.loads(json.dumps(explained_crossings.as_json(run)))["crossings"][0]["before"] == "cpu"


def test_an_interrupted_search_goes_on_to_the_same_end(tmp_path: Path) -> None:
    costs, _ = pair(3)
    question = changed(QUESTION, engines=tuple(costs))

    @cache
    def once(at: int, probes: int) -> Measured:
        """The same at the same place of the search, however often it was begun."""
        return measuring(Quiet(at + probes), costs)(question.engines, at, 1)

    def begin(stop_after: int | None) -> CrossoverRun:
        known = crossover.resumed(tmp_path, question) or CrossoverRun(question=question, environment={})
        made = [len(known.probes)]

        def measure(engines: Sequence[str], at: int, fixed: int) -> Measured:
            if stop_after is not None and made[0] >= stop_after:
                raise KeyboardInterrupt
            made[0] += 1
            return once(at, made[0])

        return search(known, measure, lambda run: crossover.save(run, tmp_path))

    for stop_after in (0, 1, 4, 9):
        run = begin(stop_after)
        assert (len(run.probes), run.finished) == (stop_after, False)
        assert "not finished: the same command" in report.text(run)
    ended = begin(None)
    assert ended.finished
    assert crossover.load(tmp_path) == ended
    (tmp_path / crossover.FILE).unlink()
    assert begin(None).probes == ended.probes
    with pytest.raises(KnnscopeError, match="holds a crossover with other k, high: choose another folder"):
        crossover.resumed(tmp_path, changed(question, k=3, high=9999))


@given(st.binary(max_size=100), st.integers(0, 3000))
def test_a_damaged_record_is_one_line(tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int) -> None:
    whole = saved_bytes()
    path = tmp_path_factory.mktemp("damaged") / "c.json"
    path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
    try:
        report.text(crossover.load(path))
    except KnnscopeError as error:
        assert "\n" not in str(error)


@cache
def saved_bytes() -> bytes:
    run = searched({"a": affine(10, 5), "b": affine(50, 20)})
    return msgspec.json.encode(changed(run, probes=run.probes[:2]))


def test_rows_of_another_size_are_refused(tmp_path: Path) -> None:
    plain: dict[str, Any] = json.loads(saved_bytes())
    plain["probes"][0]["at"] = 501
    (tmp_path / "c.json").write_text(json.dumps(plain))
    with pytest.raises(KnnscopeError, match="rows of sizes \\[500\\] stand under 501"):
        crossover.load(tmp_path / "c.json")


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_the_grid_has_both_ends_and_no_wide_step(a: int, b: int) -> None:
    low, high = sorted((a, b))
    sizes = grid(low, high)
    assert (sizes[0], sizes[-1]) == (low, high)
    assert sizes == sorted(set(sizes))
    assert all(y <= 4 * x + 1 for x, y in itertools.pairwise(sizes))


@given(st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=60), st.integers(1, 50), st.integers(2, 5000))
def test_every_search_ends(answers: list[str | None], low: int, factor: int) -> None:
    """Whatever is told at a size, in whatever order: nothing is asked for ever."""
    high = low * factor
    state: list[bisection.Seen] = []
    for count in range(600):
        size = wanted(state, low, high)
        if size is None:
            return
        assert low <= size <= high
        leader = answers[count % len(answers)]
        before = next((s.probes for s in state if s.at == size), 0)
        level = (leader,) if leader else ("a", "b")
        new = bisection.Seen(size, leader, level, before + 1, {"a": 1.0, "b": 1.0})
        state = sorted([*(s for s in state if s.at != size), new], key=lambda s: s.at)
    raise AssertionError("600 probes")


def test_where_no_engine_is_right_the_search_ends() -> None:
    run = searched({"a": affine(1, 1), "b": affine(1, 2)}, wrong=["a", "b"])
    assert run.finished
    assert report.NONE in report.text(run)


def test_a_search_that_was_stopped_at_once_says_so() -> None:
    empty = CrossoverRun(question=QUESTION, environment={})
    assert "1 query a call: nothing was measured yet" in report.text(empty)
    assert explained_crossings.as_json(empty)["crossings"] == []
    assert report.crossover_html(empty)


def test_sizes_too_near_to_tell_leave_a_bracket_as_wide_as_it_is() -> None:
    """At the lower sizes b is faster, at the higher ones a, between an a below and a b above."""
    probes = [
        Probe(at=at, measurements=tuple(msgspec.structs.replace(r, rows=at) for r in rows))
        for at, a, b in ((500, 100, 300), (700, 120, 100), (900, 100, 120), (1400, 300, 100))
        for rows in [made_up("a", a, noise=0.0) + made_up("b", b, noise=0.0)]
    ]
    ((before, between, after),) = bisection.changes(seen(probes, "rows", 1))
    assert (before.at, [s.at for s in between], after.at) == (500, [700, 900], 1400)
    (found,) = crossings(probes, "rows", 1)
    assert not found.told
    assert found.at is None
