"""Stored ground truth: the nearest rows of each query, as benchmarks publish them. Read and named here, not trusted.

big-ann-benchmarks (.bin, .ibin): two counts, then the ids of all queries as int32, then all distances as float32. Without
distances, and as .ivecs, it is a file of int32 vectors, and only its numbers tell. ANN-benchmarks' HDF5 has ``neighbors``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.datasets import endings, hdf5_file, numpy_files, packed_files, vector_files
from knnscope.errors import KnnscopeError
from knnscope.records import GroundTruth, VectorDataset
from knnscope.store import no_file, os_problem

ENDINGS = (".bin", ".ibin")
HDF5 = (".hdf5", ".h5")
BESIDE = {".npy": ".distances.npy", ".ivecs": ".fvecs", ".ibin": ".fbin"}
"""Where distances lie that have no room in the file of the ids."""
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
    if endings.of(path, HDF5) and path.is_file():
        return given(spec)  # rows and queries need not be there
    if not vector_files.is_vector_file(spec):
        raise KnnscopeError(
            f"{path}: no ground truth: ids as int32 and distances as float32 behind two counts of 4 or 8 bytes were expected"
        )
    found = of(vector_files.load(spec))
    if found is None:
        raise KnnscopeError(f"{path}: holds no ground truth: neighbors of HDF5, or rows of different numbers from 0 up")
    return found


def given(spec: str) -> GroundTruth:
    """Whatever a user says is ground truth, also where its numbers are no ids: it is going to be judged.

    Distances of ids in .npy, .ivecs and .ibin are those of NAME.distances.npy, NAME.fvecs and NAME.fbin, where they are there.

    Raises:
        KnnscopeError: no such file, a damaged one, or no whole numbers in two dimensions.
    """
    path, column = vector_files.split(spec)
    kind = endings.of(endings.uncropped(path), (*ENDINGS, *BESIDE, *HDF5, *vector_files.READERS))
    if not path.is_file():
        raise no_file(path)
    if is_one(path):
        return load(spec)
    try:
        if kind in HDF5:
            return hdf5_file.neighbors(path)
        ids = (
            _array(path)
            if kind == ".npy"
            else vector_files.load(spec).documents.values
            if kind and kind != ".bin"
            else None
        )
        if ids is None or ids.dtype.kind not in "iu":
            raise KnnscopeError(
                f"{path}: no ground truth: ids were expected, as .npy .hdf5 .ivecs .ibin, or big-ann's .bin"
            )
        other = path.with_name(path.name[: -len(kind)] + BESIDE[kind]) if kind in BESIDE and not column else None
        if other is None or not other.is_file():
            return GroundTruth(ids)
        distances = _array(other) if kind == ".npy" else vector_files.load(str(other)).documents.values
    except OSError as error:
        raise os_problem(error, path) from error
    if distances.shape != ids.shape or distances.dtype.kind != "f":
        raise KnnscopeError(
            f"{other}: {distances.dtype} of shape {distances.shape} for ids of shape {ids.shape}: "
            f"not the distances of {path.name}: move it away, or put the right one there"
        )
    return GroundTruth(ids, distances)


def _array(path: Path) -> npt.NDArray[Any]:
    """An .npy file of numbers in two dimensions, of any whole type.

    Raises:
        KnnscopeError: it is none.
    """
    values = numpy_files.mapped(path)
    if values.ndim != 2 or values.dtype.kind not in "iuf" or not values.size:
        raise KnnscopeError(
            f"{path}: an array of shape {values.shape}: numbers in two dimensions (queries, k) were expected"
        )
    return np.asarray(values)


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
