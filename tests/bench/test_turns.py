"""Pairs of processes, turns in an order that is drawn, what goes on and what ends: by hosts that follow a script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from knnscope.bench.failures import FailedError
from knnscope.bench.plan import Case, Options
from knnscope.bench.timing import Sample, WarmUp
from knnscope.bench.turns import AFTER, BEFORE, SIDES, STEP, TURNS, Both, Plan, Turns, schedule
from knnscope.bench.worker import Answer, Built, Turn, Warmed
from knnscope.records import Neighbors
from knnscope.search.grading import Grade
from tests.bench.small import ANSWERS, case

Act = Callable[[str, str, str], None]
"""Side, engine, what is asked; may raise."""
CASES = [case("a"), case("a", 2), case("b")]


class Hosts:
    """Scripted hosts and what they were asked. wall: nanoseconds of a call by side and engine."""

    def __init__(self, act: Act = lambda *_: None, **wall: int) -> None:
        self.act, self.wall = act, wall
        self.log: list[tuple[str, str, str]] = []
        self.turns: list[tuple[str, Case, tuple[int, ...], bool]] = []
        self.alive: Counter[tuple[str, str]] = Counter()
        self.judged: list[tuple[str, Case, int]] = []

    def start(self, side: str, name: str) -> Host:
        return Host(self, side, name)

    def judge(self, side: str, case: Case, answer: Answer) -> Grade:
        self.judged.append((side, case, answer[0]))
        return Grade("exact", 1, 0, 0)

    def run(self, cases: Sequence[Case] = CASES, plan: Plan = Plan(2, 1), seconds: float = 20.0) -> Both:  # noqa: B008
        return Turns(self.start, self.judge, 3, Options(seed=1, seconds=seconds), plan).run(cases)

    def lives(self, engine: str, side: str = AFTER) -> int:
        return self.log.count((side, engine, "build"))


class Host:
    def __init__(self, hosts: Hosts, side: str, name: str) -> None:
        self.hosts, self.side, self.name = hosts, side, name
        self.note("open")
        assert not hosts.alive[side, name], "one process of each at a time"
        hosts.alive[side, name] += 1
        assert {one for _, one in +hosts.alive} == {name}, "no other engine's process is there"

    def note(self, what: str) -> None:
        self.hosts.log.append((self.side, self.name, what))
        self.hosts.act(self.side, self.name, what)

    def build(self) -> Built:
        self.note("build")
        return Built(7, None, None)

    def warm(self, case: Case) -> Warmed:
        self.note("warm")
        typical = self._wall
        return Warmed(WarmUp(Sample(9, 1), 6, True, typical), True, None, None, 1)

    @property
    def _wall(self) -> int:
        return self.hosts.wall.get(f"{self.side}_{self.name}", 4_000_000)

    def turn(self, case: Case, firsts: Sequence[int], cold: bool = False, prime: bool = True) -> Turn:
        assert not cold
        self.note("turn")
        self.hosts.turns.append((self.side, case, tuple(firsts), prime))
        return Turn(
            [Sample(self._wall, 1)] * len(firsts), [(first, ANSWERS.ids[[0] * case.batch], None) for first in firsts]
        )

    def answers(self, k: int, batch: int, count: int) -> Neighbors:
        raise AssertionError("nobody asks")

    def pause(self) -> None:
        self.hosts.log.append((self.side, self.name, "pause"))

    def close(self) -> None:
        self.hosts.log.append((self.side, self.name, "close"))
        self.hosts.alive[self.side, self.name] -= 1


def test_both_sides_answer_the_same_calls_one_right_after_the_other() -> None:
    hosts = Hosts()
    both = hosts.run()
    firsts, seconds = hosts.turns[::2], hosts.turns[1::2]
    for (one, case_of_one, calls, _), (other, case_of_other, same_calls, _) in zip(firsts, seconds, strict=True):
        assert {one, other} == set(SIDES)
        assert (case_of_one, calls) == (case_of_other, same_calls)
    share = Counter(side for side, *_ in firsts)[BEFORE] / len(firsts)
    assert 0.3 < share < 0.7, "who is first is drawn"
    assert {m.status for some in both.measured.values() for m in some} == {"ok"}
    assert [len(m.hot) for m in both.measured[AFTER]] == [2 * TURNS] * 3
    assert both.measured[AFTER][0].builds == 2
    assert not +hosts.alive


def test_a_process_that_is_not_asked_takes_no_time() -> None:
    hosts = Hosts()
    hosts.run()
    running: set[str] = set()
    for side, _, what in hosts.log:
        if what in ("build", "warm", "turn"):
            running.add(side)
            assert len(running) == 1, "one at a time"
        elif what in ("pause", "close"):
            running.discard(side)


def test_what_is_clear_is_not_measured_any_further() -> None:
    """b takes a fifth longer here: with 3 + 3 pairs that is no verdict yet, so it has all; a is the same in both."""
    hosts = Hosts(after_b=4_800_000)
    both = hosts.run(plan=Plan(3, 1))
    assert (hosts.lives("a"), hosts.lives("b")) == (3, 6)
    assert [len(both.pairs(place)) for place in range(3)] == [3, 3, 6]
    assert both.pairs(2) == pytest.approx([np.log(1.2)] * 6)
    assert [len(m.hot) for m in both.measured[AFTER]] == [6 * TURNS] * 3, (
        "rounds go on for all, empty where none took part"
    )


def test_what_is_told_at_a_look_is_not_measured_any_further() -> None:
    """Ten pairs of the same sign are as unlikely as it takes, at the look that comes with them, and not at the one before."""
    hosts = Hosts(after_b=4_800_000)
    both = hosts.run([case("b")], plan=Plan(10, 2))
    assert len(both.pairs(0)) == 10
    hosts = Hosts(after_b=4_800_000)
    both = hosts.run([case("b")], plan=Plan(6, 2))
    assert len(both.pairs(0)) == 12, "2^-6 is more than a third of the level; the look after 10 names nothing"
    assert STEP == 4


def test_a_case_of_an_engine_goes_on_without_the_others() -> None:
    def slow(self: Host, case: Case, firsts: Sequence[int], cold: bool = False, prime: bool = True) -> Turn:
        wall = 5_000_000 if self.side == AFTER and case.batch == 2 else 4_000_000
        self.hosts.turns.append((self.side, case, tuple(firsts), prime))
        return Turn([Sample(wall, 1)] * len(firsts), [])

    hosts = Hosts()
    hosts.start = lambda side, name: type("Slow", (Host,), {"turn": slow})(hosts, side, name)  # type: ignore[method-assign]
    both = hosts.run(plan=Plan(2, 1))
    assert [len(both.pairs(place)) for place in range(3)] == [2, 4, 2]


def test_no_more_than_the_first_rounds_where_none_are_asked_for() -> None:
    hosts = Hosts(after_b=9_000_000)
    hosts.run(plan=Plan(3, 0))
    assert hosts.lives("b") == 3


@pytest.mark.parametrize("where", ["open", "build", "warm", "turn"])
@pytest.mark.parametrize("status", ["crashed", "unsupported"])
def test_what_fails_on_one_side_is_measured_once_on_the_other(where: str, status: str) -> None:
    def act(side: str, name: str, what: str) -> None:
        if (side, name, what) == (BEFORE, "a", where):
            raise FailedError(status, "no luck")

    hosts = Hosts(act)
    both = hosts.run()
    assert [(m.status, m.reason, m.hot) for m in both.measured[BEFORE][:2]] == [(status, "no luck", [])] * 2
    assert [m.status for m in both.measured[AFTER]] == ["ok"] * 3
    assert all(any(m.hot) for m in both.measured[AFTER])
    assert (hosts.lives("a"), hosts.lives("b"), hosts.lives("b", BEFORE)) == (1, 2, 2)
    assert not +hosts.alive


def test_a_crash_of_one_case_leaves_the_other_cases_of_the_engine() -> None:
    hosts = Hosts()

    def crash(self: Host, case: Case, firsts: Sequence[int], cold: bool = False, prime: bool = True) -> Turn:
        if self.side == AFTER and case.batch == 2:
            raise FailedError("crashed", "its process ended")
        return Host.turn(self, case, firsts, cold, prime)

    hosts.start = lambda side, name: type("Crashes", (Host,), {"turn": crash})(hosts, side, name)  # type: ignore[method-assign]
    both = hosts.run()
    assert [m.status for m in both.measured[AFTER]] == ["ok", "crashed", "ok"]
    assert [len(both.pairs(place)) for place in (0, 2)] == [2, 2]
    assert hosts.lives("a") == 3, "a new process after the crash"


def test_ctrl_c_keeps_what_there_is() -> None:
    turns = 0

    def act(side: str, name: str, what: str) -> None:
        nonlocal turns
        turns += what == "turn"
        if turns == 50:
            raise KeyboardInterrupt

    hosts = Hosts(act)
    both = hosts.run([case("a")])
    assert both.interrupted
    assert [some[0].status for some in both.measured.values()] == ["interrupted"] * 2
    assert len(both.pairs(0)) == 2
    assert not +hosts.alive
    turns = -(10**6)
    assert not Hosts(act).run([case("a")]).interrupted


def test_every_answer_is_judged_once_for_each_side() -> None:
    hosts = Hosts()
    hosts.run([case("a")])
    assert sorted(hosts.judged) == sorted((side, case("a"), first) for side in SIDES for first in range(3))


def test_a_turn_is_short_and_fits_into_the_budget() -> None:
    plan = Plan(8, 2)
    us = 1_000

    def of(typical_ns: int, seconds: float = 20.0) -> tuple[int, int, bool]:
        found = schedule(typical_ns, Options(seconds=seconds), plan)
        assert found.processes == 24
        return found.samples, found.each, found.prime

    assert of(100 * us) == (10, TURNS, True)
    assert of(4_000 * us) == (3, TURNS, True)
    assert of(30_000 * us) == (2, TURNS, True)
    assert of(400_000 * us) == (2, 2, True)
    assert of(2_000_000 * us) == (1, 1, False)
    assert of(30_000 * us, seconds=0.1) == (1, 1, True)
    assert schedule(0, Options(), plan).samples == 10


def test_both_sides_make_as_many_calls_as_the_slower_can() -> None:
    hosts = Hosts(before_a=300_000_000, after_a=3_000_000)
    hosts.run([case("a")], plan=Plan(2, 0), seconds=5.0)
    assert {len(firsts) for _, _, firsts, _ in hosts.turns} == {2}
    assert len(hosts.turns) == 2 * 2 * 2, "two turns of two sides by two pairs"


def test_a_long_call_is_woken_and_not_primed() -> None:
    hosts = Hosts(before_a=900_000_000)
    hosts.run([case("a", 2)], plan=Plan(2, 0), seconds=2.0)
    assert {prime for *_, prime in hosts.turns} == {False}
    made = [(some.batch, len(firsts)) for _, some, firsts, _ in hosts.turns]
    assert made == [(2, 1)] * 2 + [(1, 1), (2, 1)] * 2, "in the first process the warm-up has woken it"
