"""Blocks of rows as tasks of a Dask cluster: the same parts as answers.py keeps, so that either goes on from what the other has finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from knnscope.certified.slices import How
from knnscope.checks import check_finite
from knnscope.distributed import sources, tasks
from knnscope.distributed.feeding import from_files
from knnscope.distributed.waiting import LostError, Waiting
from knnscope.errors import KnnscopeError
from knnscope.groundtruth.answers import LEAST_ROWS, SHARE, Plan, keep, part_of, plan, steps
from knnscope.groundtruth.inputs import Input, Inputs
from knnscope.groundtruth.parts import Part, Store
from knnscope.progress import bar, say, skip

AHEAD = 2
"""Blocks of each worker that are under way: while the answers of one are kept, the next is searched."""
TRIES = 4
"""How often work may be lost one time after another, with nothing finished between."""


def plan_on(
    waiting: Waiting, inputs: Inputs, k: int, memory_mib: int | None = None, threads: int | None = None
) -> Plan:
    """Blocks that keep to the memory of the workers, and give each of them work.

    Args:
        waiting: the cluster.
        inputs: what is searched.
        k: neighbors.
        memory_mib: MiB that a worker may use; None is half of what is free, shared by the workers of a machine, or of what Dask lets it keep.
        threads: of a worker; None is as many as it has.

    Raises:
        KnnscopeError: see ``plan``; no workers.
    """
    workers = waiting.ready()
    if memory_mib is None:
        asked = [
            waiting.client.submit(tasks.room, workers=[name], allow_other_workers=True, pure=False) for name in workers
        ]
        try:
            memory_mib = _share(waiting.results(asked)) >> 20
        except LostError as error:
            raise KnnscopeError(f"{waiting.where}: workers were lost at once: see why they end") from error
    made = plan(inputs, k, max(1, memory_mib // AHEAD), threads)
    total = len(inputs.base.values)
    return replace(made, rows=min(made.rows, max(-(-total // len(workers)), min(total, LEAST_ROWS))))


def _share(rooms: Sequence[tasks.Room]) -> int:
    """Bytes of the worker that has the least."""
    hosts = [room.host for room in rooms]
    free = [int(SHARE * room.free) // hosts.count(room.host) for room in rooms if room.free]
    return min([*free, *(int(SHARE * room.limit) for room in rooms if room.limit)], default=1 << 30)


def compute_on(waiting: Waiting, inputs: Inputs, plan: Plan, store: Store) -> None:
    """What ``answers.compute`` does, on the workers of a cluster; blocks are kept in their order.

    Raises:
        KnnscopeError: a base that workers cannot read; a number that is not finite (names the row); work that is lost again and again.
    """
    work, tries = _Work(waiting, inputs, plan, store), 0
    with bar(work.total * len(inputs.queries.values), "ground truth", "pair", scale=True) as progress:
        skip(progress, sum(n * len(batch) for n, batch in zip(store.rows_done(), store.batches, strict=True)))
        while min(before := store.rows_done()) < work.total:
            try:
                work.go_on(progress)
            except LostError:
                tries = tries + 1 if store.rows_done() == before else 0
                if tries == TRIES:
                    raise KnnscopeError(
                        f"{waiting.where}: work was lost {TRIES} times: see why its workers end"
                    ) from None
                say("work was lost with a worker or the scheduler, and is done again")


class _Work:
    """What is to be done, on whose workers."""

    def __init__(self, waiting: Waiting, inputs: Inputs, plan: Plan, store: Store) -> None:
        self._waiting, self._inputs, self._plan, self._store = waiting, inputs, plan, store
        self.total = len(inputs.base.values)
        self._base = _file(inputs.base)
        try:
            self._queries = None if inputs.queries.column else _file(inputs.queries)
        except KnnscopeError:  # they are sent instead
            self._queries = None

    def go_on(self, progress: Any) -> None:
        """All blocks that are not done, some of them under way at once.

        Raises:
            LostError: some were lost.
        """
        todo = steps(self._store.rows_done(), self.total, self._plan.rows)
        under_way: deque[tuple[range, str, dict[int, Any]]] = deque()
        workers, sent = self._waiting.ready(), 0
        while True:
            while len(under_way) < AHEAD * len(workers) and (step := next(todo, None)) is not None:
                worker = workers[sent % len(workers)]
                under_way.append((step[0], worker, self._send(*step, worker)))
                sent += 1
            if not under_way:
                return
            rows, worker, answers = under_way[0]
            for number, future in answers.items():
                keep(self._store, number, self._answer(future, len(rows), worker), self._plan, self._inputs.metric)
                progress.update(len(rows) * len(self._store.batches[number]))
            under_way.popleft()

    def _send(self, rows: range, batches: Sequence[int], worker: str) -> dict[int, Any]:
        """The futures of a block's answers, by batch."""
        inputs, how = self._inputs, How(self._inputs.metric, "cpu", self._plan.threads)
        names = None if inputs.names is None else inputs.names[rows.start : rows.stop]
        recipe = tasks.Recipe(sources.pieces([self._base], rows), rows.start, None, how, inputs.base.name)
        shard = from_files(self._waiting, recipe, names, worker)
        return {
            number: self._waiting.client.submit(
                tasks.search,
                shard,
                self._asked(self._store.batches[number]),
                self._plan.width,
                pure=False,
                workers=[worker],
            )
            for number in batches
        }

    def _asked(self, chosen: range) -> Any:
        """A batch of queries as a task takes it."""
        if self._queries is not None:
            return sources.pieces([self._queries], chosen)
        return self._inputs.queries.values[chosen.start : chosen.stop]

    def _answer(self, future: Any, rows: int, worker: str) -> Part:
        try:
            (found,) = self._waiting.results([future], on=[worker])
        except KnnscopeError:
            check_finite(self._inputs.queries.values, self._inputs.queries.name)  # says whose row it is
            raise
        return part_of(found, rows, self._inputs.metric)


def _file(given: Input) -> sources.File:
    if given.path is None:
        raise KnnscopeError(
            f"{given.name}: workers read the base themselves: one file that they see under the same name was expected, .npy or of the bin and "
            "vecs families"
        )
    return sources.opened(str(given.path.resolve()))[0]
