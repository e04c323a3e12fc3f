"""An upper bound of the k-th distance from what all parts of the rows have found so far, while each still goes on.

A part that looks at one in sixteen of the rows finds a k-th distance that lets in many more than that of all rows does. So each part says now and then
how far its nearest rows are, of many every so-manieth: at least so many are within this distance. That stays true whatever the part finds later, so it
is written and read without a lock, in any order; what is read late costs time, and no answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.certified.cpu.heaps import sort
from knnscope.certified.cpu.jit import compiled

MOST = 512
"""Neighbors up to which parts tell each other: what one says is sorted first."""
SAID = 16
"""Distances that a part tells at most: one for each neighbor, or for every so many."""


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
    for i in range(said.shape[2]):
        said[part, query, i] = min(said[part, query, i], ascending[min(k, step * i + step) - 1])


@compiled()
def known(said: Any, query: int) -> float:
    """The smallest distance that k rows are within by what all parts say; infinite where that is fewer.

    Each distance stands for ``step`` rows more than the one before it, so as many of them as a part tells stand for k rows. Only the last of a part may stand
    for fewer: where it is among them, k rows of that part are within it.
    """
    wanted = said.shape[2]
    nearest, filled = np.full(max(1, wanted), np.inf), 0
    for part in range(said.shape[0] if wanted else 0):
        for i in range(wanted):
            one = said[part, query, i]
            if not one < nearest[wanted - 1]:
                break  # what follows is further
            place = min(filled, wanted - 1)
            while place > 0 and nearest[place - 1] > one:
                nearest[place] = nearest[place - 1]
                place -= 1
            nearest[place] = one
            filled += 1
    return nearest[max(1, wanted) - 1]
