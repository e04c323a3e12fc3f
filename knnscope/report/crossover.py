"""Where one engine overtakes another, in words: a line for each size, then each crossing with its interval and why."""

from __future__ import annotations

from knnscope.analysis.bisection import Crossing, Seen, ratio, seen
from knnscope.analysis.crossover import CrossoverRun
from knnscope.analysis.explained_crossings import ExplainedCrossing, explained, leaders
from knnscope.analysis.measurement import FAILED
from knnscope.report import markup
from knnscope.report.text import Table, plain
from knnscope.units import duration, times

NONE = "no engine gave an answer known to be right"


def text(run: CrossoverRun) -> str:
    """All that is printed of a run."""
    parts = [heading(run), *(table(run, fixed).text() for fixed in run.question.fixed), "\n".join(sentences(run))]
    if failures := _failures(run):
        parts.insert(-1, "\n".join(failures))
    return "\n\n".join(part for part in parts if part)


def heading(run: CrossoverRun) -> str:
    """One line: the data, what grows, who, how many probes."""
    q = run.question
    what = f"{q.low:,} to {q.high:,} {_unit(run, 2)}"
    count = f"{len(run.probes):,} probe{'s' if len(run.probes) != 1 else ''}"
    return (
        f"{plain(q.dataset)}: {q.dim} components, {plain(q.dtype)}, {q.metric}, k = {q.k}; {what}; "
        f"{plain(', '.join(q.engines))}; {count}"
    )


def table(run: CrossoverRun, fixed: int) -> Table:
    """A line for each size: the time of each right engine, and who is fastest."""
    sizes = seen(run.probes, run.question.over, fixed)
    engines = [e for e in run.question.engines if any(e in s.medians for s in sizes)]
    lines: list[tuple[object, ...]] = [
        (
            f"{s.at:,}",
            *(duration(s.medians[e]) if e in s.medians else "" for e in engines),
            s.probes,
            _fastest(s),
        )
        for s in sizes
    ]
    head = (_unit(run, 2), *map(plain, engines), "probes", "fastest")
    return Table(_where(run, fixed), head, lines, right=tuple(range(len(head) - 1)))


def sentences(run: CrossoverRun) -> list[str]:
    """For each fixed size: every crossing and why, or that there is none, or that it is too noisy to tell."""
    found: dict[int, list[ExplainedCrossing]] = {}
    for crossing in explained(run):
        found.setdefault(crossing.fixed, []).append(crossing)
    said = []
    for fixed in run.question.fixed:
        some = found.get(fixed, [])
        said += [line for o in some for line in (f"{_where(run, fixed)}: {_said(run, o.crossing)}", *_why(o))]
        if not some:
            said.append(f"{_where(run, fixed)}: {_without(run, fixed)}")
        if len(run.question.engines) > 2:
            said.append(f"  fastest: {_ranges(run, fixed)}")
    if not run.finished:
        said.append("not finished: the same command with the same --out goes on from here")
    return said


def crossover_html(run: CrossoverRun) -> str:
    """For a notebook."""
    drawn = [table(run, fixed) for fixed in run.question.fixed]
    tables = [markup.table(t.head, t.lines, t.right, t.title) for t in drawn]
    return markup.div([markup.paragraph(heading(run)), *tables, *map(markup.paragraph, sentences(run))])


def _said(run: CrossoverRun, crossing: Crossing) -> str:
    unit = _unit(run, 2)
    text = (
        f"{plain(crossing.before)} is fastest up to {crossing.low:,} {unit}, {plain(crossing.after)} from "
        f"{crossing.high:,} on"
    )
    if crossing.at is None:
        return f"{text}; between them it is too noisy to tell"
    return f"{text}; they cross at about {_rounded(crossing.at)}"


def _rounded(size: float) -> str:
    """Three digits: no more is known."""
    return f"{float(f'{size:.3g}'):,.0f}"


def _why(crossing: ExplainedCrossing) -> list[str]:
    return [f"  {plain(line)}" for line in crossing.why]


def _without(run: CrossoverRun, fixed: int) -> str:
    sizes = [s for s in seen(run.probes, run.question.over, fixed) if s.medians]
    leading = {s.leader for s in sizes if s.leader is not None}
    if not sizes:
        return NONE if run.probes else "nothing was measured yet"
    if not leading:
        return f"too noisy to tell {_and(sizes[0].level)} apart at any size"
    (leader,) = leading
    low, high = (f"{s.at:,} {_unit(run, 2)}" for s in (sizes[0], sizes[-1]))
    unclear = [f"{s.at:,}" for s in sizes if s.leader is None]
    text = f"no crossing found from {low} to {high}: {plain(leader)} is fastest"
    ends = _margins(sizes, leader)
    return f"{text}{ends}" + (f"; too noisy to tell at {', '.join(unclear)} {_unit(run, 2)}" if unclear else "")


def _margins(sizes: list[Seen], leader: str) -> str:
    """By how much at the first and the last size at which that can be told."""
    said = []
    told = [s for s in sizes if s.leader == leader]
    for s in (told[0], told[-1]) if len(told) > 1 else told:
        others = {e: ns for e, ns in s.medians.items() if e != leader}
        if leader in s.medians and others:
            nearest = min(others, key=lambda e: others[e])
            pairs = [(p[nearest], p[leader]) for p in s.measured if nearest in p and leader in p]
            if pairs:
                said.append(f"{times(ratio(pairs).centre)} times as fast as {plain(nearest)} at {s.at:,}")
    return f", {' and '.join(said)}" if said else ""


def _ranges(run: CrossoverRun, fixed: int) -> str:
    parts = []
    for r in leaders(run)[fixed]:
        who = plain(r.engine) if r.engine else f"{_and(r.level)} (too near to tell)" if r.level else NONE
        parts.append(f"{who} {f'{r.low:,}' if r.low == r.high else f'{r.low:,} to {r.high:,}'}")
    return "; ".join(parts)


def _fastest(size: Seen) -> str:
    if size.leader is None:
        return f"cannot tell: {plain(_and(size.level))}" if size.level else NONE
    others = {e: ns for e, ns in size.medians.items() if e != size.leader}
    if not others:
        return f"{plain(size.leader)} (the only right one)"
    return f"{plain(size.leader)}, {times(min(others.values()) / size.medians[size.leader])} times"


def _failures(run: CrossoverRun) -> list[str]:
    """A line for each engine that failed, or was wrong or undecided, with the sizes."""
    found: dict[tuple[str, str], dict[int, None]] = {}
    for probe in run.probes:
        for row in probe.measurements:
            if row.status in FAILED:
                found.setdefault((row.engine, f"{row.status}: {row.reason}"), {})[probe.at] = None
            elif row.grade in ("undecided", "wrong") and row.cache == "hot":
                found.setdefault((row.engine, row.grade), {})[probe.at] = None
    return [
        f"{plain(engine)} at {', '.join(f'{at:,}' for at in sizes)}: {plain(what)}"
        for (engine, what), sizes in found.items()
    ]


def _where(run: CrossoverRun, fixed: int) -> str:
    if run.question.over == "rows":
        return f"{fixed:,} {'query' if fixed == 1 else 'queries'} a call"
    return f"{fixed:,} rows"


def _unit(run: CrossoverRun, count: int) -> str:
    if run.question.over == "rows":
        return "row" if count == 1 else "rows"
    return "query a call" if count == 1 else "queries a call"


def _and(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "nothing"
