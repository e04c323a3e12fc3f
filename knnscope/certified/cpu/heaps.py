"""Heaps of keys and names, the furthest on top, and of lower bounds, the smallest on top."""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.certified.cpu.jit import compiled


@compiled(inline=True)
def further(key: float, name: int, other: float, other_name: int) -> bool:
    """Whether the first comes later."""
    return key > other or (key == other and name > other_name)


@compiled()
def sink(keys: Any, ids: Any, size: int, key: float, name: int) -> None:
    """Put (key, name) at the top of a heap of ``size`` and let it sink; the furthest is on top."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and further(keys[child + 1], ids[child + 1], keys[child], ids[child]):
            child += 1
        if not further(keys[child], ids[child], key, name):
            break
        keys[place], ids[place] = keys[child], ids[child]
        place = child
    keys[place], ids[place] = key, name


@compiled()
def sort(keys: Any, ids: Any) -> None:
    """A heap becomes ascending."""
    for size in range(keys.shape[0] - 1, 0, -1):
        key, name = keys[size], ids[size]
        keys[size], ids[size] = keys[0], ids[0]
        sink(keys, ids, size, key, name)


@compiled()
def settle(lowers: Any, order: Any, place: int, size: int) -> None:
    """Let an item of a heap sink; the smallest is on top. All is rarely sorted."""
    item = order[place] if place < size else 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and lowers[order[child + 1]] < lowers[order[child]]:
            child += 1
        if lowers[order[child]] >= lowers[item]:
            break
        order[place] = order[child]
        place = child
    if place < size:
        order[place] = item


@compiled()
def heap_of(lowers: Any) -> Any:
    """Numbers of lower bounds as a heap."""
    size = lowers.shape[0]
    order = np.empty(size, dtype=np.int64)
    for i in range(size):
        order[i] = i
    for place in range(size // 2 - 1, -1, -1):
        settle(lowers, order, place, size)
    return order


@compiled()
def smallest(values: Any, k: int) -> float:
    """The k-th smallest value."""
    heap, unused = np.full(k, np.inf), np.empty(k, dtype=np.int64)
    for value in values:
        if value < heap[0]:
            sink(heap, unused, k, value, 0)
    return heap[0]
