"""The one extension point: an engine builds an index over vectors, an index answers queries.

To add an engine: one file with a class like those beside this one, one line in ``knnscope/search/catalog.py``. The contract suite
(tests/contracts) then holds it to the rules below.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from knnscope.checks import check_finite, check_whole
from knnscope.errors import KnnscopeError, UnsupportedError
from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition, device
from knnscope.search.rounding import Formula

Array = npt.NDArray[Any]


class Index(Protocol):
    """Vectors made ready to be searched. One that has ``how`` tells there, in words, how it computes, for readers of a verdict.

    One that has ``range`` (ranges.Range) would answer wrongly for queries that this refuses: ``CheckedIndex`` asks it, and a
    measurement once for all queries. ``search`` is what is timed: it checks nothing and converts nothing that has the library's type already.
    One that has ``add`` takes further rows, (rows, dim), of the type that it was built over; they get the next numbers.
    """

    def search(self, queries: Array, k: int) -> Neighbors:
        """The k nearest rows of each query, best first; ids are row numbers.

        Queries, (queries, dim), are real and finite, and k is 1 to the number of rows: ``CheckedIndex`` saw to it. Ids are whole numbers,
        distances of any float type, both (queries, k).

        Queries in host memory are answered there; an engine of the device "cuda" also takes queries in GPU memory, through
        ``__cuda_array_interface__`` or DLPack, and then leaves its answer there.
        """
        ...


class Engine(Protocol):
    """A way to search; ``capabilities`` is read before anything is built."""

    capabilities: Capabilities

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:
        """How a batch of this size is computed, as the library states it: grades and tests hold it to that."""
        ...

    def build(self, vectors: Array, metric: str) -> Index:
        """Make an index over (rows, dim) vectors, which it may keep and must not change.

        They are real and finite, in host memory, of a type that ``capabilities`` names.

        Raises:
            UnsupportedError: more than the library can do; says what.
        """
        ...


class CheckedIndex:
    """An index whose input is checked once for all engines, so that they need not."""

    def __init__(self, index: Index, shape: tuple[int, int], max_k: int | None, name: str) -> None:
        self.raw = index  # for timing: its calls go unchecked
        self._name = name
        self.rows, self.dim = shape
        self._max_k = max_k

    def search(self, queries: Array, k: int) -> Neighbors:
        """The k nearest rows of each query.

        Args:
            queries: (queries, dim), real and finite, in host or GPU memory.
            k: 1 to the number of rows.

        Raises:
            KnnscopeError: anything else.
        """
        asked = _queries_on_host(queries)
        check_matrix(asked, "queries")
        if queries.shape[1] != self.dim:
            raise KnnscopeError(
                f"queries have {queries.shape[1]} components, the rows {self.dim}: use the same encoder for both"
            )
        k = check_k(k, self.rows, self._max_k)
        if (held := getattr(self.raw, "range", None)) is not None:
            held.check(asked)
        with np.errstate(over="ignore", invalid="ignore"):  # overflow is found below, in the answer
            given = self.raw.search(queries, k)
        found = _on_host(given)
        ids, distances = np.ascontiguousarray(found.ids, dtype=np.int64), np.ascontiguousarray(found.distances)
        if (
            ids.shape != (len(queries), k)
            or (ids < 0).any()
            or (ids >= self.rows).any()
            or (np.diff(np.sort(ids, axis=1), axis=1) == 0).any()
            or not np.isfinite(distances).all()
        ):
            raise KnnscopeError(
                f"{self._name} gives no k valid neighbors: the numbers overflow its arithmetic, scale the vectors down"
            )
        return given if found is not given else Neighbors(ids, distances)

    @property
    def adds(self) -> bool:
        """Whether rows can be added."""
        return hasattr(self.raw, "add")

    def add(self, vectors: Array) -> None:
        """Take further rows, (rows, dim), which get the next numbers.

        Raises:
            UnsupportedError: the engine offers no adding.
            KnnscopeError: a wrong shape or type, or a number that is not finite.
        """
        check_matrix(vectors, "rows")
        if vectors.shape[1] != self.dim:
            raise KnnscopeError(f"the added rows have {vectors.shape[1]} components, the others {self.dim}")
        if not self.adds:
            raise UnsupportedError(f"{self._name} takes no rows after it is built: build it anew")
        with np.errstate(over="ignore", invalid="ignore"):
            self.raw.add(vectors)  # type: ignore[attr-defined]
        self.rows += len(vectors)


def _queries_on_host(queries: Any) -> Array:
    if not device.is_device(queries):
        return np.asarray(queries)
    if (name := device.dtype_name(queries)) not in definition.DTYPES:  # bfloat16 has no NumPy array
        raise KnnscopeError(f"queries are of type {name}: one of {', '.join(definition.DTYPES)} was expected")
    return device.library().to_host(queries)


def _on_host(found: Neighbors) -> Neighbors:
    if not device.is_device(found.ids):
        return found
    to_host = device.library().to_host
    return Neighbors(to_host(found.ids), to_host(found.distances))


def build(engine: Engine, vectors: Array, metric: str, name: str = "this engine") -> CheckedIndex:
    """Check the vectors and build.

    Raises:
        KnnscopeError: a wrong shape, type or metric, or a number that is not finite; says what would work.
    """
    check_build(engine, vectors, metric, name)
    rows, dim = vectors.shape
    with np.errstate(over="ignore", invalid="ignore"):
        return CheckedIndex(engine.build(vectors, metric), (rows, dim), engine.capabilities.max_k, name)


def check_build(engine: Engine, vectors: Array, metric: str, name: str = "this engine") -> None:
    """Refuse what an engine cannot build over.

    Raises:
        UnsupportedError: a metric or type that it has not.
        KnnscopeError: a wrong shape, or a number that is not finite.
    """
    check_matrix(vectors, "rows")
    able = engine.capabilities
    if metric not in able.metrics:
        raise UnsupportedError(f"{name} has no metric {metric!r}: it has {', '.join(sorted(able.metrics))}")
    if vectors.dtype.name not in able.dtypes:
        raise UnsupportedError(f"{name} takes {', '.join(sorted(able.dtypes))}, the rows are {vectors.dtype}")


def check_k(k: int, rows: int, max_k: int | None = None) -> int:
    """k, a whole number from 1 to the number of rows and not above an engine's limit.

    Raises:
        KnnscopeError: no whole number, or outside 1 to ``rows``.
        UnsupportedError: above ``max_k``.
    """
    k = check_whole(k, "k", 1, rows, f"1 to {rows}, the number of rows")
    if max_k is not None and k > max_k:
        raise UnsupportedError(f"k = {k} is above this engine's limit of {max_k}")
    return k


def check_matrix(values: Array, what: str) -> None:
    """Refuse anything but a real, finite, non-empty matrix; names the first bad row.

    Raises:
        KnnscopeError: it is none.
    """
    if values.ndim != 2 or 0 in values.shape:
        raise KnnscopeError(
            f"{what} have shape {values.shape}: two dimensions (count, dim), neither zero, were expected"
        )
    if values.dtype.kind not in "fiu":
        raise KnnscopeError(f"{what} are of type {values.dtype}: real numbers were expected")
    check_finite(values, what)


def float32_rows(values: Array, metric: str) -> Array:
    """Rows as an engine of float32 takes them: contiguous; for cosine divided by their norms."""
    return unit_rows(values) if metric == "cosine" else np.ascontiguousarray(values, dtype=np.float32)


def unit_rows(values: Array, dtype: type[np.floating[Any]] = np.float32) -> Array:
    """Rows divided by their norms, in float32 as the libraries do it; a zero row stays zero.

    Raises:
        KnnscopeError: squares overflow float64 as well, and a row divided by infinity would pass for a zero row.
    """
    rows = np.asarray(values, dtype=dtype)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))[:, None]  # squares overflow float32
    if (
        values.dtype == np.float64 and not np.isfinite(norms).all()
    ):  # squares of all other types stay below float64's end
        raise KnnscopeError("cosine of finite numbers overflows: scale the vectors down")
    unit: Array = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0, casting="same_kind")
    return unit
