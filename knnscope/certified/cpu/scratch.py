"""Memory that a thread uses again for its next search: 1,000 queries write to 3,000 fresh pages, which costs a seventh of their scan."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu.scan import State

KEPT_BYTES = 1 << 25
"""More is given back."""


class Borrowed(NamedTuple):
    """``state`` and the memory below it."""

    words: npt.NDArray[np.int64]
    asked: tuple[tuple[int, ...], int, int]
    state: State


_mine = threading.local()


def borrow(use: str, shape: tuple[int, ...], k: int, room: int) -> Borrowed:
    """Arrays that belong to the caller alone; what they hold is left over.

    They are taken out of this thread's store: a search in a signal handler finds others, and whoever is stopped by an exception drops
    them, so that a thread that still writes to them writes to nobody else's.

    Args:
        use: a name.
        shape: of ``counts``: (parts, queries) or (queries,).
        k: neighbors.
        room: candidates of a query.
    """
    kept: Borrowed | None = _mine.__dict__.pop(use, None)
    asked = shape, k, room
    if kept and kept.asked == asked:  # most often, and between two scans little else may be done
        return kept
    queries = math.prod(shape)
    ends = queries * k, queries * (k + room), queries * (k + 2 * room), queries * (k + 2 * room + 1)
    words = kept.words if kept and len(kept.words) >= ends[-1] else np.empty(ends[-1], dtype=np.int64)
    made = State(
        words[: ends[0]].view(np.float64).reshape(*shape, k),
        words[ends[0] : ends[1]].view(np.float64).reshape(*shape, room),
        words[ends[1] : ends[2]].reshape(*shape, room),
        words[ends[2] : ends[3]].reshape(shape),
    )
    return Borrowed(words, asked, made)


def give_back(use: str, borrowed: Borrowed) -> None:
    """Keep arrays for this thread's next search: only when all who wrote to them have ended."""
    if borrowed.words.nbytes <= KEPT_BYTES:
        _mine.__dict__[use] = borrowed


@contextmanager
def floats(use: str, count: int) -> Iterator[npt.NDArray[np.float32]]:
    """So many float32 of the caller's alone, out of this thread's store as in ``borrow``; dropped where an exception ends it.

    No more than asked for: what a search does must not depend on those before it.
    """
    memory = _mine.__dict__.pop(use, None)
    if memory is None or len(memory) < count:
        memory = np.empty(count, dtype=np.float32)
    yield memory[:count]
    if memory.nbytes <= KEPT_BYTES:
        _mine.__dict__[use] = memory
