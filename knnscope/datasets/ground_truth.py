"""Stored ground truth: the nearest rows of each query, as benchmarks publish them. Read and named here, not trusted.

big-ann-benchmarks (.bin, .ibin): two counts, then the ids of all queries as int32, then all distances as float32. Without
distances, and as .ivecs, it is a file of int32 vectors, and only its numbers tell. ANN-benchmarks' HDF5 has ``neighbors``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from knnscope.datasets import endings, packed_files, vector_files
from knnscope.errors import KnnscopeError
from knnscope.records import GroundTruth, VectorDataset
from knnscope.store import os_problem

ENDINGS = (".bin", ".ibin")
BLOCK = 1 << 20


def is_one(path: Path) -> bool:
    """Whether a file is ids and distances and nothing else, by its ending and its size."""
    if not endings.of(endings.uncropped(path), ENDINGS) or not path.is_file():
        return False
    try:
        packed_files.counts(path, 8)
    except KnnscopeError:
        return False
    except OSError as error:
        raise os_problem(error, path) from error
    return True


def load(spec: str) -> GroundTruth:
    """The ground truth of a file.

    Raises:
        KnnscopeError: it holds none, or is damaged.
    """
    path, _ = vector_files.split(spec)
    if is_one(path):
        queries, k, start = packed_files.counts(path, 8)
        if not queries * k:
            raise KnnscopeError(f"{path}: {k:,} neighbors of {queries:,} queries: no ground truth")
        data = packed_files.mapped(path)
        ids = np.ndarray((queries, k), "<i4", buffer=data, offset=start)
        return GroundTruth(ids, np.ndarray((queries, k), "<f4", buffer=data, offset=start + ids.nbytes))
    if not vector_files.is_vector_file(spec):
        raise KnnscopeError(
            f"{path}: no ground truth: ids as int32 and distances as float32 behind two counts of 4 or 8 bytes were expected"
        )
    found = of(vector_files.load(spec))
    if found is None:
        raise KnnscopeError(f"{path}: holds no ground truth: neighbors of HDF5, or rows of different numbers from 0 up")
    return found


def of(dataset: VectorDataset) -> GroundTruth | None:
    """What a data set has stored; or its own rows, where they are ids by the look of them: whole numbers from -1 up, each once in a row."""
    if dataset.truth is not None:
        return dataset.truth
    rows = dataset.documents.values
    if rows.dtype != np.int32:
        return None
    step = max(1, BLOCK // rows.shape[1])
    for start in range(0, len(rows), step):
        block = np.sort(rows[start : start + step], axis=1)
        if (block[:, :1] < -1).any() or ((block[:, 1:] == block[:, :-1]) & (block[:, 1:] >= 0)).any():
            return None
    return GroundTruth(rows)


def described(truth: GroundTruth) -> str:
    """How many neighbors of how many queries, and which ids, in words."""
    queries, k = truth.ids.shape
    least, most = int(truth.ids.min()), int(truth.ids.max())
    told = "with distances" if truth.distances is not None else "without distances"
    return f"{k:,} neighbors of each of {queries:,} queries, ids {least:,} to {most:,}, {told}"
