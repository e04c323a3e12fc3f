"""How rows are split into shards, and how the answers of the shards become that of all rows: by the definition's order, value, then id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.filters import Bits, Keep, check_count, is_list
from knnscope.certified.ids import STRING, Strings
from knnscope.certified.rows import as_mask
from knnscope.certified.scanner import Ranked, Within, too_many
from knnscope.certified.state import joined_certificate
from knnscope.certified.state import merged as ranked
from knnscope.certified.within import joined
from knnscope.ragged import RadiusNeighbors
from knnscope.records import Certificate, Neighbors


def split(rows: int, shards: int) -> list[range]:
    """Numbers of rows in order, in as many parts that differ by one row at most; fewer where there are fewer rows: none is empty."""
    count = min(rows, shards)
    edges = [rows * number // count for number in range(count + 1)] if count else []
    return [range(start, stop) for start, stop in pairwise(edges)]


def turns(workers: Iterable[str]) -> dict[str, int]:
    """Of each worker, by its address, the how manyth of its machine it is."""
    seen, found = Counter[str](), dict[str, int]()
    for worker in sorted(workers):
        host = worker.rpartition(":")[0]
        found[worker] = seen[host]
        seen[host] += 1
    return found


def merged(found: Sequence[Neighbors], k: int, metric: str) -> Neighbors:
    """The k nearest of the answers of shards.

    Args:
        found: one of each shard, (queries, min(k, its rows)), with certificates.
        k: 1 to the rows of all shards.
        metric: l2, ip or cosine.
    """
    if len(found) == 1:
        return found[0]
    best = ranked([_ranked(one) for one in found], k, metric)
    return Neighbors(_bare(best.ids), best.distances, joined_certificate([_proof(one) for one in found]))


def _proof(found: Neighbors | RadiusNeighbors) -> Certificate:
    assert found.certificate is not None
    return found.certificate


def _ranked(found: Neighbors) -> Ranked:
    proof = _proof(found)
    return Ranked(
        _sortable(found.ids), found.distances.astype(np.float64, copy=False), proof.candidates, proof.computed, proof.margin, proof.path
    )  # fmt: skip


def merged_within(found: Sequence[RadiusNeighbors], metric: str, most: int, most_each: int) -> RadiusNeighbors:
    """All rows within a radius, of the answers of shards.

    Args:
        found: one of each shard, with certificates.
        metric: l2, ip or cosine.
        most: answers that all queries may have together.
        most_each: answers that each may have.

    Raises:
        KnnscopeError: there are more.
    """
    if (total := sum(len(one.ids) for one in found)) > most:
        raise too_many(total, most)
    each = np.sum([one.counts for one in found], axis=0)
    if len(each) and int(each.max()) > most_each:
        raise too_many(int(each.max()), most_each, int(each.argmax()))
    if len(found) == 1:
        return found[0]
    best = joined([_within(one) for one in found], len(found[0]), metric)
    return RadiusNeighbors(
        best.offsets, _bare(best.ids), best.distances, joined_certificate([_proof(one) for one in found])
    )  # fmt: skip


def _within(found: RadiusNeighbors) -> Within:
    proof = _proof(found)
    return Within(
        found.offsets, _sortable(found.ids), found.distances, proof.candidates, proof.computed, proof.path
    )  # fmt: skip


def _sortable(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Strings in the type that ``certified`` ranks."""
    return ids.astype(STRING) if ids.dtype.kind == "U" else ids


def _bare(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return Strings.bare(ids) if ids.dtype.kind == "T" else ids


def filters(where: Any, queries: int, shards: Sequence[range]) -> list[Any]:
    """For each shard what ``ExactIndex.search`` takes as ``where``.

    Args:
        where: the same for all rows; masks are in their order.
        queries: how many there are.
        shards: the rows of each, in order, the last one ending with the rows.

    Raises:
        KnnscopeError: another shape or type.
    """
    rows = shards[-1].stop
    if where is None or isinstance(where, Keep):
        return [where] * len(shards)
    if is_list(where):
        check_count(where, queries)
        each = [_one(some, shards) for some in where]
        return [[one[number] for one in each] for number in range(len(shards))]
    mask = as_mask(where.mask(rows) if isinstance(where, Bits) else where, queries, rows)
    if len(mask) == 1:
        return [mask[0, shard.start : shard.stop] for shard in shards]
    return [np.ascontiguousarray(mask[:, shard.start : shard.stop]) for shard in shards]


def _one(where: Any, shards: Sequence[range]) -> list[Any]:
    """The filter of one query for each shard: ids as they are, a mask as bits, so that lists of both can be told from masks."""
    each = filters(where, 1, shards)
    return [Bits(np.packbits(own)) if isinstance(own, np.ndarray) else own for own in each]


def mask_bytes(each: Sequence[Any]) -> int:
    """Bytes of a query in the filters of shards: the most of any shard."""
    sizes = [own.shape[1] for own in each if isinstance(own, np.ndarray) and own.ndim == 2]
    lists = [
        max((one.packed.nbytes for one in own if isinstance(one, Bits)), default=0)
        for own in each
        if isinstance(own, list)
    ]
    return max([*sizes, *lists], default=0)


def of_queries(where: Any, first: int, last: int) -> Any:
    """What a shard takes as ``where``, for some of the queries."""
    each = isinstance(where, list) or (isinstance(where, np.ndarray) and where.ndim == 2)
    return where[first:last] if each else where


def stacked(parts: Sequence[Neighbors]) -> Neighbors:
    """Answers to queries one after another."""
    if len(parts) == 1:
        return parts[0]
    ids, distances = (np.concatenate([getattr(one, name) for one in parts]) for name in ("ids", "distances"))
    return Neighbors(ids, distances, _in_a_row([_proof(one) for one in parts]))


def stacked_within(parts: Sequence[RadiusNeighbors]) -> RadiusNeighbors:
    """The same of answers within a radius."""
    if len(parts) == 1:
        return parts[0]
    counts, ids, distances = (
        np.concatenate([getattr(one, name) for one in parts]) for name in ("counts", "ids", "distances")
    )
    offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
    return RadiusNeighbors(offsets, ids, distances, _in_a_row([_proof(one) for one in parts]))


def _in_a_row(proofs: Sequence[Certificate]) -> Certificate:
    """Of queries one after another, over the same rows."""
    candidates, computed, margin = (
        np.concatenate([getattr(one, name) for one in proofs]) for name in ("candidates", "computed", "margin")
    )
    path = tuple(sorted({path for one in proofs for path in one.path}))
    return Certificate(proofs[0].rows_scanned, candidates, computed, margin, path)
