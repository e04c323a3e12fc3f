"""What workers run: build a shard from its source, and search it. A worker needs knnscope, of the client's version, and nothing else from the client."""

from __future__ import annotations

import socket
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.dtypes import widened
from knnscope.certified.index import ExactIndex
from knnscope.certified.rows import as_rows
from knnscope.certified.slices import How, Slice, index_of
from knnscope.distributed import sources
from knnscope.environment import memory
from knnscope.errors import KnnscopeError, require
from knnscope.ragged import RadiusNeighbors
from knnscope.records import Neighbors

BESIDE = 4
"""Bytes a component that codes take beside the rows, at most, while they are written."""
A_ROW = 64
"""Bytes of bounds and names of a row."""


class Recipe(NamedTuple):
    """What a shard is built from, anywhere.

    source: pieces of files, or rows, (rows, dim). first: the number of its first row among all. ids: what its rows are called, None for
    their numbers. how: what the index is built with. name: whose rows, for errors.
    """

    source: Sequence[sources.Piece] | npt.NDArray[Any]
    first: int
    ids: npt.NDArray[Any] | None
    how: How
    name: str = "rows"


class Shard:
    """An index of some rows, as a worker keeps it. Where Dask moves or stores it, only its recipe goes, and it is built again when it is needed."""

    def __init__(self, recipe: Recipe) -> None:
        """A shard that is not built yet."""
        self.recipe, self._size, self._turn = recipe, 0, threading.Lock()
        self._index: ExactIndex | None = None

    def __reduce__(self) -> tuple[type[Shard], tuple[Recipe]]:
        return Shard, (self.recipe,)

    def __sizeof__(self) -> int:
        """Rows and codes: what Dask shows, and holds against a limit of memory."""
        return self._size or sys.getsizeof(self.recipe)

    @property
    def index(self) -> ExactIndex:
        """The index.

        Raises:
            KnnscopeError: see ``index_of``, ``sources.read``; or the worker may not use that much memory.
        """
        with self._turn:
            if self._index is None:
                self._index = self._built()
            return self._index

    def _built(self) -> ExactIndex:
        source, first, ids, how, name = self.recipe
        rows = source if isinstance(source, np.ndarray) else sources.read(source)
        need = rows.nbytes + rows.size * BESIDE + len(rows) * A_ROW
        _check_room(need + _BUILT.nbytes(), len(rows))
        threads = how.threads or _worker().state.nthreads
        index = index_of(Slice(rows, first, ids, name), how._replace(threads=threads))
        self._size = rows.nbytes + index.nbytes
        _BUILT.add(self)
        sources.release(rows)
        return index


class Built:
    """Shards that are built, for as long as they live. A worker's threads build several at once, and a set that grows cannot be gone through."""

    def __init__(self) -> None:
        self._shards: weakref.WeakSet[Shard] = weakref.WeakSet()
        self._turn = threading.Lock()

    def add(self, shard: Shard) -> None:
        """One more."""
        with self._turn:
            self._shards.add(shard)

    def nbytes(self) -> int:
        """Of all."""
        with self._turn:
            return sum(sys.getsizeof(shard) for shard in self._shards)


_BUILT = Built()
"""Of this process."""


def _worker() -> Any:
    return require("distributed").get_worker()


def _limit() -> int:
    """Bytes from which on Dask writes to disk what this worker keeps; 0 for none."""
    held = _worker().memory_manager
    return int((held.memory_limit or 0) * (held.memory_target_fraction or 1))


def _check_room(need: int, rows: int) -> None:
    """Refuse what Dask would throw out again, or end the worker for.

    Raises:
        KnnscopeError: says what the limit is, and how much is needed.
    """
    limit = _limit()
    if limit and need > limit:
        raise KnnscopeError(
            f"a worker may keep {limit >> 20:,} MiB of its memory limit, its shards with {rows:,} rows more need up "
            f"to {-(-need >> 20):,}: start more workers, or give them a larger --memory-limit (0: none)"
        )


class About(NamedTuple):
    """What a client knows of a shard: bytes beside the rows, instruction set, what is scanned before the rows."""

    nbytes: int
    isa: str
    levels: str


def build(recipe: Recipe) -> Shard:
    """Build a shard.

    Raises:
        KnnscopeError: see ``Shard.index``.
    """
    made = Shard(recipe)
    made.index  # noqa: B018 - builds it, so that its errors are those of the task
    return made


def build_of(source: Any, ids: Any, recipe: Recipe) -> Shard:
    """Build a shard whose rows or ids came as results of other tasks.

    Args:
        source: rows; blocks of rows, one after another; or None where the recipe has them.
        ids: what they are called, or None.
        recipe: the rest.

    Raises:
        KnnscopeError: see ``Shard.index``.
    """
    if isinstance(source, list):
        source = source[0] if len(source) == 1 else np.concatenate(source)
    rows = recipe.source if source is None else widened(as_rows(source))
    return build(recipe._replace(source=rows, ids=ids))


def about(shard: Shard) -> About:
    """What a client wants to know of a shard that is built."""
    index = shard.index
    return About(index.nbytes, index.isa, index.levels)


def search(shard: Shard, queries: npt.NDArray[Any] | Sequence[sources.Piece], k: int, where: Any = None) -> Neighbors:
    """The k nearest rows of a shard; queries may be pieces of files.

    Raises:
        KnnscopeError: see ``ExactIndex.search``, ``sources.read``.
    """
    index = shard.index
    asked = queries if isinstance(queries, np.ndarray) else sources.read(queries)
    return index.search(asked, min(k, len(index)), where)


def within(
    shard: Shard, queries: npt.NDArray[Any], radius: Any, where: Any, limits: tuple[int, int]
) -> RadiusNeighbors:
    """All rows of a shard within a radius.

    Raises:
        KnnscopeError: see ``ExactIndex.radius_search``.
    """
    most, most_each = limits
    return shard.index.radius_search(queries, radius, where, limit=most, limit_each=most_each)


def looked_at(specs: Sequence[str]) -> list[sources.File]:
    """Files of rows as a worker sees them.

    Raises:
        KnnscopeError: see ``sources.opened``.
    """
    return [sources.opened(spec)[0] for spec in specs]


class Room(NamedTuple):
    """The machine of a worker; bytes of memory that are free there, 0 where that is not known, and that the worker may keep, 0 for any."""

    host: str
    free: int
    limit: int


def room() -> Room:
    """What this worker has."""
    facts = memory()
    known = [size for size in (facts["available"], facts["limit"]) if size]
    return Room(socket.gethostname(), min(known, default=0), _limit())
