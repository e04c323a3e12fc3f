"""Which of several earlier runs a later one may be held against, as a whole and row by row, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from knnscope.analysis import timed
from knnscope.analysis.run import LadderRun, Run
from knnscope.analysis.shifts import Key
from knnscope.analysis.surroundings import Difference, changed, differences
from knnscope.analysis.timed import Row
from knnscope.errors import ArgumentError, KnnscopeError

NO_CONTROLS = "fewer than two unchanged engines beside it"


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An earlier run with which nothing can be compared. run: its name."""

    run: str
    why: str


@dataclass(frozen=True)
class Earlier:
    """The earlier runs that are left, oldest first, and what of each differs from the later one and from the last of them."""

    runs: tuple[Run, ...]
    around: tuple[list[Difference], ...]
    since: tuple[list[Difference], ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def last(self) -> Run:
        """The newest."""
        return self.runs[-1]


def name(run: Run, otherwise: str) -> str:
    """Its folder, or what it is called otherwise."""
    return str(run.folder) if run.folder is not None else otherwise


def check(earlier: Sequence[Run], later: Sequence[Run] = ()) -> None:
    """Refuse what cannot be earlier runs and later ones. later: none where there is none yet.

    Raises:
        ArgumentError: there is no earlier run.
        KnnscopeError: one is of compare, another of the ladder, or of three or more two are the same run.
    """
    if not earlier:
        raise ArgumentError("no earlier run: at least one was expected")
    runs = [*earlier, *later]
    pair = len(earlier) == 1 and len(later) < 2
    called = ["the first", "the second"] if pair else [f"run {place + 1}" for place in range(len(runs))]
    names = [name(run, otherwise) for run, otherwise in zip(runs, called, strict=False)]
    for place, run in enumerate(runs):
        if type(run) is not type(runs[0]):
            raise KnnscopeError(f"{names[0]} and {names[place]}: one is a run of compare, one of ladder")
        for other in range(0 if pair else place):
            if runs[other].rows == run.rows:
                raise KnnscopeError(f"{names[other]} and {names[place]}: the same run twice: name each run once")


def select(earlier: Sequence[Run], after: Run) -> Earlier:
    """Leave out what differs in machine or data; where that is all, the last stays, to say why."""
    around = [differences(run, after) for run in earlier]
    forbidden = ["; ".join(d.why for d in some if d.forbids == "all") for some in around]
    kept = [i for i, why in enumerate(forbidden) if not why] or [len(earlier) - 1]
    left_out = [
        LeftOut(run=name(run, f"run {i + 1}"), why=forbidden[i]) for i, run in enumerate(earlier) if i not in kept
    ]
    last = earlier[kept[-1]]
    return Earlier(
        tuple(earlier[i] for i in kept),
        tuple(around[i] for i in kept),
        tuple([] if earlier[i] is last else differences(earlier[i], last) for i in kept),
        tuple(left_out),
    )


def rows_of(found: Earlier, new: Mapping[Key, Row]) -> list[dict[Key, Row]]:
    """The rows of each run; the last one has those of the later runs that it lacks as the newest run before it has them."""
    each = [timed.rows(run) for run in found.runs]
    for older in reversed(each[:-1]):
        for key in new.keys() & older.keys() - each[-1].keys():
            each[-1] = {**each[-1], key: older[key]}
    return each


def why_not(found: Earlier, key: Key, row: Row, each: Sequence[Mapping[Key, Row]]) -> dict[int, str]:
    """For each run, why a later row is not held against it; empty where it is. each: the rows of each run, as they were saved."""
    climbed = isinstance(found.last, LadderRun)
    return {
        i: _unlike(rows.get(key), row, found.around[i], changed(key[0], row.device, climbed, found.since[i]))
        for i, rows in enumerate(each)
    }


def _unlike(old: Row | None, new: Row, around: Sequence[Difference], libraries: tuple[str, ...] | None) -> str:
    """Why an earlier run's row is not held against the later one's; empty where it is."""
    if old is None:
        return "without it"
    if forbidden := timed.forbidden(new.device, around):
        return forbidden
    if not timed.alike(old, new):
        return "no time" if old.took_ns is None else "wrong, or computed elsewhere"
    if old.quick != new.quick:
        return "quick" if old.quick else "not quick"
    return f"other libraries: {', '.join(libraries)}" if libraries else ""


def said(left_out: Mapping[int, str], held: Sequence[int], runs: int) -> str:
    """In a few words, which of the runs a row is not held against, and why."""
    missing = {i: left_out.get(i, NO_CONTROLS) for i in range(runs) if i not in held}
    if not missing:
        return ""
    reasons = "; ".join(dict.fromkeys(missing.values()))
    return f"{len(missing)} of {runs} earlier runs left out: {reasons}"
