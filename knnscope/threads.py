"""One thread budget for every library: the variables that steer them are cleared, then set to the same number.

Libraries read them once, when they are loaded; so a budget is the environment of a child process, not a setting of this one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from knnscope.errors import ArgumentError, KnnscopeError

STEERING = ("OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "NUMBA_", "BLIS_", "GOTO_")
"""Prefixes of the variables that steer BLAS, OpenMP and Numba."""

SET_BY_LIBRARIES = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")
"""scikit-learn sets them in its own process when it is loaded."""
PLACES = ("NUMBA_CACHE_DIR",)
"""Say where files lie, and steer nothing."""
COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

LIMIT = 1024
"""More threads than any machine's cores: such a number is a mistake."""


def usable() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def environment(threads: int | None, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables for a child process with this budget.

    Args:
        threads: threads for every library; None is "stock": the libraries' own defaults, nothing set.
        base: variables to start from (default: this process's).
    """
    given = (os.environ if base is None else base).items()
    kept = {k: v for k, v in given if k in PLACES or not k.startswith(STEERING)}
    return kept if threads is None else {**kept, **dict.fromkeys(COUNTS, str(threads))}


def budget() -> int:
    """The budget that this process was given, for libraries that read no variable.

    Raises:
        KnnscopeError: ``OMP_NUM_THREADS`` is no number of threads.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2" is for nested loops
    if not given:
        return usable()
    if not (given.isascii() and given.isdigit() and len(given) < 10 and 1 <= int(given) <= LIMIT):
        raise KnnscopeError(f"OMP_NUM_THREADS is {given[:40]!r}: unset it, or set it to 1 to {LIMIT} threads")
    return int(given)


def chosen(given: int | str | None) -> int | None:
    """What a user says: a number, None for all usable cores, "stock" for what libraries do by themselves, which is None here.

    Raises:
        ArgumentError: no such number.
    """
    budget = usable() if given is None else None if given == "stock" else given
    if budget is not None and not (isinstance(budget, int) and 0 < budget <= LIMIT):
        raise ArgumentError(f"threads {given}: at most {LIMIT:,}; this process may use {usable()} cores")
    return budget


def cleared(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Steering variables that ``environment`` drops or overwrites: what to tell the user, who did not set those of scikit-learn."""
    given = (os.environ if base is None else base).items()
    return {k: v for k, v in given if k.startswith(STEERING) and k not in (*SET_BY_LIBRARIES, *PLACES)}
