"""Clocks, and a call timed by one. The clock is handed in, so tests bring their own machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Protocol, TypeVar

from knnscope.bench.plan import PRIME_NS, WARM_SECONDS
from knnscope.compiling import SPENT
from knnscope.search.device import Library

T = TypeVar("T")
STABLE = 0.1
"""Warm enough: the median of the last three calls is within this of the median of the three before."""
WARM_CALLS = 50
"""Warm-up ends here at the latest."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One call, nanoseconds: wall clock, CPU time of all threads of the process, between events on the GPU."""

    wall_ns: int
    cpu_ns: int
    event_ns: int | None = None


class Clock(Protocol):
    """Starts before a call and stops after it."""

    def start(self) -> None:
        """Begin; whatever was under way has ended."""
        ...

    def stop(self) -> Sample:
        """End, when all work of the call has ended."""
        ...


class LapClock(Clock, Protocol):
    """A clock that tells a search from the copying back of its answer."""

    def wait(self) -> None:
        """Until whatever was under way has ended: the first half of ``start``."""
        ...

    def begin(self) -> None:
        """The second half of ``start``."""
        ...

    def lap(self) -> int:
        """Nanoseconds since the start. ``event_ns`` ends here; the rest of the call waits for the device itself."""
        ...


class HostClock:
    """For calls that return when they are done."""

    def start(self) -> None:
        """Read both clocks, the wall clock last."""
        self.begin()

    def wait(self) -> None:
        """Nothing is under way."""

    def begin(self) -> None:
        """As ``start``."""
        self._cpu = time.process_time_ns()
        self._wall = time.perf_counter_ns()

    def lap(self) -> int:
        """Nanoseconds on the wall since the start."""
        return time.perf_counter_ns() - self._wall

    def stop(self) -> Sample:
        """Read them in the other order."""
        wall = time.perf_counter_ns()
        return Sample(wall - self._wall, time.process_time_ns() - self._cpu)


class CudaClock:
    """For calls that use a GPU: the device is synchronised around them, since libraries have streams of their own.

    ``event_ns`` lies between two events on the default stream around the call: the GPU's own time, without the launch before its
    first kernel. Work on a private stream that is not waited for inside the call escapes it, never the wall clock.
    """

    def __init__(self, library: Library, events: bool = True) -> None:
        """A clock for the GPU of a library; without events where a profiler cannot stand them."""
        self._library = library
        self._events = (library.event(), library.event()) if events else None
        self._lapped = False

    def start(self) -> None:
        """Wait for the device, then start."""
        self.wait()
        self.begin()

    def wait(self) -> None:
        """Until the GPU has nothing to do."""
        self._library.synchronize()

    def begin(self) -> None:
        """Read both clocks, then mark the start on the device."""
        self._lapped = False
        self._cpu = time.process_time_ns()
        self._wall = time.perf_counter_ns()
        if self._events:
            self._events[0].record()

    def lap(self) -> int:
        """Mark the end of the device's work; nanoseconds on the wall since the start."""
        self._lapped = True
        if self._events:
            self._events[1].record()
        return time.perf_counter_ns() - self._wall

    def stop(self) -> Sample:
        """Mark the end on the device and wait for it, unless there was a lap, then read the clocks."""
        if not self._lapped:
            self.lap()
            self.wait()
        wall = time.perf_counter_ns()
        cpu = time.process_time_ns()
        return Sample(wall - self._wall, cpu - self._cpu, self._between())

    def _between(self) -> int | None:
        if self._events is None:
            return None
        self.wait()
        return round(self._library.elapsed_ms(*self._events) * 1e6)


def timed(call: Callable[[], T], clock: Clock) -> tuple[Sample, T]:
    """One call and its result."""
    clock.start()
    result = call()
    return clock.stop(), result


def apart(call: Callable[[], T], clock: Clock) -> tuple[Sample, T, int]:
    """One call, its result, and the nanoseconds it spent compiling or loading compiled code, which the sample leaves out."""
    wall, cpu = SPENT.wall_ns, SPENT.cpu_ns
    sample, result = timed(call, clock)
    wall, cpu = SPENT.wall_ns - wall, SPENT.cpu_ns - cpu
    return replace(sample, wall_ns=max(1, sample.wall_ns - wall), cpu_ns=max(0, sample.cpu_ns - cpu)), result, wall


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The first call, how many followed until they were stable (or not), the time of the last three, and what the first compiled."""

    first: Sample
    calls: int
    stable: bool
    typical_ns: int
    compile_ns: int = 0


def warm_up(call: Callable[[], Any], clock: Clock, seconds: float = WARM_SECONDS) -> WarmUp:
    """Call until three calls take as long as the three before them, or these seconds or 50 calls have passed.

    The first call does not count: one that compiles for 5 seconds says nothing of the next.
    """
    first, _, compiled = apart(call, clock)
    walls: list[int] = []
    while len(walls) < WARM_CALLS and sum(walls) < seconds * 1e9:
        walls.append(timed(call, clock)[0].wall_ns)
        if len(walls) >= 6:
            before, now = median(walls[-6:-3]), median(walls[-3:])
            if abs(now - before) <= STABLE * before:
                return WarmUp(first, len(walls), True, round(now), compiled)
    return WarmUp(first, len(walls), False, round(median(walls[-3:])), compiled)


def prime(call: Callable[[], Any], clock: Clock, at_least_ns: int = PRIME_NS, calls: int = 1) -> None:
    """Untimed calls (at least ``calls``) until an idle processor or GPU runs at full clock again and threads are awake."""
    spent = made = 0
    while spent < at_least_ns or made < calls:
        spent += max(1, timed(call, clock)[0].wall_ns)
        made += 1


def overhead_ns(clock: Clock, calls: int = 200) -> int:
    """What timing itself takes: the median of empty calls."""
    return round(median(timed(lambda: None, clock)[0].wall_ns for _ in range(calls)))
