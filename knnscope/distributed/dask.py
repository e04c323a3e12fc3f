"""Exact search over rows that the workers of a Dask cluster hold: lost workers are made good from the rows' source. Decision 046."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.ids import Strings, new_ids
from knnscope.certified.radius import as_keys, as_limits
from knnscope.certified.rows import KNOWN, as_queries
from knnscope.certified.scanner import TooManyError
from knnscope.certified.slices import How
from knnscope.checks import check_whole
from knnscope.distributed import shards, tasks
from knnscope.distributed.feeding import Feed, feed_of, on_worker
from knnscope.distributed.tasks import About
from knnscope.distributed.waiting import LostError, Waiting
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.progress import bar
from knnscope.ragged import RadiusNeighbors
from knnscope.records import METRICS, Neighbors
from knnscope.search.device import is_device
from knnscope.search.engine import check_k

TRIES = 4
"""How often lost shards are built again before it is an error."""
ALONG = 1 << 20
"""Bytes that go with a task; larger ones are sent to a worker first, from which the others have them."""
AT_ONCE = 1 << 25
"""Bytes of queries, masks or answers of a shard that are under way at once."""


@dataclass(frozen=True, slots=True)
class DaskOptions:
    """How shards are kept.

    Attributes:
        shards: how many; None for one each worker that is there when the index is made.
        device: of the workers, as ``ExactIndex`` takes it; cuda: those of a machine take its GPUs in turn, or the first that CUDA_VISIBLE_DEVICES says.
        threads: of a search on a worker; None for as many as the worker has.
        memory: as ``ExactIndex`` takes it.
        timeout: seconds that an answer may take; a longer wait is an error.
        patience: seconds without a scheduler or a worker after which it is an error.
    """

    shards: int | None = None
    device: str = "auto"
    threads: int | None = None
    memory: str = "fast"
    timeout: float = 600.0
    patience: float = 60.0


class DaskIndex:
    """The k nearest rows, equal to those of one ``ExactIndex`` over all rows, however they are split and whatever workers are lost meanwhile.

    Its rows do not change. Several threads may search it at once. ``with DaskIndex(...) as index`` gives the workers' memory back at the end, as
    ``close`` does.
    """

    def __init__(
        self, client: Any, rows: Any, metric: str = "l2", ids: Any = None, options: DaskOptions | None = None
    ) -> None:
        """Build the shards on the workers, and wait until all are there.

        Args:
            client: a ``distributed.Client``. A scheduler is trusted like a shell: whoever can reach it runs code on all its machines.
            rows: the path of a file that the workers see under the same name and can map (.npy, the bin and vecs families), or a list of such
                paths, whose rows follow one another; an array, (rows, dim), which is sent to them; or a Dask array of this shape.
            metric: l2, ip or cosine.
            ids: whole numbers from 0, or strings, (rows,), none twice: what rows are called (default: their numbers).
            options: how shards are kept.

        Raises:
            KnnscopeError: what ``ExactIndex`` refuses; a file that workers do not see; a shard that is more than a worker may keep; no workers.
        """
        if metric not in METRICS:
            raise unknown_name("metric", str(metric), METRICS)
        self._options = how = options or DaskOptions()
        self._waiting = Waiting(client, how.patience)
        self._client, self._lock = client, threading.Lock()
        workers = self._waiting.ready()
        count = len(workers) if how.shards is None else check_whole(how.shards, "shards", 1, 1 << 20, "1 to 2^20")
        self._how = How(metric, how.device, how.threads, how.memory)
        try:
            self._feed: Feed = feed_of(self._waiting, rows, count)
        except LostError as error:
            raise KnnscopeError(
                f"{self._waiting.where}: lost while it looked at the rows: try again ({error})"
            ) from error
        self._ids = _names(ids, self._feed.shape[0])
        self._shards: list[Any] = [None] * len(self._feed.ranges)
        self._where = [""] * len(self._shards)
        self._about: list[About] = self._asked(tasks.about, [()] * len(self._shards))

    def __enter__(self) -> DaskIndex:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[Any, ...]:
        raise KnnscopeError(
            "a DaskIndex belongs to a client and its workers, so it is neither copied nor pickled: make one where it is wanted"
        )

    def __repr__(self) -> str:
        rows, dim = self.shape
        return (
            f"DaskIndex({rows} rows x {dim}, {self.metric}, {len(self._feed.ranges)} shards at {self._waiting.where})"
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and components."""
        return self._feed.shape

    @property
    def metric(self) -> str:
        """l2, ip or cosine."""
        return self._how.metric

    @property
    def shards(self) -> list[range]:
        """The rows of each shard, in order."""
        return list(self._feed.ranges)

    @property
    def ids(self) -> npt.NDArray[Any]:
        """What rows are called, (rows,), in their order; masks are in this order."""
        return np.arange(len(self)) if self._ids is None else self._ids.copy()

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows, of all shards."""
        return sum(one.nbytes for one in self._about)

    @property
    def levels(self) -> str:
        """What is scanned before the rows, in words."""
        return "; ".join(dict.fromkeys(one.levels for one in self._about))

    def close(self) -> None:
        """Give the workers' memory back; the index answers no more."""
        with self._lock:
            self._shards = []

    def search(self, queries: Any, k: int, where: Any = None) -> Neighbors:
        """The k nearest rows of each query, with a certificate: what ``ExactIndex.search`` gives.

        Args:
            queries: (queries, dim), or (dim,) for a single one; finite, of a type that rows may have; in host memory.
            k: 1 to the number of rows.
            where: rows that may be answers, as ``ExactIndex.search`` takes it; masks are in the order of ``ids``.

        Raises:
            KnnscopeError: what ``ExactIndex.search`` refuses; no answer in time; workers that are lost again and again; a scheduler that has gone.
        """
        values, single = self._queries(queries)
        k = check_k(k, len(self))
        parts = []
        for some, each in self._batches(values, where, 16 * k):
            found = self._asked(tasks.search, [(some, k, own) for own in each])
            parts.append(shards.merged(found, k, self.metric))
        whole = shards.stacked(parts)
        return Neighbors(whole.ids[0], whole.distances[0], whole.certificate) if single else whole

    def radius_search(
        self, queries: Any, radius: Any, where: Any = None, *, limit: int | None = None, limit_each: int | None = None
    ) -> RadiusNeighbors:
        """All rows within a radius of each query, nearest first, with a certificate: what ``ExactIndex.radius_search`` gives.

        Args:
            queries: as in ``search``.
            radius: for l2 the largest squared distance, for ip and cosine the least similarity: a number, or one for each query.
            where: as in ``search``.
            limit: how many rows all answers may have together (default: 67,108,864). More are an error: nothing is cut off.
            limit_each: how many rows the answer to one query may have (default: as many as ``limit`` allows).

        Raises:
            KnnscopeError: what ``ExactIndex.radius_search`` refuses; else as ``search``.
        """
        values, _ = self._queries(queries)
        as_keys(radius, len(values), self.metric)
        most, most_each = as_limits(limit, limit_each)
        radii = np.broadcast_to(np.asarray(radius), (len(values),))
        parts, first, left = list[RadiusNeighbors](), 0, most
        for some, each in self._batches(values, where, 0):
            own = np.ascontiguousarray(radii[first : first + len(some)])
            limits = max(left, 1), most_each  # of none left ``merged_within`` knows
            try:
                found = self._asked(tasks.within, [(some, own, allowed, limits) for allowed in each])
                parts.append(shards.merged_within(found, self.metric, left, most_each))
            except TooManyError as error:
                raise error.of_all(most - left, most, first) from None
            first, left = first + len(some), left - len(parts[-1].ids)
        return shards.stacked_within(parts)

    def _queries(self, queries: Any) -> tuple[npt.NDArray[Any], bool]:
        """Queries as they are sent, (queries, dim), of their own type where rows may have it; and whether a single one was given."""
        if is_device(queries):
            raise KnnscopeError("a DaskIndex reads queries of the host: copy them there first")
        values, single = as_queries(queries, self.shape[1])
        if isinstance(queries, np.ndarray) and queries.dtype in KNOWN and queries.size:
            return np.ascontiguousarray(np.atleast_2d(queries)), single
        return values, single

    def _batches(
        self, values: npt.NDArray[Any], where: Any, answer: int
    ) -> Iterator[tuple[npt.NDArray[Any], list[Any]]]:
        """Queries, and what each shard takes as ``where`` for them, so many that what is under way is bounded."""
        each = shards.filters(where, len(values), self._feed.ranges)
        one = values.shape[1] * values.itemsize + answer + shards.mask_bytes(each)
        step = max(1, AT_ONCE // one)
        for first in range(0, max(1, len(values)), step):
            some = values[first : first + step]
            yield some, [shards.of_queries(own, first, first + len(some)) for own in each]

    def _asked(self, task: Callable[..., Any], own: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What a task gives for each shard.

        Args:
            task: takes a shard first.
            own: what else it takes, for each shard.

        Raises:
            KnnscopeError: see ``search``.
        """
        for _ in range(TRIES):
            try:
                held, sent = self._held(), dict[int, Any]()
                futures = []
                for (shard, worker), values in zip(held, own, strict=True):
                    given = (self._sent(value, worker, sent) for value in values)
                    futures.append(self._client.submit(task, shard, *given, pure=False, workers=[worker]))
                return self._waiting.results(futures, self._options.timeout, on={worker for _, worker in held})
            except LostError:
                self._give_up_lost()
        raise KnnscopeError(
            f"{self._waiting.where}: shards were lost {TRIES} times while they were asked: see why its workers end"
        )

    def _sent(self, value: Any, worker: str, sent: dict[int, Any]) -> Any:
        """A value as a task on this worker takes it: large ones go there before, once for all shards."""
        if not isinstance(value, np.ndarray) or value.nbytes <= ALONG:
            return value
        if id(value) not in sent:
            sent[id(value)] = on_worker(self._waiting, value, worker)
        return sent[id(value)]

    def _held(self) -> list[tuple[Any, str]]:
        """The futures of all shards, and the workers that have them; what is lost is built again first.

        Raises:
            LostError: some were lost while they were built.
            KnnscopeError: the index was closed; what building raises.
        """
        with self._lock:
            if not self._shards:
                raise KnnscopeError("the index was closed: make another one")
            lost = [number for number, future in enumerate(self._shards) if future is None or future.status in LOST]
            if lost:
                self._build(lost)
            return list(zip(self._shards, self._where, strict=True))

    def _give_up_lost(self) -> None:
        """Forget shards whose worker has gone: they are built anew elsewhere."""
        known = self._waiting.known()
        with self._lock:
            for number, worker in enumerate(self._where[: len(self._shards)]):
                if known and worker not in known:
                    self._shards[number] = None

    def _build(self, lost: Sequence[int]) -> None:
        workers = self._waiting.ready()
        turns = shards.turns(workers)
        held = Counter(worker for number, worker in enumerate(self._where) if number not in lost)
        try:
            for number in lost:
                some = self._feed.ranges[number]
                ids = None if self._ids is None else self._ids[some.start : some.stop]
                self._where[number] = min(workers, key=lambda worker: held[worker])
                held[self._where[number]] += 1
                how = self._how._replace(turn=turns[self._where[number]])
                self._shards[number] = self._feed.task(number, ids, how, self._where[number])
            futures = [
                self._client.submit(tasks.about, self._shards[number], pure=False, workers=[self._where[number]])
                for number in lost
            ]
            with bar(len(lost), "build", "shard") as progress:

                def tick() -> None:
                    progress.update(sum(future.status == "finished" for future in futures) - progress.n)

                self._waiting.results(futures, tick=tick, on={self._where[number] for number in lost})
        except BaseException:
            for number in lost:
                self._shards[number] = None  # what is not built yet is not built for nobody
            raise


LOST = ("cancelled", "lost", "error")
"""States of a future that will have no result any more."""


def _names(ids: Any, rows: int) -> npt.NDArray[Any] | None:
    """What rows are called, none twice; None for their numbers.

    Raises:
        KnnscopeError: see ``new_ids``.
    """
    if ids is None:
        return None
    found = new_ids(ids, rows).array()
    return Strings.bare(found) if found.dtype.kind == "T" else found
