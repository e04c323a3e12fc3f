"""Retrieval quality against graded judgements, by trec_eval itself (pytrec_eval)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knnscope.errors import require
from knnscope.records import Judgements, Neighbors


def ndcg(found: Neighbors, judgements: Judgements, depth: int = 10, queries: Sequence[int] | None = None) -> float:
    """Mean nDCG over the queries that have a relevant document, at ``depth``, with linear gain as in trec_eval.

    trec_eval orders by score and breaks ties by document name; ranks are handed over as scores, so that the order judged is
    the order found (distance, then row number).

    Args:
        found: neighbors, line i of query ``queries[i]`` (all queries by default).
        judgements: grades by row numbers.
        depth: ranks that count.
        queries: query rows of the lines of ``found``.
    """
    pytrec_eval = require("pytrec_eval")
    rows = range(len(found.ids)) if queries is None else queries
    grades: dict[str, dict[str, int]] = {}
    for query, document, grade in zip(judgements.queries, judgements.documents, judgements.grades, strict=True):
        grades.setdefault(str(query), {})[str(document)] = int(grade)
    run = {
        str(q): {str(d): float(-rank) for rank, d in enumerate(line[:depth])}
        for q, line in zip(rows, found.ids.tolist(), strict=True)
    }
    measure = f"ndcg_cut_{depth}"
    scores = pytrec_eval.RelevanceEvaluator(grades, {f"ndcg_cut.{depth}"}).evaluate(run)
    return float(np.mean([s[measure] for s in scores.values()])) if scores else 0.0
