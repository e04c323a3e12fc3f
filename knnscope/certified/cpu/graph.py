"""The k nearest of every row among the rows: clusters give an order and first thresholds, then each pair is computed once.

A row's neighbors among those of its own and the nearest clusters are found first. The last of them is an upper bound of the k-th key, so
the pass over all pairs begins with thresholds that are nearly those it ends with. Clusters are a guess: what they say changes how long it takes and
never the answer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified import forks
from knnscope.certified.cpu import graph_kernels, graph_pass, lines
from knnscope.certified.cpu.graph_pass import Graph, Share
from knnscope.certified.cpu.levels import Levels
from knnscope.certified.cpu.plane import BEYOND, LANES
from knnscope.certified.cpu.quantise import aligned
from knnscope.certified.cpu.search import Search
from knnscope.certified.cpu.table import Table
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.dtypes import widened
from knnscope.certified.scanner import Request, changed
from knnscope.progress import bar

CLUSTER = 400
"""Rows of a cluster, about."""
AMONG = 1200
"""Rows among which neighbors are looked for first."""
GROUP = 1280
"""Queries of a share: whole tiles of every width, and whole blocks of rows."""
PASS = 128
"""Blocks of rows that pass before the next tile of queries."""
HEAP_BYTES = 1 << 31
"""Of all threads' heaps together."""
MOST_FAR, MANY_FAR = 64, -3
"""Queries of a share that bounds may not tell about, and what it says of more: their pairs are all computed."""
PIECE = 8192
"""Rows whose clusters are looked for at once."""
ROUNDS = 2
"""Times that the middle of each cluster is found anew."""


class Wanted(NamedTuple):
    """k neighbors of each row, and whether it may be its own."""

    k: int
    itself: bool


def suits(table: Table, levels: Levels, wanted: Wanted, workers: Workers) -> bool:
    """Whether pairs are computed once here: by the plane, where it answers so many neighbors, and heaps that fit into memory."""
    rows, k = len(table.rows), wanted.k
    if levels.plane is None or levels.codes is None or levels.lines is None or levels.is_fixed:
        return False
    return rows < 1 << 31 and rows * k * 16 * workers.count <= HEAP_BYTES and levels.plane.answers(GROUP, k + 1)


class GraphSearch:
    """One graph of some rows."""

    def __init__(self, table: Table, levels: Levels, isa: str, workers: Workers) -> None:
        assert levels.codes is not None
        assert levels.plane is not None
        assert levels.lines is not None
        self.table, self.levels, self.workers, self.isa = table, levels, workers, "vnni" if isa == "amx" else isa
        self.codes, self.plane, self.lines = levels.codes, levels.plane, levels.lines
        self.given_isa = isa

    def run(self, wanted: Wanted) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None:
        """Names and values, (rows, k); None where a bound does not hold for a row, and it has to be asked otherwise.

        Raises:
            KnnscopeError: rows that were changed.
        """
        rows, k = len(self.table.rows), wanted.k
        with bar(rows, "graph", "row") as progress:
            order, ends, near = self._clusters()
            tops = self._first(wanted, order, ends, near)
            blocks = aligned(self.plane.blocks.shape, np.uint8, BEYOND)
            graph_pass.reordered(self.plane.blocks, order, blocks)
            threads = min(self.workers.count, max(1, rows // GROUP))
            graphs = [
                Graph(np.empty((rows, k)), np.empty((rows, k), np.int64), np.empty(rows), np.empty(len(blocks) * LANES, np.float32))
                for _ in range(threads)
            ]  # fmt: skip
            for graph in graphs:
                graph_pass.begun(tops, graph)
            for first in range(0, rows, GROUP * threads):
                some = [(first + GROUP * i, graph) for i, graph in enumerate(graphs) if first + GROUP * i < rows]
                found = self.workers.map(lambda one: self._share(one, wanted, order, blocks), some)
                if any(wrong < -1 for wrong in found):
                    return None
                for wrong in found:
                    if wrong >= 0:
                        raise changed(wrong)
                progress.update(min(GROUP * threads, rows - first))
        for graph in graphs[1:]:
            graph_pass.joined(graph.keys, graph.names, graphs[0])
        ids, values = np.empty((rows, k), dtype=np.int64), np.empty((rows, k))
        return None if graph_pass.finished(graphs[0], order, self.table.metric, ids, values) else (ids, values)

    def _vectors(self, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        return np.ascontiguousarray(widened(self.table.rows[rows]), dtype=np.float64)

    def _share(self, one: tuple[int, Graph], wanted: Wanted, order: npt.NDArray[np.int32], blocks: Any) -> int:
        first, graph = one
        queries = self._vectors(order[first : first + GROUP])
        to_plane, held = graph_kernels.ask(queries, self.plane.map, self.isa)
        to_lines = lines.ask(queries, self.codes.mapping, self.lines.shape[1] - lines.HEAD)
        if np.count_nonzero(to_plane.far[: len(queries)] | to_lines.far[: len(queries)]) > MOST_FAR:
            return MANY_FAR
        share = Share(first, len(blocks), PASS, wanted.itself)
        return int(
            graph_pass.form(self.isa)(
                self.table, (blocks, self.lines, order), (to_plane, to_lines, held), queries, share, graph
            )
        )

    def _clusters(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.intp]]:
        """Rows cluster by cluster, where each cluster ends, and for each the clusters by how near their middles are."""
        rows = len(self.table.rows)
        count = max(1, rows // CLUSTER)
        random = np.random.default_rng(0)
        middles = self._sized(np.sort(random.choice(rows, count, replace=False)).astype(np.int32))
        for last in range(ROUNDS):
            pieces = [(first, middles) for first in range(0, rows, PIECE)]
            of = np.concatenate(self.workers.map(self._nearest, pieces))
            order = np.argsort(of, kind="stable").astype(np.int32)
            ends = np.cumsum(np.bincount(of, minlength=count))
            if last < ROUNDS - 1:
                middles = np.stack([
                    self._sized(order[begin:end][:256]).mean(axis=0) if end > begin else middles[i]
                    for i, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
                ])  # fmt: skip
        squares = np.einsum("ij,ij->i", middles, middles)
        with forks.held_off():
            products = middles @ middles.T
        near = np.argsort(squares[None, :] - 2 * products, axis=1, kind="stable")
        return order, ends, near

    def _sized(self, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        found = widened(self.table.rows[rows]).astype(np.float32)
        if self.table.metric == 2:
            lengths = np.linalg.norm(found, axis=1, keepdims=True)
            found = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
        return found

    def _nearest(self, piece: tuple[int, npt.NDArray[np.float32]]) -> npt.NDArray[np.intp]:
        first, middles = piece
        some = self._sized(np.arange(first, min(first + PIECE, len(self.table.rows)), dtype=np.int32))
        with forks.held_off():
            products = some @ middles.T
        return np.argmin(np.einsum("ij,ij->i", middles, middles) - 2 * products, axis=1)

    def _first(
        self, wanted: Wanted, order: npt.NDArray[np.int32], ends: npt.NDArray[np.int64], near: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        """An upper bound of the k-th key of each row, in this order."""
        k, among = wanted.k + (not wanted.itself), max(AMONG, 8 * wanted.k)
        begins = np.concatenate([[0], ends[:-1]])
        tops = np.full(len(order), np.inf)
        alone = self.workers.of(1)

        def found(cluster: int) -> None:
            own = slice(int(begins[cluster]), int(ends[cluster]))
            sizes = np.cumsum((ends - begins)[near[cluster]])
            some = near[cluster, : 1 + int(np.searchsorted(sizes, among))]
            rows = np.sort(np.concatenate([order[begins[i] : ends[i]] for i in some]))
            if own.stop == own.start or len(rows) < k:
                return
            search = Search(self.table, self.levels, self.given_isa, alone)
            values = search.among(Request(self._vectors(order[own]), k, np.empty((0, 0), np.bool_)), rows)
            keys = -values[:, k - 1] if self.table.metric else values[:, k - 1]
            tops[own] = np.where(np.isfinite(keys), keys, np.inf)

        self.workers.map(found, range(len(ends)))
        return tops
