"""Exact search that reads a quarter of the float32 rows: codes exclude almost all of them for certain, the rest is ranked by definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import Ieee
from knnscope.certified import radius as radii
from knnscope.certified.cpu import meanwhile
from knnscope.certified.cpu.scanner import CpuScanner
from knnscope.certified.rows import as_ids, as_mask, as_queries, as_rows
from knnscope.certified.scanner import RadiusRequest, Request
from knnscope.errors import KnnscopeError, NoGpuError, require, unknown_name
from knnscope.ragged import RadiusNeighbors
from knnscope.records import Certificate, Neighbors
from knnscope.search import definition
from knnscope.search.device import gpu_problem, is_device
from knnscope.search.engine import check_k

DEVICES = ("auto", "cpu", "cuda")
MEMORY = ("fast", "small")


class ExactIndex:
    """The k nearest rows, equal to float64's answer (search/definition.py), ties by the smallest id; several threads may ask at once."""

    def __init__(
        self,
        vectors: Any,
        metric: str = "l2",
        ids: npt.ArrayLike | None = None,
        device: str = "auto",
        threads: int | None = None,
        memory: str = "fast",
    ) -> None:
        """Write the rows as codes; where these need code that is not compiled yet, NumPy answers until it is (see ``wait``).

        Args:
            vectors: (rows, dim), finite: float64, float32, float16, int8, uint8 or int32, as an array, a memory map, or anything with
                ``__array__`` or ``__dlpack__`` (also bfloat16). Kept as they are, for the last step: do not change them. Other types, and
                another byte order, are copied into one of these, if it holds the numbers exactly. For a GPU they may lie there already;
                rows of the host are copied.
            metric: l2, ip or cosine.
            ids: whole numbers from 0, (rows,), none twice: what rows are called (default: their numbers).
            device: auto or cpu; cpu:ISA, such as cpu:avx2, for one of its instruction sets (default: the fastest); cuda, or cuda:1 for the
                second GPU.
            threads: how many work at once (default: the thread budget).
            memory: fast; or small, for processors: where half a byte for each leading component is enough, nothing else is kept. The answers are the
                same; searches are slower, those of batches and of a large k above all.

        Raises:
            KnnscopeError: a wrong shape or type, or a number that is not finite; names where.
        """
        if metric not in definition.METRICS:
            raise unknown_name("metric", str(metric), definition.METRICS)
        if memory not in MEMORY:
            raise unknown_name("memory", str(memory), MEMORY)
        scanner = _scanner(device, threads, memory)
        with np.errstate(all="ignore"), Ieee():
            rows = _on_gpu(scanner, "vectors").rows(vectors) if is_device(vectors) else as_rows(vectors)
            self._shape, self._metric = (int(rows.shape[0]), int(rows.shape[1])), metric
            given = meanwhile.Given(rows, as_ids(ids, len(rows)), metric)
            self._isa: str = scanner.isa
            self._scanner: Any = (
                meanwhile.build(scanner, given) if isinstance(scanner, CpuScanner) else scanner.build(*given)
            )

    def __repr__(self) -> str:
        rows, dim = self.shape
        return f"ExactIndex({rows} rows x {dim}, {self._metric}, {self.isa}, {self.nbytes} bytes beside the rows)"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and components."""
        return self._shape

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return self._isa

    @property
    def levels(self) -> str:
        """What is scanned before the rows, in words."""
        return self._scanner.levels

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows: codes and bounds."""
        return self._scanner.nbytes

    def wait(self) -> ExactIndex:
        """Write the codes now, and compile what is not compiled yet, for up to 10 s: for who measures. Returns the index.

        Raises:
            KnnscopeError: rows that were changed to a number that is not finite.
        """
        if isinstance(self._scanner, meanwhile.Meanwhile):
            with np.errstate(all="ignore"), Ieee():
                self._scanner = self._scanner.wait()
        return self

    def search(
        self,
        queries: Any,
        k: int,
        where: npt.NDArray[np.bool_] | None = None,
        threads: int | None = None,
        out: tuple[Any, Any] | None = None,
    ) -> Neighbors:
        """The k nearest rows of each query, with a certificate.

        Args:
            queries: (queries, dim), or (dim,) for a single one; finite, of a type that rows may have. Where they lie in the memory of the
                index's GPU, the answer does too, as arrays of their library: the call queues the search on the current stream and returns.
                Reading the certificate waits for it and raises its errors; ids are -1 for a query with an error.
            k: 1 to the number of rows.
            where: bool, (rows,) or (queries, rows): rows that may be answers.
            threads: how many work at once (default: as built).
            out: ids, int64, and distances, float64, of the answer's shape, in the memory of the index's GPU, to be written. So a search can be
                captured in a graph, once it has been made before with so many queries and neighbors.

        Raises:
            KnnscopeError: a wrong shape, type, k or number; values that float64 cannot hold; rows that were changed after the index was
                built, where that shows.
        """
        rows, dim = self._shape
        found = self._scanner.prompt(queries, k) if where is None and threads is None and out is None else None
        if found is not None:
            single = queries.ndim == 1
        elif is_device(queries):
            answer: Neighbors = _on_gpu(self._scanner, "queries").search_there(queries, check_k(k, rows), where, out)
            return answer
        elif out is not None:
            raise KnnscopeError("out is for queries in the memory of a GPU: an answer in host memory is a new one")
        else:
            k = check_k(k, rows)
            with np.errstate(all="ignore"), Ieee():
                values, single = as_queries(queries, dim)
                found = self._scanner.nearest(Request(values, k, as_mask(where, len(values), rows)), threads)
        ids, distances, candidates, computed, margin, path = found
        proof = Certificate(rows, candidates, computed, margin, path)
        return Neighbors(ids[0], distances[0], proof) if single else Neighbors(ids, distances, proof)

    def radius_search(
        self,
        queries: Any,
        radius: Any,
        where: npt.NDArray[np.bool_] | None = None,
        *,
        limit: int | None = None,
        limit_each: int | None = None,
        threads: int | None = None,
    ) -> RadiusNeighbors:
        """All rows within a radius of each query, nearest first, with a certificate. Rows at exactly the radius are within it.

        Args:
            queries: see ``search``; in host memory.
            radius: for l2 the largest squared distance, for ip and cosine the least similarity: a number, or one for each query, (queries,).
            where: see ``search``.
            limit: how many rows all answers may have together (default: 67,108,864, which take 1 GiB). More are an error: nothing is cut off.
            limit_each: how many rows the answer to one query may have (default: as many as ``limit`` allows).
            threads: how many work at once (default: as built).

        Raises:
            KnnscopeError: see ``search``; a radius that is negative (l2) or NaN; more rows than a limit allows.
        """
        if is_device(queries):
            raise KnnscopeError("radius_search reads queries of the host: copy them there first")
        rows, dim = self._shape
        with np.errstate(all="ignore"), Ieee():
            values, _ = as_queries(queries, dim)
            keys = radii.as_keys(radius, len(values), self._metric)
            request = RadiusRequest(values, keys, as_mask(where, len(values), rows), *radii.as_limits(limit, limit_each))
            return radii.answer(self._scanner, request, rows, threads)


def _scanner(device: str, threads: int | None, memory: str) -> Any:
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
        return require("knnscope.certified.cuda.scanner", "cuda13", "cupy").CudaScanner(int(part or 0))
    return CpuScanner(part or None, threads, memory)


def _on_gpu(scanner: Any, what: str) -> Any:
    """A scanner of a GPU.

    Raises:
        KnnscopeError: it is another, and does not read what lies there.
    """
    if not hasattr(scanner, "search_there"):
        raise KnnscopeError(
            f"{what} lie on another device: build the index with device='cuda', or copy them to the host first"
        )
    return scanner
