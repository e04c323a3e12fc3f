"""Memory of searches: kept for the next one like it; each graph has its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy as cp

from knnscope.errors import KnnscopeError

KEPT = 8
"""Shapes of searches whose memory is kept."""

Shape = tuple[Any, ...]
"""Of a search: what decides its memory, and the stream."""


def not_made() -> KnnscopeError:
    """The error for a graph of what was not tried before."""
    return KnnscopeError(
        "a search can be captured in a CUDA graph when it was made on the same stream before, with as many queries and neighbors: "
        "search once before each capture"
    )


class Workspaces:
    """Of one index. Who asks holds its lock."""

    def __init__(self) -> None:
        self._kept: dict[Shape, Any] = {}
        self._graphs: dict[tuple[int, Shape], Any] = {}

    def __len__(self) -> int:
        """How many are kept for the next search."""
        return len(self._kept)

    @property
    def has_graphs(self) -> bool:
        """Whether a graph was captured that uses its memory whenever it is started."""
        return bool(self._graphs)

    def take(self, shape: Shape, make: Callable[[], Any]) -> Any:
        """The one for searches of a shape, made by ``make`` for the first of them; of too many the oldest goes.

        Raises:
            cupy.cuda.memory.OutOfMemoryError: there is no memory even where no other is kept.
        """
        found = self._kept.get(shape)
        if found is None:
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            found = self._kept[shape] = self._made(make)
        return found

    def of_graph(self, graph: int, shape: Shape, make: Callable[[], Any]) -> Any:
        """The one that a graph keeps. Not what a search of this shape has left: that may be under way when the graph is started on another stream.

        Raises:
            KnnscopeError: there was no such search. What is compiled and loaded for the first one cannot be while a graph is captured.
            cupy.cuda.memory.OutOfMemoryError: see ``take``.
        """
        found = self._graphs.get((graph, shape))
        if found is None:
            if shape not in self._kept:
                raise not_made()
            found = self._graphs[graph, shape] = self._made(make)
        return found

    def _made(self, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except cp.cuda.memory.OutOfMemoryError:
            if not self._kept:
                raise
        self._kept.clear()  # what other searches have left may be what is missing
        return make()
