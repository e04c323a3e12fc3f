"""Ground truth as files: .npy, ANN-benchmarks' HDF5, .ivecs and .ibin with distances beside, big-ann's gt.bin. Each whole or not there.

Layouts: datasets/ground_truth.py reads them. Distances in float32 are rounded; .npy has them as defined, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from knnscope.datasets import endings
from knnscope.datasets.ground_truth import BESIDE
from knnscope.errors import KnnscopeError, require
from knnscope.records import FloatArray, IdArray
from knnscope.store import is_stream, whole_file

LARGEST = 2**31 - 1
"""Of an id in int32."""

Batches = Callable[[], Iterator[tuple[IdArray, FloatArray]]]
"""Ids and distances, batch of queries by batch, from the first one again each time it is called."""

ANN_BENCHMARKS = {"l2": "euclidean", "cosine": "angular", "ip": "dot"}
AS_STORED = {
    "l2": "square roots of the defined ones",
    "cosine": "1 - the defined similarity",
    "ip": "the defined product, negated",
}
"""ANN-benchmarks stores what sorts ascending."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What is written: queries and neighbors of each, the metric, the largest id that may stand there, and the batches."""

    queries: int
    k: int
    metric: str
    largest: int
    batches: Batches


def ending(path: Path) -> str:
    """The ending that says the format.

    Raises:
        KnnscopeError: it is none of those that are written.
    """
    found = endings.of(path, WRITERS)
    if not found:
        raise KnnscopeError(f"{path}: the ending says the format: {' '.join(WRITERS)}")
    return found


def beside(path: Path) -> Path | None:
    """Where the distances go that have no room in the file itself."""
    other = BESIDE.get(endings.of(path, WRITERS))
    return None if other is None else path.with_name(path.name[: -len(ending(path))] + other)


def check(path: Path, largest: int) -> None:
    """Refuse a format that cannot hold the ids, or what is no file, before anything is computed.

    Raises:
        KnnscopeError: it cannot, is none, or its library is missing; a name is a pipe's, a device's, or see ``store.is_stream``.
    """
    if ending(path) in (".hdf5", ".h5"):
        require("h5py", "files")
    elif ending(path) != ".npy" and largest > LARGEST:
        raise KnnscopeError(
            f"{path}: ids go up to {largest:,}, {ending(path)} holds int32: write .npy or .hdf5, which hold int64"
        )
    for place in (path, beside(path)):
        if place is not None and is_stream(place, follow=True):
            raise KnnscopeError(f"{place}: a pipe or a device, which cannot be read again for its sum: choose a file")


def write(path: Path, answers: Answers) -> list[Path]:
    """Write distances and ids; the file of this name comes last.

    Returns:
        The files, the one of this name first.

    Raises:
        KnnscopeError: as ``check``, or a full disk.
    """
    check(path, answers.largest)
    with np.errstate(over="ignore"):  # beyond float32 is infinite there
        WRITERS[ending(path)](path, answers)
    other = beside(path)
    return [path] if other is None else [path, other]


def _npy(path: Path, answers: Answers) -> None:
    other = beside(path)
    assert other is not None
    for place, column, dtype in ((other, 1, "<f8"), (path, 0, "<i8")):
        with whole_file(place, follow=True) as file:
            header = {"descr": dtype, "fortran_order": False, "shape": (answers.queries, answers.k)}
            np.lib.format.write_array_header_1_0(file, header)
            _all(file, answers, column, dtype)


def _hdf5(path: Path, answers: Answers) -> None:
    h5py = require("h5py", "files")
    whole = np.int32 if answers.largest <= LARGEST else np.int64
    with whole_file(path, "w+b", follow=True) as raw, h5py.File(raw, "w") as file:
        file.attrs["distance"] = ANN_BENCHMARKS[answers.metric]
        ids = file.create_dataset("neighbors", (answers.queries, answers.k), whole)
        distances = file.create_dataset("distances", (answers.queries, answers.k), np.float32)
        distances.attrs["holds"] = f"{AS_STORED[answers.metric]}, rounded to float32"
        at = 0
        for found, values in answers.batches():
            ids[at : at + len(found)] = found
            distances[at : at + len(found)] = as_ann_benchmarks(values, answers.metric)
            at += len(found)


def as_ann_benchmarks(distances: npt.NDArray[Any], metric: str) -> npt.NDArray[Any]:
    """The distances that ANN-benchmarks stores, ascending."""
    if metric == "l2":
        return np.asarray(np.sqrt(distances))
    return np.asarray(1 - distances if metric == "cosine" else -distances)


def _vecs(path: Path, answers: Answers) -> None:
    other = beside(path)
    assert other is not None
    for place, column, dtype in ((other, 1, "<f4"), (path, 0, "<i4")):
        with whole_file(place, follow=True) as file:
            for both in answers.batches():
                values = both[column]
                lines = np.empty((len(values), answers.k + 1), dtype)
                lines[:, 1:] = values
                lines[:, 0] = np.array([answers.k], "<i4").view(dtype)
                file.write(lines.data)


def _bin(path: Path, answers: Answers) -> None:
    other = beside(path)
    assert other is not None
    for place, column, dtype in ((other, 1, "<f4"), (path, 0, "<i4")):
        with whole_file(place, follow=True) as file:
            file.write(np.array([answers.queries, answers.k], "<u4").tobytes())
            _all(file, answers, column, dtype)


def _both(path: Path, answers: Answers) -> None:
    with whole_file(path, follow=True) as file:
        file.write(np.array([answers.queries, answers.k], "<u4").tobytes())
        for column, dtype in ((0, "<i4"), (1, "<f4")):
            _all(file, answers, column, dtype)


def _all(file: IO[bytes], answers: Answers, column: int, dtype: str) -> None:
    for both in answers.batches():
        file.write(np.ascontiguousarray(both[column], dtype=dtype).data)


WRITERS: dict[str, Callable[[Path, Answers], None]] = {
    ".npy": _npy,
    ".hdf5": _hdf5,
    ".h5": _hdf5,
    ".ivecs": _vecs,
    ".ibin": _bin,
    ".bin": _both,
}
"""By ending."""
