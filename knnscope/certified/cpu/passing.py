"""Passes over all rows, some at a time, by several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from knnscope.certified.cpu.workers import Workers
from knnscope.certified.row_file import AHEAD, RowFile, file_of, piece
from knnscope.progress import bar

PANEL = 32
"""Rows that the scan takes at once: those of a piece are whole panels."""
CHUNK = 1024
"""Rows that a thread takes at once."""
CHUNK_COMPONENTS = 1 << 22
"""Components that a thread takes at once: fewer rows where rows are long."""

Work = Callable[[npt.NDArray[Any], int], bool]
"""What is done with some rows, in one piece, and the number of the first: whether it makes sense to go on."""


def chunk(dim: int) -> int:
    """Rows of this dimension that a thread takes at once: whole panels."""
    return max(PANEL, min(CHUNK, CHUNK_COMPONENTS // dim // PANEL * PANEL))


def over(rows: npt.NDArray[Any], workers: Workers, work: Work) -> bool:
    """Work on all rows; False as soon as that makes no sense any more. Rows of a file are read ahead, and progress is shown.

    Raises:
        KnnscopeError: the file cannot be read.
    """
    each, stopped, file = chunk(rows.shape[1]), list[bool](), file_of(rows)

    def one(first: int) -> None:
        if not stopped and not work(piece(rows, first, first + each), first):
            stopped.append(True)

    if file is None:
        workers.map(one, range(0, len(rows), each))
    else:
        _from_file(rows, file, workers, one)
    return not stopped


def _from_file(rows: npt.NDArray[Any], file: RowFile, workers: Workers, one: Callable[[int], None]) -> None:
    each, free, count = chunk(rows.shape[1]), threading.Lock(), len(rows)
    ahead = max(2 * workers.count, AHEAD // (each * file.width)) * each
    file.ask(0, min(ahead, count))
    with bar(count * file.width, f"reading {file.path.name}", "B", scale=True) as progress:

        def read(first: int) -> None:
            file.ask(min(first + ahead, count), min(first + ahead + each, count))
            one(first)
            with free:
                progress.update(min(each, count - first) * file.width)

        workers.map(read, range(0, count, each))
    file.check()
