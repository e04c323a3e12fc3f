"""What shards are built from: files that workers read themselves, an array of the client, or the chunks of a Dask array. Each can be had again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from knnscope.certified.dtypes import widened
from knnscope.certified.rows import as_rows
from knnscope.certified.slices import How
from knnscope.distributed import sources, tasks
from knnscope.distributed.shards import split
from knnscope.distributed.sources import File
from knnscope.distributed.waiting import LostError, Waiting
from knnscope.errors import KnnscopeError
from knnscope.search.device import is_device

Ids = npt.NDArray[Any] | None


class Feed(Protocol):
    """Rows in shards. shape: rows and components. ranges: the rows of each shard, in order."""

    shape: tuple[int, int]
    ranges: list[range]

    def task(self, number: int, ids: Ids, how: How, worker: str) -> Any:
        """The future of a shard.

        Args:
            number: which.
            ids: what its rows are called, None for their numbers among all.
            how: what it is built with.
            worker: that alone builds it.
        """
        ...


def feed_of(waiting: Waiting, rows: Any, shards: int) -> Feed:
    """Rows of any kind in so many shards, or fewer.

    Raises:
        KnnscopeError: no such file, or another shape or type.
    """
    if isinstance(rows, str | Path) or (
        isinstance(rows, list | tuple) and rows and all(isinstance(one, str | Path) for one in rows)
    ):
        some = [rows] if isinstance(rows, str | Path) else rows
        return Files(waiting, [os.path.abspath(path) for path in some], shards)
    if hasattr(rows, "to_delayed") and hasattr(rows, "chunks"):
        return Chunks(waiting, rows, shards)
    return Array(waiting, rows, shards)


def on_worker(waiting: Waiting, value: Any, worker: str) -> Any:
    """A value in the memory of a worker, as a future; lost with it, for good.

    Raises:
        LostError: no worker takes it.
    """
    try:
        (held,) = waiting.client.scatter([value], hash=False, workers=[worker])
    except (OSError, TimeoutError, RuntimeError) as error:
        raise LostError(str(error)) from error
    return held


class Files:
    """Files of rows, one after another, which every worker sees under the same name."""

    def __init__(self, waiting: Waiting, specs: Sequence[str], shards: int) -> None:
        """Let a worker look at them.

        Raises:
            KnnscopeError: it does not see them, or they do not fit together.
        """
        self._waiting = waiting
        (found,) = waiting.results([self._waiting.client.submit(tasks.looked_at, specs, pure=False)])
        self._files: list[File] = found
        first = self._files[0]
        for file in self._files[1:]:
            if (file.dim, file.dtype) != (first.dim, first.dtype):
                raise KnnscopeError(
                    f"{file.spec}: {file.dim} components of {file.dtype}, those of {first.spec} are {first.dim} of {first.dtype}: "
                    "files of one index have the same"
                )
        self.shape = sum(file.rows for file in self._files), first.dim
        self.ranges = split(self.shape[0], shards)

    def task(self, number: int, ids: Ids, how: How, worker: str) -> Any:
        """See ``Feed``."""
        some = self.ranges[number]
        name = self._files[0].spec if len(self._files) == 1 else "rows"
        recipe = tasks.Recipe(sources.pieces(self._files, some), some.start, None, how, name)
        return from_files(self._waiting, recipe, ids, worker)


def from_files(waiting: Waiting, recipe: tasks.Recipe, ids: Ids, worker: str) -> Any:
    """The future of a shard whose rows are pieces of files.

    Args:
        waiting: the client.
        recipe: without ids.
        ids: what its rows are called, None for their numbers among all.
        worker: that alone builds it.

    Raises:
        LostError: see ``on_worker``.
    """
    if ids is None:
        return waiting.client.submit(tasks.build, recipe, pure=False, workers=[worker])
    named = on_worker(waiting, ids, worker)
    return waiting.client.submit(tasks.build_of, None, named, recipe, pure=False, workers=[worker])


class Array:
    """Rows in the memory of the client, sent to workers slice by slice, and again where a worker is lost."""

    def __init__(self, waiting: Waiting, rows: Any, shards: int) -> None:
        """Take them.

        Raises:
            KnnscopeError: another shape or type.
        """
        if is_device(rows):
            raise KnnscopeError("rows lie in the memory of a GPU: copy them to the host, or write them to a file")
        self._waiting, self._rows = waiting, widened(as_rows(rows))
        self.shape = self._rows.shape[0], self._rows.shape[1]
        self.ranges = split(self.shape[0], shards)

    def task(self, number: int, ids: Ids, how: How, worker: str) -> Any:
        """See ``Feed``."""
        some = self.ranges[number]
        rows = on_worker(self._waiting, np.ascontiguousarray(self._rows[some.start : some.stop]), worker)
        named = None if ids is None else on_worker(self._waiting, ids, worker)
        recipe = tasks.Recipe((), some.start, None, how)
        return self._waiting.client.submit(tasks.build_of, rows, named, recipe, pure=False, workers=[worker])


class Chunks:
    """A Dask array of rows: a shard is some of its chunks, which Dask computes again where they are lost."""

    def __init__(self, waiting: Waiting, rows: Any, shards: int) -> None:
        """Take it.

        Raises:
            KnnscopeError: another shape, or one that is not known yet.
        """
        if rows.ndim != 2 or 0 in rows.shape:
            raise KnnscopeError(
                f"rows have shape {rows.shape}: two dimensions (rows, dim), neither zero, were expected"
            )
        if not all(isinstance(size, int) for size in rows.shape):
            raise KnnscopeError("the Dask array does not know how many rows it has: call rows.compute_chunk_sizes()")
        self._waiting = waiting
        self._rows = rows if len(rows.chunks[1]) == 1 else rows.rechunk({1: -1})
        self.shape = rows.shape
        ends = np.cumsum(self._rows.chunks[0])
        wanted = [some.stop for some in split(rows.shape[0], shards)]
        cuts = sorted({int(np.abs(ends - stop).argmin()) + 1 for stop in wanted})
        cuts = [cut for cut in cuts if ends[cut - 1]]  # chunks without rows may come first
        self._chunks = [
            range(start, stop) for start, stop in zip([0, *cuts], [*cuts[:-1], len(ends)], strict=False)
        ]  # fmt: skip
        edges = [0, *ends.tolist()]
        self.ranges = [range(edges[some.start], edges[some.stop]) for some in self._chunks]

    def task(self, number: int, ids: Ids, how: How, worker: str) -> Any:
        """See ``Feed``."""
        some = self._chunks[number]
        blocks = self._waiting.client.compute(list(self._rows.to_delayed().ravel()[some.start : some.stop]))
        named = None if ids is None else on_worker(self._waiting, ids, worker)
        recipe = tasks.Recipe((), self.ranges[number].start, None, how)
        return self._waiting.client.submit(tasks.build_of, blocks, named, recipe, pure=False, workers=[worker])
