"""``semantic_search`` and ``paraphrase_mining_embeddings``: embeddings are tensors of any device, arrays, or lists of either.

Scores are those of float64, and equal ones go to the smaller row. The host's chunk sizes are taken, and nothing depends on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.index import ExactIndex
from knnscope.errors import UnsupportedError
from knnscope.records import Neighbors
from knnscope.tensors import detached

FUNCTIONS = {"cos_sim": "cosine", "pytorch_cos_sim": "cosine", "dot_score": "ip", "euclidean_sim": "l2"}
"""Metrics by the name of the host's function."""
HOST = "sentence_transformers.util"


def semantic_search(
    query_embeddings: Any,
    corpus_embeddings: Any,
    query_chunk_size: int = 100,  # noqa: ARG001
    corpus_chunk_size: int = 500000,  # noqa: ARG001
    top_k: int = 10,
    score_function: Any = "cos_sim",
) -> list[list[dict[str, int | float]]]:
    """The best rows of the corpus for each query.

    Args:
        query_embeddings: (queries, dim), or (dim,) for one.
        corpus_embeddings: (rows, dim).
        query_chunk_size: not needed.
        corpus_chunk_size: not needed.
        top_k: how many; all rows where there are fewer.
        score_function: of ``FUNCTIONS``: the host's function, or its name.

    Returns:
        For each query [{"corpus_id": row, "score": score}, ...], the best first.

    Raises:
        KnnscopeError: another function, shapes that do not fit, a sparse tensor, or a number that is not finite.
    """
    metric, rows, queries = metric_of(score_function), detached(corpus_embeddings), detached(query_embeddings)
    if not len(rows) or top_k < 1:
        return [[] for _ in range(len(queries) if np.ndim(queries) > 1 else 1)]
    found = ExactIndex(rows, metric).search(queries, min(top_k, len(rows)))
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


def metric_of(score_function: Any) -> str:
    """The metric of the host's function, or of its name."""
    name = score_function if isinstance(score_function, str) else getattr(score_function, "__name__", "")
    of_host = name is score_function or getattr(score_function, "__module__", "").startswith(HOST)
    if name not in FUNCTIONS or not of_host:
        raise UnsupportedError(
            f"score_function {name or score_function!r} is none of {', '.join(FUNCTIONS)} of {HOST}: give one of these, or search with the host"
        )
    return FUNCTIONS[name]


def scores_of(found: Neighbors, metric: str) -> npt.NDArray[Any]:
    """As the host gives them, larger is nearer: a distance is negative, and not squared."""
    return -np.sqrt(found.distances) if metric == "l2" else found.distances
