"""NVTX ranges around the phases of a search: what joins a trace to what was measured. Nothing is imported for their sake alone."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

PHASES = ("load", "build", "search", "copy back")
PREFIX = "knnscope: "


def label(phase: str, name: str, shape: dict[str, int]) -> str:
    """The range's text: ``knnscope: search fused rows=75000 dim=384 k=10 batch=1``."""
    return " ".join([f"{PREFIX}{phase} {name}", *(f"{key}={value}" for key, value in shape.items())])


@contextmanager
def phase(what: str, name: str, **shape: int) -> Iterator[None]:
    """Mark what runs inside; a profiler that listens shows it.

    Args:
        what: one of ``PHASES``.
        name: of the rung or engine.
        shape: rows, dim, k, batch.
    """
    found = _functions("cupy" in sys.modules)
    if found is None:
        yield
        return
    push, pop = found
    push(label(what, name, shape))
    try:
        yield
    finally:
        pop()


def problem() -> str | None:
    """Why a trace of this process will have no ranges; None if it will."""
    return (
        None
        if _functions("cupy" in sys.modules)
        else "no NVTX here: a trace will not show the phases (pip install nvtx)"
    )


@cache
def _functions(cupy: bool) -> tuple[Callable[[str], Any], Callable[[], Any]] | None:
    """CuPy's own where it is loaded, else the nvtx package."""
    if cupy:
        own = import_module("cupy.cuda.nvtx")
        return own.RangePush, own.RangePop
    if importlib.util.find_spec("nvtx") is not None:
        package = import_module("nvtx")
        return package.push_range, package.pop_range
    return None
