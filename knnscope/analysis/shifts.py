"""How much longer each case takes in one run than in another, once what all engines share is taken out. Pure arithmetic on times.

Two runs are not interleaved: the machine may have been slower, or busier, in one of them, for all that it measured. Engines that did not
change tell by how much, round by round, as all engines of a run take turns. What is left of an engine's time beside theirs is compared
between the runs. How far those engines depart from each other says how far one may depart without having changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Literal

import numpy as np
import numpy.typing as npt

from knnscope.analysis import unpaired
from knnscope.analysis.statistics import LEVEL, QUICK_FEWEST
from knnscope.analysis.unpaired import Groups
from knnscope.analysis.verdict import MATTERS, QUICK_MATTERS

FEWEST_CONTROLS = 2
"""Unchanged engines beside the one that is judged: with a single one it cannot be told which of the two changed."""
TELLS = math.log(1.2)
"""Where not even a change of a fifth would be told, a row is too noisy; ``bench`` calls a row noisy by the same measure."""
Told = Literal["worse", "better", "same", "noisy", "few", "no control"]
Floats = npt.NDArray[np.float64]
Key = tuple[str, int, int, str, str]
"""Engine, k, batch, boundary, cache."""
Group = tuple[str, int, int, str, str]
"""Device, k, batch, boundary, cache: what a machine's state changes together."""


@dataclass(frozen=True)
class Keyed:
    """A row of a run, by its key, and where it was computed."""

    key: Key
    device: str

    @property
    def engine(self) -> str:
        """Its name."""
        return self.key[0]

    @property
    def group(self) -> Group:
        """Where its controls are looked for."""
        return self.device, *self.key[1:]


@dataclass(frozen=True)
class Case(Keyed):
    """A row of all runs that are compared: two, or ``several``.

    times: of each run, later ones last, the logarithm of each round's median; nan where it took no part. together: rounds in a row
    that one process answered, of each run. quick: one process an engine.
    """

    times: tuple[Floats, ...]
    together: tuple[int, ...]
    quick: bool = False

    @cached_property
    def base(self) -> float:
        """Its usual time, of all runs alike."""
        return sum(usual(times) for times in self.times) / len(self.times)


@dataclass(frozen=True, slots=True)
class Shift:
    """What came of a case. All but p are logarithms of times after over before.

    centre: what is left after what the controls share. low, high: it lies between, with 95%, if the engine departs from the controls by
    no more than ``margin`` without having changed. tells: from what on a change would have been told. p: of the direction that it went.
    runs: numbers of the earlier runs that it was held against, where there are several. later: how many later runs it was judged by.
    """

    told: Told
    centre: float = 0.0
    low: float = 0.0
    high: float = 0.0
    tells: float = math.inf
    p: float = 1.0
    processes: tuple[int, int] = (0, 0)
    runs: tuple[int, ...] = ()
    later: int = 1


@dataclass(frozen=True, slots=True)
class Common:
    """What the unchanged engines of a group share: the logarithm of their times after over before, the least, and the largest."""

    group: Group
    centre: float
    low: float
    high: float
    engines: tuple[str, ...]


def shifts(cases: Sequence[Case], unchanged: Collection[str]) -> dict[Key, Shift]:
    """Judge every case.

    Args:
        cases: rows of both runs, each key once.
        unchanged: engines whose libraries are the same.
    """
    return twice(lambda controls: _look(cases, controls), unchanged)


def twice(look: Callable[[Collection[str]], dict[Key, Shift]], unchanged: Collection[str]) -> dict[Key, Shift]:
    """An engine that is found to have changed is no control for the others: a second look leaves it out."""
    first = look(unchanged)
    moved = {key[0] for key, shift in first.items() if shift.told in ("worse", "better")}
    if not moved:
        return first
    second = look(set(unchanged) - moved)
    keep = ("worse", "better")
    return {
        key: first[key] if first[key].told in keep or second[key].told == "no control" else second[key] for key in first
    }


def common(cases: Sequence[Case], unchanged: Collection[str]) -> list[Common]:
    """What the unchanged engines of each group share, where there are any."""
    found = []
    for group, members in _groups(cases).items():
        controls = [case for case in members if case.engine in unchanged]
        moved = [unpaired.shift(_processes(c, 0, c.times[0]), _processes(c, 1, c.times[1])) for c in controls]
        if moved:
            found.append(Common(group, median(moved), min(moved), max(moved), tuple(c.engine for c in controls)))
    return found


def _groups(cases: Sequence[Case]) -> dict[Group, list[Case]]:
    found: dict[Group, list[Case]] = {}
    for case in cases:
        found.setdefault(case.group, []).append(case)
    return found


def _look(cases: Sequence[Case], unchanged: Collection[str]) -> dict[Key, Shift]:
    groups = _groups(cases)
    controls = {
        case.key: [c for c in groups[case.group] if c.engine in unchanged and c.engine != case.engine] for case in cases
    }
    judged = [case for case in cases if len(controls[case.key]) >= FEWEST_CONTROLS]
    samples = {case.key: _beside(case, controls[case.key]) for case in judged if not case.quick}
    samples = {key: (a, b) for key, (a, b) in samples.items() if a and b}
    level = _level([unpaired.fewest_p(len(a), len(b)) for a, b in samples.values()])
    engines = len({key[0] for key in samples})
    margins: dict[tuple[str, str, str], float] = {}
    found = {}
    for case in cases:
        if len(controls[case.key]) < FEWEST_CONTROLS:
            found[case.key] = Shift("no control")
        elif case.quick:
            found[case.key] = _quick(case, controls[case.key])
        elif case.key not in samples:
            found[case.key] = Shift("few")
        else:
            where = case.engine, case.device, case.key[4]
            if where not in margins:
                margins[where] = _margin(case, controls, LEVEL / 2 / engines)
            found[case.key] = _judged(*samples[case.key], margins[where], level)
    return found


def _level(fewest: Sequence[float]) -> float:
    """Level of one test of one direction, so that all together err as seldom as one.

    Rows that have too few processes for any verdict do not count: Tarone 1990, Biometrics 46(2).
    """
    for many in range(1, len(fewest) + 1):
        if sum(p <= LEVEL / many for p in fewest) <= many:
            return LEVEL / many
    return LEVEL


def _beside(case: Case, controls: Sequence[Case]) -> tuple[Groups, Groups]:
    """The same of both runs."""
    return relative(case, controls, 0), relative(case, controls, 1)


def relative(case: Case, controls: Sequence[Case], run: int) -> Groups:
    """A case's times in one run in units of its controls', by process."""
    own = case.times[run]
    others = np.full((len(controls), len(own)), np.nan)
    for line, control in zip(others, controls, strict=True):
        theirs = control.times[run][: len(own)] - control.base
        line[: len(theirs)] = theirs
    return _processes(case, run, own - _middles(others))


def usual(times: Floats) -> float:
    """The median of what is not nan, nan where all is: nanmedian's, which takes ten times as long for so few."""
    known = times[~np.isnan(times)].tolist()
    return median(known) if known else math.nan


def _middles(values: Floats) -> Floats:
    """The median of each column without nan, which is what nanmedian gives, and takes it ten times as long."""
    ordered = np.sort(values, axis=0)  # nan comes last
    count = np.maximum((~np.isnan(values)).sum(axis=0), 1)
    column = np.arange(values.shape[1])
    found: Floats = (ordered[(count - 1) // 2, column] + ordered[count // 2, column]) / 2
    return found


def _processes(case: Case, run: int, values: Floats) -> Groups:
    """The values of each process, of those that have any."""
    size = case.together[run]
    pieces = (values[i : i + size] for i in range(0, len(values), size))
    return [kept for piece in pieces if (kept := piece[~np.isnan(piece)].tolist())]


def _margin(case: Case, controls: dict[Key, list[Case]], chance: float) -> float:
    """How far this engine may depart from the others without having changed: as far as those do from each other, in all its groups."""
    departures, engines = [], set()
    for key, beside in controls.items():
        if (key[0], key[4]) == (case.engine, case.key[4]):
            for control in beside:
                a, b = _beside(control, [c for c in beside if c is not control])
                if a and b:
                    departures.append((unpaired.shift(a, b), unpaired.error(a, b)))
                    engines.add(control.engine)
    return unpaired.margin(departures, max(0, len(engines) - 1), chance)


def _judged(a: Groups, b: Groups, margin: float, level: float) -> Shift:
    """By processes: whether b lies above a, or below, by more than the margin."""
    up, down = _above(a, b, margin), _above(b, a, margin)
    low, high = unpaired.interval(a, b)
    centre = unpaired.shift(a, b)
    tells = max(math.log(MATTERS), margin + (high - low) / 2)
    told: Told = "same" if tells <= TELLS else "noisy"
    if unpaired.fewest_p(len(a), len(b)) > level:
        told = "few"
    elif min(up, down) <= level and abs(centre) >= math.log(MATTERS):
        told = "worse" if up < down else "better"
    return Shift(told, centre, low - margin, high + margin, tells, min(up, down), (len(a), len(b)))


def _above(a: Groups, b: Groups, margin: float) -> float:
    return unpaired.rank_sum_p([[v + margin for v in group] for group in a], b)


def _quick(case: Case, controls: Sequence[Case]) -> Shift:
    """By one process: every round of one run against every round of the other, beyond what the luck of a process explains."""
    (a, b), far = ([x[~np.isnan(x)] for x in case.times], math.log(QUICK_MATTERS))
    shared = median(usual(c.times[1]) - usual(c.times[0]) for c in controls)
    centre = float(np.median(b) - np.median(a)) - shared
    low, high = float(b.min() - a.max()) - shared, float(b.max() - a.min()) - shared
    told: Told = "same" if -far <= low and high <= far else "noisy"
    if min(len(a), len(b)) < QUICK_FEWEST:
        told = "few"
    elif low >= far or high <= -far:
        told = "worse" if low >= far else "better"
    return Shift(told, centre, low, high, far + (high - low) / 2, 1.0, (1, 1))
