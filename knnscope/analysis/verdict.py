"""What the rows say: the fastest engine of each grade, by how much, or that it cannot be told. Reads rows, measures nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from knnscope.analysis import statistics
from knnscope.analysis.measurement import NOT_HERE, Measurement
from knnscope.analysis.significance import holm
from knnscope.search.grading import RIGHT
from knnscope.units import duration, times

MATTERS = 1.05
"""A ratio nearer to 1 than this is no difference that matters."""
QUICK_MATTERS = 1.5
"""In a quick run every round's ratio has to be this far from 1: two processes of one engine may differ by a fifth each way."""
LEVEL_UP_TO = 1.5
"""One that cannot be told from the leader and takes longer than this is not level with it, but too noisy to place."""
Group = tuple[int, int, str]
"""k, batch, boundary."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Another engine and how long it takes in units of the leader's time, with its 95% interval, over so many rounds."""

    engine: str
    median_ns: int
    ratio: float
    low: float
    high: float
    significant: bool
    rounds: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fastest engine of a grade in a group, and all others of that grade, nearest first."""

    k: int
    batch: int
    boundary: str
    grade: str
    engine: str
    median_ns: int
    noisy: bool
    rivals: tuple[Rival, ...]
    quick: bool = False

    @property
    def too_few_rounds(self) -> int | None:
        """Rounds, where they are too few to tell so many apart as are level; of a quick run that is no matter of rounds."""
        level = self.level_with
        if self.quick or not level:
            return None
        most = max(r.rounds for r in level)
        return most if statistics.least_p(most) * len(level) > statistics.LEVEL else None

    @property
    def near(self) -> tuple[Rival, ...]:
        """Of those that cannot be told from the leader, those that are level with it; the others are too noisy to place."""
        after = self.next
        most_ns = min(LEVEL_UP_TO * self.median_ns, after.median_ns if after else math.inf)
        return tuple(r for r in self.level_with if r.median_ns <= most_ns)

    @property
    def level_with(self) -> tuple[Rival, ...]:
        """Those that cannot be told from the leader."""
        return tuple(r for r in self.rivals if not r.significant)

    @property
    def next(self) -> Rival | None:
        """The nearest one that is slower for certain."""
        return next((r for r in self.rivals if r.significant), None)


def groups(rows: Iterable[Measurement]) -> dict[Group, list[Measurement]]:
    """Hot rows by k, batch and boundary, in the order they come; a group that no engine here could be asked is left out."""
    found: dict[Group, list[Measurement]] = {}
    for row in rows:
        if row.cache == "hot":
            found.setdefault(row.group, []).append(row)
    return {group: members for group, members in found.items() if any(r.status not in NOT_HERE for r in members)}


def verdicts(rows: Iterable[Measurement]) -> list[Verdict]:
    """For each group, the fastest ``exact`` engine, then the fastest ``float32`` one; a grade that none has is left out."""
    found = []
    for group, members in groups(rows).items():
        for grade in RIGHT:
            right = [r for r in members if r.grade == grade and r.median_ns is not None]
            if right:
                found.append(leading(group, grade, right))
    return found


def leading(group: Group, grade: str, rows: Sequence[Measurement]) -> Verdict:
    """The fastest of these rows, which have medians and are of one group, and all others against it."""
    first, *others = sorted(rows, key=lambda r: r.took_ns)
    rivals = _rivals(first, others)
    return Verdict(*group, grade, first.engine, first.took_ns, bool(first.noisy), rivals, first.quick)


def rival(leader: Measurement, other: Measurement) -> Rival:
    """Another row against the leader's, over the rounds in which both were timed, as the only one."""
    return _rivals(leader, [other])[0]


def _rivals(leader: Measurement, others: Sequence[Measurement]) -> tuple[Rival, ...]:
    """Others against the leader. Who leads follows from the same times, so with many engines one looks slower by chance.

    Told apart are those that take 1.5 times as long, by the whole interval, or in every round of a quick run, which no luck of a process
    explains; of all others, those that Holm's correction leaves significant. It corrects for the rivals and not for who leads, so that of two
    engines alike one is called slower in ``statistics.LEVEL`` of all groups, and more often of many (docs/decisions/005).
    """
    compared = [_compared(leader, other) for other in others]
    apart = [c is not None and _apart(c, leader.quick) for c in compared]
    open_ = [i for i, c in enumerate(compared) if c is not None and not apart[i]]
    if not leader.quick:
        for i, p in zip(open_, holm([c.p for i in open_ if (c := compared[i])]), strict=True):
            c = compared[i]
            apart[i] = c is not None and p <= statistics.LEVEL and c.ratio >= MATTERS
    return tuple(_rival(leader, *found) for found in zip(others, compared, apart, strict=True))


def _compared(leader: Measurement, other: Measurement) -> statistics.Comparison | None:
    """None where it was stopped before a round had both."""
    try:
        return statistics.compare(other.samples_ns, leader.samples_ns, 1 if leader.quick else leader.rounds_a_process)
    except ValueError:
        return None


def _apart(c: statistics.Comparison, quick: bool) -> bool:
    if quick:  # its rounds share one process, so no interval of theirs says how far the next one may be
        return c.least >= QUICK_MATTERS and c.rounds >= statistics.QUICK_FEWEST
    return c.low >= QUICK_MATTERS and c.p <= statistics.LEVEL


def _rival(leader: Measurement, other: Measurement, c: statistics.Comparison | None, significant: bool) -> Rival:
    if c is None:
        ratio = other.took_ns / leader.took_ns
        return Rival(other.engine, other.took_ns, ratio, ratio, ratio, False, 0)
    return Rival(other.engine, other.took_ns, c.ratio, c.low, c.high, significant, c.rounds)


def as_json(rows: Sequence[Measurement]) -> dict[str, object]:
    """The verdicts and the sentences, for verdict.json."""
    quick = any(row.quick for row in rows)
    return {"quick": quick, "verdicts": [asdict(v) for v in verdicts(rows)], "sentences": sentences(rows)}


def sentences(rows: Sequence[Measurement]) -> list[str]:
    """One for each group: who is fastest among the right, by how much, and who was faster and wrong, or undecided."""
    by_group = groups(rows)
    several_k = len({group[0] for group in by_group}) > 1
    said: dict[Group, list[str]] = {group: [] for group in by_group}
    found = verdicts(rows)
    for v in found:
        group = v.k, v.batch, v.boundary
        said[group].append(_sentence(v, stopped=_stopped(by_group[group])))
    lines = []
    for (k, batch, boundary), parts in said.items():
        name = f"{batch:,} {'query' if batch == 1 else 'queries'}" + (f", k = {k}" if several_k else "")
        name += ", on the device" if boundary == "device" else ""
        best = min((v.median_ns for v in found if (v.k, v.batch, v.boundary) == (k, batch, boundary)), default=None)
        wrong = [
            f"{r.engine} took {duration(r.took_ns)} and {_not_right(r)}"
            for r in by_group[k, batch, boundary]
            if r.grade not in (None, *RIGHT) and r.median_ns is not None and (best is None or r.median_ns < best)
        ]
        none = "no engine gave an answer known to be right"
        if _stopped(by_group[k, batch, boundary]):
            none = "interrupted before any right answer was timed"
        lines.append(f"{name}: {'; '.join([*(parts or [none]), *wrong])}")
    return lines


def _not_right(row: Measurement) -> str:
    if row.grade == "wrong":
        return f"was wrong on {row.beyond} of {row.judged} queries"
    return f"is undecided: {row.differing} of {row.judged} queries differ, and its rounding would excuse wrong rows as well"


def _stopped(rows: Iterable[Measurement]) -> bool:
    """Whether what was not measured any more might have changed who is fastest."""
    return any(row.status == "interrupted" for row in rows)


def _sentence(v: Verdict, stopped: bool) -> str:
    grade = "exact" if v.grade == "exact" else "right up to float32 rounding"
    told, after = v.level_with, v.next
    most = v.too_few_rounds
    if most is not None and after is None:
        return f"{grade}: {_listed(v, v.rivals)}: too few rounds ({most}) to tell which is fastest"
    level = v.near
    text = f"fastest of what was measured, {grade}: " if stopped else f"fastest {grade}: "
    if level:
        why = "too noisy to tell them apart" if v.noisy else "the difference is not significant"
        if most is not None:
            why = f"too few rounds ({most}) to tell them apart"
        if v.quick:
            why = "too near for a quick run to tell them apart"
        text += f"{_listed(v, level)}: {why}"
    else:
        text += f"{v.engine}, {duration(v.median_ns)}"
        if not v.rivals:
            text += " (the only one)"
    if after is not None:
        text += f"; {v.engine} is" if level else ","
        text += f" {times(after.ratio)} times ({times(after.low)} to {times(after.high)}) as fast as {after.engine}"
    if unclear := [f"{r.engine} ({duration(r.median_ns)})" for r in told if r not in level]:
        text += f"; too noisy to place: {_and(unclear)}"
    return text


def _listed(v: Verdict, rivals: Sequence[Rival]) -> str:
    return _and(
        [f"{name} {duration(ns)}" for name, ns in ((v.engine, v.median_ns), *((r.engine, r.median_ns) for r in rivals))]
    )


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


@dataclass(frozen=True, slots=True)
class Split:
    """Where a GPU engine's time goes for a batch, nanoseconds: the first call; then a hot call from the host, in its parts."""

    engine: str
    k: int
    batch: int
    first_ns: int
    host_ns: int
    transfer_ns: int
    launch_ns: int
    compute_ns: int


def splits(rows: Iterable[Measurement]) -> list[Split]:
    """For each GPU engine measured at both boundaries.

    transfer: from the host less from the device. compute: between events around a call on the device. launch: what is left of that
    call: the library's own code before and after, the launches themselves and the wait at the end.
    """
    known = {(r.engine, r.k, r.batch, r.boundary, r.cache): r for r in rows if r.median_ns}
    found = []
    for (engine, k, batch, boundary, cache), host in known.items():
        device = known.get((engine, k, batch, "device", "hot"))
        first = known.get((engine, k, batch, "host", "first"))
        if boundary == "host" and cache == "hot" and first and device and device.event_ns is not None:
            whole = host.took_ns
            # of times so near that noise has them the other way round, no part is copying
            inside = min(whole, device.took_ns)
            compute, transfer = min(device.event_ns, inside), whole - inside
            found.append(Split(engine, k, batch, first.took_ns, whole, transfer, inside - compute, compute))
    return found
