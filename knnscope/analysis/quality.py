"""Retrieval quality against graded judgements, by trec_eval itself (pytrec_eval)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knnscope.errors import require
from knnscope.records import IdArray, Neighbors, Qrels, TextDataset, VectorDataset
from knnscope.search import definition

DEPTH = 10
"""Ranks that nDCG and MRR look at."""


def own_documents(dataset: TextDataset | VectorDataset) -> dict[int, int]:
    """Queries that are documents themselves, as in ArguAna: query row to document row, found by their ids; none where rows have no ids."""
    documents, queries = dataset.documents.ids, dataset.queries.ids if dataset.queries is not None else None
    if documents is None or queries is None:
        return {}
    rows = {name: row for row, name in enumerate(documents)}
    return {query: rows[name] for query, name in enumerate(queries) if name in rows}


def own_note(name: str, own: dict[int, int], judged: Qrels | None) -> str:
    """What leaving these documents of a data set out means, for the user; empty where there are none."""
    if not own:
        return ""
    pairs = () if judged is None else zip(judged.queries.tolist(), judged.documents.tolist(), strict=True)
    count = sum(own.get(q) == d for q, d in pairs)
    return (
        f"{name}: {len(own):,} queries have the id of a document, which is left out of their answers where quality is measured; "
        f"{count:,} of these documents are judged (--keep-own keeps them)"
    )


def ranked(found: Neighbors, metric: str, own: dict[int, int], queries: Sequence[int]) -> list[list[int]]:
    """Rows of each query, best first: by distance, then row number, without the query's own document.

    Args:
        found: neighbors, one more than will be used where ``own`` is not empty.
        metric: decides the direction.
        own: see ``own_documents``.
        queries: query rows of the lines of ``found``.
    """
    keys = -found.distances if definition.descending(metric) else found.distances
    order = np.lexsort((found.ids, keys), axis=1)
    lines: IdArray = np.take_along_axis(found.ids, order, axis=1)
    return [[d for d in line if d != own.get(q)] for q, line in zip(queries, lines.tolist(), strict=True)]


def by_query(
    lines: Sequence[Sequence[int]], qrels: Qrels, k: int, queries: Sequence[int]
) -> dict[str, dict[int, float]]:
    """For each query that has a judgement: ``ndcg_at_10`` (linear gain), ``recall_at_k``, ``mrr_at_10``; as in trec_eval.

    trec_eval orders by score; ranks are handed over as scores, so that the order judged is the order found
    (docs/decisions/018). A query without a relevant document counts as 0; a grade below 0 counts as 0, as there (its library in
    Python writes outside its memory where it is given one).

    Args:
        lines: rows of each query, best first, at least max(k, 10) where there are so many.
        qrels: grades by row numbers.
        k: depth of the recall.
        queries: query rows of the lines.

    Returns:
        By measure and query row; every measure has the same queries.
    """
    pytrec_eval = require("pytrec_eval")
    asked = set(queries)
    grades: dict[str, dict[str, int]] = {}
    for query, document, grade in zip(qrels.queries, qrels.documents, qrels.grades, strict=True):
        if int(query) in asked:
            grades.setdefault(str(query), {})[str(document)] = max(0, int(grade))
    for number, (query, grade) in enumerate(zip(qrels.absent_queries, qrels.absent_grades, strict=True)):
        if int(query) in asked:
            grades.setdefault(str(query), {})[f"absent {number}"] = max(0, int(grade))
    run = {str(q): {str(d): float(-r) for r, d in enumerate(line)} for q, line in zip(queries, lines, strict=True)}
    first = {q: dict(list(scores.items())[:DEPTH]) for q, scores in run.items()}
    measures = {f"ndcg_cut.{DEPTH}", f"recall.{k}"}
    whole = pytrec_eval.RelevanceEvaluator(grades, measures).evaluate(run)
    short = pytrec_eval.RelevanceEvaluator(grades, {"recip_rank"}).evaluate(first)
    return {
        "ndcg_at_10": {int(q): float(s[f"ndcg_cut_{DEPTH}"]) for q, s in whole.items()},
        "recall_at_k": {int(q): float(s[f"recall_{k}"]) for q, s in whole.items()},
        "mrr_at_10": {int(q): float(short[q]["recip_rank"]) for q in whole},
    }


def measures(lines: Sequence[Sequence[int]], qrels: Qrels, k: int, queries: Sequence[int]) -> dict[str, float]:
    """Means of ``by_query``; empty where no query has a judgement."""
    found = by_query(lines, qrels, k, queries)
    return {name: float(np.mean(list(values.values()))) for name, values in found.items() if values}
