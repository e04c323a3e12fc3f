"""The grid, the budget of a case, warm-up on an injected clock, and the real clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.analysis import statistics
from knnscope.bench.plan import Case, Options, grid, schedule, starts
from knnscope.bench.timing import (
    STABLE,
    WARM_CALLS,
    CudaClock,
    HostClock,
    Sample,
    overhead_ns,
    prime,
    timed,
    warm_up,
)

MS = 1_000_000


def test_the_grid_is_every_combination_smallest_batch_first() -> None:
    cases = grid(["a", "b"], [5, 3], [100, 1], ["host", "device"])
    assert len(cases) == len(set(cases)) == 16
    assert cases[:2] == [Case("a", 5, 1, "host"), Case("a", 5, 100, "host")]
    assert [c.engine for c in cases] == ["a"] * 8 + ["b"] * 8
    assert {c.boundary for c in cases[:4]} == {"host"}


@pytest.mark.parametrize(
    ("queries", "batch", "expected"), [(10, 1, list(range(10))), (10, 3, [0, 3, 6]), (10, 10, [0]), (1, 1, [0])]
)
def test_batches_start_where_a_whole_one_follows(queries: int, batch: int, expected: list[int]) -> None:
    assert starts(queries, batch) == expected


@given(st.integers(0, 10**13), st.integers(1, 60), st.floats(0.01, 1000).map(lambda s: round(s, 2)), st.integers(0, 9))
def test_a_case_keeps_to_its_budget_or_to_the_fewest_rounds(
    typical: int, rounds: int, seconds: float, seed: int
) -> None:
    options = Options(rounds=rounds, seconds=seconds, seed=seed)
    s = schedule(typical, options)
    fewest = min(options.processes, statistics.FEWEST_ROUNDS)
    assert fewest <= s.processes <= options.processes
    assert s.each in (1, options.per_process)
    played = sum(s.has(*divmod(number, options.per_process)) for number in range(rounds))
    took = played * typical * (s.samples + s.prime) / 1e9
    assert took <= seconds or (s.processes, s.each) == (fewest, 1)
    assert options.processes >= min(rounds, statistics.FEWEST_ROUNDS), "as many processes as a verdict needs"


def test_long_calls_are_made_less_often() -> None:
    samples = [schedule(ms * MS, Options(seconds=1000)).samples for ms in (1, 9, 10, 49, 50, 499, 500, 5000)]
    assert samples == [10, 10, 5, 5, 3, 3, 1, 1]
    assert [schedule(ms * MS, Options()).prime for ms in (1, 499, 500)] == [True, True, False]
    assert schedule(30_000 * MS, Options(seconds=20)).rounds == statistics.FEWEST_ROUNDS


class Fake:
    """A clock that reads off a list of durations."""

    def __init__(self, walls: Iterable[int]) -> None:
        self.walls = iter(walls)
        self.running = False

    def start(self) -> None:
        assert not self.running
        self.running = True

    def stop(self) -> Sample:
        assert self.running
        self.running = False
        return Sample(next(self.walls), 0)


class Calls:
    """Counts."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> int:
        self.made += 1
        return self.made


@pytest.fixture
def call() -> Calls:
    return Calls()


def test_warm_up_ends_when_three_calls_take_as_long_as_the_three_before(call: Calls) -> None:
    falling = [9000, 800, 500, 300, 200, 150, 120, 110, 105, 104, 103, 103, 103, 103]
    found = warm_up(call, Fake(chain(falling, repeat(103))))
    assert found.first == Sample(9000, 0)
    assert found.stable
    assert call.made == found.calls + 1
    last = falling[1 : found.calls + 1]
    before, now = sorted(last[-6:-3])[1], sorted(last[-3:])[1]
    assert abs(now - before) <= STABLE * before
    assert found.typical_ns == now
    assert found.calls > 6, "150 to 105 is not yet stable"
    assert warm_up(Calls(), Fake(repeat(5))).calls == 6, "three and three at least"


def test_one_late_call_is_not_taken_for_typical(call: Calls) -> None:
    found = warm_up(call, Fake([5, *[10] * 5, 9_000, 10, 10]))
    assert (found.stable, found.typical_ns) == (True, 10)


def test_never_stable(call: Calls) -> None:
    found = warm_up(call, Fake(2**i for i in range(100)))
    assert not found.stable
    assert found.calls == 31, "the 3 seconds are used up: 2^31 ns and all before"
    assert found.typical_ns == 2**30


def test_fifty_calls_at_most() -> None:
    walls = chain([1], (1000 * 2 ** (i // 3 % 2) + i for i in range(1000)))
    call = Calls()
    found = warm_up(call, Fake(walls))
    assert (found.calls, found.stable, call.made) == (WARM_CALLS, False, WARM_CALLS + 1)


def test_a_long_first_call_is_not_taken_for_typical(call: Calls) -> None:
    """CuPy compiles for 5 seconds, then answers in one millisecond."""
    assert warm_up(Calls(), Fake([5_000 * MS, *[1 * MS] * 9])).typical_ns == MS
    found = warm_up(call, Fake([4_000 * MS, 4_001 * MS]))
    assert (call.made, found.calls, found.stable, found.typical_ns) == (2, 1, False, 4_001 * MS), "one more is enough"


def test_priming_lasts_as_long_as_asked(call: Calls) -> None:
    prime(call, Fake(repeat(3 * MS)), 10 * MS)
    assert call.made == 4
    prime(call, Fake([10**12]))
    assert call.made == 5


def test_what_timing_takes_is_the_median_of_empty_calls() -> None:
    assert overhead_ns(Fake(chain(repeat(90, 120), repeat(5_000, 80)))) == 90
    assert 0 < overhead_ns(HostClock()) < MS


def busy(seconds: float) -> None:
    start = time.thread_time()  # a thread that another test left may be at work as well
    while time.thread_time() - start < seconds:
        pass


@pytest.mark.parametrize(("call", "on_cpu"), [(lambda: time.sleep(0.1), False), (lambda: busy(0.1), True)])
def test_wall_and_cpu_time(call: Callable[[], None], on_cpu: bool) -> None:
    sample, _ = timed(call, HostClock())
    assert sample.wall_ns >= 100 * MS
    assert sample.event_ns is None
    assert (sample.cpu_ns > 90 * MS) == on_cpu
    assert timed(lambda: "answer", HostClock())[1] == "answer"


class Gpu:
    """A library whose events know when they were recorded, on a GPU that works for 5 ms after each call."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def event(self) -> Gpu:
        return self

    def record(self) -> None:
        self.said.append("event")

    def synchronize(self) -> None:
        self.said.append("wait")

    def elapsed_ms(self, *_: object) -> float:
        self.said.append("between")
        return 5.0


def test_a_gpus_clock_waits_before_and_after_a_call() -> None:
    gpu = Gpu()
    sample, _ = timed(lambda: gpu.said.append("call"), CudaClock(gpu))
    assert gpu.said == ["wait", "event", "call", "event", "wait", "wait", "between"]
    assert sample.event_ns == 5 * MS


def test_after_a_lap_the_call_waits_for_the_gpu_itself() -> None:
    """The events enclose the search alone, and copying its answer back is on the wall."""
    gpu = Gpu()
    clock = CudaClock(gpu)
    for _ in range(2):
        gpu.said.clear()
        clock.start()
        gpu.said.append("search")
        lap = clock.lap()
        gpu.said.append("copy back")
        sample = clock.stop()
        assert gpu.said == ["wait", "event", "search", "event", "copy back", "wait", "between"]
        assert 0 < lap <= sample.wall_ns


@pytest.mark.parametrize("clock", [HostClock(), CudaClock(Gpu(), events=False)])
def test_a_clock_without_events_has_the_wall_alone(clock: HostClock | CudaClock) -> None:
    clock.wait()
    clock.begin()
    lap = clock.lap()
    sample = clock.stop()
    assert sample.event_ns is None
    assert 0 < lap <= sample.wall_ns
