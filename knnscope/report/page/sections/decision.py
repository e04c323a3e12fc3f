"""The first screen of a comparison: which engine to take, how sure that is, whether it is right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from knnscope.analysis.choice import Choice
from knnscope.analysis.doubts import Doubt
from knnscope.analysis.measurement import Measurement
from knnscope.analysis.verdict import Verdict
from knnscope.report.comparison import judged
from knnscope.report.page.content import Block, Engine, Folded, Grid, Text
from knnscope.report.text import Table
from knnscope.units import duration, times

HEAD = ("queries a call", "take", "time of a call", "queries/s", "how sure", "is it right", "exact ids only")

WIDE = (4, 5)
"""Columns of sentences."""


def lead(choices: Sequence[Choice]) -> str:
    """The verdict in a sentence or two: engines by batch size, then how sure."""
    told = _main(choices)
    if not told:
        return "No engine was measured."
    ks = {c.group[0] for c in told}
    several = [[c for c in told if c.group[0] == k] for k in sorted(ks)]
    said = list(dict.fromkeys(_take(of_k) for of_k in several))
    if len(said) > 1:
        said = [f"k = {of_k[0].group[0]}: {_take(of_k)}" for of_k in several]
    return " ".join(f"{sentence}." for sentence in said)


def sure_of(choices: Sequence[Choice]) -> list[str]:
    """How sure the first sentence is, and whether the answers are right."""
    return [" ".join(said)] if (said := _sure(_main(choices))) else []


def head(choices: Sequence[Choice], doubts: Sequence[Doubt], queries: int | None = None) -> list[Block]:
    """What follows the first sentence: reasons for doubt, and a line for each case, of so many queries."""
    tables = answers(choices, queries)
    blocks: list[Block] = [Text(said) for said in sure_of(choices)]
    blocks += warning(doubts)
    blocks += [Grid(table, WIDE) for boundary, table in tables if boundary == tables[0][0]]
    if rest := [Grid(table, WIDE) for boundary, table in tables if boundary != tables[0][0]]:
        blocks.append(Folded("Where queries and answers are in GPU memory", rest))
    return blocks


def warning(doubts: Sequence[Doubt]) -> list[Text]:
    """The banner, where there is reason for one."""
    if not doubts:
        return []
    kinds = ", ".join(dict.fromkeys(d.kind for d in doubts))
    return [Text(f"Read with care ({kinds}): {'; '.join(d.text for d in doubts)}.", "warning")]


def answers(choices: Sequence[Choice], queries: int | None = None) -> list[tuple[str, Table]]:
    """A boundary and a table for each k there, with a line for each batch size."""
    found = []
    by_shape = sorted(choices, key=lambda c: (c.group[2] != "host", c.group[0], c.group[1]))
    for (boundary, k), of_shape in groupby(by_shape, key=lambda c: (c.group[2], c.group[0])):
        lines = [_line(c, queries) for c in of_shape]
        exact = any(line[-1] for line in lines)
        title = f"k = {k}{'' if boundary == 'host' else ', queries and answers in GPU memory'}"
        kept = lines if exact else [line[:-1] for line in lines]
        found.append((boundary, Table(title, HEAD if exact else HEAD[:-1], kept, right=(0, 2, 3))))
    return found


def _line(c: Choice, queries: int | None) -> tuple[object, ...]:
    batch = f"{c.group[1]:,}"
    if c.best is None or c.verdict is None:
        return (batch, "none", "", "", "", _none(c) + _wrong(c), "")
    exact: object = ""
    if c.best.grade != "exact":
        exact = "none" if c.exact is None else Engine(c.exact.engine, f"{c.exact.engine}, {duration(c.exact.took_ns)}")
    speed = f"{c.best.batch / c.best.took_ns * 1e9:,.0f}"
    return (
        batch,
        Engine(c.best.engine),
        duration(c.best.took_ns),
        speed,
        sure(c.verdict, c.stopped),
        right(c.best, queries) + _wrong(c),
        exact,
    )


def sure(v: Verdict, stopped: bool = False) -> str:
    """How far ahead it is, or with whom it is level."""
    return "; ".join([*_ahead(v), *(["others were not measured to the end"] if stopped else [])])


def _ahead(v: Verdict) -> list[str]:
    if not v.rivals:
        return ["the only right one"]
    most, after = v.too_few_rounds, v.next
    if most is not None and after is None:
        return [f"{most} rounds are too few to tell"]
    parts = []
    if near := v.near:
        few = f" ({most} rounds are too few to tell)" if most is not None else ""
        parts.append(f"not told apart from {', '.join(r.engine for r in near)}{few}")
    if after is not None:
        parts.append(f"{times(after.ratio)}× ({times(after.low)} to {times(after.high)}) as fast as {after.engine}")
    if loud := [r.engine for r in v.level_with if r not in near]:
        parts.append(f"too noisy to place: {', '.join(loud)}")
    return parts


def right(row: Measurement, queries: int | None = None) -> str:
    """What was found about its answers, where there are so many queries."""
    some = judged(row, queries)
    if row.grade == "exact":
        return f"exact, {some or f'{row.judged:,}'} checked"
    return (
        f"float32: {row.differing:,} differ, {some} checked"
        if some
        else f"float32: {row.differing:,} of {row.judged:,} differ"
    )


def _wrong(c: Choice) -> str:
    """Who would be faster, and is wrong or undecided; beside no right one, who is so."""
    some = ((c.wrong, "wrong"), (c.undecided, "undecided"))
    faster = " faster, and" if c.best else ":"
    return "".join(f"; {', '.join(r.engine for r in rows)}{faster} {grade}" for rows, grade in some if rows)


def _none(c: Choice) -> str:
    """Why there is nothing to take."""
    return (
        "interrupted before any right answer was timed" if c.stopped else "no engine gave an answer known to be right"
    )


def _main(choices: Sequence[Choice]) -> list[Choice]:
    """Those that the sentence is about: from and to host memory, where that was measured."""
    host = [c for c in choices if c.group[2] == "host"]
    return sorted(host or choices, key=lambda c: c.group[:2])


def _take(choices: Sequence[Choice]) -> str:
    """Engines by batch size, neighbors of one engine together."""
    spans = [(name, list(some)) for name, some in groupby(choices, key=lambda c: c.best.engine if c.best else None)]
    if len(spans) == 1:
        name, some = spans[0]
        where = "at every batch size measured" if len(some) > 1 else f"for {_queries(some[0].group[1])} a call"
        none = _none(min(some, key=lambda c: c.stopped))
        return f"Take {name} {where}" if name else f"{none[0].upper()}{none[1:]} {where}"
    parts = []
    for place, (name, some) in enumerate(spans):
        batches = [c.group[1] for c in some]
        if place == len(spans) - 1:
            where = f"from {batches[0]:,}" if len(batches) > 1 else f"for {batches[0]:,}"
        elif place == 0:
            where = f"{'up to' if len(batches) > 1 else 'for'} {_queries(batches[-1])} a call"
        else:
            where = f"for {_and([f'{b:,}' for b in batches])}"
        parts.append(f"{name or 'none'} {where}")
    return f"Take {_and(parts)}"


def _sure(choices: Sequence[Choice]) -> list[str]:
    """Whether all of that is certain, and right."""
    with_best = [c for c in choices if c.best is not None and c.verdict is not None]
    if not with_best:
        return []
    said = []
    open_ = [c for c in with_best if not c.certain]
    after = [c.verdict.next for c in with_best if c.verdict is not None and c.verdict.next is not None]
    if not open_ and after:
        low, high = min(r.ratio for r in after), max(r.ratio for r in after)
        span = times(low) if times(low) == times(high) else f"{times(low)} to {times(high)}"
        said.append(
            f"It is {span} times as fast as the next right engine, told apart every time."
            if len({c.best.engine for c in with_best if c.best}) == 1
            else f"Each is {span} times as fast as the next right engine, told apart every time."
        )
    elif open_ and len(open_) == len(with_best):
        said.append("None of that is certain: others may be as fast.")
    elif open_:
        batches = _and(list(dict.fromkeys(f"{c.group[1]:,}" for c in open_)))
        said.append(f"At {batches} another may be as fast.")
    grades = {c.best.grade for c in with_best if c.best}
    if grades == {"exact"}:
        said.append("Every answer that was checked has the neighbors of float64.")
    else:
        said.append("Where its ids are not those of float64, float32 rounding explains it.")
    return said


def _queries(batch: int) -> str:
    return f"{batch:,} {'query' if batch == 1 else 'queries'}"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
