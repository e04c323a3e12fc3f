"""NumPy's products by one thread for a moment: the helpers of OpenBLAS look for more work for a tenth of a second, on cores that codes are written by then."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

NAMES = (
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
)
"""In NumPy's own wheels, and elsewhere."""
LIBRARY = re.compile(r"/\S*numpy\S*openblas\S*\.so\S*|/\S*/libopenblas\S*\.so\S*")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let one thread do what products there are, where that can be said; afterwards as many as before. For one thread at a time."""
    told = _threads()
    if told is None:
        yield
        return
    get, put = told
    before = get()
    put(1)
    try:
        yield
    finally:
        put(before)


@cache
def _threads() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """How many threads OpenBLAS has, and how to say it; None for another library."""
    try:
        paths = sorted(set(LIBRARY.findall(Path("/proc/self/maps").read_text())))
    except OSError:
        return None
    for path in paths:
        for get, put in NAMES:
            try:
                library = ctypes.CDLL(path)
                return getattr(library, get), getattr(library, put)
            except (OSError, AttributeError):
                continue
    return None
