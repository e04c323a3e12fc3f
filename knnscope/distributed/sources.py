"""Where a worker reads its rows from, again and again if need be: a slice of files that every machine sees, or an array that came with the task."""

from __future__ import annotations

import mmap
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.datasets import vector_files
from knnscope.errors import KnnscopeError
from knnscope.store import os_problem


class File(NamedTuple):
    """A file of rows as it was when it was first looked at. stamp: its size, and when it was written. place: machine, and its number there."""

    spec: str
    rows: int
    dim: int
    dtype: str
    stamp: tuple[int, int]
    place: tuple[str, int]

    def is_same(self, other: File) -> bool:
        """Whether another look has found the same file; machines may number a file that they share each in its own way."""
        return self == (other if other.place[0] == self.place[0] else other._replace(place=self.place))


class Piece(NamedTuple):
    """Some rows of a file."""

    file: File
    start: int
    stop: int


def opened(spec: str) -> tuple[File, npt.NDArray[Any]]:
    """A file, and its rows, mapped.

    Raises:
        KnnscopeError: no such file here, a damaged one, one of a format that cannot be mapped, or one that is changed meanwhile.
    """
    if not vector_files.is_vector_file(spec):
        raise KnnscopeError(f"{spec}: no file of vectors by its ending: workers map .npy and the bin and vecs families")
    before = _facts(spec)
    values = vector_files.load(spec).documents.values
    if _facts(spec) != before:
        raise KnnscopeError(f"{spec}: the file was changed while it was opened: try again")
    if not is_mapped(values):
        raise KnnscopeError(
            f"{spec}: a file of this format is read whole, by every worker: write its rows as .npy (knnscope data get), which is mapped"
        )
    rows, dim = values.shape
    return File(spec, rows, dim, values.dtype.name, *before), values


def _facts(spec: str) -> tuple[tuple[int, int], tuple[str, int]]:
    """Stamp and place."""
    path = vector_files.split(spec)[0]
    try:
        facts = Path(path).stat()
    except OSError as error:
        raise os_problem(error, path) from error
    return (facts.st_size, facts.st_mtime_ns), (socket.gethostname(), facts.st_ino)


def is_mapped(values: Any) -> bool:
    """Whether an array lies in a file."""
    return _map_of(values) is not None


def _map_of(values: Any) -> mmap.mmap | None:
    held = values
    while held is not None and not isinstance(held, mmap.mmap):
        held = held.obj if isinstance(held, memoryview) else getattr(held, "base", None)
    return held


def pieces(files: Sequence[File], rows: range) -> tuple[Piece, ...]:
    """Some of the rows of files one after another."""
    return tuple(_pieces(files, rows))


def _pieces(files: Sequence[File], rows: range) -> Iterator[Piece]:
    first = 0
    for file in files:
        start, stop = max(rows.start - first, 0), min(rows.stop - first, file.rows)
        if start < stop:
            yield Piece(file, start, stop)
        first += file.rows


def read(some: Sequence[Piece]) -> npt.NDArray[Any]:
    """Their rows, (rows, dim): mapped where they lie in one file, else copied.

    Raises:
        KnnscopeError: a file is gone, or another than it was.
    """
    parts = []
    for file, start, stop in some:
        now, values = opened(file.spec)
        if not now.is_same(file):
            raise KnnscopeError(f"{file.spec}: the file was changed after its rows were split: make the index again")
        parts.append(values[start:stop])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def release(rows: npt.NDArray[Any]) -> None:
    """Give back the pages of mapped rows, which count as this process's memory until then and are read again where they are needed."""
    held = _map_of(rows)
    if held is not None:
        held.madvise(mmap.MADV_DONTNEED)
