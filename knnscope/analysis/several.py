"""How much longer each row takes in one run than in several earlier ones. Pure arithmetic on times.

Of two runs alone ``shifts`` has to guess how far a row wanders from run to run, from how far the unchanged engines depart from each other.
Several earlier runs show it for this very row. In each run a row's level is its time beside the unchanged engines, as in ``shifts``; the later
run's level is held against those of the earlier runs by Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

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
USUAL_QUICK = 0.1
"""As ``USUAL``, of runs with one process an engine: two processes may differ by a fifth each way (docs/decisions/005)."""
Timed = tuple[Floats, int]
"""The logarithm of each round's median, nan where there is none, and rounds in a row that one process answered."""
Kind = tuple[str, str, bool]
"""Device, cache, quick: rows that wander from run to run alike."""


@dataclass(frozen=True)
class Line(Keyed):
    """A row of the later run. earlier: its times in those earlier runs that it may be held against, by number. quick: one process an engine."""

    earlier: Mapping[int, Timed]
    later: Timed
    quick: bool = False

    @property
    def kind(self) -> Kind:
        """What it is pooled with."""
        return self.device, self.key[4], self.quick

    def case(self, runs: Sequence[int]) -> Case:
        """Its times in these earlier runs and in the later one."""
        some = [*(self.earlier[run] for run in runs), self.later]
        return Case(self.key, self.device, tuple(times for times, _ in some), tuple(size for _, size in some))


@dataclass(frozen=True, slots=True)
class Spread:
    """Of a row's levels in the earlier runs: where they lie, their variance, and how many observations that is worth."""

    centre: float
    variance: float
    freedom: int


@dataclass(frozen=True, slots=True)
class _Level:
    """A row beside its controls, as a logarithm. spread: of these earlier runs. now: in the later run. error: the standard error of that."""

    line: Line
    runs: tuple[int, ...]
    spread: Spread
    now: float
    error: float
    processes: int

    @property
    def centre(self) -> float:
        """How far it moved."""
        return self.now - self.spread.centre


def judge(lines: Sequence[Line], unchanged: Collection[str]) -> dict[Key, Shift]:
    """Judge every row.

    Args:
        lines: rows of the later run, each key once.
        unchanged: engines whose libraries are the same in the later run as in all that their rows are held against.
    """
    return shifts.twice(lambda controls: _look(lines, controls), unchanged)


def common(lines: Sequence[Line], unchanged: Collection[str]) -> list[Common]:
    """What the unchanged engines of each group share, where there are any: the later run over the median of the earlier ones."""
    moved: dict[Group, dict[str, float]] = {}
    for line in lines:
        if line.engine in unchanged:
            before = median(float(np.nanmedian(times)) for times, _ in line.earlier.values())
            moved.setdefault(line.group, {})[line.engine] = float(np.nanmedian(line.later[0])) - before
    return [
        Common(group, median(some.values()), min(some.values()), max(some.values()), tuple(some))
        for group, some in moved.items()
    ]


def spread(values: Sequence[float], quick: bool = False) -> Spread:
    """Of the levels in the earlier runs: their median, and the mean square around it, of wild runs as ``WILD`` says.

    How far is wild follows from the median of the distances, drawn towards what is usual.

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("an earlier run was expected")
    centre, freedom = median(values), len(values) - 1
    far = [abs(value - centre) for value in values]
    robust = (1.4826 * median(far)) ** 2  # of a normal distribution
    most = WILD * math.sqrt((WEIGHT * _guess(quick) ** 2 + freedom * robust) / (WEIGHT + freedom))
    return Spread(centre, sum(min(one, most) ** 2 for one in far) / max(1, freedom), freedom)


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
        found[line.key] = Shift("few" if runs else "no control")
        if runs and (level := _level(line, controls, runs)):
            levels.append(level)
    usual = _usual(levels)
    calm = {level.line.key: _moderated(level, usual[level.line.kind, level.line.engine]) for level in levels}
    restless = _restless(levels, calm, unchanged)
    told = [level for level in levels if _tellable(level)]
    chance = LEVEL / max(1, len(told))
    for level in levels:
        variance, freedom = calm[level.line.key]
        error = _error(level, variance, restless[level.line.kind, level.line.engine])
        found[level.line.key] = _told(level, error, freedom, chance)
    return found


def _runs(line: Line, controls: Sequence[Line]) -> list[int]:
    """The earlier runs that the row is held against: those that its two best known controls were timed in as well."""
    best = sorted(controls, key=lambda c: (-len(line.earlier.keys() & c.earlier.keys()), c.engine))[:FEWEST_CONTROLS]
    if len(best) < FEWEST_CONTROLS:
        return []
    return sorted(set(line.earlier).intersection(*(c.earlier for c in best)))


def _level(line: Line, controls: Sequence[Line], runs: Sequence[int]) -> _Level | None:
    """None where a run has no round that the row and its controls share."""
    own, beside = line.case(runs), [c.case(runs) for c in controls if c.earlier.keys() >= set(runs)]
    each = [shifts.relative(own, beside, place) for place in range(len(runs) + 1)]
    *before, now = [median(v for group in some for v in group) if some else math.nan for some in each]
    kept = [(run, value) for run, value in zip(runs, before, strict=True) if not math.isnan(value)]
    if not kept or math.isnan(now):
        return None
    error = 0.0 if line.quick else _standard_error(each[-1])
    held = tuple(run for run, _ in kept)
    return _Level(line, held, spread([value for _, value in kept], line.quick), now, error, len(each[-1]))


def _standard_error(groups: Groups) -> float:
    """About that of a run's median, by the spread of its processes, outliers apart."""
    middles = [median(group) for group in groups]
    middle = median(middles)
    sigma = 1.4826 * median(abs(m - middle) for m in middles)  # of a normal distribution
    return math.sqrt(math.pi / 2 / len(groups)) * sigma


def _usual(levels: Sequence[_Level]) -> dict[tuple[Kind, str], float]:
    """For each kind and engine, the variance between runs that the rows of the other engines have; what is usual counts as a few more."""
    sums: dict[tuple[Kind, str], tuple[float, int]] = {}
    for level in levels:
        some = level.spread
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
    own = level.spread
    weight = min(POOLED, max(WEIGHT, len(level.runs)))
    freedom = weight + own.freedom
    return (weight * usual + own.freedom * own.variance) / freedom, freedom


def _restless(
    levels: Sequence[_Level], calm: Mapping[Key, tuple[float, int]], unchanged: Collection[str]
) -> dict[tuple[Kind, str], float]:
    """How many times as large as usual the variance of the later run is, at least once; for each engine, by how far the others moved.

    Only unchanged engines tell. It is drawn towards one as a spread is towards the usual.
    """
    moved: dict[Kind, dict[str, list[float]]] = {}
    for level in levels:
        of_engine = moved.setdefault(level.line.kind, {}).setdefault(level.line.engine, [])
        of_engine.append((level.centre / _error(level, calm[level.line.key][0], 1.0)) ** 2)
    found = {}
    for kind, engines in moved.items():
        for engine in engines:
            others = [fmean(some) for name, some in engines.items() if name != engine and name in unchanged]
            found[kind, engine] = max(1.0, (POOLED + sum(others)) / (POOLED + len(others)))
    return found


def _error(level: _Level, variance: float, restless: float) -> float:
    """Of the move: of the earlier runs' median, and of the later run, which varies as runs do, or as its processes say if that is more."""
    runs = len(level.runs)
    middle = (math.pi / 2 if runs > 2 else 1) / runs  # of normal values; of two the median is the mean
    return math.sqrt(variance * middle + max(variance * restless, level.error**2))


def _tellable(level: _Level) -> bool:
    """First calls and cold caches have too few processes, and would cost the others their share of the level."""
    return level.line.key[4] == "hot" and (level.line.quick or level.processes >= FEWEST_PROCESSES)


def _told(level: _Level, error: float, freedom: int, chance: float) -> Shift:
    """Whether the later run lies above the earlier ones, or below, by what matters and by more than chance."""
    least = math.log(QUICK_MATTERS) / 2 if level.line.quick else math.log(MATTERS)
    p = unpaired.student_p(abs(level.centre) / error, freedom)
    tells = max(least, error * unpaired.student(chance, freedom))
    told: Told = "same" if tells <= max(TELLS, least) else "noisy"
    if not _tellable(level):
        told = "few"
    elif p <= chance and abs(level.centre) >= least:
        told = "worse" if level.centre > 0 else "better"
    half = error * unpaired.student(0.025, freedom)
    few = (1, 1) if level.line.quick else (level.processes, level.processes)
    return Shift(told, level.centre, level.centre - half, level.centre + half, tells, p, few, level.runs)
