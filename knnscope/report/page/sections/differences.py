"""What changed between two runs: what is worse or better, by how much, and what differs around them."""

from __future__ import annotations

from collections.abc import Sequence

from knnscope.analysis.change import BAD, UNTOLD, Change, Changes
from knnscope.report import change
from knnscope.report.page.content import Block, Chart, Document, Engine, Grid, Listed, Section, Text
from knnscope.report.text import Table
from knnscope.units import times

HOW = (
    "B / A is the time in the later run over that in the earlier one, without what the engines with unchanged libraries share. Above 1 is "
    "slower. The bar is the 95% interval, which counts in what differs between runs by itself; a hollow mark is no change that was told."
)
HOW_SEVERAL = (
    "B / A is the time in the later run, or runs, over that in the earlier ones, without what the engines with unchanged libraries share. Above 1 "
    "is slower. The bar is the 95% interval, by how far this row differs between runs; a hollow mark is no change that was told."
)
HOW_BY_TURNS = (
    "B / A is the time in this environment over that in the other one, by pairs of processes that took turns, so that both met the same state of the "
    "machine. Above 1 is slower. The bar is the 95% interval; a hollow mark is no change that was told."
)
DRAWN = 60
"""Rows of the chart; the table has all."""


def document(found: Changes) -> Document:
    """The page of two runs."""
    first, *more = change.sentences(found)
    bad = found.of(*BAD)
    lead = "Nothing was found to be worse."
    if bad:
        lead = f"{len(bad)} of {len(found.rows)} rows are worse, or wrong, or gone."
    elif all(row.outcome in UNTOLD for row in found.rows):
        lead = "Nothing can be told of these runs."
    sections = [_around(found), _rows(found)]  # who reads of a change has to know between what
    return Document(
        title=f"{change.earlier(found)} (A) and {change.later(found)} (B)",
        about=_about(found),
        lead=lead,
        head=[Listed([first, *more])],
        sections=sections,
        engines=list(dict.fromkeys(row.engine for row in change.shown(found))),
    )


def _about(found: Changes) -> str:
    if found.by_turns:
        return "what changed from one environment to another"
    return "what changed since earlier runs" if found.earlier else "what changed between two runs"


def _rows(found: Changes) -> Section:
    shown = change.shown(found)
    blocks: list[Block] = []
    if chart := _chart(shown):
        how = HOW_BY_TURNS if found.by_turns else HOW_SEVERAL if found.earlier or found.later else HOW
        blocks += [Text(how), chart]
    table = change.table(found)
    lines: list[tuple[object, ...]] = [
        (Engine(row.engine, str(line[0])), *line[1:]) for row, line in zip(shown, table.lines, strict=True)
    ]
    if lines:
        blocks.append(Grid(Table("", table.head, lines, table.right)))
    else:
        blocks.append(Text("No row of one run can be compared with a row of the other."))
    said = [*change.left_out(found), *change.shared(found), *change.reasons(found)]
    return Section("rows", "Row by row", [*blocks, *([Listed(said)] if said else [])])


def _around(found: Changes) -> Section:
    if not found.differences:
        return Section(
            "around",
            "What differs around them",
            [Text("Nothing that is recorded: machine, libraries and options are the same.")],
        )
    table = change.around(found)
    return Section(
        "around", "What differs around them", [Grid(Table("", table.head, table.lines, table.right), wide=(1, 2, 3))]
    )


def _chart(rows: Sequence[Change]) -> Chart | None:
    data, lines = [], []
    several = len({row.k for row in rows}) > 1
    for row in rows[:DRAWN]:
        if not row.ratio or not row.low or not row.high:
            continue
        line = f"{row.engine}, {f'k = {row.k}, ' if several else ''}{row.batch:,} a call" + (
            " on GPU" if row.boundary == "device" else ""
        )
        interval = f"{times(row.low)} to {times(row.high)}"
        word = change.WORDS.get(row.outcome, row.outcome)
        told = row.outcome in ("worse", "better")
        hint = f"{times(row.ratio)} ({interval}): {word}"
        data.append(
            {
                "engine": row.engine,
                "line": line,
                "value": row.ratio,
                "low": row.low,
                "high": row.high,
                "right": told,
                "hint": hint,
            }
        )
        lines.append((Engine(row.engine, line), times(row.ratio), interval, word))
    if not data:
        return None
    said = f"Time in B over time in A of {len(data)} rows, each with its interval; {sum(bool(d['right']) for d in data)} are told from no change."
    table = Table("", ("row", "B / A", "95%", "outcome"), list(lines), right=(1, 2))
    return Chart("ratios", "Time in B over time in A", said, table, "ratios", data)
