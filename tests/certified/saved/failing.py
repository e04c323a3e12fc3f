"""Saves that fail at a chosen one of their steps: opening, writing, syncing, renaming, removing a file."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest


class Failure(NamedTuple):
    """error: raised at the step of this number, from 0 on. after: when the step is done, not before. stays: so fail all later steps."""

    step: int
    error: type[BaseException]
    after: bool = False
    stays: bool = False

    def raised(self) -> BaseException:
        """What is raised."""
        if self.error is OSError:
            return OSError(errno.ENOSPC, "No space left on device")
        return self.error("injected")


class Steps:
    """Counts the steps of this thread. count: so many were begun. struck: the failure was met."""

    def __init__(self, failure: Failure | None) -> None:
        self.failure, self.count, self.struck, self._mine = failure, 0, False, threading.get_ident()

    def taken(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, as a step."""

        def step(*args: Any, **more: Any) -> Any:
            if threading.get_ident() != self._mine or self.failure is None:
                return work(*args, **more)
            number, self.count = self.count, self.count + 1
            fails = number == self.failure.step or (self.failure.stays and number > self.failure.step)
            self.struck = self.struck or fails
            if fails and not self.failure.after:
                raise self.failure.raised()
            done = work(*args, **more)
            if fails:
                raise self.failure.raised()
            return done

        return step


@contextlib.contextmanager
def failing(failure: Failure) -> Iterator[Steps]:
    """Within it the failure strikes; read ``struck`` to know whether it did."""
    steps = Steps(failure)

    class File(io.BufferedWriter):
        write = steps.taken(io.BufferedWriter.write)

    opened = os.fdopen

    def fdopen(handle: int, mode: str = "r", *args: Any, **more: Any) -> Any:
        return File(io.FileIO(handle, "wb")) if mode == "wb" else opened(handle, mode, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("open", "replace", "unlink", "fsync", "fdatasync", "ftruncate", "pwrite"):
            patch.setattr(os, name, steps.taken(getattr(os, name)))
        patch.setattr(os, "fdopen", fdopen)
        try:
            yield steps
        finally:
            steps.failure = None  # what is left of its files is closed in peace
