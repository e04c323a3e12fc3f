"""How functions are compiled here: without the interpreter's lock, kept on disk, and compiled anew when any file of this package changes."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit


def _digest() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.blake2b(b"\0".join(file.read_bytes() for file in files), digest_size=16).hexdigest()


STAMP = _digest()


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator as ``numba.njit`` with these options.

    Numba keeps compiled code with the time of the function's own file, and does not see that a function of another file, which is part
    of the code, has changed: an old bound would go on excluding rows. So the stamp is this package's digest. Where no folder can be
    written to, nothing is kept.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            made = njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # "no locator available"
            return njit(nogil=True, **options)(function)
        made._cache._cache_file._source_stamp = STAMP
        return made

    return decorate


def specialised(function: Callable[..., Any], name: str, **given: Any) -> Any:
    """A function compiled with some of its globals replaced; under a name of its own, since Numba's cache goes by name."""
    made = types.FunctionType(function.__code__, {**function.__globals__, **given}, name)
    made.__qualname__ = name
    made.__module__ = function.__module__
    return compiled(error_model="numpy")(made)
