"""What changed between two runs of compare, or of the ladder: a record for each row, and what differs around them.

A pure function of two runs. ``surroundings`` says what may be compared and whose libraries changed, ``shifts`` how much longer a row
takes once what all share is taken out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from knnscope.analysis import shifts
from knnscope.analysis.jsonl import read_one
from knnscope.analysis.measurement import FAILED, NOT_HERE, Count, Measurement, Positive, Ratio, RungMeasurement
from knnscope.analysis.run import ComparisonRun, LadderRun, Run
from knnscope.analysis.shifts import Case, Common, Key, Shift
from knnscope.analysis.surroundings import Difference, changed, differences
from knnscope.errors import KnnscopeError

Outcome = Literal[
    "worse",
    "better",
    "same",
    "noisy",
    "no control",
    "newly wrong",
    "right again",
    "newly missing",
    "newly failed",
    "works again",
    "new",
    "gone",
    "not comparable",
]
BAD = ("worse", "newly wrong", "newly missing", "newly failed")
"""Outcomes that somebody should look at."""
UNTOLD = ("noisy", "no control", "not comparable")
"""Outcomes that say nothing of the engine."""
FARTHEST = 700.0
"""No logarithm of a ratio is shown that is larger: e to it is near the largest number."""


MOST = 500
"""Rounds of a row that are told apart, so that a file of any length is compared in bounded time and memory."""


def _say(text: str) -> Meta:
    return Meta(description=text)


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of both runs, or of one."""

    engine: Annotated[str, _say("name in the catalog, or of a rung")]
    k: Positive
    batch: Positive
    boundary: Literal["host", "device"]
    cache: Literal["first", "cold", "hot"]
    device: Literal["cpu", "cuda"]
    outcome: Outcome
    why: Annotated[str, _say("one line; empty where the outcome says all")] = ""
    before_ns: Annotated[Positive | None, _say("median of the run before, as its clock had it")] = None
    after_ns: Positive | None = None
    ratio: Annotated[
        Ratio | None, _say("time after over time before, without what the unchanged engines share; above 1 is slower")
    ] = None
    low: Annotated[Ratio | None, _say("the ratio lies between, with 95%; what differs between runs is counted in")] = (
        None
    )
    high: Ratio | None = None
    tells: Annotated[Ratio | None, _say("a change of this many times or more would have been told")] = None
    p: Annotated[float | None, _say("one-sided chance of so uneven processes, if nothing changed that matters")] = None
    before_status: str | None = None
    after_status: str | None = None
    before_grade: str | None = None
    after_grade: str | None = None
    libraries: Annotated[tuple[str, ...], _say("libraries of the engine that are not the same")] = ()


class Shared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many times as long the engines with unchanged libraries take after as before: their median, the least, the largest."""

    device: Literal["cpu", "cuda"]
    k: Positive
    batch: Positive
    boundary: Literal["host", "device"]
    cache: Literal["first", "cold", "hot"]
    ratio: Ratio
    low: Ratio
    high: Ratio
    engines: tuple[str, ...]


class Changes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that changed. before, after: the names of the runs. command: what measured them."""

    schema_version: Literal[1] = 1
    command: Literal["compare", "ladder"]
    before: str
    after: str
    differences: tuple[Difference, ...]
    shared: tuple[Shared, ...]
    rows: tuple[Change, ...]
    rows_before: Count
    rows_after: Count

    def of(self, *outcomes: str) -> tuple[Change, ...]:
        """Rows of these outcomes."""
        return tuple(row for row in self.rows if row.outcome in outcomes)


@dataclass(frozen=True, slots=True)
class _Row:
    """What both kinds of rows have in common. rounds: times of each, nanoseconds."""

    key: Key
    device: Literal["cpu", "cuda"]
    status: str
    reason: str | None
    grade: str | None
    took_ns: int | None
    rounds: Sequence[Sequence[float]]
    together: int
    quick: bool


def changes(before: Run, after: Run) -> Changes:
    """Compare two runs row by row.

    Rows that failed in both have nothing to compare and are left out.

    Raises:
        KnnscopeError: one is a run of compare, the other of the ladder.
    """
    if type(before) is not type(after):
        raise KnnscopeError(
            f"{_name(before, 'the first')} and {_name(after, 'the second')}: one is a run of compare, one of ladder"
        )
    around = differences(before, after)
    old, new = _rows(before), _rows(after)
    climbed = isinstance(before, LadderRun)
    timed = [
        case
        for key in old
        if key in new and (case := _case(old[key], new[key])) and not _forbidden(case.device, around)
    ]
    libraries = {
        (row.key[0], row.device): changed(row.key[0], row.device, climbed, around)
        for row in (*old.values(), *new.values())
    }
    unchanged = {engine for (engine, _), moved in libraries.items() if moved == ()}
    judged = shifts.shifts(timed, unchanged)
    found = []
    for key in {**new, **old}:
        a, b = old.get(key), new.get(key)
        row = _change(a, b, judged.get(key), around)
        if row is not None:
            some = b or a
            assert some is not None
            found.append(msgspec.structs.replace(row, libraries=libraries[key[0], some.device] or ()))
    return Changes(
        command="ladder" if climbed else "compare",
        before=_name(before, "the first run"),
        after=_name(after, "the second run"),
        differences=tuple(around),
        shared=tuple(_shared(one) for one in shifts.common(timed, unchanged)),
        rows=tuple(found),
        rows_before=len(before.rows),
        rows_after=len(after.rows),
    )


def load(path: Path) -> Changes:
    """Read what was saved as JSON.

    Raises:
        KnnscopeError: no such file, or something else; names the field.
    """
    if not path.exists():
        raise KnnscopeError(f"{path}: no such file: what Changes.save wrote was expected")
    found: Changes = read_one(path, Changes, "Changes.save")
    return found


def _name(run: Run, else_: str) -> str:
    return str(run.folder) if run.folder is not None else else_


def _rows(run: Run) -> dict[Key, _Row]:
    """By key; of rows that a file repeats the last."""
    if isinstance(run, ComparisonRun):
        return {row.key: row for row in map(_measured, run.rows)}
    return {row.key: row for row in map(_climbed, run.rows)}


def _measured(row: Measurement) -> _Row:
    return _Row(
        (*row.case, row.cache),
        row.device,
        row.status,
        row.reason,
        row.grade,
        row.median_ns,
        row.samples_ns,
        row.rounds_a_process,
        row.quick,
    )


def _climbed(row: RungMeasurement) -> _Row:
    """A rung has one process, and repeats instead of rounds; a loop's times are scaled to all rows."""
    samples = [ns for ns in row.samples_ns or [] if ns > 0]
    scale = row.wall_ns / median(samples) if samples and row.wall_ns is not None and row.scaled else 1.0
    return _Row(
        (row.rung, row.k, 1, "host", "hot"),
        row.device,
        row.status,
        row.reason,
        row.grade,
        row.wall_ns,
        [[scale * ns] for ns in samples],
        1,
        True,
    )


def _case(a: _Row, b: _Row) -> Case | None:
    """What is compared of a row that both runs timed on the same device."""
    if a.device != b.device or a.took_ns is None or b.took_ns is None:
        return None
    if b.grade == "wrong" != a.grade or a.grade == "wrong" != b.grade:
        return None
    (old, before), (new, after) = _times(a), _times(b)
    if np.isnan(old).all() or np.isnan(new).all():
        return None
    return Case(a.key, a.device, (old, new), (before, after), a.quick or b.quick)


def _times(row: _Row) -> tuple[npt.NDArray[np.float64], int]:
    """The logarithm of each round's median, nan where it has none, and how many one process answered; of very many, neighbors are joined."""
    step = -(-len(row.rounds) // MOST) or 1
    blocks = ([ns for r in row.rounds[i : i + step] for ns in r] for i in range(0, len(row.rounds), step))
    return np.array([math.log(median(ns)) if ns else math.nan for ns in blocks]), max(1, row.together // step)


def _forbidden(device: str, around: Sequence[Difference]) -> str:
    """Why rows of a device cannot be compared; empty if they can."""
    return "; ".join(d.why for d in around if d.forbids == "all" or d.forbids == device == "cuda")


def _change(a: _Row | None, b: _Row | None, shift: Shift | None, around: Sequence[Difference]) -> Change | None:
    """The record of a row, all but its libraries; None where neither run has it."""
    some = b or a
    assert some is not None
    if all(row is None or row.status in FAILED for row in (a, b)):
        return None
    outcome, why = _told(a, b, shift, _forbidden(some.device, around))
    engine, k, batch, boundary, cache = some.key
    figures: dict[str, Any] = {}
    if shift is not None and shift.told != "no control" and math.isfinite(shift.tells):
        figures = {
            "ratio": _exp(shift.centre),
            "low": _exp(shift.low),
            "high": _exp(shift.high),
            "tells": _exp(shift.tells),
        }
    return Change(
        engine=engine,
        k=k,
        batch=batch,
        boundary=boundary,  # type: ignore[arg-type]
        cache=cache,  # type: ignore[arg-type]
        device=some.device,
        outcome=outcome,
        why=why,
        before_ns=a.took_ns if a else None,
        after_ns=b.took_ns if b else None,
        p=shift.p if figures and shift else None,
        before_status=a.status if a else None,
        after_status=b.status if b else None,
        before_grade=a.grade if a else None,
        after_grade=b.grade if b else None,
        **figures,
    )


def _told(a: _Row | None, b: _Row | None, shift: Shift | None, forbidden: str) -> tuple[Outcome, str]:
    """The outcome and the reason for it, in this order: may they be compared, are both there, are both right, which is faster."""
    if forbidden:
        return "not comparable", forbidden
    if a is None or b is None:
        return ("new", "not in the run before") if a is None else ("gone", "not in the run after")
    if b.status in FAILED:
        return ("newly missing" if b.status in NOT_HERE else "newly failed"), f"{b.status}: {b.reason}"
    if a.status in FAILED:
        return ("newly wrong" if b.grade == "wrong" else "works again"), f"was {a.status}: {a.reason}"
    if a.device != b.device:
        return "not comparable", f"computed on {a.device}, then on {b.device}"
    if b.grade == "wrong" != a.grade:
        return "newly wrong", f"was {a.grade or a.status}"
    if a.grade == "wrong" != b.grade:
        return "right again", f"{b.grade or b.status}, was wrong"
    if shift is None:
        return "noisy", "no time in one of the runs"
    return _timed(shift, _beside(a, b))


def _beside(a: _Row, b: _Row) -> str:
    """What else is to be said of a row that both timed."""
    if a.grade == b.grade == "wrong":
        return "wrong in both"
    said = [f"grade {a.grade} -> {b.grade}"] if a.grade != b.grade else []
    said += ["interrupted"] if "interrupted" in (a.status, b.status) else []
    return ", ".join(said)


def _timed(shift: Shift, beside: str) -> tuple[Outcome, str]:
    reasons = {
        "few": "too few processes to tell" if shift.processes != (1, 1) else "too few rounds to tell",
        "no control": f"fewer than {shifts.FEWEST_CONTROLS} other engines with the same libraries in both runs",
    }
    outcome: Outcome = "noisy" if shift.told == "few" else shift.told
    return outcome, "; ".join(filter(None, (reasons.get(shift.told, ""), beside)))


def _shared(one: Common) -> Shared:
    device, k, batch, boundary, cache = one.group
    return Shared(
        device=device,  # type: ignore[arg-type]
        k=k,
        batch=batch,
        boundary=boundary,  # type: ignore[arg-type]
        cache=cache,  # type: ignore[arg-type]
        ratio=_exp(one.centre),
        low=_exp(one.low),
        high=_exp(one.high),
        engines=one.engines,
    )


def _exp(value: float) -> float:
    return math.exp(max(-FARTHEST, min(FARTHEST, value)))
