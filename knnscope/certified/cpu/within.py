"""One request for all rows within a radius: which level is asked, what is shared out among threads, and answers put together."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.components import LOOK
from knnscope.certified.cpu import (
    dispatch,
    lines,
    plane_direct,
    plane_queries,
    plane_search,
    within_codes,
    within_plane,
)
from knnscope.certified.cpu.levels import Levels
from knnscope.certified.cpu.plane import LANES, Plane
from knnscope.certified.cpu.quantise import FAR, PANEL, chunk
from knnscope.certified.cpu.queries import EncodedQueries, Plan, ask
from knnscope.certified.cpu.scan import Part
from knnscope.certified.cpu.table import Table, part_of
from knnscope.certified.cpu.within_codes import Kept, Radii
from knnscope.certified.cpu.within_plane import Blocks
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.scanner import RadiusRequest, Within, changed, overflows, too_many
from knnscope.search import definition

TOGETHER = 2048
"""Queries that are written for the levels at once."""
GROUP = 64
"""Queries that share an item's rows: these stay in the caches while all tiles pass."""
PLACES = 1 << 19
"""Rows of an item, times its queries: 12 bytes each, of which only those are touched that a bound leaves."""
FEWEST = 4096
"""Rows of an item at least, where there are so many."""
PASS = 128
"""Blocks of the plane that pass before the next tile of queries."""
SAMPLED = 64
"""Blocks of the plane at least from which it is told how many rows it will leave."""


class _Item(NamedTuple):
    """Queries first to last of those at work, and rows first to last."""

    queries: slice
    rows: tuple[int, int]


class _Found(NamedTuple):
    """What an item found: how many of each query, int64; keys and names, query after query; rows that a bound left, of each query."""

    counts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.float64]
    names: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]

    @classmethod
    def of(cls, parts: list[_Found]) -> _Found:
        """Answers of queries that come one after another."""
        none: Any = cls(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))
        return cls(*map(np.concatenate, zip(none, *parts, strict=True)))


class _Counted:
    """Answers so far; too many end the search before they fill the memory."""

    def __init__(self, request: RadiusRequest) -> None:
        self._request, self._free = request, threading.Lock()
        self._each, self._total = np.zeros(len(request.queries), dtype=np.int64), 0

    def add(self, first: int, counts: npt.NDArray[np.int64]) -> None:
        """So many more of the queries from ``first`` on.

        Raises:
            KnnscopeError: too many by now.
        """
        with self._free:
            own = self._each[first : first + len(counts)]
            own += counts
            self._total += int(counts.sum())
            total, most = self._total, int(own.max(initial=0))
            query = first + int(own.argmax()) if most > self._request.most_each else None
        if query is not None:
            raise too_many(most, self._request.most_each, query)
        if total > self._request.most:
            raise too_many(total, self._request.most)


class WithinSearch:
    """One request to some rows."""

    def __init__(self, table: Table, levels: Levels, isa: str, workers: Workers) -> None:
        self.table, self.levels, self.workers = table, levels, workers
        self.isa = "vnni" if isa == "amx" else isa
        self.paths: set[str] = set()

    def run(self, request: RadiusRequest) -> Within:
        """Answer, so many queries at a time.

        Raises:
            KnnscopeError: see ``Scanner.within``.
        """
        self.request, self.counted = request, _Counted(request)
        count = len(request.queries)
        parts = [self._some(first, min(first + TOGETHER, count)) for first in range(0, count, TOGETHER)]
        counts, keys, names, candidates = _Found.of([one for some in parts for one in some])
        offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
        values = -keys if self.table.metric else keys
        return Within(offsets, names, values + 0.0, candidates, candidates.copy(), tuple(sorted(self.paths)))

    def _some(self, first: int, last: int) -> list[_Found]:
        """Answer queries, those that the levels cannot tell about by all rows."""
        mask, some = self.request.allowed, slice(first, last)
        request = self.request._replace(
            queries=self.request.queries[some],
            keys=self.request.keys[some],
            allowed=mask if len(mask) < 2 else mask[some],
        )
        work = self._level(request)
        if work.far.any() and work.path != _ByAll.path:
            ends = [first, *(first + 1 + np.flatnonzero(np.diff(work.far))).tolist(), last]
            return [one for begin, end in pairwise(ends) for one in self._some(begin, end)]
        self.paths.add(work.path)
        return [self._answered(work, len(request.queries), first)]

    def _level(self, request: RadiusRequest) -> _ByPlane | _ByCodes | _ByAll:
        """What costs least, of what can tell about some of these queries."""
        if self.levels.plane is not None:
            plane = _ByPlane(self, request, self.levels.plane)
            if not plane.far.all() and plane.pays():
                return plane
        if self.levels.scans:
            codes = _ByCodes(self, request)
            if not codes.far.all():
                return codes
        return _ByAll(self, request)

    def _answered(self, work: _ByPlane | _ByCodes | _ByAll, count: int, begin: int) -> _Found:
        """Answer so many queries, from number ``begin`` on."""
        rows = len(self.table.rows)
        each = max(1, GROUP // work.tile) * work.tile  # queries
        groups = [slice(first, min(first + each, count)) for first in range(0, count, each)]
        size = max(FEWEST, PLACES // min(count, each))
        size = min(size, work.most_rows, -(-rows // max(1, self.workers.count // len(groups))))
        size = -(-size // PANEL) * PANEL
        items = [_Item(group, (first, min(first + size, rows))) for first in range(0, rows, size) for group in groups]

        numbers = np.int32 if rows < 1 << 31 else np.int64

        def found(item: _Item) -> _Found:
            queries, places = item.queries.stop - item.queries.start, item.rows[1] - item.rows[0]
            kept = Kept(
                np.empty((queries, places), dtype=numbers), np.empty((queries, places)),
                np.zeros((queries, 2), dtype=np.int64),
            )  # fmt: skip
            wrong = work.scan(item, kept)
            if wrong >= 0:
                raise changed(wrong)
            if wrong < -1:
                raise overflows(definition.METRICS[self.table.metric])
            self.counted.add(begin + item.queries.start, kept.counts[:, 1])
            total = int(kept.counts[:, 1].sum())
            keys, names = np.empty(total), np.empty(total, dtype=np.int64)
            within_codes.taken(self.table, kept, keys, names)
            return _Found(kept.counts[:, 1], keys, names, kept.counts[:, 0])

        every = self.workers.map(found, items)
        return _Found.of([_joined(every[i :: len(groups)]) for i in range(len(groups))])


def _joined(parts: list[_Found]) -> _Found:
    """Answers of the same queries from several parts of the rows, in order."""
    counts = np.sum([part.counts for part in parts], axis=0)
    offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
    keys, names = np.empty(offsets[-1]), np.empty(offsets[-1], dtype=np.int64)
    ends = offsets[:-1].copy()
    for part in parts:
        within_codes.moved(part.counts, part.keys, part.names, ends, keys, names)
    within_codes.sort(offsets, keys, names)
    return _Found(counts, keys, names, np.sum([part.candidates for part in parts], axis=0))


def _of(asked: EncodedQueries, some: slice) -> dict[str, Any]:
    """The numbers of some queries."""
    return {name: getattr(asked, name)[some] for name in EncodedQueries._fields[2:]}


class _ByCodes:
    """By the byte codes."""

    def __init__(self, search: WithinSearch, request: RadiusRequest) -> None:
        codes = search.levels.codes
        assert codes is not None
        self.codes = search.levels.scanned(codes, search.workers)
        self.table, self.request, self.isa = search.table, request, search.isa
        width = dispatch.plan(self.isa, max(7, len(request.queries))).width
        self.plan, self.path, self.most_rows, self.tile = Plan(self.isa, width, 1), search.isa, self.codes.rows, width
        self.asked = ask(request.queries, self.codes, self.plan)
        self.radii = Radii(request.keys, np.empty(len(request.queries)))
        within_codes.reached(self.asked, request.keys, self.table.metric, self.table.widen, self.radii.reaches)
        self.far = self.asked.far[: len(request.queries)] | ~(self.radii.reaches < FAR) | ~np.isfinite(request.keys)

    def scan(self, item: _Item, kept: Kept) -> int:
        """Scan and rank."""
        request, width = self.request, self.plan.width
        tiles = slice(item.queries.start // width, -(-item.queries.stop // width))
        own = slice(tiles.start * width, tiles.stop * width)
        asked = self.asked._replace(
            packed=self.asked.packed[tiles], biases=self.asked.biases[tiles],
            **_of(self.asked, own),
        )  # fmt: skip
        first, last = item.rows
        part = Part(first // PANEL, -(-last // PANEL), 0, len(asked.packed), last, width, 1, self.table.widen)
        radii = Radii(self.radii.keys[item.queries], self.radii.reaches[item.queries])
        mask = request.allowed
        allowed = mask if len(mask) < 2 else mask[item.queries]
        coded = self.codes.coded
        within_codes.form(self.plan.scan)(coded, asked, allowed, (kept, radii), part)
        queries = request.queries[item.queries]
        return int(within_codes.rank(self.table, coded, asked, queries, radii, kept))


class _ByPlane:
    """By the plane, and the byte codes of rows that it leaves, where they are kept."""

    path = "plane"

    def __init__(self, search: WithinSearch, request: RadiusRequest, plane: Plane) -> None:
        self.table, self.request, self.plane, self.isa = search.table, request, plane, search.isa
        self.codes, self.lines, self._scans = search.levels.codes, search.levels.lines, search.levels.scans
        self.forms = within_plane.forms(self.isa, self.lines is None)
        self.width = plane_search.width(self.isa, len(request.queries))
        self.most_rows, self.tile, count = plane.rows, self.width[0] // self.width[1], len(request.queries)
        self.to_plane = plane_queries.ask(request.queries, plane.map, *self.width)
        self.limits = np.empty(count, dtype=np.float32)
        within_plane.limited(self.to_plane, request.keys, self.limits)
        reaches = np.zeros(count)
        if self.codes is None or self.lines is None:
            self.to_lines = plane_direct.ask(request.queries)
        else:
            self.to_lines = lines.ask(request.queries, self.codes.mapping, self.lines.shape[1] - lines.HEAD)
            within_codes.reached(self.to_lines, request.keys, self.table.metric, self.table.widen, reaches)
        self.radii = Radii(request.keys, reaches)
        self.far = self.to_plane.far[:count] | self.to_lines.far[:count] | ~(reaches < FAR) | ~np.isfinite(request.keys)

    def pays(self) -> bool:
        """Whether it costs less than what there is otherwise, by what a sample of its blocks leaves."""
        count, blocks, m = len(self.request.queries), self.plane.blocks, len(self.plane.map.matrix)
        apart = max(1, len(blocks) // max(SAMPLED, len(blocks) // 64))
        seen = -(-len(blocks) // apart) * LANES * count
        share = int(self.forms.sample(blocks, self.to_plane, self.limits, apart)) / seen
        if not self._scans:
            return share < 1 / 2  # else all rows
        bytes_, prices = self.table.rows.shape[1] + 12, dispatch.PRICES[self.isa]
        cost = (m / 2 + 8) / count + share * LOOK * bytes_
        if count == 1:
            return cost < prices.codes * bytes_
        return cost + prices.plane * m < (prices.codes / count + prices.shared) * bytes_

    def scan(self, item: _Item, kept: Kept) -> int:
        """Scan and rank."""
        request, queries, each, plane = self.request, item.queries, self.tile, self.to_plane
        tiles = slice(queries.start // each, -(-queries.stop // each))
        own = slice(tiles.start * each, tiles.stop * each)
        to_plane = plane._replace(
            words=plane.words[tiles], biases=plane.biases[tiles], terms=plane.terms[own], alphas=plane.alphas[own],
            betas=plane.betas[own], gaps=plane.gaps[own], far=plane.far[own],
        )  # fmt: skip
        to_lines = self.to_lines._replace(
            packed=self.to_lines.packed[queries], **_of(self.to_lines, queries)
        )  # fmt: skip
        first, last = item.rows
        blocks = Blocks(first // LANES, -(-last // LANES), min(PASS, -(-(last - first) // LANES)))
        mask = request.allowed
        allowed = mask if len(mask) < 2 else mask[queries]
        radii = Radii(request.keys[queries], self.radii.reaches[queries])
        near = self.table.rows if self.lines is None else self.lines
        self.forms.scan(
            (self.plane.blocks, near), (to_plane, to_lines), radii, self.limits[queries], (blocks, last, allowed), kept
        )
        vectors_ = request.queries[queries]
        if self.codes is None or self.lines is None:
            return int(within_plane.rank(self.table, self.plane.blocks, to_plane, vectors_, radii.keys, kept))
        return int(within_codes.rank(self.table, self.codes.coded, to_lines, vectors_, radii, kept))


class _ByAll:
    """By all rows, each computed."""

    path = "exhaustive"

    def __init__(self, search: WithinSearch, request: RadiusRequest) -> None:
        self.table, self.request, self.tile = search.table, request, 1
        self.most_rows = chunk(search.table.rows.shape[1])
        self.far = np.zeros(len(request.queries), dtype=np.bool_)

    def scan(self, item: _Item, kept: Kept) -> int:
        """Compute."""
        mask = self.request.allowed
        allowed = mask if len(mask) < 2 else mask[item.queries]
        first, last = item.rows
        some = part_of(self.table, first, last)
        for number, query in enumerate(self.request.queries[item.queries]):
            most = float(self.request.keys[item.queries][number])
            if within_codes.all_rows(some, (first, number), query, most, allowed, kept) < 0:
                return within_plane.OVERFLOW
        return -1
