"""The nearest rows of every query, block of rows by block of rows: bounded memory, and after each batch of queries a state that can be continued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.index import ExactIndex
from knnscope.certified.slices import How, Slice, index_of
from knnscope.checks import check_finite
from knnscope.environment import memory
from knnscope.errors import ArgumentError, KnnscopeError, unknown_name
from knnscope.groundtruth.inputs import Inputs
from knnscope.groundtruth.parts import Part, Store
from knnscope.progress import bar, skip
from knnscope.records import METRICS, Neighbors
from knnscope.search.engine import check_k

BESIDE = 8
"""Neighbors that are asked for beyond k: who ties with the k-th place, and how far behind the next one is."""
BATCH = 1000
"""Queries whose answers are kept together: what is lost by a kill is the work on one batch and block."""
SHARE = 0.5
"""Of the free memory, if nothing else is said."""
LEAST_ROWS = 4096
"""Rows of a block: with fewer, codes would be written more often than read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """k: neighbors. width: k and those beyond. rows: of a block. batch: queries. threads: None is the thread budget."""

    k: int
    width: int
    rows: int
    batch: int
    threads: int | None = None


def plan(inputs: Inputs, k: int, memory_mib: int | None = None, threads: int | None = None) -> Plan:
    """Blocks and batches that keep to the memory.

    Args:
        inputs: what is searched.
        k: neighbors.
        memory_mib: MiB that may be used; None is half of what is free.
        threads: how many work at once.

    Raises:
        KnnscopeError: a k beyond the rows, another metric, or too little memory for the smallest block.
    """
    if inputs.metric not in METRICS:
        raise unknown_name("metric", inputs.metric, METRICS)
    rows, dim = inputs.base.values.shape
    k = check_k(k, rows)
    width = min(k + BESIDE, rows)
    queries = len(inputs.queries.values)
    if not queries:
        raise KnnscopeError(f"{inputs.queries.name}: no queries")
    if memory_mib is not None and memory_mib < 1:
        raise ArgumentError(f"memory {memory_mib}: a number of MiB above 0 was expected")
    budget = memory_mib * 2**20 if memory_mib is not None else _free()
    each_row = dim * (inputs.base.values.itemsize + 4) + 64  # the row, its codes in two orders, bounds, a number
    each_query = 8 * dim + 100 * width  # float64, and answers before and after merging
    batch = max(1, min(BATCH, queries, budget // 4 // each_query))
    left = budget - batch * each_query
    least = min(rows, max(LEAST_ROWS, width))
    if left < least * each_row:
        needed = (least * each_row + batch * each_query + 2**20 - 1) >> 20
        raise ArgumentError(
            f"memory {budget >> 20}: MiB, at least {needed:,} are needed for rows of {dim:,} components and k = {k:,}"
        )
    return Plan(k, width, int(min(rows, left // each_row)), batch, threads)


def _free() -> int:
    facts = memory()
    known = [size for size in (facts["available"], facts["limit"]) if size]
    return int(SHARE * min(known)) if known else 1 << 30


def compute(inputs: Inputs, plan: Plan, store: Store, what: str = "ground truth") -> None:
    """Ask every batch for every row; goes on from what the store holds.

    Rows are taken in order. A block begins where the batch that is furthest behind stands, and ends where another one does, or after
    ``plan.rows``: so any plan continues the work of any other.

    Raises:
        KnnscopeError: a number that is not finite (names the row), values that overflow, or a full disk.
    """
    values, queries = inputs.base.values, len(inputs.queries.values)
    total = len(values)
    with bar(total * queries, what, "pair", scale=True) as progress:
        done = store.rows_done()
        skip(progress, sum(n * len(batch) for n, batch in zip(done, store.batches, strict=True)))
        for rows, batches in steps(done, total, plan.rows):
            index = _index(inputs, rows.start, rows.stop, plan.threads)
            for number in batches:
                chosen = store.batches[number]
                keep(store, number, _block(index, inputs, chosen, plan), plan, inputs.metric)
                progress.update(len(rows) * len(chosen))
            del index
            inputs.base.release()


def steps(done: Sequence[int], total: int, rows: int) -> Iterator[tuple[range, list[int]]]:
    """Blocks of rows in order, and the batches that are asked for each.

    Args:
        done: rows that each batch has been asked for already.
        total: rows.
        rows: of a block, at most.
    """
    now = list(done)
    while (start := min(now)) < total:
        stop = min([start + rows, total, *(n for n in now if n > start)])
        batches = [number for number, n in enumerate(now) if n == start]
        yield range(start, stop), batches
        for number in batches:
            now[number] = stop


def keep(store: Store, number: int, block: Part, plan: Plan, metric: str) -> None:
    """Put the answer of a batch over the rows that follow those it has been asked for."""
    before = store.get(number)
    store.put(number, block if before is None else before.with_block(block, plan.width, metric))


def _index(inputs: Inputs, start: int, stop: int, threads: int | None) -> ExactIndex:
    names = inputs.names
    ids = None if names is None else names[start:stop]
    return index_of(
        Slice(inputs.base.values[start:stop], start, ids, inputs.base.name), How(inputs.metric, "cpu", threads)
    )


def _block(index: ExactIndex, inputs: Inputs, chosen: range, plan: Plan) -> Part:
    rows, queries = index.shape[0], inputs.queries.values[chosen.start : chosen.stop]
    try:
        found = index.search(queries, min(plan.width, rows))
    except KnnscopeError:
        check_finite(queries, inputs.queries.name, chosen.start)
        raise
    return part_of(found, rows, inputs.metric)


def part_of(found: Neighbors, rows: int, metric: str) -> Part:
    """The answer of a batch over so many rows, as it is kept."""
    proof = found.certificate
    assert proof is not None
    floor = lowered(keys(found.distances[:, -1], metric) + proof.margin)
    return Part(rows, Neighbors(found.ids, found.distances.astype(np.float64)), floor, proof.candidates, proof.computed)


def keys(distances: npt.NDArray[Any], metric: str) -> npt.NDArray[np.float64]:
    """What margins are measured in, ascending: plain distance for l2, negated similarity else."""
    found: npt.NDArray[np.float64] = np.sqrt(distances) if metric == "l2" else -distances
    return found


def lowered(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Not above the true sums of two numbers whose rounded ones these are; infinite where nothing was left out."""
    with np.errstate(all="ignore"):
        return np.where(np.isinf(sums), sums, np.nextafter(sums, -np.inf))
