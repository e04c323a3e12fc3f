"""``semantic_search`` and ``paraphrase_mining_embeddings``: embeddings are tensors of any device, arrays, or lists of either.

Scores are those of float64, and equal ones go to the smaller row. The host's chunk sizes are taken, and nothing depends on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.certified.index import ExactIndex
from knnscope.errors import ArgumentError
from knnscope.sentence_transformers.scores import metric_of, scores_of
from knnscope.tensors import detached


def semantic_search(
    query_embeddings: Any,
    corpus_embeddings: Any,
    query_chunk_size: int = 100,  # noqa: ARG001
    corpus_chunk_size: int = 500000,  # noqa: ARG001
    top_k: int = 10,
    score_function: Any = "cos_sim",
) -> list[list[dict[str, Any]]]:
    """The best rows of the corpus for each query.

    Args:
        query_embeddings: (queries, dim), or (dim,) for one.
        corpus_embeddings: (rows, dim); or an ``ExactIndex`` over them, by the metric of the scores: each call would build one.
        query_chunk_size: not needed.
        corpus_chunk_size: not needed.
        top_k: how many; all rows where there are fewer.
        score_function: the host's ``cos_sim``, ``dot_score`` or ``euclidean_sim``, or this name.

    Returns:
        For each query [{"corpus_id": row, "score": score}, ...], the best first; of an index its ids.

    Raises:
        KnnscopeError: another function or metric, shapes that do not fit, a sparse tensor, or a number that is not finite.
    """
    metric, queries = metric_of(score_function), detached(query_embeddings)
    rows = corpus_embeddings if isinstance(corpus_embeddings, ExactIndex) else detached(corpus_embeddings)
    if not len(rows) or top_k < 1:
        return [[] for _ in range(len(queries) if np.ndim(queries) > 1 else 1)]
    index = rows if isinstance(rows, ExactIndex) else ExactIndex(rows, metric)
    if index.metric != metric:
        raise ArgumentError(f"score_function is of the metric {metric}, the index of {index.metric}: give both alike")
    found = index.search(queries, min(top_k, len(rows)))
    lines = zip(np.atleast_2d(found.ids).tolist(), np.atleast_2d(scores_of(found, metric)).tolist(), strict=True)
    return [[{"corpus_id": row, "score": score} for row, score in zip(*line, strict=True)] for line in lines]


def paraphrase_mining_embeddings(
    embeddings: Any,
    query_chunk_size: int = 5000,  # noqa: ARG001
    corpus_chunk_size: int = 100000,  # noqa: ARG001
    max_pairs: int = 500000,
    top_k: int = 100,
    score_function: Any = "cos_sim",
) -> list[list[float | int]]:
    """The best pairs of a row of (rows, dim) and one of its ``top_k`` best others, ``max_pairs`` at most.

    Returns:
        [score, i, j] with i < j, the best first, equal scores by i, then by j.

    Raises:
        KnnscopeError: as ``semantic_search``.
    """
    metric, rows = metric_of(score_function), detached(embeddings)
    count = len(rows)
    if count < 2 or top_k < 1:
        return []
    graph = ExactIndex(rows, metric).knn_graph(min(top_k, count - 1))
    scores, others = scores_of(graph, metric).ravel(), graph.ids.ravel()
    own = np.repeat(np.arange(count), graph.ids.shape[1])
    low, high = np.minimum(own, others), np.maximum(own, others)
    once = np.unique(low * count + high, return_index=True)[1]  # each pair in the order of i, then j
    best = once[np.argsort(-scores[once], kind="stable")][:max_pairs]
    return [list(pair) for pair in zip(scores[best].tolist(), low[best].tolist(), high[best].tolist(), strict=True)]
