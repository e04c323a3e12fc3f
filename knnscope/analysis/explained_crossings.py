"""What a search for crossings found, as plain data: where one engine overtakes another, why, and who is fastest at which sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from knnscope.analysis.bisection import LOCAL, Crossing, Range, Seen, crossings, ranges, seen
from knnscope.analysis.crossover import CrossoverRun
from knnscope.analysis.verdict import Split, splits
from knnscope.units import duration

PARTS = ("transfer", "launch", "compute")


@dataclass(frozen=True, slots=True)
class Cost:
    """Nanoseconds that an engine takes near a crossing: for a call, and for each row (or query) more; a line through its medians."""

    engine: str
    call_ns: float
    each_ns: float


@dataclass(frozen=True, slots=True)
class ExplainedCrossing:
    """A crossing and why. fixed: the size of what does not grow. splits: where a GPU's time goes at ``low`` and ``high``, as far as known."""

    fixed: int
    crossing: Crossing
    costs: tuple[Cost, ...]
    splits: tuple[tuple[int, Split], ...]
    why: tuple[str, ...]


def explained(run: CrossoverRun) -> list[ExplainedCrossing]:
    """Every crossing, by the fixed size and then by the size."""
    q = run.question
    found = []
    for fixed in q.fixed:
        sizes = seen(run.probes, q.over, fixed)
        for crossing in crossings(run.probes, q.over, fixed):
            costs = tuple(
                cost for e in (crossing.before, crossing.after) if (cost := _cost(sizes, e, crossing)) is not None
            )
            parts = _splits(run, fixed, crossing)
            why = (*_why(run, crossing, sizes, costs), *_where(run, parts))
            found.append(ExplainedCrossing(fixed, crossing, costs, parts, why))
    return found


def leaders(run: CrossoverRun) -> dict[int, list[Range]]:
    """By the fixed size: who is the fastest right engine at which sizes."""
    return {fixed: ranges(seen(run.probes, run.question.over, fixed)) for fixed in run.question.fixed}


def as_json(run: CrossoverRun) -> dict[str, Any]:
    """All of it in JSON's own types: ``crossings`` with before, after, low, high, at, told and why; ``leaders`` by the fixed size."""
    found = [
        {
            "over": run.question.over,
            "fixed": o.fixed,
            **asdict(o.crossing),
            "told": o.crossing.told,
            "costs": [asdict(c) for c in o.costs],
            "splits": [{"at": at, **asdict(s)} for at, s in o.splits],
            "why": list(o.why),
        }
        for o in explained(run)
    ]
    by_size = {str(fixed): [asdict(r) for r in some] for fixed, some in leaders(run).items()}
    return {"finished": run.finished, "crossings": found, "leaders": by_size}


def _cost(sizes: Sequence[Seen], engine: str, crossing: Crossing) -> Cost | None:
    """Weighted by one over the time squared: every size counts by its relative error."""
    near = [
        (s.at, s.medians[engine])
        for s in sizes
        if engine in s.medians and crossing.low / LOCAL <= s.at <= crossing.high * LOCAL
    ]
    if len(near) < 2:
        return None
    total = sum(1 / t**2 for _, t in near)
    mean_x = sum(x / t**2 for x, t in near) / total
    mean_t = sum(1 / t for _, t in near) / total
    across = sum((x - mean_x) ** 2 / t**2 for x, t in near)
    each = sum((x - mean_x) * (t - mean_t) / t**2 for x, t in near) / across
    return Cost(engine, mean_t - each * mean_x, each)


def _splits(run: CrossoverRun, fixed: int, crossing: Crossing) -> tuple[tuple[int, Split], ...]:
    """The medians of all probes of the two sizes next to the crossing."""
    found = []
    for at in (crossing.low, crossing.high):
        by_engine: dict[str, list[Split]] = {}
        for probe in run.probes:
            if probe.at == at:
                rows = [r for r in probe.measurements if (r.batch if run.question.over == "rows" else r.rows) == fixed]
                for split in splits(rows):
                    if split.engine in (crossing.before, crossing.after):
                        by_engine.setdefault(split.engine, []).append(split)
        for engine, some in by_engine.items():
            middle = {
                name: round(median(getattr(s, name) for s in some))
                for name in ("first_ns", "host_ns", "transfer_ns", "launch_ns", "compute_ns")
            }
            found.append((at, Split(engine, some[0].k, some[0].batch, **middle)))
    return tuple(found)


def _why(run: CrossoverRun, crossing: Crossing, sizes: Sequence[Seen], costs: Sequence[Cost]) -> list[str]:
    """What each takes: a constant and so much for each more, where a line says that; else at both ends."""
    unit = {"rows": "row", "batch": "query"}[run.question.over]
    if len(costs) == 2 and all(c.call_ns > 0 and c.each_ns > 0 for c in costs):
        each = [f"{c.engine} takes {duration(c.call_ns)} a call and {_small(c.each_ns)} a {unit}" for c in costs]
        return [f"nearby, {' and '.join(each)}"]
    known = {s.at: s.medians for s in sizes if s.at in (crossing.low, crossing.high)}
    said = []
    for engine in (crossing.before, crossing.after):
        times = [f"{duration(medians[engine])} at {at:,}" for at, medians in known.items() if engine in medians]
        said.append(f"{engine} takes {' and '.join(times)}")
    return ["; ".join(said)]


def _where(run: CrossoverRun, parts: Sequence[tuple[int, Split]]) -> list[str]:
    """Where a GPU's time goes."""
    said = []
    for at, s in parts:
        shares = ", ".join(f"{duration(getattr(s, f'{part}_ns'))} {part}" for part in PARTS)
        of = f"{at:,} rows" if run.question.over == "rows" else f"{at:,} {'query' if at == 1 else 'queries'}"
        first = f"its first call took {duration(s.first_ns)}"
        said.append(f"{s.engine} at {of}: of {duration(s.host_ns)}, {shares}; {first}")
    return said


def _small(ns: float) -> str:
    """Below a nanosecond with its digits."""
    return duration(ns) if ns >= 10 else f"{ns:.2g} ns"
