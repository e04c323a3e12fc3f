"""Rows that stay in a file: read in large pieces while codes are written, and a few at a time where a search wants them. Decision 045.

The file is mapped as well, for what looks at a few rows or at a copy of all; whatever reads many of them reads here, so that they are not counted as
this process's memory, and so that a file that has become shorter is an error and no signal.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.rows import KNOWN, as_rows
from knnscope.datasets import vector_files
from knnscope.errors import KnnscopeError
from knnscope.store import os_problem

MOST = 1 << 30
"""Bytes of one read."""
AHEAD = 1 << 25
"""Bytes that are asked for ahead of those that are read in order."""
TOGETHER = 64
"""Rows that are asked for before the first of them is read."""
Which = slice | Sequence[int] | npt.NDArray[Any]


class RowFile:
    """An open file of rows, which has to stay as it is.

    handle: for reads at any place. start: the byte of the first row. width: bytes of a row.
    """

    def __init__(self, path: Path, start: int, width: int) -> None:
        """Open it.

        Raises:
            KnnscopeError: it cannot be opened.
        """
        self.path, self.start, self.width = path, start, width
        try:
            self.handle, self._ordered = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for _ in range(2))
        except OSError as error:
            raise os_problem(error, path) from error
        for handle in (self.handle, self._ordered):
            weakref.finalize(self, os.close, handle)
        os.posix_fadvise(self.handle, 0, 0, os.POSIX_FADV_RANDOM)
        self._stamp = _stamp(os.fstat(self.handle))

    def is_whole(self, before: os.stat_result) -> bool:
        """Whether all that was opened is the file that was there before."""
        return all(_stamp(os.fstat(handle)) == _stamp(before) for handle in (self.handle, self._ordered))

    def check(self) -> None:
        """Refuse a file that was written to since it was opened.

        Raises:
            KnnscopeError: it was.
        """
        if _stamp(os.fstat(self.handle)) != self._stamp:
            raise KnnscopeError(f"{self.path}: the file was changed since it was opened: build the index again")

    def read(self, first: int, last: int, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rows from one up to another, of the type and width of ``like``.

        Raises:
            KnnscopeError: the file cannot be read, or has become shorter.
        """
        made = np.empty((last - first, like.shape[1]), like.dtype)
        self._read(self._ordered, made, first)
        return made

    def ask(self, first: int, last: int) -> None:
        """Let the system read rows that are wanted soon."""
        os.posix_fadvise(
            self._ordered, self.start + first * self.width, max(0, last - first) * self.width, os.POSIX_FADV_WILLNEED
        )

    def take(self, places: Sequence[int] | npt.NDArray[Any], like: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rows at any places, in their order; several are on their way at a time.

        Raises:
            KnnscopeError: see ``read``.
        """
        made = np.empty((len(places), like.shape[1]), like.dtype)
        for first in range(0, len(places), TOGETHER):
            some = [int(place) for place in places[first : first + TOGETHER]]
            for place in some:
                os.posix_fadvise(self.handle, self.start + place * self.width, self.width, os.POSIX_FADV_WILLNEED)
            for number, place in enumerate(some, first):
                self._read(self.handle, made[number : number + 1], place)
        return made

    def _read(self, handle: int, made: npt.NDArray[Any], first: int) -> None:
        read_at(handle, made, self.start + first * self.width, self.path)


def _stamp(facts: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is written to, or another is opened."""
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def read_at(handle: int, made: npt.NDArray[Any], at: int, path: object) -> None:
    """Fill an array, which is in one piece, from a byte of a file on.

    Raises:
        KnnscopeError: the file cannot be read, or has become shorter.
    """
    into = made.reshape(-1).view(np.uint8).data
    try:
        while len(into):
            done = os.preadv(handle, [into[:MOST]], at)
            if not done:
                raise KnnscopeError(f"{path}: the file has become shorter: build the index again")
            into, at = into[done:], at + done
    except OSError as error:
        raise os_problem(error, path) from error


class FiledRows(np.ndarray[Any, Any]):
    """Rows mapped from a file. file: the open file; None of what is made of them."""

    file: RowFile | None = None

    def __array_finalize__(self, made_from: Any) -> None:
        """What is made of rows is not all of them."""
        self.file = None


def file_of(rows: Any) -> RowFile | None:
    """The file that rows stay in, if they do."""
    found: RowFile | None = getattr(rows, "file", None)
    return found


def as_filed(rows: npt.NDArray[Any], file: RowFile) -> npt.NDArray[Any]:
    """The same array, known to lie in this file."""
    made = np.asarray(rows).view(FiledRows)
    made.file = file
    return made


def piece(rows: npt.NDArray[Any], first: int, last: int) -> npt.NDArray[Any]:
    """Rows from one up to another, in one piece; copied where that is necessary.

    Raises:
        KnnscopeError: see ``RowFile.read``.
    """
    file = file_of(rows)
    last = min(last, len(rows))
    return np.ascontiguousarray(rows[first:last]) if file is None else file.read(first, last, rows)


def some(rows: npt.NDArray[Any], which: Which) -> npt.NDArray[Any]:
    """Rows at some places.

    Raises:
        KnnscopeError: see ``RowFile.read``.
    """
    file = file_of(rows)
    if file is None:
        found: npt.NDArray[Any] = rows[which]
        return found
    return file.take(range(*which.indices(len(rows))) if isinstance(which, slice) else which, rows)


def opened(path: Path) -> npt.NDArray[Any]:
    """The rows of a file of vectors: left there where its format has them one after another, of a type that is computed with.

    Raises:
        KnnscopeError: no such file, damaged, or of another type.
    """
    place = path / "vectors.npy" if path.is_dir() else path
    if path.is_dir() and not place.exists():
        vector_files.check_folder(path)
    if not vector_files.is_vector_file(str(place)):
        raise KnnscopeError(
            f"{path}: the ending says the format, one of {' '.join(vector_files.READERS)}: save the rows as .npy"
        )
    source = vector_files.split(str(place))[0]
    before = os.stat(source) if source.is_file() else None
    values = np.asarray(vector_files.load(str(place)).documents.values)
    start = _start(values)
    if start is None or not values.flags.c_contiguous or values.dtype not in KNOWN:
        return as_rows(values)
    file = RowFile(source, start, values.shape[1] * values.itemsize)
    if before is None or not file.is_whole(before):
        raise KnnscopeError(f"{path}: the file was changed while it was opened: try again")
    rows = as_filed(values, file)
    for at in (0, len(rows) - 1):
        if file.read(at, at + 1, rows).tobytes() != values[at].tobytes():
            raise KnnscopeError(f"{path}: the file was changed while it was opened: try again")
    return rows


def _start(values: npt.NDArray[Any]) -> int | None:
    """The byte of a file that an array of its map begins with; None where it is no such array."""
    held: Any = values
    offset = 0
    while held is not None and not isinstance(held, mmap.mmap):
        if isinstance(held, np.memmap) and isinstance(held.base, mmap.mmap):
            offset = held.offset - held.offset % mmap.ALLOCATIONGRANULARITY
        held = held.obj if isinstance(held, memoryview) else getattr(held, "base", None)
    if held is None:
        return None
    return offset + values.ctypes.data - np.frombuffer(held, dtype=np.uint8).ctypes.data
