"""Compiling ahead: every form of the code that searches of one type of rows need on this processor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import code_cache, dispatch
from knnscope.certified.cpu.plane import FEWEST
from knnscope.certified.index import ExactIndex

DIM = 64
UP_TO = 40
"""Queries of a batch up to which its size decides how it is scanned."""


def batches(isa: str) -> list[int]:
    """A batch size for every scan that an instruction set has."""
    found: dict[tuple[object, ...], int] = {}
    for count in range(1, UP_TO + 1):
        found.setdefault(tuple(dispatch.plan(isa, count)), count)
    return list(found.values())


def rows_of(dtype: str) -> npt.NDArray[Any]:
    """Rows of a type for which a plane pays whatever the type: groups of 16, far from each other."""
    random = np.random.default_rng(0)
    groups = random.integers(20, 100, (FEWEST // 16, DIM))
    return (np.repeat(groups, 16, axis=0) + random.integers(0, 3, (FEWEST, DIM))).astype(dtype)


def steps(dtype: str = "float32") -> Iterator[tuple[str, int]]:
    """Compile what is not there yet, step by step: what was done, and nanoseconds.

    Args:
        dtype: of the rows, one of ``definition.DTYPES``.
    """
    rows = rows_of(dtype)
    some = rows[: FEWEST - 1]  # too few for a plane
    for name, table in (("codes", some), ("codes and plane", rows)):
        began = time.perf_counter_ns()
        index = ExactIndex(table, threads=2)
        yield f"building {name}", time.perf_counter_ns() - began
        for count in batches(index.isa) if table is some else (1, 3):
            for threads in (1, 2):
                began = time.perf_counter_ns()
                index.search(table[:count], 2, threads=threads)
                yield f"batches of {count}, {threads} thread{'s' * (threads > 1)}", time.perf_counter_ns() - began
    began = time.perf_counter_ns()
    few = ExactIndex(rows[:6], "ip", threads=1)
    few.search(rows[:1], 3)
    yield "few rows", time.perf_counter_ns() - began


def kept() -> str:
    """Where compiled code is kept.

    Raises:
        code_cache.UnusableError: nowhere; says why.
    """
    return str(code_cache.path())


def is_kept() -> bool:
    """Whether compiled code of this version and processor is there."""
    return code_cache.any_kept()
