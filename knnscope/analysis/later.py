"""Which of several later runs count, as a whole and row by row, and what stands for each of their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

import numpy as np

from knnscope.analysis import timed
from knnscope.analysis.earlier import LeftOut, name
from knnscope.analysis.measurement import FAILED
from knnscope.analysis.run import LadderRun, Run
from knnscope.analysis.several import Timed
from knnscope.analysis.shifts import Key
from knnscope.analysis.surroundings import Difference, changed, differences
from knnscope.analysis.timed import Row

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Later:
    """The later runs that are left, in their order. rows: what stands for each row: the first of those that are worst.

    around: what of each run differs from the first.
    """

    runs: tuple[Run, ...]
    rows: Mapping[Key, Row]
    each: tuple[Mapping[Key, Row], ...]
    around: tuple[list[Difference], ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def first(self) -> Run:
        """What the others repeat."""
        return self.runs[0]

    def of(self, key: Key) -> dict[int, Row]:
        """The rows by which one is judged, by the number of their run: those that are as good as what stands for it, by the same libraries."""
        best = self.rows[key]
        climbed = isinstance(self.first, LadderRun)
        found = {}
        for i, some in enumerate(self.each):
            row = some.get(key)
            if row is best or (row is not None and _alike(row, best) and not self._moved(i, best, climbed)):
                found[i] = row
        return found

    def times(self, key: Key) -> dict[int, Timed]:
        """Of these rows, by the number of their run; of those that were timed at all."""
        every = {i: timed.times(row) for i, row in self.of(key).items() if row.took_ns is not None}
        return {i: some for i, some in every.items() if not np.isnan(some[0]).all()}

    def took_ns(self, key: Key) -> int | None:
        """The middle one of the times that a row is judged by."""
        took = [row.took_ns for row in self.of(key).values() if row.took_ns is not None]
        return median_low(took) if took else None

    def _moved(self, i: int, row: Row, climbed: bool) -> bool:
        """Whether a run is no repeat of the first for a row."""
        around = self.around[i]
        return bool(timed.forbidden(row.device, around) or changed(row.key[0], row.device, climbed, around))


def select(later: Sequence[Run]) -> Later:
    """Leave out what differs from the first in machine or data."""
    first = later[0]
    around = [[] if run is first else differences(first, run) for run in later]
    forbidden = ["; ".join(d.why for d in some if d.forbids == "all") for some in around]
    left_out = [
        LeftOut(run=name(run, f"later run {i + 1}"), why=forbidden[i]) for i, run in enumerate(later) if forbidden[i]
    ]
    kept = [i for i, why in enumerate(forbidden) if not why]
    each = tuple(timed.rows(later[i]) for i in kept)
    return Later(tuple(later[i] for i in kept), _worst(each), each, tuple(around[i] for i in kept), tuple(left_out))


def _worst(each: Sequence[Mapping[Key, Row]]) -> dict[Key, Row]:
    """Of each row the first that failed, else that is wrong, else that was timed to the end: what is wrong once is not right."""
    found: dict[Key, Row] = {}
    for some in each:
        for key, row in some.items():
            found[key] = min(found.get(key, row), row, key=_goodness)
    return found


def _goodness(row: Row) -> tuple[bool, bool, bool]:
    return row.status not in FAILED, row.grade != "wrong", row.took_ns is None or row.status == INTERRUPTED


def _alike(row: Row, best: Row) -> bool:
    """Whether a row of another run is judged together with it."""
    return (
        timed.alike(row, best)
        and row.quick == best.quick
        and (row.status == INTERRUPTED) == (best.status == INTERRUPTED)
    )
