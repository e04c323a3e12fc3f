"""What is said of rows: who is fastest and right, by how much, or that it cannot be told."""

from __future__ import annotations

import json
import random
import re

import numpy as np
import pytest
from msgspec.structs import replace

from knnscope.analysis import jsonl
from knnscope.analysis.choice import choices
from knnscope.analysis.measurement import Measurement
from knnscope.analysis.verdict import MATTERS, Split, as_json, groups, sentences, splits, verdicts
from knnscope.bench import result
from knnscope.bench.failures import FailedError
from knnscope.bench.plan import Case
from knnscope.bench.result import Facts
from knnscope.bench.runner import Measured
from knnscope.bench.timing import Sample, WarmUp
from knnscope.bench.worker import Built, Warmed
from knnscope.search.grading import Evidence, Grade

FACTS = Facts("made up", 1000, 16, "float32", 4, "l2", 2)
US = 1_000


def rows(
    engine: str,
    us: float,
    grade: str = "exact",
    batch: int = 1,
    *,
    k: int = 10,
    boundary: str = "host",
    device: str = "cpu",
    rounds: int = 20,
    first_round: int = 0,
    of: int = 20,
    noise: float = 0.01,
    first_us: float = 500,
    event_us: float | None = None,
    status: str = "ok",
) -> list[Measurement]:
    """The rows of a case with so many microseconds a call, give or take."""
    chance = random.Random(engine)
    event = round(event_us * US) if event_us is not None else None
    found = {
        "exact": Grade("exact", 50, 0, 0),
        "float32": Grade("float32", 50, 3, 0),
        "undecided": Grade(
            "undecided", 50, 50, 0, Evidence(0, 1, 5, 6, 2.0, 1.0, 3.0, (5,), (6,), "is nearer and is missing", 2.5)
        ),
        "wrong": Grade("wrong", 50, 9, 4, Evidence(0, 1, 5, 6, 2.0, 1.0, 0.1, (5,), (6,), "is nearer and is missing")),
    }[grade]
    hot = [
        [Sample(round(us * US * chance.uniform(1 - noise, 1 + noise)), 1, event) for _ in range(3)]
        if first_round <= number < first_round + rounds
        else []
        for number in range(of)
    ]
    warmed = Warmed(WarmUp(Sample(round(first_us * US), 1, event), 6, True, 1), True, None, None, 100)
    m = Measured(Case(engine, k, batch, boundary), status, None, Built(1, None, None), warmed, None, hot, [], found, 1)
    return [jsonl.check(row) for row in result.rows_of(m, FACTS, result.About(device))]


def failed(engine: str, status: str, batch: int = 1, boundary: str = "host") -> list[Measurement]:
    m = Measured(Case(engine, 10, batch, boundary))
    m.fail(FailedError(status, "for a reason"))
    return [jsonl.check(row) for row in result.rows_of(m, FACTS, result.About("cuda"))]


def test_the_fastest_of_each_grade() -> None:
    exact, float32 = verdicts(
        rows("slow", 300) + rows("quick", 100) + rows("rough", 50, "float32") + rows("rougher", 70, "float32")
    )
    assert (exact.grade, exact.engine, exact.level_with) == ("exact", "quick", ())
    assert exact.next is not None
    assert exact.next.engine == "slow"
    assert exact.next.low <= exact.next.ratio <= exact.next.high
    assert exact.next.ratio == pytest.approx(3, rel=0.05)
    assert (float32.grade, float32.engine, [r.engine for r in float32.rivals]) == ("float32", "rough", ["rougher"])
    (line,) = sentences(rows("slow", 300) + rows("quick", 100) + rows("rough", 50, "float32"))
    assert line.startswith("1 query: fastest exact: quick, ")
    assert " times (" in line
    assert "as fast as slow; fastest right up to float32 rounding: rough, " in line
    assert line.endswith(" (the only one)")


def test_groups_are_told_apart_and_named() -> None:
    some = (
        rows("a", 100)
        + rows("b", 10, batch=1000)
        + rows("a", 90, k=3)
        + rows("a", 80, boundary="device", device="cuda")
        + failed("b", "no-gpu", batch=7)
        + failed("c", "crashed", batch=8)
    )
    assert list(groups(some)) == [
        (10, 1, "host"),
        (10, 1000, "host"),
        (3, 1, "host"),
        (10, 1, "device"),
        (10, 8, "host"),
    ]
    heads = [line.partition(": ")[0] for line in sentences(some)]
    assert heads == [
        "1 query, k = 10",
        "1,000 queries, k = 10",
        "1 query, k = 3",
        "1 query, k = 10, on the device",
        "8 queries, k = 10",
    ]
    assert sentences(rows("a", 100))[0].startswith("1 query: ")


def test_a_difference_must_be_significant_and_matter() -> None:
    """Ratios of 1.04 are certain over 20 quiet rounds and still none: memory layout does as much."""
    for ratio, significant in ((1.0, False), (MATTERS - 0.01, False), (MATTERS + 0.01, True), (2, True)):
        (verdict,) = verdicts(rows("a", 100, noise=0.001) + rows("b", 100 * ratio, noise=0.001))
        assert verdict.rivals[0].significant == significant, ratio
    (loud,) = verdicts(rows("a", 100, noise=0.9) + rows("b", 108, noise=0.9))
    assert loud.level_with == loud.rivals
    assert loud.noisy
    (few,) = verdicts(rows("a", 100, rounds=6) + rows("b", 300, rounds=6))
    assert not few.rivals[0].significant
    assert sentences(rows("a", 100, rounds=6) + rows("b", 300, rounds=6))[0].endswith(
        ": too few rounds (6) to tell which is fastest"
    )


def test_level_engines_are_named_together_and_the_next_after_them() -> None:
    (line,) = sentences(rows("a", 100) + rows("b", 101) + rows("c", 102) + rows("d", 400))
    assert re.search(
        r"fastest exact: a \d+ µs, b \d+ µs and c \d+ µs: the difference is not significant; a is [34]", line
    )
    assert line.endswith(" as fast as d")
    (line,) = sentences(rows("a", 100, noise=0.9) + rows("b", 101, noise=0.9))
    assert line.endswith(": too noisy to tell them apart")


def test_one_too_noisy_to_place_does_not_share_the_first_place() -> None:
    """c's median is above b's, and b is slower than a for certain; c is noisy enough to be told from nobody."""
    c = rows("c", 300, noise=0.01)
    place, hot = next((i, r) for i, r in enumerate(c) if r.cache == "hot")
    samples = [[20_000] * 3 if i % 4 < 2 else w for i, w in enumerate(hot.samples_ns)]
    c[place] = replace(hot, samples_ns=samples, median_ns=270_000)
    (line,) = sentences(rows("a", 100) + rows("b", 200) + c)
    assert re.search(
        r"fastest exact: a, \d+ µs, (2|1\.9\d|2\.0\d) times \(.*\) as fast as b; too noisy to place: c \(270 µs\)$",
        line,
    )
    alone = sentences(rows("a", 100) + c)[0]
    assert re.search(r"fastest exact: a, \d+ µs; too noisy to place: c \(270 µs\)$", alone)


def test_the_verdict_as_json() -> None:
    made = rows("a", 100) + rows("b", 200) + failed("c", "oom")
    told = json.loads(json.dumps(as_json(made), allow_nan=False))
    assert told["sentences"] == sentences(made)
    (found,) = told["verdicts"]
    assert (found["engine"], found["rivals"][0]["engine"], found["rivals"][0]["significant"]) == ("a", "b", True)


def test_a_wrong_one_never_wins_and_is_mentioned_where_it_was_faster() -> None:
    (verdict,) = verdicts(rows("right", 100) + rows("cheat", 10, "wrong", noise=0))
    assert (verdict.engine, verdict.rivals) == ("right", ())
    (line,) = sentences(rows("right", 100) + rows("cheat", 10, "wrong", noise=0) + rows("lame", 500, "wrong"))
    assert line.endswith("; cheat took 10.0 µs and was wrong on 4 of 50 queries")
    assert "lame" not in line


def test_an_undecided_one_never_wins_and_is_mentioned_where_it_was_faster() -> None:
    found = rows("right", 100, "float32") + rows("anything", 10, "undecided", noise=0) + rows("lame", 500, "undecided")
    (verdict,) = verdicts(found)
    assert (verdict.engine, verdict.rivals) == ("right", ())
    (line,) = sentences(found)
    said = "anything took 10.0 µs and is undecided: 50 of 50 queries differ, and its rounding would excuse wrong rows as well"
    assert line.endswith(f"; {said}")
    assert "lame" not in line
    (choice,) = choices(found)
    assert choice.best is not None
    assert (choice.best.engine, choice.wrong, [r.engine for r in choice.undecided]) == ("right", (), ["anything"])
    (line,) = sentences(rows("anything", 10, "undecided", noise=0))
    assert line == f"1 query: no engine gave an answer known to be right; {said}"


def test_no_right_answer() -> None:
    (line,) = sentences(rows("cheat", 10, "wrong", noise=0) + failed("b", "crashed"))
    assert (
        line
        == "1 query: no engine gave an answer known to be right; cheat took 10.0 µs and was wrong on 4 of 50 queries"
    )
    assert verdicts(rows("cheat", 10, "wrong", noise=0)) == []
    assert sentences(failed("b", "oom")) == ["1 query: no engine gave an answer known to be right"]
    assert sentences(failed("b", "missing") + failed("c", "no-gpu") + failed("d", "unsupported")) == []


def test_engines_that_failed_do_not_stand_in_the_way() -> None:
    (verdict,) = verdicts(failed("a", "missing") + failed("b", "timeout") + rows("c", 100) + rows("d", 200))
    assert (verdict.engine, [r.engine for r in verdict.rivals]) == ("c", ["d"])


def test_what_was_cut_short_is_the_fastest_of_what_was_measured() -> None:
    """In the groups that were: one that had all its rounds stands as it is."""
    whole = rows("a", 100) + rows("b", 200)
    late = rows("a", 100, batch=10) + rows("b", 200, batch=10, rounds=8, status="interrupted")
    none = Measured(Case("b", 10, 100, "host"), "interrupted", "stopped by the user")
    never = rows("a", 100, batch=100) + result.rows_of(none, FACTS, result.About("cpu"))
    one, ten, hundred = sentences(whole + late + never)
    assert one.startswith("1 query: fastest exact: a, ")
    assert ten.startswith("10 queries: fastest of what was measured, exact: a, ")
    assert hundred.startswith("100 queries: fastest of what was measured, exact: a, ")
    assert as_json(late)["sentences"] == [ten]


def test_an_interrupted_run_says_what_it_can() -> None:
    stopped = rows("a", 100, rounds=8, status="interrupted") + rows("b", 200, rounds=8, status="interrupted")
    (verdict,) = verdicts(stopped)
    assert (verdict.engine, verdict.rivals[0].significant, verdict.rivals[0].rounds) == ("a", True, 8)
    apart = rows("a", 100, rounds=1, of=2, status="interrupted") + rows(
        "b", 200, rounds=1, first_round=1, of=2, status="interrupted"
    )
    (verdict,) = verdicts(apart)
    assert (verdict.rivals[0].rounds, verdict.rivals[0].significant) == (0, False)
    assert verdict.rivals[0].ratio == pytest.approx(2, rel=0.05)
    assert "too few rounds (0) to tell" in sentences(apart)[0]
    m = Measured(Case("a", 10, 1, "host"), "interrupted", "stopped by the user")
    nothing = [jsonl.check(row) for row in result.rows_of(m, FACTS, result.About("cpu"))]
    assert sentences(nothing) == ["1 query: interrupted before any right answer was timed"]


@pytest.mark.parametrize(("us", "said"), [(12, "1.20"), (999, "99.9"), (9_999, "1,000"), (17_000_000, "1,700,000")])
def test_a_ratio_is_said_without_an_exponent(us: float, said: str) -> None:
    (line,) = sentences(rows("a", 10, noise=0.0) + rows("b", us, noise=0.0))
    assert line == f"1 query: fastest exact: a, 10.0 µs, {said} times ({said} to {said}) as fast as b"


def test_where_the_time_of_a_gpu_goes() -> None:
    gpu = {"device": "cuda", "noise": 0.0}
    some = (
        rows("gpu", 100, first_us=9_000, event_us=95, **gpu)
        + rows("gpu", 70, boundary="device", event_us=50, **gpu)
        + rows("odd", 60, event_us=60, **gpu)
        + rows("odd", 80, boundary="device", event_us=99, **gpu)
        + rows("half", 100, event_us=50, **gpu)
        + failed("half", "crashed", boundary="device")
        + rows("cpu", 10)
    )
    assert splits(some) == [
        Split("gpu", 10, 1, 9_000 * US, 100 * US, 30 * US, 20 * US, 50 * US),
        Split("odd", 10, 1, 500 * US, 60 * US, 0, 0, 60 * US),
    ]
    assert all(part >= 0 for s in splits(some) for part in (s.transfer_ns, s.launch_ns, s.compute_ns))
    assert all(s.transfer_ns + s.launch_ns + s.compute_ns == s.host_ns for s in splits(some))


def of_processes(times: np.ndarray) -> list[Measurement]:
    """Rows of engines, from times of shape (engines, processes, 2 rounds of one process), in units of 1 ms."""
    some = next(row for row in rows("e", 1000) if row.cache == "hot")
    ns = np.rint(times.reshape(len(times), -1) * 1e6).astype(int)
    return [
        replace(
            some,
            engine=f"e{number}",
            samples_ns=[[t] * 3 for t in of_one.tolist()],
            median_ns=round(float(np.median(of_one))),
            rounds_a_process=2,
        )
        for number, of_one in enumerate(ns)
    ]


def drawn(chance: np.random.Generator, engines: int, spread: float, processes: int = 10) -> np.ndarray:
    """Engines that take 1 ms, with noise by process and by round."""
    by_process = chance.normal(0, spread, (engines, processes, 1))
    return np.exp(by_process + chance.normal(0, 0.03, (engines, processes, 2)))


@pytest.mark.parametrize("engines", [2, 7])
def test_of_equal_engines_one_is_rarely_called_slower(engines: int) -> None:
    """At a level of 3% for all rivals together; by three standard errors of 100 runs that is 8."""
    chance = np.random.default_rng(engines)
    some = [verdicts(of_processes(drawn(chance, engines, 0.05)))[0] for _ in range(100)]
    assert sum(v.next is not None for v in some) <= 8


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.05, 0.1])
@pytest.mark.parametrize(("engines", "share"), [(2, 0.03), (7, 0.05), (15, 0.08)])
def test_how_often_one_of_equal_engines_is_called_slower_is_what_pages_say(
    engines: int, share: float, spread: float
) -> None:
    """By three standard errors of 600 runs."""
    chance = np.random.default_rng(engines)
    told = [verdicts(of_processes(drawn(chance, engines, spread)))[0].next is not None for _ in range(600)]
    assert sum(told) <= 600 * share + 3 * (600 * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("spread", [0.05, 0.1])
def test_a_true_difference_of_1_3_is_told_from_six_rivals(spread: float) -> None:
    chance = np.random.default_rng(3)
    cost = np.array([1, *[1.3] * 6])[:, None, None]
    some = [verdicts(of_processes(drawn(chance, 7, spread) * cost))[0] for _ in range(50)]
    assert sum(v.engine == "e0" and not v.level_with for v in some) >= 45


def test_far_engines_with_few_rounds_are_told_beside_many_others() -> None:
    """An engine that takes three times as long as the best is timed by 7 processes: no p of 2^-6 survives a correction for six."""
    chance = np.random.default_rng(4)
    made = of_processes(drawn(chance, 7, 0.05) * np.array([1, 1, 1, 3, 4, 5, 9])[:, None, None])
    cut = [replace(row, samples_ns=[*row.samples_ns[:14], *[[]] * 6]) if row.took_ns > 2e6 else row for row in made]
    (verdict,) = verdicts(cut)
    assert [r.engine for r in verdict.rivals if r.significant] == ["e3", "e4", "e5", "e6"]
    assert [r.rounds for r in verdict.rivals if r.significant] == [7] * 4
    assert verdict.too_few_rounds is None


def test_many_engines_need_more_rounds() -> None:
    chance = np.random.default_rng(5)
    made = of_processes(drawn(chance, 5, 0.01, 7) * np.array([1, 1.3, 1.3, 1.3, 4])[:, None, None])
    (verdict,) = verdicts(made)
    assert (verdict.too_few_rounds, {r.engine for r in verdict.level_with}) == (7, {"e1", "e2", "e3"})
    (line,) = sentences(made)
    assert ": too few rounds (7) to tell them apart; e0 is " in line
    assert line.endswith(" as fast as e4")
    (line,) = sentences(made[:4])
    assert line.endswith(": too few rounds (7) to tell which is fastest")
    (two,) = verdicts(made[:2])
    assert two.next is not None, "two engines need seven"
