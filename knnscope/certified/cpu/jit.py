"""How functions are compiled here: without the interpreter's lock, kept on disk, one at a time, and never half.

Numba's compiler is Python code with much state, which an exception from a signal handler would leave half changed, and a fork would copy
with its lock held. Signal handlers run in the main thread only: so what the main thread needs is compiled in another one. A fork waits until the
compiler is at rest.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import types
from collections.abc import Callable
from functools import cache
from typing import Any

from numba import config, njit

from knnscope.certified.cpu.code_cache import CodeCache, any_kept
from knnscope.certified.cpu.workers import start_thread
from knnscope.compiling import SPENT
from knnscope.errors import KnnscopeError
from knnscope.progress import say

FORK_WAITS = 60.0
"""Seconds; a function takes up to 4 to compile."""

_compiling = threading.RLock()
_forks: list[bool] = []
"""Whether the fork that is under way waited until the compiler was at rest."""
_half = False
"""Whether this process was forked from a compiler at work."""


INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def compiled(inner: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator as ``numba.njit`` with these options; ``inner``: only compiled code calls it, which takes a third less to compile."""

    def decorate(function: Callable[..., Any]) -> Any:
        made = njit(nogil=True, **(INNER if inner else {}), **options)(function)
        if not config.DISABLE_JIT:
            made._cache = CodeCache(function)
            made._compile_for_args = _undisturbed(made._compile_for_args)
        return made

    return decorate


def specialised(function: Callable[..., Any], name: str, inner: bool = False, **given: Any) -> Any:
    """A function compiled with some of its globals replaced; under a name of its own, since kept code goes by name."""
    made = types.FunctionType(function.__code__, {**function.__globals__, **given}, name)
    made.__qualname__ = name
    made.__module__ = function.__module__
    return compiled(inner, error_model="numpy")(made)


@cache
def _announce() -> None:
    """Said once on a terminal, before the first function that is not found compiled."""
    if sys.stderr.isatty() and not any_kept():
        say(
            "compiling certified search for this processor: this once, some 10 to 30 s (knnscope warm does it beforehand)"
        )


def _undisturbed(compile_for: Callable[..., Any]) -> Callable[..., Any]:
    """``compile_for``, where no signal handler interrupts it."""

    def alone(args: Any, options: Any) -> Any:
        with _compiling, SPENT.counted():
            if _half:
                raise KnnscopeError(
                    "this process was forked while another thread compiled: search once before the fork, or start processes with spawn"
                )
            _announce()
            return compile_for(*args, **options)

    def elsewhere(*args: Any, **options: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return alone(args, options)
        made: list[Any] = []
        failed: list[BaseException] = []
        done = threading.Lock()
        done.acquire()

        def work() -> None:
            try:
                made.append(alone(args, options))
            except BaseException as error:
                failed.append(error)
            finally:
                done.release()

        if not start_thread(work):
            return alone(args, options)
        done.acquire()
        if failed:
            raise failed[0]
        return made[0]

    return elsewhere


def _before_fork() -> None:
    _forks.append(_compiling.acquire(timeout=FORK_WAITS))


def _after_fork() -> None:
    if _forks.pop():
        _compiling.release()


def _in_child() -> None:
    global _compiling, _half
    if not _forks.pop():
        _compiling, _half = threading.RLock(), True
    else:
        _compiling.release()


def _before_exit() -> None:
    """A process ends when its compiler is at rest: threads that run while it is taken apart would crash it."""
    _compiling.acquire(timeout=FORK_WAITS)


atexit.register(_before_exit)
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
