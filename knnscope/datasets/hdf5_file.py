"""ANN-benchmarks' HDF5: ``train``, the queries ``test``, the stored ``neighbors`` and ``distances``.

Layout: https://github.com/erikbern/ann-benchmarks
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.datasets import probe
from knnscope.datasets.array_checks import MAX_DIM, checked, memory_limit
from knnscope.errors import KnnscopeError, require
from knnscope.records import GroundTruth, VectorDataset

METRICS = {"euclidean": "l2", "angular": "cosine", "dot": "ip", "ip": "ip", "l2": "l2", "cosine": "cosine"}


def touch(path: Path) -> None:
    """What may crash or loop in a damaged file, for ``probe.look``."""
    h5py = require("h5py", "files")
    with h5py.File(path) as file:
        file.attrs.get("distance")
        for name in file:
            file.get(name)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, for reading; what h5py raises about it becomes one line.

    Raises:
        KnnscopeError: h5py is missing, or the file is damaged.
    """
    h5py = require("h5py", "files")
    probe.look("hdf5_file:touch", path, "HDF5")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise KnnscopeError(f"{path}: no HDF5 file, or a damaged one ({reason})") from error


def hdf5(path: Path, name: str) -> VectorDataset:
    """Rows, queries, metric and ground truth of an ANN-benchmarks file; of one dataset alone where it is named.

    Raises:
        KnnscopeError: h5py is missing, or the file is damaged or holds something else.
    """
    with _opened(path) as file:
        if name:
            return VectorDataset(f"{path}#{name}", checked(path, _numbers(path, file, name)))
        parts = {name: checked(path, _numbers(path, file, name)) for name in ("train", "test") if _there(file, name)}
        if "train" not in parts:
            raise KnnscopeError(
                f"{path}: no dataset 'train': an ANN-benchmarks file holds 'train' and 'test'; there is {', '.join(file) or 'nothing'}: "
                f"{path}#NAME takes one of another name"
            )
        truth, notes = _truth(path, file)
        declared = _text(file.attrs.get("distance"))
        metric = METRICS.get(declared) if isinstance(declared, str) else None
        if declared is not None and metric is None:
            notes += (
                f"{path}: declares the distance {declared!r}, which is not one of {', '.join(METRICS)}: choose --metric",
            )
    return VectorDataset(str(path), parts["train"], parts.get("test"), metric, notes, truth=truth)


def neighbors(path: Path) -> GroundTruth:
    """``neighbors`` and ``distances`` alone: rows and queries, if there are any, stay where they are.

    Raises:
        KnnscopeError: as ``hdf5``; or there are no neighbors.
    """
    with _opened(path) as file:
        found, notes = _truth(path, file)
        if found is None:
            raise KnnscopeError(notes[0] if notes else f"{path}: holds no ground truth: no dataset 'neighbors'")
    return found


def _there(file: Any, name: str) -> bool:
    return file.get(name, getlink=True) is not None


def _numbers(path: Path, file: Any, name: str) -> npt.NDArray[Any]:
    """A dataset of this file, of numbers in two dimensions.

    Raises:
        KnnscopeError: it is something else, lies elsewhere, or is too large.
    """
    h5py = require("h5py", "files")
    for outer in accumulate(
        filter(None, name.split("/")), "{}/{}".format
    ):  # each group on the way, before what is in it
        link = file.get(outer, getlink=True)
        if link is None:
            raise KnnscopeError(f"{path}: no dataset {name!r}: there is {', '.join(file) or 'nothing'}")
        if not isinstance(link, h5py.HardLink):
            raise KnnscopeError(f"{path}: {outer!r} is a link to another place, which is not followed")
    item = file[name]
    if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
        raise KnnscopeError(f"{path}: {name!r} is no plain dataset of this file")
    if item.ndim != 2 or item.dtype.kind not in "fiu":
        raise KnnscopeError(
            f"{path}: {name!r} has shape {item.shape} and type {item.dtype}, numbers in two dimensions were expected"
        )
    if item.shape[1] > MAX_DIM:
        raise KnnscopeError(f"{path}: {name!r} has {item.shape[1]:,} components a row, the limit is {MAX_DIM:,}")
    memory_limit(path, item.size * item.dtype.itemsize, item.id.get_storage_size())
    values: npt.NDArray[Any] = item[()]
    return values


def _truth(path: Path, file: Any) -> tuple[GroundTruth | None, tuple[str, ...]]:
    """The stored neighbors; what is wrong with them does not stand in the way of the rows."""
    if not _there(file, "neighbors"):
        return None, ()
    try:
        ids = _numbers(path, file, "neighbors")
        distances = _numbers(path, file, "distances") if _there(file, "distances") else None
    except KnnscopeError as error:
        return None, (f"{error}: the stored neighbors are not used",)
    if ids.dtype.kind not in "iu" or (distances is not None and distances.shape != ids.shape):
        return None, (f"{path}: 'neighbors' and 'distances' do not belong together: not used",)
    return GroundTruth(ids, distances), ()


def _text(value: Any) -> Any:
    """An attribute as a string: some programs store it as bytes, or as an array of one."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
