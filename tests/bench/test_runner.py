"""Rounds, retries, eviction, Ctrl-C: the runner with hosts that follow a script."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from knnscope.analysis import jsonl
from knnscope.bench import result
from knnscope.bench.failures import FailedError
from knnscope.bench.plan import COLD_ROUNDS, Case, Options, asked
from knnscope.bench.runner import Run, Runner
from knnscope.bench.timing import Sample, WarmUp
from knnscope.bench.worker import Built, Turn, Warmed
from knnscope.records import Neighbors
from knnscope.search.grading import Grade
from tests.bench.small import ANSWERS, FACTS, case


class Scripted:
    """A host that tells a log what it is asked and does what a script says."""

    def __init__(self, name: str, script: Script) -> None:
        self.name, self.script = name, script
        self.note("open")

    def note(self, what: str, case: Case | None = None) -> None:
        self.script.log.append((self.name, what))
        self.script.act(self.name, what, case)

    def build(self) -> Built:
        self.note("build")
        self.script.alive.add(self.name)
        self.script.most = max(self.script.most, len(self.script.alive))
        return Built(len(self.script.log), None, None)

    def warm(self, case: Case) -> Warmed:
        self.note("warm", case)
        typical = self.script.typical.get(case, 1_000_000)
        return Warmed(WarmUp(Sample(5_000_000, 1), 6, True, typical), True, None, None, 100)

    def turn(self, case: Case, firsts: Sequence[int], cold: bool = False, prime: bool = True) -> Turn:
        self.note("cold" if cold else "hot", case)
        self.script.turns.append((case, tuple(firsts), cold, prime))
        ids = ANSWERS.ids[[0] * case.batch]
        wall = self.script.wall.get(case.engine, 1_000_000)
        return Turn([Sample(wall, 1)] * len(firsts), [(first, ids, None) for first in firsts])

    def answers(self, k: int, batch: int, count: int) -> Neighbors:
        self.note("answers")
        return Neighbors(np.zeros((count, k), np.int64), np.zeros((count, k)))

    def pause(self) -> None:
        self.script.log.append((self.name, "pause"))

    def close(self) -> None:
        self.script.log.append((self.name, "close"))
        self.script.alive.discard(self.name)


class Script:
    """What scripted hosts do, and what was asked of them. ``act`` may raise."""

    def __init__(self, act: Callable[[str, str, Case | None], None] = lambda *_: None) -> None:
        self.act = act
        self.log: list[tuple[str, str]] = []
        self.turns: list[tuple[Case, tuple[int, ...], bool, bool]] = []
        self.typical: dict[Case, int] = {}
        self.wall: dict[str, int] = {}
        self.grades: dict[str, str] = {}
        self.alive: set[str] = set()
        self.most = 0

    def run(
        self,
        names: str,
        batches: Sequence[int] = (1,),
        options: Options | None = None,
        room: Callable[[], bool] = lambda: True,
        ask: tuple[int, int, int] | None = None,
        query_ns: float = 0,
    ) -> Run:
        runner = Runner(
            lambda name: Scripted(name, self),
            lambda case, *_: Grade(self.grades.get(case.engine, "exact"), 1, 0, 0),
            1000,
            options or Options(),
            room,
        )
        run = runner.run([case(name, batch) for name in names for batch in batches], ask, query_ns)
        assert not self.alive, "every host is closed at the end"
        return run

    def order(self) -> list[str]:
        return [f"{c.engine}{c.batch}" for c, _, cold, _ in self.turns if not cold]


def test_every_case_once_a_round_in_an_order_that_the_seed_decides() -> None:
    script = Script()
    run = script.run("abc", (1, 10))
    rounds = [script.order()[i : i + 6] for i in range(0, 120, 6)]
    assert len(rounds) == 20
    assert all(sorted(one) == ["a1", "a10", "b1", "b10", "c1", "c10"] for one in rounds)
    assert len(set(map(tuple, rounds))) > 15, "random"
    assert Counter(one[0] for one in rounds).most_common()[0][1] < 12
    again, other = Script(), Script()
    again.run("abc", (1, 10))
    other.run("abc", (1, 10), Options(seed=1))
    assert again.order() == script.order() != other.order()
    assert all(m.status == "ok" and len(m.hot) == 20 and all(m.hot) for m in run.measured)
    assert [len(list(filter(None, m.cold))) for m in run.measured] == [COLD_ROUNDS] * 6
    assert all(script.log.count((name, "build")) == 10 for name in "abc"), "a process for every two rounds"
    paused = [i for i, (_, what) in enumerate(script.log) if what == "pause"]
    assert len(paused) == 6 + 9 * 3 + 120, "after every piece of work"


def test_new_processes_start_side_by_side_before_any_is_timed() -> None:
    script = Script()
    script.run("abc", (1,), Options(rounds=14, cold=False))
    log = script.log[[i for i, (_, what) in enumerate(script.log) if what == "close"][2] + 1 :]
    assert log[:3] == [(name, "open") for name in "cba"]
    assert [what for _, what in log[3:10]] == ["build", "pause"] * 3 + ["hot"]
    assert script.most == 3


def test_a_start_that_fails_later_is_tried_once_more() -> None:
    opened: list[str] = []

    def act(name: str, what: str, _: Case | None) -> None:
        if what == "open":
            opened.append(name)
            if opened.count("a") == 3 and name == "a":
                raise FailedError("crashed", "once")

    run = Script(act).run("ab", (1,), Options(rounds=14))
    assert [m.status for m in run.measured] == ["ok", "ok"]
    assert run.measured[0].builds == 7
    assert opened.count("a") == 8


def test_where_one_gave_way_they_start_one_by_one() -> None:
    script = Script()
    script.run("ab", (1,), Options(rounds=14), room=lambda: False)
    following = zip(script.log, script.log[1:], strict=False)
    assert {after for (_, what), (_, after) in following if what == "open"} == {"build"}
    assert script.most == 1


def test_calls_go_through_the_queries_in_turn() -> None:
    script = Script()
    script.run("a", (1, 300), Options(cold=False))
    asked = {batch: [f for c, firsts, *_ in script.turns if c.batch == batch for f in firsts] for batch in (1, 300)}
    assert asked[1] == list(range(200))
    assert asked[300][:4] == [0, 300, 600, 0]


def test_in_a_round_all_answer_the_same_queries() -> None:
    """Who makes three calls a round takes the first of those that others make ten of."""
    for batch in (1, 100):
        script = Script()
        script.typical[case("b", batch)] = 60_000_000
        script.run("ab", (batch,), Options(cold=False, seconds=100))
        of = {name: [firsts for c, firsts, *_ in script.turns if c.engine == name] for name in "ab"}
        assert [(len(a), len(b)) for a, b in zip(of["a"], of["b"], strict=True)] == [(10, 3)] * 20
        assert all(a[:3] == b for a, b in zip(of["a"], of["b"], strict=True))
        assert len({first for firsts in of["b"] for first in firsts}) == (60 if batch == 1 else 10)


def test_few_calls_a_round_see_all_queries_in_the_end() -> None:
    assert [asked(number, 1, range(20)) for number in range(6)] == [[0], [10], [1], [11], [2], [12]]
    assert asked(3, 4, [0]) == [0, 0, 0, 0]


def test_slow_cases_take_part_in_one_round_of_each_process() -> None:
    script = Script()
    script.typical[case("b")] = 2_000_000_000
    a, b = script.run("ab", (1,), Options(seconds=20, cold=False)).measured
    taken = [number for number, samples in enumerate(b.hot) if samples]
    assert taken == list(range(0, 20, 2))
    assert all(len(samples) == (1 if number in taken else 0) for number, samples in enumerate(b.hot))
    assert all(len(samples) == 10 for samples in a.hot)
    assert not any(prime for c, _, _, prime in script.turns if c.engine == "b")
    assert (a.status, b.status) == ("ok", "ok")


def test_who_is_far_behind_the_best_of_its_grade_takes_part_in_one_round_of_each_process() -> None:
    script = Script()
    script.wall = {"a": 3_000_000, "b": 9_000_000, "c": 9_000_001, "d": 100_000, "e": 50_000, "f": 160_000}
    script.grades = {"d": "wrong", "e": "float32", "f": "float32"}
    run = script.run("abcdef", (1, 10), Options(cold=False))
    rounds = {m.case.engine: sum(map(bool, m.hot)) for m in run.measured}
    assert rounds == {"a": 20, "b": 20, "c": 13, "d": 20, "e": 20, "f": 13}, "a wrong one shortens no other"
    assert all(m.status == "ok" for m in run.measured)


def test_without_room_the_least_recently_used_gives_way_and_is_built_again() -> None:
    script = Script()
    run = script.run("abc", (1,), Options(rounds=7), room=lambda: len(script.alive) < 2)
    assert script.most == 2
    assert all(m.status == "ok" and all(m.hot) for m in run.measured)
    builds = Counter(name for name, what in script.log if what == "build")
    assert {m.case.engine: m.builds for m in run.measured} == builds
    assert sum(builds.values()) > 3
    assert run.measured[0].built == Built(script.log.index(("a", "build")) + 1, None, None), "the first build's figures"
    crowded = Script()
    run = crowded.run("ab", (1,), Options(rounds=7), room=lambda: False)
    assert crowded.most == 1, "one always finds room"
    assert all(m.status == "ok" for m in run.measured)
    rebuilt = [prime for c, _, cold, prime in crowded.turns if not cold]
    assert all(rebuilt), "a new process is woken before it is timed"


def test_a_new_process_is_woken_by_one_query_before_a_long_call() -> None:
    script = Script()
    script.typical = {case("a", 10): 2_000_000_000}
    script.run("a", (10,), Options(rounds=7, cold=False))
    assert [(c.batch, prime) for c, _, _, prime in script.turns] == [(10, False)] + [(1, False), (10, False)] * 6, (
        "the first was warmed up"
    )
    woken, measured = script.turns[1], script.turns[2]
    assert woken[0].engine == measured[0].engine == "a"


def test_out_of_memory_beside_others_is_tried_again_alone() -> None:
    def act(name: str, what: str, _: Case | None) -> None:
        crowded = len(script.alive - {name}) > 0
        if name == "c" and what == "build" and crowded:
            raise FailedError("oom", "no room")

    script = Script(act)
    run = script.run("abc", (1,), Options(rounds=7))
    assert [m.status for m in run.measured] == ["ok"] * 3
    assert all(all(m.hot) for m in run.measured)
    assert run.measured[2].builds >= 1 < run.measured[0].builds


def test_out_of_memory_alone_is_final_and_asked_once() -> None:
    def act(name: str, what: str, _: Case | None) -> None:
        if name == "b" and what == "build":
            raise FailedError("oom", "never room")

    script = Script(act)
    run = script.run("abc", (1, 10), Options(rounds=7))
    assert [m.status for m in run.measured] == ["ok", "ok", "oom", "oom", "ok", "ok"]
    assert script.log.count(("b", "build")) == 2, "beside another, then alone"
    assert run.measured[2].reason == "never room"
    assert run.measured[2].builds == 0


@pytest.mark.parametrize("status", ["oom", "timeout", "crashed"])
def test_a_failure_halfway_drops_the_case_and_keeps_the_engine(status: str) -> None:
    def act(name: str, what: str, asked: Case | None) -> None:
        if what == "hot" and asked == case("a", 10) and script.order().count("a10") == 3:
            raise FailedError(status, "halfway")

    script = Script(act)
    run = script.run("ab", (1, 10), Options(rounds=7))
    found = {(m.case.engine, m.case.batch): m for m in run.measured}
    failed = found.pop(("a", 10))
    assert (failed.status, failed.reason) == (status, "halfway")
    assert not any(failed.hot)
    assert not any(failed.cold)
    assert all(m.status == "ok" and len(m.hot) == 7 and all(m.hot) for m in found.values())
    (row,) = result.rows_of(failed, FACTS, result.About("cpu"))
    assert jsonl.check(row).samples_ns == []


def test_what_an_engine_lacks_does_not_end_its_process() -> None:
    def act(name: str, what: str, asked: Case | None) -> None:
        if what == "warm" and asked == case("a", 10):
            raise FailedError("unsupported", "no tens")

    script = Script(act)
    run = script.run("a", (1, 10, 100), Options(rounds=7))
    assert [m.status for m in run.measured] == ["ok", "unsupported", "ok"]
    assert script.log.count(("a", "build")) == 7


@pytest.mark.parametrize("what", ["open", "build", "warm"])
def test_ctrl_c_before_the_rounds(what: str) -> None:
    def act(name: str, asked: str, _: Case | None) -> None:
        if name == "b" and asked == what:
            raise KeyboardInterrupt

    run = Script(act).run("abc")
    assert run.interrupted
    assert [m.status for m in run.measured] == ["interrupted"] * 3
    assert run.measured[0].warmed is not None
    assert run.measured[0].builds == 1


def test_ctrl_c_keeps_what_was_measured() -> None:
    def act(name: str, what: str, _: Case | None) -> None:
        if what == "hot" and len(script.turns) == 10:
            raise KeyboardInterrupt
        if name == "c" and what == "build":
            raise FailedError("missing", "not here")

    script = Script(act)
    script.typical[case("b")] = 20_000_000_000  # 7 of 20 rounds
    run = script.run("abc", (1,), Options(cold=False))
    a, b, c = run.measured
    assert run.interrupted
    assert [m.status for m in (a, b, c)] == ["interrupted", "interrupted", "missing"]
    assert sum(map(len, a.hot)) == 10 * script.order().count("a1") > 0
    assert 0 < sum(map(len, b.hot)) <= script.order().count("b1")
    rows = [jsonl.check(row) for m in run.measured for row in result.rows_of(m, FACTS, result.About("cpu"))]
    assert [(r.engine, r.cache, r.status) for r in rows] == [
        ("a", "first", "interrupted"),
        ("a", "hot", "interrupted"),
        ("b", "first", "interrupted"),
        ("b", "hot", "interrupted"),
        ("c", "hot", "missing"),
    ]
    assert rows[1].median_ns == 1_000_000
    assert rows[1].reason == "stopped by the user"


def test_ctrl_c_after_the_last_round_of_a_case_leaves_it_whole() -> None:
    def act(name: str, what: str, _: Case | None) -> None:
        if what == "answers" and name == "b":
            raise KeyboardInterrupt

    run = Script(act).run("ab", options=Options(rounds=7), ask=(2, 10, 30))
    assert run.interrupted
    assert [m.status for m in run.measured] == ["ok", "ok"]
    assert list(run.answers) == ["a"]


def test_all_answers_are_asked_of_those_that_answered() -> None:
    def act(name: str, what: str, _: Case | None) -> None:
        if (name, what) in {("b", "warm"), ("c", "answers")}:
            raise FailedError("crashed", "gone")

    run = Script(act).run("abcd", (1, 10), Options(rounds=7), ask=(5, 10, 30))
    assert {name: found.ids.shape for name, found in run.answers.items()} == {"a": (30, 5), "d": (30, 5)}
    assert [m.status for m in run.measured] == ["ok", "ok", "crashed", "crashed", "ok", "ok", "ok", "ok"]


def test_grades_of_all_answers_count() -> None:
    chance = random.Random(0)
    grades = [Grade(chance.choice(["exact", "float32"]), 1, 1, 0) for _ in range(70)]
    left = iter(grades)
    runner = Runner(lambda name: Scripted(name, Script()), lambda *_: next(left), 1000, Options(rounds=7, cold=False))
    (m,) = runner.run([case("a")]).measured
    assert m.grade == Grade("float32", 70, 70, 0)
