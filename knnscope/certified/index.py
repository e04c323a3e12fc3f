"""Exact search that reads a quarter of the float32 rows: codes exclude almost all of them for certain, the rest is ranked by definition."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import Ieee
from knnscope.certified import row_file
from knnscope.certified import state as states
from knnscope.certified.devices import Device, maker_for
from knnscope.certified.filters import is_filter, masks
from knnscope.certified.graph import KnnGraph
from knnscope.certified.ids import Strings, new_ids
from knnscope.certified.living import Living
from knnscope.certified.making import Maker, OnCuda
from knnscope.certified.radius import RadiusSearch
from knnscope.certified.rows import as_mask, as_queries, as_rows
from knnscope.certified.saved.savable import Savable
from knnscope.certified.scanner import Ranked, Request
from knnscope.certified.state import State
from knnscope.checks import check_named, check_whole
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.records import Certificate, Neighbors
from knnscope.search import definition
from knnscope.search.device import device_of, is_device
from knnscope.search.engine import check_k


class ExactIndex(RadiusSearch, KnnGraph, Savable):
    """The k nearest rows, equal to float64's answer (search/definition.py), ties by the smallest id.

    Rows can be added, removed and updated. Several threads may search and change it at once: a search sees the index as it was when it began.
    """

    def __init__(
        self,
        vectors: Any = None,
        metric: str = "l2",
        ids: npt.ArrayLike | None = None,
        device: Device = "auto",
        threads: int | None = None,
        memory: str | int = "fast",
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
            device: auto: processors, and a GPU for those searches that are faster there, once there have been enough of them to be worth starting
                it; rows that lie on a GPU already are searched there. cpu; cpu:ISA, such as cpu:avx2, for one of its instruction sets (default: the
                fastest); cuda, or cuda:1 for the second GPU; ["cuda:0", "cuda:1"]: GPUs that share the rows out.
            threads: how many work at once (default: the thread budget); of processors, so that no GPU is asked.
            memory: what is kept beside the rows, for processors: fast; small, where half a byte for each leading component is enough, and nothing else
                is kept; or at most so many bytes: a number, or a size such as "8GiB". The answers are the same; with less, searches are slower, those of
                batches and of a large k above all. Rows that are added later take as much again at most. For a GPU: bytes of its own memory that rows and
                codes may take. Where both do not fit there, rows stay in host memory, pinned, and kernels read the few that codes leave; where codes do not,
                they stay there as well, and each search brings them in pieces. Docs: many-gpus.md.
            dim: components, of an index that begins empty; the first rows to be added decide their type.

        Raises:
            KnnscopeError: a wrong shape or type, or a number that is not finite; names where.
        """
        if metric not in definition.METRICS:
            raise unknown_name("metric", str(metric), definition.METRICS)
        maker = maker_for(device, threads, memory)
        if vectors is None:
            if dim is None or ids is not None:
                raise KnnscopeError(
                    "an index that begins empty is ExactIndex(dim=384), without ids: these come with the rows"
                )
            self._living = Living(maker, metric, check_whole(dim, "dim", 1, 1 << 31, "1 to 2^31"))
            return
        with np.errstate(all="ignore"), Ieee():
            if is_device(vectors) and device == "auto":
                maker = maker_for(f"cuda:{device_of(vectors)}", None, memory)
            rows = _on_gpu(maker, "vectors").device_rows(vectors) if is_device(vectors) else as_rows(vectors)
            if dim is not None and dim != rows.shape[1]:
                raise KnnscopeError(f"dim = {dim}, but the vectors have {rows.shape[1]} components")
            self._living = Living(maker, metric, int(rows.shape[1]))
            self._living.begin(rows, new_ids(ids, int(rows.shape[0])))

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str],
        metric: str = "l2",
        ids: npt.ArrayLike | None = None,
        threads: int | None = None,
        memory: str | int = "fast",
        *,
        device: str = "cpu",
    ) -> Self:
        """An index of rows that stay in a file, which may be larger than memory. Docs: on-disk.md.

        The file is read once from its beginning to its end, twice for ip, after some rows of a sample; progress is shown, and Ctrl-C leaves nothing. Searches
        read the few rows that codes leave. Rows that are added later lie in memory. The file has to stay as it is: one that was changed is an error.

        Args:
            path: .npy, .fbin, .f16bin, .u8bin, .i8bin or .ibin. Rows of .fvecs, .bvecs and .ivecs are mapped, and count as memory for as long as
                the system has nothing better to keep there; those of other formats, and of another byte order, are read into memory.
            metric: l2, ip or cosine.
            ids: as in ``ExactIndex``.
            threads: likewise.
            memory: likewise; with a size, what does not fit is not written later either.
            device: cpu, or cpu:ISA.

        Raises:
            KnnscopeError: no such file, a damaged one, a number in it that is not finite (names where), or memory that is too little.
        """
        if not isinstance(path, str | os.PathLike):
            raise KnnscopeError(
                f"path is of type {type(path).__name__}: build takes a file; rows in memory are given to ExactIndex(rows)"
            )
        check_named(path, "path")
        if metric not in definition.METRICS:
            raise unknown_name("metric", str(metric), definition.METRICS)
        if "cuda" in str(device):
            raise KnnscopeError(
                "rows of a file are searched by processors: leave device out, or read the file for ExactIndex(rows, device='cuda')"
            )
        made, maker = cls.__new__(cls), maker_for(device, threads, memory)
        with np.errstate(all="ignore"), Ieee():
            rows = row_file.opened(Path(path))
            made._living = Living(maker, metric, int(rows.shape[1]))
            made._living.begin(rows, new_ids(ids, int(rows.shape[0])))
        return made

    @staticmethod
    def _maker_of(device: Device, threads: int | None, memory: str) -> Maker:
        return maker_for(device, threads, memory)

    def __repr__(self) -> str:
        rows, dim = self.shape
        return (
            f"ExactIndex({rows} rows x {dim}, {self._living.metric}, {self.isa}, {self.nbytes} bytes beside the rows)"
        )

    def __len__(self) -> int:
        return self._living.state.rows

    def __contains__(self, called: Any) -> bool:
        return self._living.has(called)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and components."""
        return self._living.state.rows, self._living.dim

    @property
    def ids(self) -> npt.NDArray[Any]:
        """What rows are called, (rows,), in the order in which they were added; masks are in this order. An update moves a row to the end."""
        state = self._living.state
        found = states.all_ids(state)
        return Strings.bare(found) if found.dtype.kind == "T" else found

    @property
    def metric(self) -> str:
        """l2, ip or cosine."""
        return self._living.metric

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return self._living.maker.isa

    @property
    def levels(self) -> str:
        """What is scanned before the rows, in words."""
        return "; ".join(dict.fromkeys(part.segment.scanner.levels for part in self._living.state.parts)) or "nothing"

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows: codes and bounds."""
        return sum(part.segment.scanner.nbytes for part in self._living.state.parts)

    def wait(self) -> ExactIndex:
        """Write the codes now, and compile what is not compiled yet, for up to 10 s: for who measures. Returns the index.

        Raises:
            KnnscopeError: rows that were changed to a number that is not finite.
        """
        with np.errstate(all="ignore"), Ieee():
            self._living.wait()
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
        with np.errstate(all="ignore"), Ieee():
            return self._living.write(vectors, ids, updates=False)

    def update(self, ids: Any, vectors: Any) -> None:
        """Replace rows: all of them or, after an error, none. A search sees all the new ones or none; they go to the end of the order of ``ids``.

        Args:
            ids: of rows that are there, (rows,), none twice; or a single one.
            vectors: as in ``add``.

        Raises:
            KnnscopeError: as in ``add``, or an id that is not there.
        """
        with np.errstate(all="ignore"), Ieee():
            self._living.write(vectors, ids, updates=True)

    def remove(self, ids: Any) -> None:
        """Remove rows: all of them or, after an error, none.

        Args:
            ids: (rows,), none twice; or a single one.

        Raises:
            KnnscopeError: an id that is not there, or stands twice; says which.
        """
        with np.errstate(all="ignore"), Ieee():
            self._living.remove(ids)

    def get(self, ids: Any) -> npt.NDArray[Any]:
        """Rows as they were given, in the order asked, (ids, dim), copied; (dim,) for a single id. bfloat16 as float32, those of a GPU too.

        Raises:
            KnnscopeError: an id that is not there; says which.
        """
        return self._living.get(ids)

    def merge(self) -> ExactIndex:
        """Write all rows as one segment now, without those that are gone; the answers stay the same. Returns the index.

        Raises:
            KnnscopeError: what merging in the background has met.
        """
        with np.errstate(all="ignore"), Ieee():
            self._living.merge()
        return self

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
                captured in a graph, once it has been made before on that stream, with so many queries and neighbors (512 at most).

        Raises:
            KnnscopeError: a wrong shape, type, k or number; values that float64 cannot hold; rows that were changed after the index was
                built, where that shows.
        """
        state = self._living.state
        whole = state.whole
        found = None
        if whole is not None and where is None and out is None:
            found = whole.prompt(queries, k) if threads is None else None
            found = found or whole.again(queries, k, threads)
        if found is not None:
            single, scanned = queries.ndim == 1, state.rows
        elif is_device(queries):
            there, how = _on_gpu(self._living.maker, "queries"), (where, out, self._living.metric)
            answer: Neighbors = there.search_there(state, queries, _checked_k(k, state), how)
            return answer
        elif out is not None:
            raise KnnscopeError("out is for queries in the memory of a GPU: an answer in host memory is a new one")
        else:
            found, single, scanned = self._nearest(state, (queries, _checked_k(k, state), where), threads)
        ids, distances, candidates, computed, margin, path = found
        proof = Certificate(scanned, candidates, computed, margin, path)
        return Neighbors(ids[0], distances[0], proof) if single else Neighbors(ids, distances, proof)

    def _nearest(self, state: State, asked: tuple[Any, int, Any], threads: int | None) -> tuple[Ranked, bool, int]:
        """The answer to a request as a user makes it, whether it was of one dimension, and how many rows were looked at."""
        living, (queries, k, where) = self._living, asked
        with np.errstate(all="ignore"), Ieee():
            values, single = as_queries(queries, living.dim)
            if state.whole is not None and not is_filter(where):
                mask = as_mask(where, len(values), state.rows)
                return state.whole.nearest(Request(values, k, mask), threads), single, state.rows
            living.maker.check_threads(threads)
            request = states.Asked(values, k, masks(where, state, len(values)))
            found = states.nearest(state, request, living.metric, threads)
        if found.ids.dtype.kind == "T":
            found = found._replace(ids=Strings.bare(found.ids))
        return found, single, sum(len(part.segment.ids) for part in state.parts)


def _checked_k(k: Any, state: State) -> int:
    if not state.rows:
        raise KnnscopeError("the index holds no rows: add some before it is searched")
    return check_k(k, state.rows)


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
