"""Exact search that reads a quarter of the float32 rows: codes exclude almost all of them for certain, the rest is ranked by definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import Ieee
from knnscope.certified import merging
from knnscope.certified import state as states
from knnscope.certified.cpu import meanwhile
from knnscope.certified.cpu.meanwhile import Given
from knnscope.certified.cpu.scanner import CpuScanner
from knnscope.certified.filters import is_filter, masks
from knnscope.certified.graph import KnnGraph
from knnscope.certified.ids import Ids, Numbers, Strings, consecutive, new_ids, wanted_ids
from knnscope.certified.making import Maker, OnCpu, OnCuda
from knnscope.certified.radius import RadiusSearch
from knnscope.certified.rows import as_added, as_queries, as_rows
from knnscope.certified.scanner import Request
from knnscope.certified.state import Part, Segment, State, state_of
from knnscope.certified.tail import SEAL, Tail
from knnscope.checks import check_whole
from knnscope.errors import KnnscopeError, NoGpuError, require, unknown_name
from knnscope.records import Certificate, Neighbors
from knnscope.search import definition
from knnscope.search.device import gpu_problem, is_device
from knnscope.search.engine import check_k

DEVICES = ("auto", "cpu", "cuda")
MEMORY = ("fast", "small")
EMPTY = State((), 0, 0, None)


class ExactIndex(RadiusSearch, KnnGraph):
    """The k nearest rows, equal to float64's answer (search/definition.py), ties by the smallest id.

    Rows can be added, removed and updated. Several threads may search and change it at once: a search sees the index as it was when it began.
    """

    def __init__(
        self,
        vectors: Any = None,
        metric: str = "l2",
        ids: npt.ArrayLike | None = None,
        device: str = "auto",
        threads: int | None = None,
        memory: str = "fast",
        *,
        dim: int | None = None,
    ) -> None:
        """Write the rows as codes; where these need code that is not compiled yet, NumPy answers until it is (see ``wait``).

        Args:
            vectors: (rows, dim), finite: float64, float32, float16, int8, uint8 or int32, as an array, a memory map, or anything with
                ``__array__`` or ``__dlpack__`` (also bfloat16). Kept as they are, for the last step: do not change them. Other types, and
                another byte order, are copied into one of these, if it holds the numbers exactly. For a GPU they may lie there already;
                rows of the host are copied. None for an index that begins empty.
            metric: l2, ip or cosine.
            ids: whole numbers from 0, or strings, (rows,), none twice: what rows are called (default: their numbers).
            device: auto or cpu; cpu:ISA, such as cpu:avx2, for one of its instruction sets (default: the fastest); cuda, or cuda:1 for the
                second GPU.
            threads: how many work at once (default: the thread budget).
            memory: fast; or small, for processors: where half a byte for each leading component is enough, nothing else is kept. The answers are the
                same; searches are slower, those of batches and of a large k above all.
            dim: components, of an index that begins empty; the first rows to be added decide their type.

        Raises:
            KnnscopeError: a wrong shape or type, or a number that is not finite; names where.
        """
        if metric not in definition.METRICS:
            raise unknown_name("metric", str(metric), definition.METRICS)
        if memory not in MEMORY:
            raise unknown_name("memory", str(memory), MEMORY)
        self._maker = _maker(device, threads, memory)
        self._metric, self._turns, self._tail = metric, merging.Turns(), None
        self._dtype: Any = None
        if vectors is None:
            if dim is None or ids is not None:
                raise KnnscopeError(
                    "an index that begins empty is ExactIndex(dim=384), without ids: these come with the rows"
                )
            self._dim, self._state = check_whole(dim, "dim", 1, 1 << 31, "1 to 2^31"), EMPTY
            return
        with np.errstate(all="ignore"), Ieee():
            rows = _on_gpu(self._maker, "vectors").device_rows(vectors) if is_device(vectors) else as_rows(vectors)
            count, self._dim = int(rows.shape[0]), int(rows.shape[1])
            if dim is not None and dim != self._dim:
                raise KnnscopeError(f"dim = {dim}, but the vectors have {self._dim} components")
            called = new_ids(ids, count)
            scanner = self._maker.first(Given(rows, called.names, metric))
            self._set_first(self._maker.rows(scanner, rows), called, scanner)

    def _set_first(self, rows: Any, called: Ids, scanner: Any) -> None:
        self._dtype = np.dtype(str(rows.dtype))
        next_id = called.largest() + 1 if isinstance(called, Numbers) else 0
        self._state = state_of([states.whole(Segment(rows, called, scanner))], next_id)

    def __repr__(self) -> str:
        rows, dim = self.shape
        return f"ExactIndex({rows} rows x {dim}, {self._metric}, {self.isa}, {self.nbytes} bytes beside the rows)"

    def __len__(self) -> int:
        return self._state.rows

    def __contains__(self, id: Any) -> bool:
        state = self._state
        try:
            wanted, single = wanted_ids(id, self._kind(state))
        except KnnscopeError:  # of another kind: no row is called so
            return False
        return single and any(bool((places >= 0).any()) for places in states.find(state, wanted))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and components."""
        return self._state.rows, self._dim

    @property
    def ids(self) -> npt.NDArray[Any]:
        """What rows are called, (rows,), in the order in which they were added; masks are in this order. An update moves a row to the end."""
        state = self._state
        found = states.all_ids(state)
        return Strings.bare(found) if found.dtype.kind == "T" else found

    @property
    def metric(self) -> str:
        """l2, ip or cosine."""
        return self._metric

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return self._maker.isa

    @property
    def levels(self) -> str:
        """What is scanned before the rows, in words."""
        return "; ".join(dict.fromkeys(part.segment.scanner.levels for part in self._state.parts)) or "nothing"

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows: codes and bounds."""
        return sum(part.segment.scanner.nbytes for part in self._state.parts)

    def wait(self) -> ExactIndex:
        """Write the codes now, and compile what is not compiled yet, for up to 10 s: for who measures. Returns the index.

        Raises:
            KnnscopeError: rows that were changed to a number that is not finite.
        """
        with np.errstate(all="ignore"), Ieee(), self._turns.writing():
            parts = []
            for part in self._state.parts:
                segment = part.segment
                if isinstance(segment.scanner, meanwhile.Meanwhile):
                    part = part._replace(segment=Segment(segment.rows, segment.ids, segment.scanner.wait()))
                parts.append(part)
            self._state = state_of(parts, self._state.next_id)
        return self

    def add(self, vectors: Any, ids: Any = None) -> npt.NDArray[Any]:
        """Add rows: all of them or, after an error, none. Returns their ids.

        Args:
            vectors: (rows, dim), or (dim,) for a single one; finite, of a type whose numbers the type of the rows that are there holds. They are
                copied.
            ids: (rows,), none twice, none that is there: whole numbers or strings, as the rows that are there have them; a single one for a
                single row. Default: the next whole numbers after the largest that any row has had.

        Raises:
            KnnscopeError: a wrong shape, type or number, or an id that is there already; says which.
        """
        return self._write(vectors, ids, updates=False)

    def update(self, ids: Any, vectors: Any) -> None:
        """Replace rows: all of them or, after an error, none. A search sees all the new ones or none; they go to the end of the order of ``ids``.

        Args:
            ids: of rows that are there, (rows,), none twice; or a single one.
            vectors: as in ``add``.

        Raises:
            KnnscopeError: as in ``add``, or an id that is not there.
        """
        self._write(vectors, ids, updates=True)

    def remove(self, ids: Any) -> None:
        """Remove rows: all of them or, after an error, none.

        Args:
            ids: (rows,), none twice; or a single one.

        Raises:
            KnnscopeError: an id that is not there, or stands twice; says which.
        """
        self._turns.raise_error()
        with self._turns.writing():
            state = self._state
            wanted, _ = wanted_ids(ids, self._kind(state))
            self._state = state_of(states.without(state, self._places(state, wanted)), state.next_id)
        self._merge_beside()

    def get(self, ids: Any) -> npt.NDArray[Any]:
        """Rows as they were given, in the order asked, (ids, dim), copied; (dim,) for a single id. bfloat16 as float32, those of a GPU too.

        Raises:
            KnnscopeError: an id that is not there; says which.
        """
        state = self._state
        wanted, single = wanted_ids(ids, self._kind(state))
        made: npt.NDArray[Any] | None = None
        for part, places in zip(state.parts, self._places(state, wanted, twice=True), strict=True):
            here = np.flatnonzero(places >= 0)
            if len(here):
                some = self._maker.read(part.segment.rows, places[here])
                if made is None:
                    made = np.empty((len(wanted), self._dim), dtype=some.dtype)
                made[here] = some
        if made is None:
            made = np.empty((0, self._dim), dtype=self._dtype or np.float32)
        return made[0] if single else made

    def merge(self) -> ExactIndex:
        """Write all rows as one segment now, without those that are gone; the answers stay the same. Returns the index.

        Raises:
            KnnscopeError: what merging in the background has met.
        """
        self._turns.raise_error()
        with self._turns.merging, np.errstate(all="ignore"), Ieee():
            before = self._state.parts
            if len(before) > 1 or (before and (before[0].live is not None or self._is_rough(before[0].segment))):
                self._merged(before, beside=False)
        return self

    @staticmethod
    def _is_rough(segment: Segment) -> bool:
        return segment.is_open or segment.is_coarse

    def search(
        self,
        queries: Any,
        k: int,
        where: Any = None,
        threads: int | None = None,
        out: tuple[Any, Any] | None = None,
    ) -> Neighbors:
        """The k nearest rows of each query, with a certificate.

        Args:
            queries: (queries, dim), or (dim,) for a single one; finite, of a type that rows may have. Where they lie in the memory of the
                index's GPU, the answer does too, as arrays of their library: the call queues the search on the current stream and returns.
                Reading the certificate waits for it and raises its errors; ids are -1 for a query with an error.
            k: 1 to the number of rows.
            where: rows that may be answers: bool, (rows,) or (queries, rows), in the order of ``ids``; such masks as ``Bits``; ``Keep(ids)`` or
                ``Without(ids)``; or a list of these three, one a query.
            threads: how many work at once (default: as built).
            out: ids, int64, and distances, float64, of the answer's shape, in the memory of the index's GPU, to be written. So a search can be
                captured in a graph, once it has been made before with so many queries and neighbors.

        Raises:
            KnnscopeError: a wrong shape, type, k or number; values that float64 cannot hold; rows that were changed after the index was
                built, where that shows.
        """
        state = self._state
        whole = state.whole
        found = (
            whole.prompt(queries, k)
            if whole is not None and where is None and threads is None and out is None
            else None
        )
        if found is not None:
            single = queries.ndim == 1
        elif is_device(queries):
            return self._search_there(state, queries, self._checked_k(k, state), (where, out))
        elif out is not None:
            raise KnnscopeError("out is for queries in the memory of a GPU: an answer in host memory is a new one")
        else:
            k = self._checked_k(k, state)
            with np.errstate(all="ignore"), Ieee():
                values, single = as_queries(queries, self._dim)
                self._maker.check_threads(threads)
                request = Request(values, k, np.empty((0, 0), dtype=np.bool_))
                found = states.nearest(state, request, masks(where, state, len(values)), self._metric, threads)
        ids, distances, candidates, computed, margin, path = found
        if ids.dtype != np.int64:
            ids = Strings.bare(ids)
        scanned = state.rows if whole is not None else sum(len(part.segment.ids) for part in state.parts)
        proof = Certificate(scanned, candidates, computed, margin, path)
        return Neighbors(ids[0], distances[0], proof) if single else Neighbors(ids, distances, proof)

    def _search_there(self, state: State, queries: Any, k: int, how: tuple[Any, Any]) -> Neighbors:
        where, out = how
        there = _on_gpu(self._maker, "queries")
        if state.whole is not None and not is_filter(where):
            answer: Neighbors = state.whole.search_there(queries, k, where, out)
        else:
            answer = there.search_there(state, queries, k, (where, out, self._metric))
        return answer

    @staticmethod
    def _checked_k(k: Any, state: State) -> int:
        if not state.rows:
            raise KnnscopeError("the index holds no rows: add some before it is searched")
        return check_k(k, state.rows)

    @staticmethod
    def _kind(state: State) -> str | None:
        return state.parts[0].segment.ids.kind if state.parts else None

    def _places(self, state: State, wanted: npt.NDArray[Any], twice: bool = False) -> list[Any]:
        """Of each part the rows of these ids.

        Raises:
            KnnscopeError: one is not there; or stands twice, unless it may.
        """
        found = states.find(state, wanted)
        there = np.zeros(len(wanted), dtype=np.bool_)
        for places in found:
            there |= places >= 0
        if not there.all():
            raise KnnscopeError(f"ids: {_shown(wanted[np.argmin(there)])} is not in the index{_others(~there)}")
        if not twice and len(np.unique(wanted)) < len(wanted):
            ascending = np.sort(wanted)
            raise KnnscopeError(
                f"ids: {_shown(ascending[1:][ascending[1:] == ascending[:-1]][0])} stands more than once"
            )
        return found

    def _write(self, vectors: Any, ids: Any, updates: bool) -> npt.NDArray[Any]:
        """``add`` or ``update``."""
        self._turns.raise_error()
        with self._turns.writing(), np.errstate(all="ignore"), Ieee():
            state = self._state
            rows, single = self._as_added(vectors)
            called = self._called(ids, len(rows), single, state)
            found = called.array()
            if updates:
                parts = states.without(state, self._places(state, found))
            else:
                if ids is not None:
                    self._refuse_known(state, found)
                parts = list(state.parts)
            if len(rows):
                next_id = state.next_id
                if isinstance(called, Numbers):
                    next_id = max(next_id, called.largest() + 1)
                self._state = self._with(parts, rows, called, next_id)
        self._merge_beside()
        return Strings.bare(found) if found.dtype.kind == "T" else found

    def _as_added(self, vectors: Any) -> tuple[Any, bool]:
        """Rows of the index' type in host memory, checked; and whether a single one of one dimension was given."""
        rows = self._maker.host_rows(vectors) if is_device(vectors) and isinstance(self._maker, OnCuda) else vectors
        return as_added(rows, self._dim, self._dtype)

    def _called(self, ids: Any, rows: int, single: bool, state: State) -> Ids:
        kind = self._kind(state)
        if ids is None:
            if kind == Strings.kind:
                raise KnnscopeError("ids of this index are strings: give one for each row")
            return consecutive(state.next_id, rows)
        if single and np.ndim(ids) == 0:
            ids = [ids]
        called = new_ids(ids, rows)
        if kind is not None and rows and called.kind != kind:
            raise KnnscopeError(f"ids are {called.kind}: those of this index are {kind}")
        return called

    @staticmethod
    def _refuse_known(state: State, found: npt.NDArray[Any]) -> None:
        known = np.zeros(len(found), dtype=np.bool_)
        for places in states.find(state, found):
            known |= places >= 0
        if known.any():
            raise KnnscopeError(
                f"ids: {_shown(found[np.argmax(known)])} is in the index already{_others(known)}: update it, or give another id"
            )

    def _with(self, parts: list[Part], rows: Any, called: Ids, next_id: int) -> State:
        """The state of these parts and some rows more."""
        tail, metric = None, self._metric
        if parts and parts[-1].segment.is_open:
            tail = parts.pop()
        count = 0 if tail is None else tail.count

        def make(rows: Any, names: Any) -> Any:
            return self._maker.open(Given(rows, names, metric))

        if count + len(rows) < SEAL:
            if tail is None or self._tail is None or tail.live is not None or not self._tail.holds(tail):
                self._tail = Tail(self._dim, rows.dtype, isinstance(called, Strings))
                if tail is not None and tail.count:
                    before = np.asarray(tail.segment.rows)
                    places = tail.places()
                    tail = self._tail.extended(None, before if places is None else before[places], tail.ids(), make)
                else:
                    tail = None
            parts.append(self._tail.extended(tail, rows, called, make))
        else:
            if tail is not None and tail.count:
                rows = self._maker.stacked(tail.segment.rows, tail.places(), rows)
                called = type(called).joined([tail.ids(), called])
            else:
                rows = self._maker.stacked(rows[:0], None, rows)
            scanner, coarse = self._maker.added(Given(rows, called.names, metric))
            parts.append(states.whole(Segment(self._maker.rows(scanner, rows), called, scanner, coarse)))
        if self._dtype is None:
            self._dtype = rows.dtype
        return state_of(parts, next_id)

    def _merge_beside(self) -> None:
        """Merge what is due, by a thread beside all others where there is one."""
        if merging.due(self._state.parts) is None:
            return
        if not self._maker.beside or not self._turns.beside(self._merge_due):
            with np.errstate(all="ignore"), Ieee():
                self._merge_due()

    def _merge_due(self) -> None:
        """Merge for as long as something is due."""
        with self._turns.merging:
            while (which := merging.due(parts := self._state.parts)) is not None:
                self._merged(parts[slice(*which)], self._maker.beside)

    def _merged(self, before: tuple[Part, ...], beside: bool) -> None:
        """Write parts as one."""
        rows = self._maker.joined([(part.segment.rows, part.places()) for part in before])
        kind: Any = type(before[0].segment.ids)
        called: Ids = kind.joined([part.ids() for part in before])
        scanner = self._maker.merged(Given(rows, called.names, self._metric), beside)
        made = Segment(self._maker.rows(scanner, rows), called, scanner)
        with self._turns.writing():
            self._state = merging.put(self._state, before, made)


def _maker(device: str, threads: int | None, memory: str) -> Maker:
    name, _, part = device.partition(":") if isinstance(device, str) else ("", "", "")
    if name not in DEVICES or (part and name == "auto") or (name == "cuda" and part and not part.isdecimal()):
        raise KnnscopeError(
            f"device {device!r}: certified search runs on {', '.join(DEVICES)}; a certain one is written cpu:avx2 or cuda:1"
        )
    if name == "cuda":
        if memory != MEMORY[0]:
            raise KnnscopeError(f"memory={memory!r} is for processors: leave it out, or say device='cpu'")
        if why := gpu_problem():
            raise NoGpuError(f"{why}: device='cpu' gives the same answers")
        return OnCuda(require("knnscope.certified.cuda.living", "cuda13", "cupy"), int(part or 0))
    return OnCpu(CpuScanner(part or None, threads, memory))


def _on_gpu(maker: Maker, what: str) -> OnCuda:
    """What makes rows searchable on a GPU.

    Raises:
        KnnscopeError: it is another, and does not read what lies there.
    """
    if not isinstance(maker, OnCuda):
        raise KnnscopeError(
            f"{what} lie on another device: build the index with device='cuda', or copy them to the host first"
        )
    return maker


def _shown(id: Any) -> str:
    return repr(id) if isinstance(id, str) else str(id)


def _others(which: npt.NDArray[np.bool_]) -> str:
    """That there are more such ids."""
    count = int(np.count_nonzero(which)) - 1
    return f" (nor are {count:,} others)" if count else ""
