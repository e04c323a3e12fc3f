"""An upper bound of the k-th distance from what all parts of the rows have found so far, while each still goes on.

A part that looks at one in sixteen of the rows finds a k-th distance that lets in many more than that of all rows does. So each part says now and then
how near some of its rows are: at least so many are within this distance, for some numbers of rows. That stays true whatever the part finds
later, so it is written and read without a lock, in any order; what is read late costs time, and no answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.certified.cpu.heaps import sort
from knnscope.certified.cpu.jit import compiled

MOST = 512
"""Neighbors up to which parts tell each other: what one says is sorted first."""


@compiled(inline=True)
def _first(parts: int, k: int) -> int:
    """The smallest number of rows that a part speaks of: what each has if all have alike. Then twice as many, up to k."""
    return (k + parts - 1) // parts


@compiled()
def counts(parts: int, k: int) -> int:
    """Of how many numbers of rows each part speaks; 0 where none ever does."""
    if parts == 1 or k > MOST:
        return 0
    count, found = _first(parts, k), 1
    while count < k:
        count, found = 2 * count, found + 1
    return found


@compiled(apart=True)
def say(said: Any, part: int, query: int, uppers: Any) -> None:
    """Say what a part has found.

    Args:
        said: float64, (parts, queries, ``counts``), infinite to begin with; written.
        part: its number.
        query: likewise.
        uppers: float64, (k,): a heap of the smallest upper bounds of distances of its rows, the largest on top; infinite where there are fewer.
    """
    k = uppers.shape[0]
    ascending = np.empty(k)
    for i in range(k):
        ascending[i] = uppers[i]
    sort(ascending, np.zeros(k, dtype=np.int64))
    count = _first(said.shape[0], k)
    for i in range(said.shape[2]):
        said[part, query, i] = min(said[part, query, i], ascending[min(count, k) - 1])
        count *= 2


@compiled()
def known(said: Any, query: int, k: int) -> float:
    """The smallest distance that k rows are within by what one count of the parts says; infinite where none says it of so many."""
    parts, best = said.shape[0], np.inf
    count, nearest = _first(parts, k), np.empty(parts)
    for i in range(said.shape[2]):
        wanted = (k + count - 1) // count  # parts
        filled = 0
        for part in range(parts):
            one = said[part, query, i]
            if not one < best or (filled == wanted and not one < nearest[filled - 1]):
                continue
            place = filled if filled < wanted else filled - 1
            while place > 0 and nearest[place - 1] > one:
                nearest[place] = nearest[place - 1]
                place -= 1
            nearest[place] = one
            filled = min(wanted, filled + 1)
        if filled == wanted:
            best = nearest[wanted - 1]
        count *= 2
    return best
