"""Which metric a score function of the host is, and what its scores are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.errors import UnsupportedError
from knnscope.records import Neighbors

HOST = "sentence_transformers.util"
FUNCTIONS = {"cos_sim": "cosine", "pytorch_cos_sim": "cosine", "dot_score": "ip", "euclidean_sim": "l2"}
"""Metrics by the name of the host's function."""
SIMILARITIES = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}
"""Metrics by what a model says of itself."""


def metric_of(score_function: Any) -> str:
    """The metric of the host's function, or of its name.

    Raises:
        KnnscopeError: it is another function.
    """
    name = score_function if isinstance(score_function, str) else getattr(score_function, "__name__", "")
    if name in FUNCTIONS and (name is score_function or score_function.__module__.startswith(HOST)):
        return FUNCTIONS[name]
    raise UnsupportedError(
        f"score_function {name or score_function!r} is none of {', '.join(FUNCTIONS)} of {HOST}: give one of these, or search with the host"
    )


def metric_of_model(model: Any) -> str:
    """The metric of a model's similarity.

    Raises:
        KnnscopeError: no index knows it.
    """
    name = str(model.similarity_fn_name)
    if name not in SIMILARITIES:
        raise UnsupportedError(f"the model's similarity is {name}: an index knows {', '.join(SIMILARITIES)}")
    return SIMILARITIES[name]


def scores_of(found: Neighbors, metric: str) -> npt.NDArray[Any]:
    """As the host gives them, larger is nearer: a distance is negative, and not squared."""
    return -np.sqrt(found.distances) if metric == "l2" else found.distances
