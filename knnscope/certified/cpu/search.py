"""One request, from its queries to ranked rows: passes over the codes, each shared out among threads; what they cannot answer, by all rows."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import (
    allowed,
    dispatch,
    grids,
    lines,
    plane_alone,
    plane_direct,
    plane_queries,
    plane_search,
    plane_steps,
    ranking,
    scratch,
)
from knnscope.certified.cpu.again import Kind, Way
from knnscope.certified.cpu.code_pass import CodePass, Scanned, Size, shares
from knnscope.certified.cpu.levels import Levels
from knnscope.certified.cpu.plane import LANES
from knnscope.certified.cpu.plane_scan import FEW as FEW
from knnscope.certified.cpu.plane_scan import PlanePart, bounds_size
from knnscope.certified.cpu.quantise import Codes, chunk
from knnscope.certified.cpu.queries import EncodedQueries
from knnscope.certified.cpu.ranking import Answers
from knnscope.certified.cpu.table import Table, part_of
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.scanner import Ranked, Request, changed, overflows
from knnscope.search import definition

ROOMS = ((22, 512), (64, 4096))
"""Candidate capacity of a query, a k + b; a query that overflows the first is scanned once more with the next."""
BLOCK = 1024
"""Queries that share a pass over the codes, if their candidates fit in ``BLOCK_BYTES``."""
BLOCK_BYTES = 1 << 27
LEAST_ROOM = 4096
"""Rows of a query that the plane may leave at least, without its being asked in vain."""
MANY_ROOM = 4
"""The part of it that each of many queries has; one of them may have more, see ``plane_scan.SHARES``."""
READ_BYTES = 1 << 26
"""Bytes of rows that are read from a file at once where all compete."""
LIST_BYTES = 1 << 29
"""Bytes of rows that the plane leaves of many queries, of all threads together, where codes cannot be scanned."""
QUERY_BYTES = 40
"""Memory of a query for each of its k neighbors while the plane passes: see plane_ranking.Seen."""
TOLD = 1 << 24
"""Bounds that all parts of a plane may write before they go on; of a large one so many as are kept until the next search, since new memory costs more."""
WHOLE = 1 << 24
"""Bytes of a plane up to which all of it passes before the next tile of queries: it stays in the last cache, and V is near its end at once."""
PASS, GROUP = 128, 64
"""Of larger ones, blocks that pass before the next tile, and queries that they pass for, so that both stay in the caches."""
WHOLE_GROUP = 128
"""Queries that pass together where the whole plane does, if their memory is kept: lines of what is left are read once for all (plane_ending.py)."""
FEWEST_BLOCKS = 256
"""Blocks of the plane that are worth another thread, where any are."""
SHARED = 10
"""Times so many blocks, over all queries, from which on threads share them: what is done between their steps takes as long as 30,000 rows."""
MOST = 4
"""A k above one in so many rows: bounds would exclude little, so all rows compete."""


class Search:
    """One request to some rows."""

    def __init__(self, table: Table, levels: Levels, isa: str, workers: Workers) -> None:
        self.table, self.levels, self.codes, self.isa, self.workers = table, levels, levels.codes, isa, workers
        self.paths: set[str] = set()
        self._is_asked = False  # the plane

    def run(self, request: Request) -> Ranked:
        """Scan, rank, and let all rows compete where the scan was of no use.

        Raises:
            KnnscopeError: see ``Scanner.nearest``.
        """
        self._begin(request)
        count = len(request.queries)
        if len(request.allowed) and count and self._by_allowed():
            return Ranked(*self.answers, tuple(sorted(self.paths)))
        # Where few allowed rows have answered some, what is left is beyond the plane too,
        # which would write over the others.
        is_begun = len(request.allowed) > 0 and bool((self.answers.candidates >= 0).any())
        self._is_asked = not is_begun and self._asks_plane()
        if self._is_asked and (self._all_by_plane() or self._all_once_more()):
            return Ranked(*self.answers, ("plane",))
        if not self.levels.scans:
            self._check()  # else the codes notice rows that are not as they were
        if self.codes is not None and self.levels.scans and request.k * MOST <= self.codes.rows:
            for factor, more in ROOMS:
                if (self.answers.candidates < 0).any() and self._scan(
                    self.levels.scanned(self.codes, self.workers), factor * request.k + more
                ):
                    return Ranked(*self.answers, tuple(sorted(self.paths)))
        scanned = self.answers.candidates >= 0
        if not scanned.all():
            self._exhaust(np.flatnonzero(~scanned))
        self._check()
        self.answers.margins[self.answers.computed == len(self.table.rows)] = np.inf
        path = (*(sorted(self.paths) if scanned.any() else ()), *(() if scanned.all() else ("exhaustive",)))
        return Ranked(*self.answers, path)

    def among(self, request: Request, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """Values of the k nearest of some rows, (queries, k), k at most so many; infinite for queries that the codes cannot tell about."""
        assert self.codes is not None
        self._begin(request)
        gathered = allowed.gathered(self.codes, self.levels.lines, rows, self.workers)
        self._scan(gathered, ROOMS[0][0] * request.k + ROOMS[0][1], rows)
        self._check()
        self.answers.values[self.answers.candidates < 0] = -np.inf if self.table.metric else np.inf
        return self.answers.values

    def _begin(self, request: Request) -> None:
        """Nothing answered."""
        self.request, count = request, len(request.queries)
        self.answers, self.far = ranking.blank_answers(count, request.k), np.zeros(count, dtype=np.bool_)

    def _by_allowed(self) -> bool:
        """Answer by the allowed rows alone, where they are few for every query: whether that is all. What it leaves stays unanswered."""
        levels, request = self.levels, self.request
        few = allowed.few(request.allowed, levels, len(request.queries))
        if few is None:
            return False
        if few.is_shared:
            assert self.codes is not None
            rows = few.lists[0, : few.counts[0]]
            if request.k * MOST > len(rows):
                return False
            self._scan(
                allowed.gathered(self.codes, levels.lines, rows, self.workers),
                ROOMS[0][0] * request.k + ROOMS[0][1],
                rows,
            )
        else:
            asked = None
            if self.codes is not None and levels.lines is not None:
                asked = lines.ask(request.queries, self.codes.mapping, levels.lines.shape[1] - lines.HEAD)
            how = allowed.How(request.queries, self.isa, self.workers)
            few.answer(self.table, asked, levels.lines, self.answers, how)
            self.paths.add("allowed")
        self._check()
        return bool((self.answers.candidates >= 0).all())

    def _asks_plane(self) -> bool:
        """Whether the plane is asked: where there is nothing else, unless bounds would exclude little."""
        plane, count, k = self.levels.plane, len(self.request.queries), self.request.k
        if plane is None or not count:
            return False
        return plane.answers(count, k) if self.levels.scans else k * MOST <= plane.rows

    def _all_by_plane(self) -> bool:
        """Answer by the plane what it can answer, so many queries at a time as memory is for: whether that is all."""
        request, answers, count = self.request, self.answers, len(self.request.queries)
        size = BLOCK  # beside codes, k is small
        if self.codes is None:
            size = max(FEW, min(BLOCK, BLOCK_BYTES // (32 * request.k * self.workers.count)))
        if count <= size:
            return self._by_plane(request, answers)
        done = True
        for first in range(0, count, size):
            some = slice(first, first + size)
            ids, values, candidates, computed, margins = answers
            own = Answers(ids[some], values[some], candidates[some], computed[some], margins[some])
            done &= self._by_plane(request.some(some), own)
        return done

    def _all_once_more(self) -> bool:
        """Ask the plane again where no codes can be scanned, a few queries at a time, with room for every row that it may leave: whether that is all."""
        request, answers, plane = self.request, self.answers, self.levels.plane
        if self.codes is None or self.levels.scans or plane is None:
            return False
        left = np.flatnonzero((answers.candidates < 0) & (answers.computed != ranking.CHANGED))
        for first in range(0, len(left), FEW):
            some = left[first : first + FEW]
            ids, values, candidates, computed, margins = answers
            own = Answers(ids[some], values[some], candidates[some], computed[some], margins[some])
            self._by_plane(request.some(some), own, plane.rows + LANES)
            for whole, part in zip(answers, own, strict=True):
                whole[some] = part
        return bool((answers.candidates >= 0).all())

    def _by_plane(self, request: Request, answers: Answers, room: int = 0) -> bool:
        """Answer by the plane what it can answer, with room for so many rows of a query that it leaves (default: what suits): whether that is all."""
        plane, codes, isa = self.levels.plane, self.codes, "vnni" if self.isa == "amx" else self.isa
        assert plane is not None
        near = self.table.rows if codes is None else self.levels.lines
        count, forms = len(request.queries), (plane_search.forms if codes else plane_search.direct_forms)(isa)
        width = plane_search.width(isa, count)
        blocks, each, self.paths = len(plane.blocks), width[0] // width[1], {"plane"}
        many = count > FEW
        large, group = plane.blocks.nbytes > WHOLE, GROUP
        room = room or max(LEAST_ROOM, int(plane.rows * dispatch.room(isa)) // (MANY_ROOM if many else 1))
        if many and not self.levels.scans:
            room = min(room, max(LEAST_ROOM, LIST_BYTES // (8 * GROUP * self.workers.count)))
        if codes is None:
            room = self._direct_room(request.k, plane.rows, many)
        levels, workers = (plane.blocks, near), self.workers
        if not many and (workers.count < 2 or blocks * count < SHARED * FEWEST_BLOCKS):
            ground = plane_steps.Ground(self.table, plane, near, codes.mapping if codes else None)
            small = plane_alone.Size(isa, count, request.k, room, len(request.most) > 0)
            return self._by_kept(
                self.levels.laid_out.alone,
                small,
                lambda: plane_alone.Alone(ground, small, request.allowed),
                request,
                answers,
            )
        tiles = -(-count // each)
        by_queries = tiles >= 2 * workers.count or (
            not large and grids.by_queries(workers.count, tiles, 4 * bounds_size(tiles * each, blocks))
        )
        parts = 1 if by_queries else max(1, min(workers.count, blocks // FEWEST_BLOCKS))
        most = (
            min(TOLD, plane_steps.KEPT_BYTES // 4 - parts * tiles * 2 * min(room, blocks * LANES // parts))
            if large
            else TOLD
        )
        told = (tiles == 1 or not large) and bounds_size(tiles * each, blocks) <= most
        step = PASS if large and (many or (parts > 1 and not told)) else blocks
        if parts > 1 and told:
            ground = plane_steps.Ground(self.table, plane, near, codes.mapping if codes else None)
            size = plane_steps.Size(isa, count, request.k, parts, workers.count, room, len(request.most) > 0)
            return self._by_kept(
                self.levels.laid_out.steps,
                size,
                lambda: plane_steps.Steps(ground, size, request.allowed, shares),
                request,
                answers,
            )
        asked = plane_queries.ask(request.queries, plane.map, *width), self._near(request, codes)
        if parts > 1:
            room = min(room, -(-blocks // parts) * LANES + LANES)
            fits = (scratch.KEPT_BYTES // (4 * parts) - bounds_size(each, step) - LANES) // (2 * tiles * each)
            if self.levels.scans and fits >= LEAST_ROOM:  # else all rows compete where there is no room
                room = min(room, fits)
        if codes is None:
            group = max(1, min(GROUP, BLOCK_BYTES // (workers.count * (QUERY_BYTES * request.k + 8 * room))))
        elif step == blocks:
            group = max(GROUP, min(WHOLE_GROUP, (scratch.KEPT_BYTES // 4 - bounds_size(each, blocks)) // (2 * room)))
        groups = min(tiles, max(-(-tiles * each // group), min(tiles, workers.count) if parts == 1 else 1))
        kept = plane_search.new_kept.py_func(parts, len(asked[0].far), request.k, True)
        kept.bars[: len(request.most)] = request.most
        work = [
            PlanePart(first, last, *some, part, min(step, last - first))
            for some in shares(tiles, groups)
            for part, (first, last) in enumerate(shares(blocks, parts))
        ]

        self._pass(forms.scan, (self.table, levels, asked, request), work, (each, room), kept)
        return bool(forms.merge(kept, self.table, asked[1], answers))

    def _by_kept(self, kept: Any, size: Any, made: Any, request: Request, answers: Answers) -> bool:
        """Answer by what is kept of so many searches, or is made; with a mask it is made each time."""
        if len(request.allowed):
            return bool(made().run(request, answers, self.workers))
        own = kept.take(size, made)
        done = bool(own.run(request, answers, self.workers))
        kept.give_back(size, own)
        if done and request is self.request and not len(request.most):
            self._tell(Way(kept, size, ("plane",)))
        return done

    def _tell(self, way: Way) -> None:
        """All was answered by one program."""
        self.levels.laid_out.ways.answered(Kind(len(self.request.queries), self.request.k, self.workers.count), way)

    def _pass(self, scan: Any, first: tuple[Any, ...], work: list[PlanePart], size: tuple[int, int], kept: Any) -> None:
        """Pass the plane, part by part; ``size``: see ``PlanePart.needed``."""

        def scanned(part: PlanePart) -> None:
            with scratch.floats("rows", part.needed(*size)) as memory:
                scan(*first, part, memory, kept)

        ends = list(accumulate((part.needed(*size) for part in work), initial=0))
        if 4 * ends[-1] > scratch.KEPT_BYTES:  # else each thread keeps its own, and uses it for one part after another
            self.workers.map(scanned, work)
            return
        with scratch.floats("parts", ends[-1]) as memory:
            given = [(part, memory[begin:end], kept) for part, (begin, end) in zip(work, pairwise(ends), strict=True)]
            self.workers.call(scan, first, given)

    def _near(self, request: Request, codes: Codes | None) -> EncodedQueries:
        """Queries as lines are asked, or as rows are."""
        if codes is None or self.levels.lines is None:
            return plane_direct.ask(request.queries)
        return lines.ask(request.queries, codes.mapping, self.levels.lines.shape[1] - lines.HEAD)

    def _direct_room(self, k: int, rows: int, many: bool) -> int:
        """Rows of a query that the plane may leave where there is nothing else: all of them, but of many queries so many as k or memory allow."""
        every, fit = rows + LANES, BLOCK_BYTES // (8 * GROUP * self.workers.count)
        return min(every, max(LEAST_ROOM, fit, rows // MANY_ROOM, MOST * k + LANES)) if many else every

    def _scan(self, codes: Codes, room: int, chosen: npt.NDArray[np.int32] | None = None) -> bool:
        """Answer what is not answered yet, with room for so many candidates of a query; codes of the rows ``chosen`` alone (default: of all).

        Returns:
            Whether all is answered, and nothing is left to be looked at.
        """
        room = min(room, codes.rows + codes.rows // 2)  # with half as many again as there are rows, none overflows
        left = np.flatnonzero((self.answers.candidates < 0) & ~self.far)
        size, done = max(1, min(BLOCK, BLOCK_BYTES // (32 * room + 16 * self.request.k))), False
        for first in range(0, len(left), size):
            numbers = left[first : first + size]
            every = len(numbers) == len(self.far)
            queries = self.request.queries if every else self.request.queries[numbers]
            mask = self.request.allowed
            if chosen is not None:
                mask = np.empty((0, codes.rows), dtype=np.bool_)
            elif not every and len(mask) > 1:
                mask = mask[numbers]
            own = self._pass_of(Scanned(codes, chosen, self.codes or codes), len(numbers), room, mask)
            done = own.run(queries, numbers, self.answers, self.workers)
            self.far[numbers] = own.far
            if chosen is None and not len(mask):
                self.levels.laid_out.passes.give_back(own.size, own)
                if done and every and not self._is_asked:
                    self._tell(Way(self.levels.laid_out.passes, own.size, (own.size.plan.scan,)))
        return done

    def _pass_of(self, scanned: Scanned, count: int, room: int, mask: npt.NDArray[np.bool_]) -> CodePass:
        """A pass for so many queries: one that was laid out before, if it was of these codes, and of all rows."""
        plan = dispatch.plan(self.isa, count)
        self.paths.add(plan.scan)
        size = Size(plan, count, self.request.k, room, self.workers.count)

        def made() -> CodePass:
            return CodePass(self.table, scanned, size, mask)

        if scanned.chosen is not None or len(mask):
            return made()
        found = self.levels.laid_out.passes.take(size, made)
        return found if found.scanned.codes is scanned.codes else made()

    def _exhaust(self, numbers: npt.NDArray[np.int64]) -> None:
        """Let all rows compete for these queries."""
        table, answers, mask = self.table, self.answers, self.request.allowed
        each, count = chunk(table.rows.shape[1]), len(table.rows)
        size = count if table.handle < 0 else each * max(1, READ_BYTES // (each * table.rows[0].nbytes))
        answers.ids[numbers], answers.values[numbers], answers.computed[numbers] = np.iinfo(np.int64).max, np.inf, 0

        def work(number: int) -> None:
            own = mask[min(number, len(mask) - 1)] if len(mask) else np.empty(0, np.bool_)
            query, found, values = self.request.queries[number], answers.ids[number], answers.values[number]
            for first in range(0, len(part.rows), each):
                if answers.computed[number] >= 0:
                    some = part._replace(rows=part.rows[first : first + each])
                    more = ranking.exhaustive(some, begin + first, query, own, found, values)
                    answers.computed[number] = answers.computed[number] + more if more >= 0 else -1

        for begin in range(0, count, size):
            part = part_of(table, begin, min(begin + size, count))
            self.workers.map(work, numbers.tolist())
        for number in numbers.tolist():
            done = max(0, int(answers.computed[number]))
            ranking.ordered(answers.ids[number], answers.values[number], min(self.request.k, done), table.metric)
        answers.candidates[numbers] = answers.computed[numbers]

    def _check(self) -> None:
        computed = self.answers.computed
        if not (computed < 0).any():
            return
        moved = np.flatnonzero(computed == ranking.CHANGED)
        if len(moved):
            raise changed(int(self.answers.ids[moved[0], 0]))
        raise overflows(definition.METRICS[self.table.metric])
