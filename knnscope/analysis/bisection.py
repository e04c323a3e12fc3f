"""Which size to measure next, where engines cross, and who leads at which sizes: from probes, without measuring anything.

Two engines are told apart at a size where the centre of their ratios is beyond what the luck of so many pairs of processes explains
(``ratio``, docs/decisions/034). First comes a coarse grid, since there may be several crossings; then each change of the leader is bisected.
What is asked next follows from what is known, so an interrupted search goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist, median, stdev

from knnscope.analysis import statistics
from knnscope.analysis.crossover import Axis, CrossoverRun, Probe
from knnscope.analysis.measurement import Measurement
from knnscope.search.grading import RIGHT

SIGMAS = 3
LUCK = math.sqrt(2) * math.log(1.2) / SIGMAS
"""Standard deviation of a pair's log ratio from one process to the next: each may be a fifth faster or slower (decision 005), which is
taken as three standard deviations. Where more is seen, that counts."""
UNKNOWN = math.log(1.5)
"""The same where no round has both engines."""
NORMAL = NormalDist().inv_cdf(0.975)
STEP = 4.0
"""Neighboring sizes of the first grid are at most this factor apart."""
NARROW = 1.7
"""A crossing is bisected until its interval is a factor of this wide."""
WIDEST = 2.0
"""Wider, it is too noisy to tell."""
NEAR = 1.25
"""Beside sizes at which the engines cannot be told apart, no closer ones are tried: the same size is probed again."""
MOST, ELSEWHERE = 8, 2
"""Probes of a size: beside a crossing, and where no crossing shows."""
CONFIRMED = 2
"""Probes of both ends of a crossing at least: one may have had a bad moment."""
LOCAL = 3.0
"""Sizes up to this factor from a crossing tell where it is."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How long A takes in units of B at a size. centre: over the probes. apart: what the centre has to be beyond to tell them apart."""

    centre: float
    apart: float

    @property
    def verdict(self) -> str:
        """Of A: faster, slower, cannot tell."""
        if max(self.centre, 1 / self.centre) < self.apart:
            return "cannot tell"
        return "faster" if self.centre < 1 else "slower"


@dataclass(frozen=True, slots=True)
class Seen:
    """A size. leader: who is faster than all others and right, None where that cannot be told. level: who may be. probes: how many.

    medians: nanoseconds by engine, of right ones. measured: each probe's rows by engine.
    """

    at: int
    leader: str | None
    level: tuple[str, ...]
    probes: int
    medians: dict[str, float]
    measured: tuple[dict[str, Measurement], ...] = ()


@dataclass(frozen=True, slots=True)
class Crossing:
    """Who leads up to ``low`` and who from ``high`` on. at: about where they cross; None where too noisy to tell."""

    before: str
    after: str
    low: int
    high: int
    at: float | None

    @property
    def told(self) -> bool:
        """Whether the interval is narrow enough."""
        return self.high <= WIDEST * self.low


def hot(probe: Probe, over: Axis, fixed: int) -> dict[str, Measurement]:
    """The measured rows of a probe by engine: hot, from host to host, at this size of what does not grow."""
    return {
        row.engine: row
        for row in probe.measurements
        if row.cache == "hot"
        and row.boundary == "host"
        and (row.batch if over == "rows" else row.rows) == fixed
        and row.median_ns is not None
    }


def ratio(pairs: Sequence[tuple[Measurement, Measurement]]) -> Ratio:
    """A pair of rows for each probe, both of the same size."""
    found = [_of_pair(_frozen(a), _frozen(b)) or (math.log(a.took_ns / b.took_ns), UNKNOWN) for a, b in pairs]
    logs, inside = [log for log, _ in found], [error for _, error in found]
    luck = max(LUCK, stdev(logs)) if len(logs) > 1 else LUCK
    spread = math.sqrt((luck**2 + sum(s * s for s in inside) / len(inside)) / len(logs))
    return Ratio(math.exp(statistics.centre([[x] for x in logs])), math.exp(SIGMAS * spread))


Samples = tuple[tuple[int, ...], ...]


def _frozen(row: Measurement) -> Samples:
    return tuple(map(tuple, row.samples_ns))


@lru_cache(maxsize=1 << 14)
def _of_pair(a: Samples, b: Samples) -> tuple[float, float] | None:
    """The log ratio of two rows and its standard error within their processes; None where no round has both."""
    try:
        c = statistics.compare(a, b)
    except ValueError:
        return None
    return math.log(c.ratio), (math.log(c.high) - math.log(c.low)) / (2 * NORMAL)


def seen(probes: Iterable[Probe], over: Axis, fixed: int) -> list[Seen]:
    """Every size that was probed, the smallest first."""
    by_size: dict[int, list[dict[str, Measurement]]] = {}
    for probe in probes:
        if any((row.batch if over == "rows" else row.rows) == fixed for row in probe.measurements):
            by_size.setdefault(probe.at, []).append(hot(probe, over, fixed))
    return [_seen(at, some) for at, some in sorted(by_size.items())]


def _seen(at: int, probes: Sequence[dict[str, Measurement]]) -> Seen:
    engines = dict.fromkeys(name for probe in probes for name in probe)
    rows = {e: [probe[e] for probe in probes if e in probe] for e in engines}
    right = {e: some for e, some in rows.items() if all(r.grade in RIGHT for r in some)}
    medians = {e: median(r.took_ns for r in some) for e, some in right.items()}
    if not medians:
        return Seen(at, None, (), len(probes), {}, tuple(probes))
    best = min(medians, key=lambda e: medians[e])
    level = [best]
    for other in right:
        pairs = [(p[other], p[best]) for p in probes if other in p and best in p]
        if other != best and (not pairs or ratio(pairs).verdict != "slower"):
            level.append(other)
    leader = best if len(level) == 1 else None
    return Seen(at, leader, tuple(sorted(level)), len(probes), medians, tuple(probes))


def following(run: CrossoverRun) -> tuple[int, int] | None:
    """The size to probe next, and for which of the fixed sizes; None where nothing more would be learnt."""
    question = run.question
    for fixed in question.fixed:
        size = wanted(seen(run.probes, question.over, fixed), question.low, question.high)
        if size is not None:
            return size, fixed
    return None


def grid(low: int, high: int) -> list[int]:
    """Sizes from low to high, both of them, evenly spread on a log scale, at most ``STEP`` apart."""
    steps = max(1, math.ceil(math.log(high / low) / math.log(STEP) - 1e-9)) if high > low else 0
    sizes = [round(low * (high / low) ** (i / steps)) for i in range(steps + 1)] if steps else [low]
    return sorted(set(sizes))


def wanted(found: Sequence[Seen], low: int, high: int) -> int | None:
    """The size to probe next; None where nothing more would be learnt."""
    known = {s.at for s in found}
    for size in grid(low, high):
        if size not in known:
            return size
    for before, between, after in changes(found):
        if (inner := _inside(before, between, after)) is not None:
            return inner
    return next((s.at for s in found if s.leader is None and s.level and s.probes < ELSEWHERE), None)


def changes(found: Sequence[Seen]) -> list[tuple[Seen, list[Seen], Seen]]:
    """Neighboring sizes with different leaders, and the sizes between them at which none can be told."""
    changed = []
    before: Seen | None = None
    between: list[Seen] = []
    for size in found:
        if size.leader is None:
            between.append(size)
            continue
        if before is not None and before.leader != size.leader:
            changed.append(_pooled(before, between, size))
        before, between = size, []
    return changed


def _pooled(before: Seen, between: Sequence[Seen], after: Seen) -> tuple[Seen, list[Seen], Seen]:
    """The bracket, narrowed by all probes in it together.

    Of two engines that cross between two sizes, one gains on the other from size to size: at a size it leads by at least as much as, on
    the average, from there to a size nearer to the crossing. So those probes count as further ones of that size.
    """
    a, b = before.leader, after.leader
    assert a is not None
    assert b is not None
    low = _furthest(between, a, b)
    high = _furthest(between[::-1], b, a)
    up, down = -1 if low is None else between.index(low), len(between) if high is None else between.index(high)
    if up >= down:  # probes that contradict each other
        return before, list(between), after
    inner = list(between[up + 1 : down])
    return (
        before if low is None else replace(low, leader=a, level=(a,)),
        inner,
        after if high is None else replace(high, leader=b, level=(b,)),
    )


def _furthest(sizes: Sequence[Seen], leader: str, other: str) -> Seen | None:
    """The last of these sizes, towards the crossing, at which one is faster by the probes of it and some sizes after it."""
    for start in range(len(sizes) - 1, -1, -1):
        pairs: list[tuple[Measurement, Measurement]] = []
        for size in sizes[start:]:
            if leader not in size.medians or other not in size.medians:
                break
            pairs += [(p[leader], p[other]) for p in size.measured if leader in p and other in p]
            if pairs and ratio(pairs).verdict == "faster":
                return sizes[start]
    return None


def _inside(before: Seen, between: Sequence[Seen], after: Seen) -> int | None:
    """The size to probe in a bracket: the middle of the wider gap beside what cannot be told, or one of those again."""
    width = after.at / before.at
    if width > NARROW:
        inner = [s.at for s in between] or [after.at]
        gaps = [(before.at, inner[0])] if not between else [(before.at, inner[0]), (inner[-1], after.at)]
        low, high = max(gaps, key=lambda gap: gap[1] / gap[0])
        middle = round(math.sqrt(low * high))
        if high / low > (NARROW if not between else NEAR) and low < middle < high:
            return middle
    if width > WIDEST:
        again = [s for s in (between[0], between[-1]) if s.probes < MOST] if between else []
        return min(again, key=lambda s: s.probes).at if again else None
    return next((s.at for s in (before, after) if s.probes < CONFIRMED), None)


def crossings(probes: Sequence[Probe], over: Axis, fixed: int) -> list[Crossing]:
    """Every change of the leader, the smallest size first."""
    found = []
    for before, _, after in changes(seen(probes, over, fixed)):
        assert before.leader is not None
        assert after.leader is not None
        plain = Crossing(before.leader, after.leader, before.at, after.at, None)
        at = _about(probes, over, fixed, plain) if plain.told else None
        found.append(Crossing(plain.before, plain.after, plain.low, plain.high, at))
    return found


def _about(probes: Sequence[Probe], over: Axis, fixed: int, crossing: Crossing) -> float:
    """Where the log ratio of the two is 0: a line through the probes nearby, over the log of the size, by least squares."""
    middle = math.sqrt(crossing.low * crossing.high)
    points = []
    for probe in probes:
        found = hot(probe, over, fixed)
        near = max(probe.at / middle, middle / probe.at) <= LOCAL
        if near and crossing.before in found and crossing.after in found:
            pair = found[crossing.before], found[crossing.after]
            points.append((math.log(probe.at / middle), math.log(ratio([pair]).centre)))
    if not points:  # each has figures on its side alone
        return middle
    mean_x, mean_y = (sum(p[i] for p in points) / len(points) for i in (0, 1))
    across = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / across if across else 0.0
    at = middle * math.exp(mean_x - mean_y / slope) if slope > 0 else middle
    return at if crossing.low <= at <= crossing.high else middle  # it is a step, where a line says nothing


@dataclass(frozen=True, slots=True)
class Range:
    """Sizes at which an engine is the fastest right one, as far as they were probed; engine None: these cannot be told apart."""

    engine: str | None
    level: tuple[str, ...]
    low: int
    high: int


def ranges(found: Sequence[Seen]) -> list[Range]:
    """Neighboring sizes with the same leader, together."""
    joined: list[Range] = []
    for size in found:
        last = joined[-1] if joined else None
        if last is not None and last.engine == size.leader and (size.leader or last.level == size.level):
            joined[-1] = Range(last.engine, last.level, last.low, size.at)
        else:
            joined.append(Range(size.leader, size.level, size.at, size.at))
    return joined
