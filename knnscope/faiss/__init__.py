"""Faiss' flat indexes with exact answers, without Faiss. In: float32 vectors. Out: float32 distances, int64 labels.

``import knnscope.faiss as faiss``: labels are those of float64, ties by the smallest. docs/drop-ins.md has a script. Read flat.py first.
"""

from knnscope.faiss.arrays import METRIC_INNER_PRODUCT, METRIC_L2, RefusedError, ShapeError
from knnscope.faiss.flat import IndexFlat, IndexFlatIP, IndexFlatL2
from knnscope.faiss.functions import knn, knn_ground_truth, range_search
from knnscope.faiss.id_map import IndexIDMap, IndexIDMap2
from knnscope.faiss.lengths import normalize_L2
from knnscope.faiss.selectors import (
    IDSelector,
    IDSelectorAll,
    IDSelectorAnd,
    IDSelectorArray,
    IDSelectorBatch,
    IDSelectorBitmap,
    IDSelectorNot,
    IDSelectorRange,
    SearchParameters,
)

__all__ = [
    "METRIC_INNER_PRODUCT",
    "METRIC_L2",
    "IDSelector",
    "IDSelectorAll",
    "IDSelectorAnd",
    "IDSelectorArray",
    "IDSelectorBatch",
    "IDSelectorBitmap",
    "IDSelectorNot",
    "IDSelectorRange",
    "IndexFlat",
    "IndexFlatIP",
    "IndexFlatL2",
    "IndexIDMap",
    "IndexIDMap2",
    "RefusedError",
    "SearchParameters",
    "ShapeError",
    "knn",
    "knn_ground_truth",
    "normalize_L2",
    "range_search",
]


def __getattr__(name: str) -> object:
    """Of what Faiss has and is not here."""
    raise AttributeError(
        f"knnscope.faiss has no {name}: flat indexes and what belongs to them are here, take the rest from faiss itself"
    )
