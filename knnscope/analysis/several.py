"""How much longer each row takes in a later run, or in several, than in earlier ones. Pure arithmetic on times.

Of two runs alone ``shifts`` has to guess how far a row wanders from run to run, from how far the unchanged engines depart from each other.
Several runs show it for this very row. In each run a row's level is its time beside the unchanged engines, as in ``shifts``; the middle of the
later runs' levels is held against that of the earlier ones by Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from knnscope.analysis import shifts, unpaired
from knnscope.analysis.shifts import FEWEST_CONTROLS, TELLS, Case, Common, Floats, Group, Key, Keyed, Shift, Told
from knnscope.analysis.statistics import LEVEL
from knnscope.analysis.unpaired import USUAL, WEIGHT, Groups
from knnscope.analysis.verdict import MATTERS, QUICK_MATTERS

FEWEST_PROCESSES = 3
"""With fewer the noise inside of a run is not known, and a row of it has no level."""
WILD = 4.0
"""A run farther from the middle one than so many standard deviations counts as if it lay there: one wild run does not blind what comes after."""
POOLED = 8
"""What the other rows say counts as much as so many runs of the row itself; of their spread, not more than there are earlier runs, and not less
than ``WEIGHT``. By simulation: docs/decisions/049."""
NEAR, COST = 1.5, 1.06
"""A later run farther from the middle one than NEAR standard deviations counts as if it lay there, and then their mean is taken (Huber 1964). For
that the variance of a mean of normal values is COST times as large, of 3 to 6 runs."""
USUAL_QUICK = 0.1
"""As ``USUAL``, of runs with one process an engine: two processes may differ by a fifth each way (docs/decisions/005)."""
Timed = tuple[Floats, int]
"""The logarithm of each round's median, nan where there is none, and rounds in a row that one process answered."""
Runs = tuple[Sequence[int], Sequence[int]]
"""Numbers of earlier and of later runs."""
Kind = tuple[str, str, bool]
"""Device, cache, quick: rows that wander from run to run alike."""


@dataclass(frozen=True)
class Line(Keyed):
    """A row of the later runs. quick: one process an engine.

    earlier: its times in those earlier runs that it may be held against, by number; later: in the later runs, by number.
    """

    earlier: Mapping[int, Timed]
    later: Mapping[int, Timed]
    quick: bool = False

    @property
    def kind(self) -> Kind:
        """What it is pooled with."""
        return self.device, self.key[4], self.quick

    def case(self, runs: Runs) -> Case:
        """Its times in these runs, earlier ones first."""
        some = [*(self.earlier[run] for run in runs[0]), *(self.later[run] for run in runs[1])]
        return Case(self.key, self.device, tuple(times for times, _ in some), tuple(size for _, size in some))


@dataclass(frozen=True, slots=True)
class Spread:
    """Of a row's levels in some runs: where they lie, their variance, and how many observations that is worth."""

    centre: float
    variance: float
    freedom: int


@dataclass(frozen=True, slots=True)
class _Level:
    """A row beside its controls, as a logarithm. before, now: the levels in earlier and in later runs.

    error: the standard error of one of the later by its processes. processes: of the later run that has the fewest.
    """

    line: Line
    runs: tuple[int, ...]
    before: Spread
    now: tuple[float, ...]
    error: float
    processes: int

    @property
    def own(self) -> Spread:
        """The variance of both sides."""
        later = spread(self.now, self.line.quick)
        freedom = self.before.freedom + later.freedom
        total = self.before.freedom * self.before.variance + later.freedom * later.variance
        return Spread(self.before.centre, total / max(1, freedom), freedom)

    def centre(self, variance: float) -> float:
        """How far it moved, if a run varies so."""
        return middle(self.now, math.sqrt(variance), self.before.centre) - self.before.centre


@dataclass(frozen=True, slots=True)
class _LaterRuns:
    """What is known of the later runs, for a kind of rows beside one engine. restless: ``_restless``. alike: ``_alike``."""

    restless: float = 1.0
    alike: float = 0.0


def judge(lines: Sequence[Line], unchanged: Collection[str]) -> dict[Key, Shift]:
    """Judge every row.

    Args:
        lines: rows of the later runs, each key once.
        unchanged: engines whose libraries are the same in the later runs as in all that their rows are held against.
    """
    return shifts.twice(lambda controls: _look(lines, controls), unchanged)


def common(lines: Sequence[Line], unchanged: Collection[str]) -> list[Common]:
    """What the unchanged engines of each group share, where there are any: the median of the later runs over that of the earlier ones."""
    moved: dict[Group, dict[str, float]] = {}
    for line in lines:
        if line.engine in unchanged:
            before, now = (
                median(shifts.usual(times) for times, _ in some.values()) for some in (line.earlier, line.later)
            )
            moved.setdefault(line.group, {})[line.engine] = now - before
    return [
        Common(group, median(some.values()), min(some.values()), max(some.values()), tuple(some))
        for group, some in moved.items()
    ]


def spread(values: Sequence[float], quick: bool = False) -> Spread:
    """Of the levels in some runs: their median, and the mean square around it, of wild runs as ``WILD`` says.

    How far is wild follows from the median of the distances, drawn towards what is usual.

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("a run was expected")
    centre, freedom = median(values), len(values) - 1
    far = [abs(value - centre) for value in values]
    robust = (1.4826 * median(far)) ** 2  # of a normal distribution
    most = WILD * math.sqrt((WEIGHT * _guess(quick) ** 2 + freedom * robust) / (WEIGHT + freedom))
    return Spread(centre, sum(min(one, most) ** 2 for one in far) / max(1, freedom), freedom)


def middle(values: Sequence[float], sigma: float, before: float) -> float:
    """Of the levels in the later runs: their mean, of those that are far off as ``NEAR`` says.

    Of two none is the middle one: the one nearer to the level before holds the other within twice that distance.

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("a run was expected")
    most = NEAR * sigma
    if len(values) == 2:
        near, far = sorted(values, key=lambda value: (abs(value - before), value))
        return near + min(2 * most, max(-2 * most, far - near)) / 2
    centre = median(values)
    return fmean(min(centre + most, max(centre - most, value)) for value in values)


def _guess(quick: bool) -> float:
    return USUAL_QUICK if quick else USUAL


def _look(lines: Sequence[Line], unchanged: Collection[str]) -> dict[Key, Shift]:
    groups: dict[Group, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.group, []).append(line)
    found: dict[Key, Shift] = {}
    levels = []
    for line in lines:
        controls = [c for c in groups[line.group] if c.engine in unchanged and c.engine != line.engine]
        runs = _runs(line, controls)
        found[line.key] = Shift("few" if all(runs) else "no control")
        if all(runs) and (level := _level(line, controls, runs)):
            levels.append(level)
    usual = _usual(levels)
    calm = {level.line.key: _moderated(level, usual[level.line.kind, level.line.engine]) for level in levels}
    alike = _alike(levels, calm)
    restless = _restless(levels, calm, alike, unchanged)
    told = [level for level in levels if _tellable(level)]
    chance = LEVEL / max(1, len(told))
    for level in levels:
        variance, freedom = calm[level.line.key]
        about = _LaterRuns(restless[level.line.kind, level.line.engine], alike[level.line.kind])
        found[level.line.key] = _told(level, variance, _error(level, variance, about), freedom, chance)
    return found


def _runs(line: Line, controls: Sequence[Line]) -> Runs:
    """The runs that the row is judged by: those that its two best known controls were timed in as well."""

    def known(control: Line) -> tuple[int, str]:
        return -len(line.earlier.keys() & control.earlier) - len(line.later.keys() & control.later), control.engine

    best = sorted(controls, key=known)[:FEWEST_CONTROLS]
    if len(best) < FEWEST_CONTROLS:
        return (), ()
    return (
        sorted(set(line.earlier).intersection(*(c.earlier for c in best))),
        sorted(set(line.later).intersection(*(c.later for c in best))),
    )


def _level(line: Line, controls: Sequence[Line], runs: Runs) -> _Level | None:
    """None where no earlier run, or no later one, has a round that the row and its controls share."""
    held, judged = runs
    beside = [c.case(runs) for c in controls if c.earlier.keys() >= set(held) and c.later.keys() >= set(judged)]
    own = line.case(runs)
    each = [shifts.relative(own, beside, place) for place in range(len(held) + len(judged))]
    before = {run: _middle(some) for run, some in zip(held, each, strict=False) if some}
    later = [some for some in each[len(held) :] if some]
    if not before or not later:
        return None
    error = 0.0 if line.quick else math.sqrt(fmean(_standard_error(some) ** 2 for some in later))
    now = tuple(_middle(some) for some in later)
    return _Level(line, tuple(before), spread([*before.values()], line.quick), now, error, min(map(len, later)))


def _middle(groups: Groups) -> float:
    return median(v for group in groups for v in group)


def _standard_error(groups: Groups) -> float:
    """About that of a run's median, by the spread of its processes, outliers apart."""
    middles = [median(group) for group in groups]
    centre = median(middles)
    sigma = 1.4826 * median(abs(m - centre) for m in middles)  # of a normal distribution
    return math.sqrt(math.pi / 2 / len(groups)) * sigma


def _usual(levels: Sequence[_Level]) -> dict[tuple[Kind, str], float]:
    """For each kind and engine, the variance between runs that the rows of the other engines have; what is usual counts as a few more."""
    sums: dict[tuple[Kind, str], tuple[float, int]] = {}
    for level in levels:
        some = level.own
        for name in ("", level.line.engine):
            total, freedom = sums.get((level.line.kind, name), (0.0, 0))
            sums[level.line.kind, name] = total + some.freedom * some.variance, freedom + some.freedom
    found = {}
    for kind, engine in sums:
        (every, count), (own, less) = sums[kind, ""], sums[kind, engine]
        found[kind, engine] = (WEIGHT * _guess(kind[2]) ** 2 + max(0.0, every - own)) / (WEIGHT + count - less)
    return found


def _moderated(level: _Level, usual: float) -> tuple[float, int]:
    """A row's variance between runs, drawn towards what is usual, and its degrees of freedom: Smyth 2004, as in ``unpaired.margin``."""
    own = level.own
    weight = min(POOLED, max(WEIGHT, len(level.runs) + len(level.now) - 1))
    freedom = weight + own.freedom
    return (weight * usual + own.freedom * own.variance) / freedom, freedom


def _alike(levels: Sequence[_Level], calm: Mapping[Key, tuple[float, int]]) -> dict[Kind, float]:
    """Share of the variance between runs that the later ones have in common, as they were measured one after the other; for each kind.

    Where they differ from each other by less than runs do, they tell less than as many runs. Drawn towards none.
    """
    apart: dict[Kind, dict[str, list[tuple[float, int]]]] = {}
    for level in levels:
        some = spread(level.now, level.line.quick)
        of_engine = apart.setdefault(level.line.kind, {}).setdefault(level.line.engine, [])
        of_engine.append((some.freedom * some.variance / calm[level.line.key][0], some.freedom))
    found = {}
    for kind, engines in apart.items():
        seen, expected = (sum(fmean(row[i] for row in some) for some in engines.values()) for i in (0, 1))
        found[kind] = max(0.0, 1 - (POOLED + seen) / (POOLED + expected))
    return found


def _restless(
    levels: Sequence[_Level],
    calm: Mapping[Key, tuple[float, int]],
    alike: Mapping[Kind, float],
    unchanged: Collection[str],
) -> dict[tuple[Kind, str], float]:
    """How many times as large as usual the variance of the later runs is, at least once; for each engine, by how far the others moved.

    Only unchanged engines tell. It is drawn towards one as a spread is towards the usual.
    """
    moved: dict[Kind, dict[str, list[float]]] = {}
    for level in levels:
        variance = calm[level.line.key][0]
        error = _error(level, variance, _LaterRuns(alike=alike[level.line.kind]))
        of_engine = moved.setdefault(level.line.kind, {}).setdefault(level.line.engine, [])
        of_engine.append((level.centre(variance) / error) ** 2)
    found = {}
    for kind, engines in moved.items():
        for engine in engines:
            others = [fmean(some) for name, some in engines.items() if name != engine and name in unchanged]
            found[kind, engine] = max(1.0, (POOLED + sum(others)) / (POOLED + len(others)))
    return found


def _error(level: _Level, variance: float, about: _LaterRuns) -> float:
    """Of the move: of the earlier runs' median, and of the later runs' middle, which vary as runs do, or as their processes say if that is more."""
    runs, later = len(level.runs), len(level.now)
    of_median = (math.pi / 2 if runs > 2 else 1) / runs  # of normal values; of two the median is the mean
    of_mean = (COST if later > 2 else 1) / later
    of_runs = variance * about.restless * (about.alike + (1 - about.alike) * of_mean)
    return math.sqrt(variance * of_median + max(of_runs, level.error**2 * of_mean))


def _tellable(level: _Level) -> bool:
    """First calls and cold caches have too few processes, and would cost the others their share of the level."""
    return level.line.key[4] == "hot" and (level.line.quick or level.processes >= FEWEST_PROCESSES)


def _told(level: _Level, variance: float, error: float, freedom: int, chance: float) -> Shift:
    """Whether the later runs lie above the earlier ones, or below, by what matters and by more than chance."""
    least = math.log(QUICK_MATTERS) / 2 if level.line.quick else math.log(MATTERS)
    centre = level.centre(variance)
    p = unpaired.student_p(abs(centre) / error, freedom)
    tells = max(least, error * unpaired.student(chance, freedom))
    told: Told = "same" if tells <= max(TELLS, least) else "noisy"
    if not _tellable(level):
        told = "few"
    elif p <= chance and abs(centre) >= least:
        told = "worse" if centre > 0 else "better"
    half = error * unpaired.student(0.025, freedom)
    few = (1, 1) if level.line.quick else (level.processes, level.processes)
    return Shift(told, centre, centre - half, centre + half, tells, p, few, level.runs, len(level.now))
