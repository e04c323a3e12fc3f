"""IEEE 754 arithmetic for as long as it is needed: rounding to nearest, and subnormal numbers kept.

Both are settings of a thread (MXCSR on x86, FPCR on Arm), and libraries change them: one that was linked with -ffast-math flushes
subnormal numbers to zero from the moment that it is loaded, and threads inherit it. Then a bound may exclude a row that is in, and the
definition gives other numbers.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

import numpy as np

from knnscope.errors import KnnscopeError

P = ParamSpec("P")
Result = TypeVar("Result")

# not constants in the functions, where Python would compute them once and for all when it compiles
_ONE, _ULP = 1.0, 2.0**-52
_HALF, _QUARTER, _THREE_QUARTERS = 0.5, 2.0**-54, 3 * 2.0**-54
_SMALLEST_NORMAL, _SMALLEST = 2.0**-1022, 2.0**-1074

_DEFAULT = ctypes.c_void_p(-1)
"""FE_DFL_ENV of glibc and musl."""
_ROOM = 256
"""Bytes for a fenv_t: 32 on x86-64, 8 on Arm."""


def is_ieee() -> bool:
    """Whether this thread rounds to nearest and keeps subnormal numbers: four operations tell."""
    return (
        _ONE + _THREE_QUARTERS == _ONE + _ULP  # not downwards, nor towards zero
        and _ONE + _QUARTER == _ONE  # not upwards
        and _SMALLEST_NORMAL * _HALF > 0  # results are not flushed
        and _SMALLEST + _SMALLEST > _SMALLEST  # nor are operands
    )


class Ieee:
    """``with Ieee():`` computes as IEEE 754 says, in this thread; afterwards the settings are as before.

    Raises:
        KnnscopeError: this thread computes otherwise, and that cannot be changed.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = None if is_ieee() else _set_default()

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            ctypes.CDLL(None).fesetenv(self._before)


def _set_default() -> ctypes.Array[ctypes.c_char]:
    """Choose the default environment; returns the one before it."""
    before = ctypes.create_string_buffer(_ROOM)
    try:
        library = ctypes.CDLL(None)
        library.fegetenv(before)
        library.fesetenv(_DEFAULT)
    except (OSError, AttributeError):
        pass
    if not is_ieee():
        raise KnnscopeError(
            "this thread flushes subnormal numbers to zero or does not round to nearest, as a library set it, "
            "and it cannot be changed: an answer would not be exact"
        )
    return before


def ieee(function: Callable[P, Result]) -> Callable[P, Result]:
    """The function, computing as IEEE 754 says; overflow and underflow are part of that, so NumPy reports neither."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Result:
        with np.errstate(all="ignore"), Ieee():
            return function(*args, **kwargs)

    return guarded
