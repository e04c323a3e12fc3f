"""One query's answers from several engines in words: the documents, their distances by rank, and whether the engines agree."""

from __future__ import annotations

from knnscope.analysis.side_by_side import Document, SideBySide
from knnscope.report.text import paragraph, plain, table

UNITS = {"l2": "squared distance", "ip": "inner product", "cosine": "cosine similarity"}


def text(found: SideBySide) -> str:
    """All that is printed of it."""
    lines = []
    if found.query is not None:
        lines += [f"query {plain(found.query_id or '')}".rstrip(), paragraph(found.query), ""]
    elif found.query_id is not None:
        lines += [f"query {plain(found.query_id)} of {plain(found.dataset)}", ""]
    best = found.engines[found.reference].rows
    others = [row for answer in found.engines.values() for row in answer.rows]
    for row in dict.fromkeys([*best, *others]):
        lines += _document(found, found.document(row))
    cells = [(rank + 1, *_cells(found, rank)) for rank in range(len(best))]
    lines += [f"{UNITS[found.metric]} by rank", table(cells, ("rank", *found.engines)), "", agreement(found)]
    if relevant := found.relevant:
        said = [f"{plain(d.name)} (grade {d.grade}) at rank {d.rank:,}" for d in relevant if d.rank is not None]
        lines.append(f"relevant: {', '.join(said)}")
    return "\n".join(lines)


def _cells(found: SideBySide, rank: int) -> list[str]:
    """A cell for each engine: the distance, after the document's name where they differ."""
    same = len({answer.rows[rank] for answer in found.engines.values()}) == 1
    return [
        ("" if same else f"{plain(found.document(answer.rows[rank]).name)} ") + f"{float(answer.distances[rank]):.7g}"
        for answer in found.engines.values()
    ]


def _document(found: SideBySide, document: Document) -> list[str]:
    """Where it stands, its name, and its text."""
    places: dict[int, list[str]] = {}
    for name, answer in found.engines.items():
        if document.row in answer.rows:
            places.setdefault(answer.rows.index(document.row) + 1, []).append(name)
    name = f"row {document.row}" if document.id is None else plain(document.id)
    mark = f"   <- relevant, grade {document.grade}" if document.grade is not None else ""
    if document.text is not None and found.query_id == document.name:
        mark += "   (the query itself)"
    if len(places) == 1 and len(next(iter(places.values()))) == len(found.engines):
        head = f"{next(iter(places))}. {name}{mark}"
    else:
        who = "; ".join(f"rank {at} by {plain(', '.join(engines))}" for at, engines in sorted(places.items()))
        head = f"-  {name}{mark}   ({who})"
    return [head] if document.text is None else [head, paragraph(document.text)]


def agreement(found: SideBySide) -> str:
    """Whether the engines agree, and where they do not."""
    count = len(found.engines)
    if count == 1:
        return f"only {plain(found.reference)} was asked"
    if not found.differences:
        return f"{'both' if count == 2 else f'all {count}'} engines agree on the ids and their order"
    said = []
    for d in found.differences:
        gap = abs(float(d.distance) - float(d.expected_distance))
        far = f"{gap:.3g} apart in float64" if gap else "an exact tie, which goes to the smaller row"
        row, expected = (plain(found.document(i).name) for i in (d.row, d.expected_row))
        engine, reference = plain(d.engine), plain(found.reference)
        said.append(f"{engine} differs from {reference} at rank {d.rank}: {row} for {expected}, {far}")
    return "\n".join([f"{count - len(found.differences)} of {count} engines agree", *said])
