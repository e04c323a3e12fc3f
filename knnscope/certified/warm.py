"""Compiling ahead: every form of the code that searches of one kind of rows need on this processor."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import Ieee
from knnscope.certified.cpu import code_cache, dispatch
from knnscope.certified.cpu.kind import Kind, example
from knnscope.certified.cpu.plane import FEWEST
from knnscope.certified.cpu.scanner import CpuScanner
from knnscope.certified.rows import as_ids, as_mask, as_queries
from knnscope.certified.scanner import RadiusRequest, Request
from knnscope.errors import KnnscopeError
from knnscope.store import locked

DIM = 64
UP_TO = 40
"""Queries of a batch up to which its size decides how it is scanned."""


def batches(isa: str) -> list[int]:
    """A batch size for every scan that an instruction set has."""
    found: dict[tuple[object, ...], int] = {}
    for count in range(1, UP_TO + 1):
        found.setdefault(tuple(dispatch.plan(isa, count)), count)
    return list(found.values())


def rows_of(kind: Kind) -> npt.NDArray[Any]:
    """Rows of a kind for which a plane pays whatever the type: groups of 16, far from each other."""
    random = np.random.default_rng(0)
    groups = random.integers(20, 100, (FEWEST // 16, DIM))
    return example(kind, np.repeat(groups, 16, axis=0) + random.integers(0, 3, (FEWEST, DIM)))


def usual(dtype: str = "float32") -> Kind:
    """The kind of most rows of a type, one of ``definition.DTYPES``: in one piece, for the fastest instruction set."""
    return Kind(dtype, "C", dispatch.choose(None))


def steps(kind: Kind) -> Iterator[tuple[str, int]]:
    """Compile what is not there yet, step by step: what was done, and nanoseconds."""
    with np.errstate(all="ignore"), Ieee():
        rows = rows_of(kind)
        some = rows[: FEWEST - 1] if kind.order != "F" else np.asfortranarray(rows[: FEWEST - 1])  # too few for a plane
        queries, _ = as_queries(np.linspace(0, 99, 2 * UP_TO * DIM).reshape(-1, DIM), DIM)
        for name, table in (("codes", some), ("codes and plane", rows)):
            began = time.perf_counter_ns()
            scanner = CpuScanner(kind.isa, 2, kind.memory).build(table, as_ids(None, 0), "l2")
            yield f"building {name}", time.perf_counter_ns() - began
            for count in batches(kind.isa) if table is some else (1, 3, 5, UP_TO):
                asked = Request(queries[:count], 2, as_mask(None, count, len(table)))
                for threads in (1, 2):
                    began = time.perf_counter_ns()
                    scanner.nearest(asked, threads)
                    scanner.prompt(asked.queries, 2)
                    yield f"batches of {count}, {threads} thread{'s' * (threads > 1)}", time.perf_counter_ns() - began
            began = time.perf_counter_ns()
            scanner.prepare()
            yield "codes in the order of a scan", time.perf_counter_ns() - began
            for what, work in _others(scanner, queries, len(table)):
                began = time.perf_counter_ns()
                work()
                yield f"{what} by {name}", time.perf_counter_ns() - began
        began = time.perf_counter_ns()
        few = example(kind, np.arange(6 * DIM).reshape(6, DIM) % 50)
        scanner = CpuScanner(kind.isa, 1, kind.memory).build(few, as_ids(None, 0), "ip")
        scanner.prompt(queries[:1], 3)
        scanner.nearest(Request(queries[:1], 3, as_mask(None, 1, 6)))
        yield "few rows", time.perf_counter_ns() - began
    kind.set_compiled()


def _others(
    scanner: CpuScanner, queries: npt.NDArray[np.float64], rows: int
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What there is beside searches of all rows: in words, and a call that needs all code for it."""
    every, few = as_mask(None, 9, rows), np.arange(9 * rows).reshape(9, rows) % 128 == 0

    def within(keys: float, count: int) -> Any:
        return scanner.within(RadiusRequest(queries[:count], np.full(count, keys), every, 1 << 40, 1 << 40))

    yield "radius searches", lambda: [within(10.0, count) for count in (1, 3, UP_TO)] + [within(np.inf, 1)]
    asked = [(queries[:1], few[:1]), (queries[:9], few[:1]), (queries[:9], few)]
    yield "few allowed rows", lambda: [scanner.nearest(Request(some, 2, mask), 2) for some, mask in asked]
    yield "graphs", lambda: scanner.graph(2, False, 2)


def compile_for(*kind: str) -> None:
    """Compile for a kind, unless that is done; processes that want to at the same time do so one after another."""
    wanted = Kind(*kind)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, KnnscopeError):  # file systems without locks: then each for itself
            stack.enter_context(locked(Path(f"{code_cache.path()}.lock")))
        if not wanted.is_compiled():
            for _ in steps(wanted):
                pass


def kept() -> str:
    """Where compiled code is kept.

    Raises:
        code_cache.UnusableError: nowhere; says why.
    """
    return str(code_cache.path())


def is_kept() -> bool:
    """Whether compiled code of this version and processor is there."""
    return code_cache.any_kept()
