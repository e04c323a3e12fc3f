"""What changed between two runs of compare, or of the ladder: a record for each row, and what differs around them.

A pure function of the runs. ``surroundings`` says what may be compared and whose libraries changed, ``shifts`` how much longer a row
takes once what all share is taken out; where there are several earlier runs, ``earlier`` says which of them count, and ``several`` how much
longer. Of several later runs ``later`` says the same. Two runs that were measured by turns are held against each other round by round (``turns``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median_low
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, structs

from knnscope.analysis import earlier, later, several, shifts, timed, turns
from knnscope.analysis.earlier import Earlier, LeftOut
from knnscope.analysis.jsonl import read_one
from knnscope.analysis.later import Later
from knnscope.analysis.measurement import FAILED, NOT_HERE, Count, Positive, Ratio
from knnscope.analysis.run import ComparisonRun, LadderRun, Run, Turns
from knnscope.analysis.several import Line
from knnscope.analysis.shifts import Case, Common, Key, Shift
from knnscope.analysis.surroundings import Difference, changed
from knnscope.analysis.timed import Row
from knnscope.errors import ArgumentError, KnnscopeError

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
FEW = "too few "
"""How the reason of a row begins that has too few processes, or rounds, for any verdict."""
INTERPRETER = "interpreter"
"""Where a run's environment names what answered, of runs that were measured by turns."""
FARTHEST = 700.0
"""No logarithm of a ratio is shown that is larger: e to it is near the largest number."""


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
    before_ns: Annotated[
        Positive | None, _say("median of the run before, as its clock had it; of several the middle one")
    ] = None
    after_ns: Annotated[Positive | None, _say("the same of the later run, or runs")] = None
    ratio: Annotated[
        Ratio | None, _say("time after over time before, without what the unchanged engines share; above 1 is slower")
    ] = None
    low: Annotated[Ratio | None, _say("the ratio lies between, with 95%; what differs between runs is counted in")] = (
        None
    )
    high: Ratio | None = None
    tells: Annotated[Ratio | None, _say("a change of this many times or more would have been told")] = None
    p: Annotated[
        float | None, _say("one-sided chance of so uneven processes, or runs, if nothing changed that matters")
    ] = None
    earlier: Annotated[Count | None, _say("of several earlier runs so many are what the time is held against")] = None
    later: Annotated[Count | None, _say("of several later runs so many are what it is judged by")] = None
    pairs: Annotated[Count | None, _say("measured by turns: pairs of processes, each of which is one draw")] = None
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
    """All that changed. before, after: the names of the runs. command: what measured them.

    earlier: of several earlier runs all names, oldest first; ``before`` is then the last that can be compared. later: of several later runs
    all names; ``after`` is the first. left_out: those of both that cannot be compared. by_turns: both were measured in the same run, round by
    round, and ``before`` and ``after`` are the interpreters.
    """

    schema_version: Literal[1] = 1
    command: Literal["compare", "ladder"]
    before: str
    after: str
    earlier: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    by_turns: bool = False
    differences: tuple[Difference, ...]
    shared: tuple[Shared, ...]
    rows: tuple[Change, ...]
    rows_before: Count
    rows_after: Count

    def of(self, *outcomes: str) -> tuple[Change, ...]:
        """Rows of these outcomes."""
        return tuple(row for row in self.rows if row.outcome in outcomes)


def changes(before: Run | Sequence[Run], after: Run | Sequence[Run]) -> Changes:
    """Compare a run with an earlier one, or several with several, row by row.

    Rows that failed in both have nothing to compare and are left out.

    Args:
        before: the earlier run, or several, oldest first; where they have other libraries than the last of them a row is not held against them.
        after: the later one, or several that measured the same again, the first one first; where they have other libraries than that one
            a row is not judged by them.

    Raises:
        KnnscopeError: no earlier run, no later one, the same run twice, or one is a run of compare, another of the ladder.
    """
    runs, newer = ([some] if isinstance(some, Run) else list(some) for some in (before, after))
    if not newer:
        raise ArgumentError("no later run: at least one was expected")
    earlier.check(runs, newer)
    names = [earlier.name(run, f"run {i + 1}" if len(runs) > 1 else "the first run") for i, run in enumerate(runs)]
    since = later.select(newer)
    found = earlier.select(runs, since.first)
    around, new = found.around[-1], since.rows
    each = earlier.rows_of(found, new)
    old = each[-1]
    climbed = isinstance(since.first, LadderRun)
    libraries = {
        (row.key[0], row.device): changed(row.key[0], row.device, climbed, around)
        for row in (*old.values(), *new.values())
    }
    unchanged = {engine for (engine, _), moved in libraries.items() if moved == ()}
    paired = by_turns(runs[0], newer[0]) if len(runs) == len(newer) == 1 else None
    many = len(found.runs) > 1 or len(since.runs) > 1
    left_out: dict[Key, dict[int, str]] = {}
    if many:
        lines, left_out = _lines(found, since)
        judged, shared = several.judge(lines, unchanged), several.common(lines, unchanged)
    else:
        cases = [
            _case(row, new[key], paired is not None)
            for key, row in old.items()
            if key in new and _comparable(row, new[key], around)
        ]
        judged = turns.judge(cases, paired.again) if paired else shifts.shifts(cases, unchanged)
        shared = [] if paired else shifts.common(cases, unchanged)
    rows = []
    for key in {**new, **old}:
        shift = judged.get(key)
        row = _change(old.get(key), new.get(key), shift, timed.forbidden((new.get(key) or old[key]).device, around))
        if row is not None:
            row = structs.replace(row, libraries=libraries[key[0], row.device] or ())
            if shift and len(found.runs) > 1:
                row = _held(row, shift, [some.get(key) for some in each], left_out[key])
            if shift and len(since.runs) > 1:
                row = structs.replace(row, later=shift.later, after_ns=since.took_ns(key))
            if shift and paired:
                row = structs.replace(row, pairs=shift.processes[0])
            rows.append(row)
    called = "later run 1" if len(newer) > 1 else "the second run" if len(runs) == 1 else "the later run"
    return Changes(
        command="ladder" if climbed else "compare",
        before=interpreter(runs[0], names[0])
        if paired
        else next(name for run, name in zip(runs, names, strict=True) if run is found.last),
        after=interpreter(since.first, called) if paired else earlier.name(since.first, called),
        earlier=tuple(names) if len(runs) > 1 else (),
        later=tuple(earlier.name(run, f"later run {i + 1}") for i, run in enumerate(newer)) if len(newer) > 1 else (),
        left_out=(*found.left_out, *since.left_out),
        by_turns=paired is not None,
        differences=tuple(around),
        shared=tuple(_shared(one) for one in shared),
        rows=tuple(rows),
        rows_before=len(found.last.rows),
        rows_after=len(since.first.rows),
    )


def by_turns(before: Run, after: Run) -> Turns | None:
    """How two runs were measured by turns, so that a round of the one goes with a round of the other, if they were."""
    if not isinstance(before, ComparisonRun) or not isinstance(after, ComparisonRun):
        return None
    return after.facts.turns if before.facts.turns == after.facts.turns else None


def interpreter(run: Run, otherwise: str) -> str:
    """What answered, of a run that was measured by turns."""
    found = run.environment.get(INTERPRETER)
    return found if isinstance(found, str) else otherwise


def load(path: Path) -> Changes:
    """Read what was saved as JSON.

    Raises:
        KnnscopeError: no such file, or something else; names the field.
    """
    if not path.exists():
        raise KnnscopeError(f"{path}: no such file: what Changes.save wrote was expected")
    found: Changes = read_one(path, Changes, "Changes.save")
    return found


def _held(row: Change, shift: Shift, each: Sequence[Row | None], left_out: Mapping[int, str]) -> Change:
    """The record of a row, with what is to be said of the earlier runs. each: their rows."""
    took = [some.took_ns for i in shift.runs if (some := each[i]) and some.took_ns is not None]
    why = earlier.said(left_out, shift.runs, len(each)) if took else ""
    return structs.replace(
        row,
        earlier=len(took),
        before_ns=median_low(took) if took else row.before_ns,
        why="; ".join(filter(None, (row.why, why))),
    )


def _lines(found: Earlier, since: Later) -> tuple[list[Line], dict[Key, dict[int, str]]]:
    """The rows that can be judged by time, and for each row why which earlier runs are left out."""
    each = [timed.rows(run) for run in found.runs]
    some, left_out = [], {}
    for key, row in since.rows.items():
        now = since.times(key)
        if not now:
            continue
        why = earlier.why_not(found, key, row, each)
        held = {i: timed.times(each[i][key]) for i in why if not why[i]}
        left_out[key] = {i: reason for i, reason in why.items() if reason}
        if held:
            some.append(Line(key, row.device, held, now, row.quick))
    return some, left_out


def _comparable(a: Row, b: Row, around: Sequence[Difference]) -> bool:
    """Whether the times of a row of both runs can be."""
    return timed.alike(a, b) and not timed.forbidden(a.device, around)


def _case(a: Row, b: Row, paired: bool) -> Case:
    """What is compared of a row that both runs timed on the same device; by turns every round, since those of two processes are not joined."""
    most = max(1, len(a.rounds), len(b.rounds)) if paired else timed.MOST
    (old, before), (new, after) = timed.times(a, most), timed.times(b, most)
    return Case(a.key, a.device, (old, new), (before, after), a.quick or b.quick)


def _change(a: Row | None, b: Row | None, shift: Shift | None, forbidden: str) -> Change | None:
    """The record of a row, all but its libraries; None where neither run has it."""
    some = b or a
    assert some is not None
    if all(row is None or row.status in FAILED for row in (a, b)):
        return None
    outcome, why = _told(a, b, shift, forbidden)
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


def _told(a: Row | None, b: Row | None, shift: Shift | None, forbidden: str) -> tuple[Outcome, str]:
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


def _beside(a: Row, b: Row) -> str:
    """What else is to be said of a row that both timed."""
    if a.grade == b.grade == "wrong":
        return "wrong in both"
    said = [f"grade {a.grade} -> {b.grade}"] if a.grade != b.grade else []
    said += ["interrupted"] if "interrupted" in (a.status, b.status) else []
    return ", ".join(said)


def _timed(shift: Shift, beside: str) -> tuple[Outcome, str]:
    reasons = {
        "few": FEW + ("processes to tell" if shift.processes != (1, 1) else "rounds to tell"),
        "no control": f"fewer than {shifts.FEWEST_CONTROLS} other engines with the same libraries in these runs",
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
