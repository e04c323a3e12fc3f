"""Is every answer right: what was checked, and the queries on which an engine departs from the definition, with their texts."""

from __future__ import annotations

from collections.abc import Sequence

from knnscope.analysis.measurement import Measurement
from knnscope.analysis.run import ComparisonRun
from knnscope.analysis.side_by_side import SideBySide
from knnscope.report import comparison, side_by_side
from knnscope.report.page.content import Block, Engine, Folded, Grid, Section, Text
from knnscope.report.text import Table, plain
from knnscope.search.grading import GRADES, Evidence
from knnscope.units import short

HEAD = ("engine", "grade", "k", "queries checked", "not as defined", "beyond rounding", "at batch")
HOW = (
    "Answers are compared with the float64 definition. exact: the same ids. float32: only rows are exchanged whose distances differ "
    "by less than the rounding of the engine's own formula explains. wrong: anything else, or a distance that is further from the defined one than "
    "that rounding explains. The counts are those of each engine's worst case; queries that were not checked were not asked, or only outside of "
    "what was timed."
)
RANKS = 20
"""Of an answer that is shown."""
TEXT = 600
"""Characters of a document that is shown."""


def section(run: ComparisonRun) -> Section | None:
    """Grades, evidence, texts; None where nothing was judged."""
    judged = [r for r in run.rows if r.grade is not None]
    if not judged:
        return None
    blocks: list[Block] = [Text(HOW), Grid(_grades(judged, run.facts.queries))]
    for row in comparison.worst_of(run.rows).values():
        blocks += _evidence(row)
    blocks += _exchanges(judged)
    blocks += _texts(run)
    return Section("correctness", "Correctness", blocks)


def _grades(rows: Sequence[Measurement], queries: int | None) -> Table:
    """A line for each engine and k: its worst case."""
    worst: dict[tuple[str, int], Measurement] = {}
    for row in rows:
        key = row.engine, row.k
        if key not in worst or _badness(row) > _badness(worst[key]):
            worst[key] = row
    ranked = sorted(worst.values(), key=lambda r: -GRADES.index(r.grade or "exact"))
    lines: list[tuple[object, ...]] = [
        (Engine(r.engine), r.grade, r.k, _checked(r, queries), f"{r.differing:,}", f"{r.beyond:,}", f"{r.batch:,}")
        for r in ranked
    ]
    return Table("", HEAD, lines, right=(2, 3, 4, 5, 6))


def _checked(row: Measurement, queries: int | None) -> str:
    return f"{row.judged:,} of {queries:,}" if comparison.judged(row, queries) else f"{row.judged:,}"


def _badness(row: Measurement) -> tuple[float, ...]:
    return GRADES.index(row.grade or "exact"), row.beyond / row.judged, row.differing / row.judged, row.judged


def _evidence(row: Measurement) -> list[Block]:
    """What an engine is wrong about."""
    e = row.evidence
    assert e is not None  # a wrong row has some
    said = (
        f"{row.engine} is wrong at batch {row.batch:,}, k = {row.k}, on {row.beyond:,} of {row.judged:,} queries. Query {e.query}: "
        f"at rank {e.rank}, {plain(e.said)}{_gap(e)}."
    )
    return [Text(said), Grid(_lists(e))]


def _gap(e: Evidence) -> str:
    if e.distance is None or e.rival_distance is None or e.allowed is None:
        return ""
    return f" (row {e.rival}: the values are {abs(e.distance - e.rival_distance):.3g} apart, rounding explains {e.allowed:.3g})"


def _lists(e: Evidence) -> Table:
    pairs = list(zip(e.ids, e.expected, strict=False))[:RANKS]
    head = ("rank", *(str(rank) for rank in range(1, len(pairs) + 1)))
    lines: list[tuple[object, ...]] = [("found", *(a for a, _ in pairs)), ("defined", *(b for _, b in pairs))]
    return Table(f"Rows by rank, query {e.query}", head, lines, right=tuple(range(1, len(head))))


def _exchanges(rows: Sequence[Measurement]) -> list[Block]:
    """Queries on which rounding exchanged rows: one line for each engine and query."""
    found: dict[tuple[str, int, int], Measurement] = {}
    for r in rows:
        if r.grade == "float32" and r.evidence is not None:
            found.setdefault((r.engine, r.k, r.evidence.query), r)
    lines: list[tuple[object, ...]] = []
    for (engine, k, query), r in found.items():
        e = r.evidence
        assert e is not None
        known = e.distance is not None and e.rival_distance is not None and e.allowed is not None
        gap = f"{abs((e.distance or 0) - (e.rival_distance or 0)):.3g}" if known else ""
        lines.append(
            (
                Engine(engine),
                k,
                query,
                e.rank,
                e.row,
                "" if e.rival is None else e.rival,
                gap,
                f"{e.allowed:.3g}" if known else "",
            )
        )
    if not lines:
        return []
    head = ("engine", "k", "query", "rank", "row there", "row defined", "distances apart", "rounding explains")
    title = f"{len(lines)} exchanges that float32 rounding explains"
    return [Folded(title, [Grid(Table("", head, lines, right=tuple(range(1, 8))))])]


def _texts(run: ComparisonRun) -> list[Block]:
    """Disagreeing queries with their texts; where none was saved, the one query that was."""
    found = list(run.facts.disagreeing) or ([run.facts.answers] if run.facts.answers else [])
    blocks: list[Block] = []
    for one in found:
        words = short(plain(one.query or ""), 120)
        agree = "engines disagree" if one.differences else "all engines agree"
        blocks.append(Folded(f"Query {one.query_id or ''}, {agree}: {words}", _answers(one)))
    return blocks


def _answers(one: SideBySide) -> list[Block]:
    """A query: its text, what each engine found, and the documents."""
    ranks = range(len(one.engines[one.reference].rows))
    lines: list[tuple[object, ...]] = [
        (
            rank + 1,
            *(f"{one.document(a.rows[rank]).name}  {float(a.distances[rank]):.7g}" for a in one.engines.values()),
        )
        for rank in ranks
    ]
    best = one.engines[one.reference].rows
    rows = dict.fromkeys([*best, *(row for answer in one.engines.values() for row in answer.rows)])
    documents: list[tuple[object, ...]] = [
        (
            one.document(row).name,
            "" if one.document(row).grade is None else one.document(row).grade,
            short(plain(one.document(row).text or ""), TEXT),
        )
        for row in rows
    ]
    graded = any(line[1] != "" for line in documents)
    head = ("document", "relevant", "text") if graded else ("document", "text")
    kept: list[tuple[object, ...]] = documents if graded else [(line[0], line[2]) for line in documents]
    blocks: list[Block] = [Text(one.query)] if one.query else []
    blocks.append(Text(side_by_side.agreement(one), "quiet"))
    title = f"Document and {side_by_side.UNITS[one.metric]} by rank"
    blocks.append(Grid(Table(title, ("rank", *one.engines), lines)))
    if any(line[-1] for line in kept):
        blocks.append(Grid(Table("Documents", head, kept), wide=(len(head) - 1,)))
    return blocks
