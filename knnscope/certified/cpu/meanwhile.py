"""NumPy answers while another process compiles; when that has ended, the next search takes the compiled code.

The process is a child that ends with this one (../__main__.py). It fills the folder of code_cache.py, which is how its code comes here; where
that folder takes nothing, this process compiles, and the first search waits. So it does where ``KNNSCOPE_COMPILE=wait`` is set.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import Ieee
from knnscope.certified.cpu import code_cache
from knnscope.certified.cpu.ending import UntilTheEnd
from knnscope.certified.cpu.kind import Kind, kind_of
from knnscope.certified.cpu.plain import Plain
from knnscope.certified.cpu.scanner import CpuScanner
from knnscope.certified.cpu.threads import start_thread
from knnscope.certified.memory import most_of
from knnscope.certified.scanner import RadiusRequest, Ranked, Request, Scanner, Within
from knnscope.compiling import HOW
from knnscope.errors import KnnscopeError
from knnscope.processes import PACKAGE, PARENT
from knnscope.progress import say

AT_ONCE = 1 << 26
"""Bytes of rows whose codes are written within a search, in up to 0.2 s; more are written beside it."""


class Given(NamedTuple):
    """What ``CpuScanner.build`` takes."""

    rows: npt.NDArray[Any]
    names: npt.NDArray[np.int64]
    metric: str


def waits() -> bool:
    """Whether searches wait for the compiler.

    Raises:
        KnnscopeError: ``KNNSCOPE_COMPILE`` says neither.
    """
    how = os.environ.get(HOW) or "beside"
    if how not in ("beside", "wait"):
        raise KnnscopeError(f"{HOW} is {how[:40]!r}: beside (the default) or wait was expected")
    return how == "wait"


def build(scanner: CpuScanner, given: Given) -> Scanner:
    """Rows searched by compiled code, at once where it is there.

    Raises:
        KnnscopeError: a number that is not finite; names where.
    """
    kind = kind_of(given.rows, scanner.isa, scanner.memory)
    if most_of(scanner.memory) is not None:  # whether rows fit is said now: what is needed for that is compiled here
        return scanner.build(*given)
    if waits() or kind.is_compiled() or not _can_start() or not code_cache.takes():
        return scanner.build(*given)
    return Meanwhile(scanner, given, kind)


class Meanwhile:
    """Rows that ``Plain`` searches until there is compiled code for them: a ``Scanner``."""

    def __init__(self, scanner: CpuScanner, given: Given, kind: Kind) -> None:
        self.isa = scanner.isa
        self._scanner, self._given, self._kind = scanner, given, kind
        self._plain = Plain(*given)
        self._compiled: CpuScanner | None = None
        self._builds: dict[int, Aside] = {}

    @property
    def levels(self) -> str:
        """What is scanned before the rows, in words."""
        return (self._compiled or self._plain).levels

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows."""
        return (self._compiled or self._plain).nbytes

    def prompt(self, queries: Any, k: int) -> Ranked | None:
        """See ``Scanner``."""
        return self._compiled.prompt(queries, k) if self._compiled else None

    def again(self, queries: Any, k: int, threads: int | None) -> Ranked | None:
        """See ``Scanner``."""
        return self._compiled.again(queries, k, threads) if self._compiled else None

    def nearest(self, request: Request, threads: int | None = None) -> Ranked:
        """Answer a request; see ``Scanner``."""
        self._scanner.check_threads(threads)
        return (self._compiled or self._ready() or self._plain).nearest(request, threads)

    def within(self, request: RadiusRequest, threads: int | None = None) -> Within:
        """Answer a request for all rows within a radius; see ``Scanner``."""
        self._scanner.check_threads(threads)
        return (self._compiled or self._ready() or self._plain).within(request, threads)

    def graph(self, k: int, itself: bool, threads: int | None = None) -> tuple[Any, Any] | None:
        """See ``CpuScanner.graph``."""
        compiled = self._compiled or self._ready()
        return compiled.graph(k, itself, threads) if compiled else None

    def wait(self) -> CpuScanner:
        """Write the codes in this thread, and compile what for that is not compiled yet.

        Raises:
            KnnscopeError: a number that is not finite any more.
        """
        if self._compiled is None:
            self._compiled = self._scanner.like().build(*self._given)
        return self._compiled

    def _ready(self) -> CpuScanner | None:
        """What compiled code searches, where all for it is there; begins what is not."""
        if not _compiler(self._kind).is_over():
            return None
        if self._given.rows.nbytes <= AT_ONCE:
            return self.wait()
        aside = self._builds.setdefault(os.getpid(), Aside(self._write))
        aside.is_over()
        if aside.error is not None:
            raise aside.error
        return self._compiled

    def _write(self) -> None:
        """Write codes until it is done, or the process ends."""
        with np.errstate(all="ignore"), Ieee():
            scanner = self._scanner.like()
            self._compiled = scanner.build(*self._given, workers=UntilTheEnd(scanner.workers.count))


class Aside:
    """Work that one thread does, once, beside all others."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work, self._claim = work, itertools.count().__next__
        self._begun = self._over = False
        self.error: BaseException | None = None

    def is_over(self) -> bool:
        """Whether it has ended; begins it. An exception here, or a call from a signal handler, begins a second thread at most, which does nothing."""
        if not self._begun:
            self._begun = start_thread(self._run)
            if not self._begun:  # no more threads: here, then
                self._run()
        return self._over

    def _run(self) -> None:
        if self._claim():
            return
        try:
            self._work()
        except BaseException as error:
            self.error = error
        self._over = True


class _Compiler(Aside):
    """A process that compiles for a kind of rows."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(lambda: _compile(kind))
        self._kind = kind

    def is_over(self) -> bool:
        """Whether its code is there, or will not come from there; begins it."""
        if not self._begun:
            if self._kind.is_compiled():
                self._begun = self._over = True
            else:
                _announce()
        return super().is_over()


_compilers: dict[tuple[int, Kind], _Compiler] = {}
"""By process as well: a fork has none of its parent's threads, and is no parent to its children."""


def _compiler(kind: Kind) -> _Compiler:
    key = os.getpid(), kind
    return _compilers.get(key) or _compilers.setdefault(key, _Compiler(kind))


def _can_start() -> bool:
    """Whether Python can be started: the program that it is part of may be another."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def _compile(kind: Kind) -> None:
    """Let a child compile, and wait for it. The system ends it with the thread that started it, so that is one that waits."""
    environment = {**os.environ, PARENT: str(os.getpid()), HOW: "wait"}
    environment["NUMBA_CACHE_DIR"] = os.path.abspath(code_cache.path().parent)
    subprocess.run(
        [sys.executable, "-m", "knnscope.certified", *kind],
        env=environment,
        cwd=PACKAGE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the parent
        check=False,
    )


@cache
def _announce() -> None:
    """Said once on a terminal."""
    if sys.stderr.isatty() and not code_cache.any_kept():
        say(
            "compiling certified search for this processor in the background: this once, some 10 s, while NumPy answers "
            "(knnscope warm does it beforehand)"
        )
