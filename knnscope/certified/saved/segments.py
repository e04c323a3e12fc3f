"""A segment as named arrays and what else has to be known of it: for a file, or for a pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import saved
from knnscope.certified.cpu.levels import Levels
from knnscope.certified.cpu.meanwhile import Given, Meanwhile
from knnscope.certified.cpu.saved import Arrays, UnfitError
from knnscope.certified.cpu.scanner import CpuScanner
from knnscope.certified.either import Either
from knnscope.certified.ids import LONGEST, STRING, Ids, Numbers, Strings
from knnscope.certified.making import Maker, OnCuda
from knnscope.certified.state import Segment
from knnscope.progress import say
from knnscope.search import definition

CODES = "codes."
"""What names of arrays beside the rows begin with."""
NAMES = frozenset(["rows", "ids", "strings", "ranks", *(CODES + name for name in saved.NAMES)])
"""Of all arrays that there may be."""
ROWS = {"<f8", "<f4", "<f2", "|i1", "|u1", "<i2", "<i4"}
"""Types of rows; int16 is bfloat16."""
ALIKE = {"amx": "vnni"}
"""Instruction sets whose codes serve each other: the same bytes, and nearly the same prices."""


def told(segment: Segment, maker: Maker) -> tuple[dict[str, Any], Arrays]:
    """What is known of a segment, as JSON has it, and its arrays; codes that are not written yet are written now, for who reads them."""
    rows, called = segment.rows, segment.ids
    if isinstance(maker, OnCuda) and not isinstance(rows, np.ndarray):  # the last rows lie in host memory
        rows = maker.host(rows)
    arrays: Arrays = {"rows": np.asarray(rows)}
    arrays.update(_told_ids(called))
    scanner = None if segment.is_open else segment.scanner
    if isinstance(scanner, Either):
        scanner = scanner.here
    if isinstance(scanner, Meanwhile):
        scanner = scanner.wait()
    meta: dict[str, Any] = {
        "rows": len(called), "ids": called.kind, "open": segment.is_open, "coarse": segment.is_coarse,
    }  # fmt: skip
    if isinstance(scanner, CpuScanner):
        numbers, beside = saved.told(scanner.beside)
        meta.update(isa=scanner.isa, memory=scanner.memory, codes=numbers)
        arrays.update({CODES + name: array for name, array in beside.items()})
    return meta, arrays


class Reader:
    """Who makes segments from arrays, for one index. written: of how many rows codes had to be written."""

    def __init__(self, maker: Maker, metric: str, dim: int) -> None:
        self._maker, self._metric, self._dim = maker, metric, dim
        self._why, self.written = set[str](), 0

    def segment(self, meta: dict[str, Any], arrays: Arrays) -> Segment:
        """A segment over arrays, which are kept.

        Args:
            meta: see ``told``.
            arrays: likewise; those of codes aligned, and with bytes behind them (see sections.py).

        Raises:
            UnfitError: they are not such.
            KnnscopeError: rows that are not finite, where codes are written.
        """
        count, rows = meta.get("rows"), arrays.get("rows")
        if rows is None or type(count) is not int or rows.shape != (count, self._dim) or not count:
            raise UnfitError("its rows are not as many, or of as many components, as they should be")
        if rows.dtype.newbyteorder("<").str not in ROWS:
            raise UnfitError("its rows are of a type that rows do not have")
        called, is_open, is_coarse = _ids_of(meta.get("ids"), count, arrays), meta.get("open"), meta.get("coarse")
        if type(is_open) is not bool or type(is_coarse) is not bool:
            raise UnfitError("it does not say what kind of segment it is")
        if is_open:
            return Segment.opened(rows, called, self._opener())
        given = Given(rows, called.names, self._metric)
        levels = self._levels(meta, arrays)
        if levels is None:
            scanner: Any = self._maker.first(given)
        else:
            scanner = self._maker.kept(given, levels)
        return Segment(self._maker.rows(scanner, rows), called, scanner, is_coarse)

    def say(self, where: object) -> None:
        """One line where codes had to be written."""
        if self.written:
            say(
                f"{where}: codes of {self.written:,} rows are written again, since {' and '.join(sorted(self._why))}; "
                "save the index here to keep them"
            )

    def _opener(self) -> Callable[[Any, Any], Any]:
        maker, metric = self._maker, self._metric
        return lambda rows, names: maker.open(Given(rows, names, metric))

    def _levels(self, meta: dict[str, Any], arrays: Arrays) -> Levels | None:
        """What was written beside the rows; None where it has to be written again."""
        if isinstance(self._maker, OnCuda):
            return None
        isa, own, why = str(meta.get("isa"))[:20], self._maker.isa, ""
        if "codes" not in meta:
            why = "none were saved"
        elif ALIKE.get(isa, isa) != ALIKE.get(own, own):
            why = f"those here are for {isa}, and {own} searches"
        elif meta.get("memory") != self._maker.memory:
            why = "those here are for another choice of memory"
        else:
            numbers = meta["codes"]
            if not isinstance(numbers, dict):
                raise UnfitError("it does not say what its codes are")
            if numbers.get("layout") != saved.LAYOUT:
                why = "those here are of another version"
        if why:
            self._why.add(why)
            self.written += int(meta["rows"])
            return None
        beside = {name.removeprefix(CODES): array for name, array in arrays.items() if name.startswith(CODES)}
        shape, metric = (int(meta["rows"]), self._dim), definition.METRICS.index(self._metric)
        return saved.levels_of(meta["codes"], beside, shape, metric)


def text_of(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Strings as UTF-8, each with a NUL behind it, which no id holds."""
    return np.frombuffer("".join(f"{one}\0" for one in values.tolist()).encode(), dtype=np.uint8)


def strings_of(text: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """So many strings of ``text_of``.

    Raises:
        UnfitError: it is not such.
    """
    try:
        found = bytes(text).decode().split("\0")
    except ValueError as error:
        raise UnfitError("its ids are not UTF-8") from error
    if (
        len(found) != count + 1
        or found.pop()
        or (found and not 0 < min(map(len, found)) <= max(map(len, found)) <= LONGEST)
    ):
        raise UnfitError("its ids are not as many as its rows, or not such as ids are")
    return np.array(found, dtype=STRING)


def _told_ids(called: Ids) -> Arrays:
    if isinstance(called, Numbers):
        return {"ids": called.names}
    ascending, ranks = called.ranked()
    return {"strings": text_of(ascending), "ranks": ranks}


def _ids_of(kind: Any, count: int, arrays: Arrays) -> Ids:
    if kind == Numbers.kind:
        names = arrays.get("ids")
        if names is None or names.dtype != np.int64 or names.shape not in ((0,), (count,)):
            raise UnfitError("its ids are not as many as its rows")
        if len(names) and not 0 <= int(names.min()) <= int(names.max()) < np.iinfo(np.int64).max:
            raise UnfitError("its ids are not such as ids are")
        return Numbers(names, count)
    ranks, text = arrays.get("ranks"), arrays.get("strings")
    if kind != Strings.kind or ranks is None or text is None or text.dtype != np.uint8 or text.ndim != 1:
        raise UnfitError("it does not say what its ids are")
    if ranks.dtype != np.int64 or ranks.shape != (count,) or not 0 <= int(ranks.min()) <= int(ranks.max()) < count:
        raise UnfitError("its ids are not in an order")
    order = np.full(count, -1, dtype=np.int64)
    order[ranks] = np.arange(count)
    values = strings_of(text, count)
    if int(order.min()) < 0 or not bool((values[1:] > values[:-1]).all()):
        raise UnfitError("its ids are not in an order")
    return Strings.in_order(values, order, ranks)
