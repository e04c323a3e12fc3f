"""An upper bound of the k-th distance from what all parts of the rows have found so far, while each still goes on.

A part that looks at one in sixteen of the rows finds a k-th distance that lets in many more than that of all rows does. So each part says now and then
how far its nearest rows are, of many every so-manieth. They are written and read without a lock; what is read late costs time, and no answer.

Why ``known`` is never less than the k-th distance of all rows, whatever is read when:

- Each number is a sentence by itself: of this part's rows at least so many are within this distance. It stays true whatever the part finds later, so old
  and new numbers may be read side by side. Each is read once, and whole.
- The last of c numbers of a part that are within some distance stands for ``_step`` rows for each of the c, or for k.
- Parts have no row in common: what they stand for adds up.
- Memory is new or infinite when a search begins, and nobody writes to it after that search.

A row as far as the k-th stays: rows are left out that are further, never those as far.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.certified.cpu.heaps import sort
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.llvm import Emit, T, instructions

MOST = 512
"""Neighbors up to which parts tell each other: what one says is sorted first."""
SAID = 16
"""Distances that a part tells at most: one for each neighbor, or for every so many."""


@instructions
def _read(emit: Emit, at: Any) -> Any:
    """A float64 that another thread may write: one look, of all its bytes."""
    return emit.builder.load_atomic(emit.pointer(at), T.F64, 8, "monotonic")


@instructions
def _write(emit: Emit, at: Any, own: Any) -> None:
    """Write one that others may read, all its bytes at once: what lies at the address ``own``."""
    emit.builder.store_atomic(emit.load(T.F64, own), emit.pointer(at), 8, "monotonic")


@compiled(inline=True)
def _step(k: int) -> int:
    return (k + SAID - 1) // SAID


@compiled()
def distances(parts: int, k: int) -> int:
    """How many each part tells; 0 where none ever does."""
    return 0 if parts == 1 or k > MOST else (k + _step(k) - 1) // _step(k)


@compiled(apart=True)
def say(said: Any, part: int, query: int, uppers: Any) -> None:
    """Say what a part has found.

    Args:
        said: float64, (parts, queries, ``distances``), infinite to begin with; written.
        part: its number.
        query: likewise.
        uppers: float64, (k,): a heap of the smallest upper bounds of distances of its rows, the largest on top; infinite where there are fewer.
    """
    k = uppers.shape[0]
    ascending, step = np.empty(k), _step(k)
    for i in range(k):
        ascending[i] = uppers[i]
    sort(ascending, np.zeros(k, dtype=np.int64))
    at = said.ctypes.data + 8 * said.shape[2] * (said.shape[1] * part + query)
    for i in range(said.shape[2]):
        place = min(k, step * i + step) - 1
        if ascending[place] < said[part, query, i]:  # which nobody else writes
            _write(at + 8 * i, ascending.ctypes.data + 8 * place)


@compiled()
def known(said: Any, query: int) -> float:
    """The smallest distance that k rows are within by what all parts say; infinite where that is fewer.

    As many numbers as one part tells stand for k rows, whichever parts they are of.
    """
    wanted = said.shape[2]
    line, at = 8 * wanted * said.shape[1], said.ctypes.data + 8 * wanted * query
    nearest, filled = np.full(max(1, wanted), np.inf), 0
    for part in range(said.shape[0] if wanted else 0):
        for i in range(wanted):
            one = _read(at + line * part + 8 * i)
            if not one < nearest[wanted - 1]:
                break  # what follows is further, or was said later: then it is heard next time
            place = min(filled, wanted - 1)
            while place > 0 and nearest[place - 1] > one:
                nearest[place] = nearest[place - 1]
                place -= 1
            nearest[place] = one
            filled += 1
    return nearest[max(1, wanted) - 1]
