"""A quick run: what it asks, what it may say, how it is marked; and what a longer one says before it begins."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest
from msgspec.structs import replace
from tqdm import tqdm

from knnscope import progress
from knnscope.analysis import verdict
from knnscope.analysis.measurement import Measurement
from knnscope.analysis.statistics import QUICK_FEWEST
from knnscope.bench.failures import FailedError
from knnscope.bench.forecast import WARMING, Forecast
from knnscope.bench.plan import QUICK_ROUNDS, Case, Options, schedule
from knnscope.bench.runner import Measured
from knnscope.bench.timing import Sample, WarmUp
from knnscope.bench.worker import Warmed
from knnscope.search import catalog
from knnscope.units import expected
from tests.analysis.test_verdict import rows as made_up
from tests.bench.small import case
from tests.bench.test_runner import Script

MS = 1_000_000
QUICK = Options(rounds=QUICK_ROUNDS, seconds=0.8, cold=False, quick=True)


@pytest.mark.parametrize("ms", [0.01, 1, 9, 30, 60, 200, 700, 5_000, 100_000])
def test_all_rounds_are_answered_by_one_process_in_the_seconds_it_has(ms: float) -> None:
    """Three calls are the fewest, however long."""
    plan = schedule(round(ms * MS), QUICK)
    assert QUICK.processes == 1
    assert QUICK.per_process == QUICK_ROUNDS
    assert plan.processes == 1
    assert QUICK_FEWEST <= plan.rounds <= QUICK_ROUNDS
    calls = plan.rounds * (plan.samples + plan.prime)
    assert calls * ms <= 1000 * QUICK.seconds or calls <= QUICK_FEWEST


def quick(*of: list[Measurement]) -> list[Measurement]:
    return [replace(row, quick=True, rounds_a_process=QUICK_ROUNDS) for rows in of for row in rows]


@pytest.mark.parametrize("rounds", [3, 5, 10, 20, 200])
def test_a_single_round_in_which_it_was_level_is_enough_to_tell_nothing(rounds: int) -> None:
    """With 20 rounds the interval left three of them out."""
    a, b = (quick(made_up(name, us, rounds=rounds, of=rounds)) for name, us in (("a", 100), ("b", 200)))
    assert verdict.verdicts(a + b)[0].level_with == ()
    level = [
        replace(row, samples_ns=[list(a[-1].samples_ns[0]), *row.samples_ns[1:]]) if row.cache == "hot" else row
        for row in b
    ]
    assert [r.engine for r in verdict.verdicts(a + level)[0].level_with] == ["b"]


def test_a_quick_run_tells_large_differences_only() -> None:
    apart = quick(made_up("a", 100, rounds=5, of=5), made_up("b", 200, rounds=5, of=5))
    (said,) = verdict.sentences(apart)
    assert re.match(r"1 query: fastest exact: a, [\d.]+ µs, [\d.]+ times \(.*\) as fast as b$", said)
    near = quick(made_up("a", 100, rounds=5, of=5), made_up("b", 130, rounds=5, of=5))
    assert re.search(
        r"a [\d.]+ µs and b \d+ µs: too near for a quick run to tell them apart$", verdict.sentences(near)[0]
    )
    few = quick(made_up("a", 100, rounds=2, of=5), made_up("b", 800, rounds=2, of=5))
    assert re.search(r"a, [\d.]+ µs; too noisy to place: b \(\d+ µs\)$", verdict.sentences(few)[0])


def test_it_is_marked_in_the_record() -> None:
    assert verdict.as_json(quick(made_up("a", 100)))["quick"] is True
    assert verdict.as_json(made_up("a", 100))["quick"] is False


def test_the_reference_and_dask_are_timed_where_they_are_named() -> None:
    assert catalog.REFERENCE in catalog.ENGINES
    assert set(catalog.ENGINES) - set(catalog.timed()) == {catalog.REFERENCE, "dask"}


def ready(engine: str, ms: float, options: Options, batch: int = 1) -> Measured:
    typical = round(ms * MS)
    warmed = Warmed(WarmUp(Sample(typical, 1), 6, True, typical), True, None, None, 100)
    return Measured(Case(engine, 10, batch, "host"), warmed=warmed, schedule=schedule(typical, options))


def test_what_a_run_will_take() -> None:
    """20 rounds of three calls of 100 ms and the untimed ones before them, and nine further processes."""
    options = Options(cold=False)
    forecast = Forecast(options, {"a": 2.0})
    cases = [ready("a", 100, options)]
    assert forecast.left(cases) == pytest.approx(20 * 0.3 + 10 * (3 + 1) * 0.1 + 9 * 2.0)
    assert forecast.left(cases, 19) == pytest.approx(forecast.turn(cases[0]))
    assert forecast.left(cases, 20) == 0
    assert forecast.answers(cases, 50) == pytest.approx(5)
    cases[0].status = "crashed"
    assert forecast.left(cases) == forecast.answers(cases, 50) == 0


def test_it_is_said_in_one_line() -> None:
    options = Options()
    cases = [ready(name, 1, options, batch) for name in "abcdef" for batch in (1, 10, 100)]
    assert Forecast(options, {}).said(240, cases) == (
        "about 4 minutes: 6 engines x 3 batch sizes x at most 20 rounds; "
        "Ctrl-C keeps what was measured, --quick tells large differences in less"
    )
    assert Forecast(QUICK, {}).said(61, cases[:1]) == (
        "about 61 seconds: 1 engine x 1 batch size x at most 5 rounds; Ctrl-C keeps what was measured"
    )
    assert [expected(s) for s in (61, 100, 5000, 3 * 3600)] == [
        "about 61 seconds",
        "about 2 minutes",
        "about 83 minutes",
        "about 3 hours",
    ]


@pytest.mark.parametrize(("ms", "told"), [(1, False), (15_000, True)])
def test_it_is_said_before_a_run_of_more_than_a_minute(
    capsys: pytest.CaptureFixture[str], ms: float, told: bool
) -> None:
    script = Script()
    script.typical[case("a")] = round(ms * MS)
    script.run("a")
    said = re.findall(r"^about .* 1 engine x 1 batch size x at most 20 rounds; .*$", capsys.readouterr().err, re.M)
    assert len(said) == told


@pytest.mark.parametrize(("ms", "told"), [(0, False), (1, False), (15_000, True)])
def test_it_is_said_roughly_before_anything_is_started(
    capsys: pytest.CaptureFixture[str], ms: float, told: bool
) -> None:
    """From what a query took to answer for the reference."""
    seen: list[str] = []
    script = Script(lambda *_: seen.append(capsys.readouterr().err) if not seen else None)
    script.run("a", query_ns=ms * MS)
    assert seen[0].startswith("this may take about") == told


def test_the_rough_estimate_counts_starts_warm_ups_rounds_and_answers() -> None:
    options = Options(cold=False)
    cases = [ready("a", 100, options)]
    forecast = Forecast(options, {"a": 2.0})
    assert forecast.before(cases, 50) == pytest.approx(WARMING * options.warm_seconds + 2.0 + forecast.left(cases) + 5)


class Shown(tqdm):  # type: ignore[type-arg]
    """A bar that tells how far it was, and of how much, whenever it changed."""

    steps: ClassVar[list[tuple[float, float]]] = []

    def update(self, n: float | None = 1) -> bool | None:
        shown = super().update(n)
        self.steps.append((self.n, self.total))
        return shown


@pytest.mark.parametrize("act", ["shortened", "failing", "quick"])
def test_progress_is_never_beyond_its_end(monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """Whoever is let off, or fails, is taken off what is left: tqdm shows 207/? where more is done than there was to do."""

    def fail(name: str, what: str, _: Case | None) -> None:
        if act == "failing" and name == "b" and len(script.turns) > 30:
            raise FailedError("crashed", "by script")

    script = Script(fail)
    script.wall["b"] = 50 * MS
    script.typical[case("b")] = 50 * MS
    monkeypatch.setattr(progress, "_Bar", Shown)
    Shown.steps.clear()
    options = QUICK if act == "quick" else Options(seconds=100, cold=False)
    script.run("ab", options=options)
    steps = [(n, total) for n, total in Shown.steps if total != 2]  # the warm-up's two cases apart
    assert len(steps) >= 2 * 5
    assert all(n <= total + 1e-6 for n, total in steps)
    assert steps[-1][0] == pytest.approx(steps[-1][1]) or act == "failing"
