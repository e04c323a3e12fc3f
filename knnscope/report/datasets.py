"""What is in a data set, in words: counts, shapes, norms, relevant pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from knnscope.datasets import ground_truth
from knnscope.datasets.registry import Entry
from knnscope.records import TextDataset, VectorDataset
from knnscope.report.text import paragraph, plain, table
from knnscope.units import size

SOME = 10_000
"""Rows of which norms are told."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Which relevant pairs are shown: how many, after how many others, and of which grade."""

    count: int = 5
    offset: int = 0
    grade: int = 1


def entries_text(entries: Sequence[Entry]) -> str:
    """A line for each data set by name."""
    rows = [(e.name, f"{e.documents:,}", f"{e.queries:,}", e.state, e.what) for e in entries]
    return table(rows, ("name", "documents", "queries", "state", "what"), right=(1, 2))


def vectors_text(dataset: VectorDataset) -> str:
    """Shape, type, ground truth, metric and norms."""
    rows, name = dataset.documents, plain(dataset.name)
    lines = [f"{name}: {len(rows):,} rows of {rows.dim} {rows.values.dtype}, {size(rows.values.nbytes)}"]
    if dataset.queries is not None:
        lines.append(f"{len(dataset.queries):,} queries of {dataset.queries.dim} {dataset.queries.values.dtype}")
    if (truth := ground_truth.of(dataset)) is not None:
        what = "stored ground truth" if dataset.truth is not None else "may be ground truth by its numbers"
        lines.append(f"{what}: {ground_truth.described(truth)}")
    if (made := dataset.encoded_by) is not None:
        kept = "texts are kept" if rows.texts is not None else "texts are not kept"
        lines.append(f"encoded by {plain(made.name)}, recipe {plain(str(made.recipe['name']))}; {kept}")
    lines.append(f"metric: {dataset.metric or 'not declared; l2 is the default'}")
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), SOME)).astype(int)
    some = np.asarray(rows.values[chosen], dtype=np.float64)
    norms = np.linalg.norm(some, axis=1)
    low, high, median = norms.min(), norms.max(), np.median(norms)
    lines.append(f"norms (of {len(some):,} rows): {low:.6g} to {high:.6g}, median {median:.6g}")
    lines.append(f"norm of the mean row: {np.linalg.norm(some.mean(axis=0)):.6g}")
    return "\n".join(lines)


def texts_text(dataset: TextDataset, wanted: Pairs) -> str:
    """Counts, then some relevant pairs of one grade."""
    judged, grades, name = dataset.qrels, dataset.qrels.grades, plain(dataset.name)
    counts = ", ".join(f"{np.count_nonzero(grades == g):,} of grade {g}" for g in np.unique(grades)[::-1])
    absent = (
        f"{len(judged.absent_grades):,} of documents that are not in the corpus" if len(judged.absent_grades) else ""
    )
    lines = [
        f"{name}: {len(dataset.documents):,} documents, {len(dataset.queries):,} queries, {len(judged):,} judgements",
        f"judgements: {', '.join(filter(None, (counts, absent))) or 'none'}",
    ]
    chosen = np.flatnonzero(grades == wanted.grade)
    shown = chosen[wanted.offset : wanted.offset + wanted.count]
    if not len(chosen) and len(judged):
        lines.append(f"no pair has grade {wanted.grade}: choose another with --grade")
    for i in shown:
        query, document = int(judged.queries[i]), int(judged.documents[i])
        lines += [
            f"\nquery {plain(dataset.queries.ids[query])}",
            paragraph(dataset.queries.texts[query], lines=6),
            f"document {plain(dataset.documents.ids[document])}, grade {wanted.grade}",
            paragraph(dataset.documents.texts[document], lines=6),
        ]
    last = wanted.offset + len(shown)
    if len(chosen) and not len(shown) and wanted.count:
        lines.append(f"no pairs from --offset {wanted.offset} on: there are {len(chosen):,} of grade {wanted.grade}")
    elif 0 < last < len(chosen) and wanted.count:
        more = f"knnscope data show {name} --grade {wanted.grade} --offset {last}"
        lines.append(f"\n{len(chosen):,} pairs have grade {wanted.grade}; to see the next: {more}")
    return "\n".join(lines)
