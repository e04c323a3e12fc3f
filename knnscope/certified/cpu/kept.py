"""What searches of some rows use again, one after another: what is laid out for one size of them (plane_steps.py, code_pass.py)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

KEPT = 4
"""Sizes that are kept of an index, those that were asked last."""


class Sized(Protocol):
    """Something that takes memory."""

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        ...


One = TypeVar("One", bound=Sized)


class Kept(Generic[One]):
    """One of each size that no search is in. It goes with the rows' own arrays, whose addresses it has."""

    def __init__(self, most: int) -> None:
        """Keep those of up to so many bytes."""
        self._most = most
        self._free: dict[Hashable, One] = {}

    def find(self, size: Hashable) -> One | None:
        """One that is the caller's own, until it gives it back; None where there is none."""
        # one step of the interpreter: of two threads, or a search and a signal handler in it, one has it
        return self._free.pop(size, None)

    def take(self, size: Hashable, made: Callable[[], One]) -> One:
        """The same, or a new one."""
        return self.find(size) or made()

    def give_back(self, size: Hashable, one: One) -> None:
        """For the next search; only when all who wrote to it have ended, so not after an exception."""
        if one.nbytes > self._most:
            return
        if len(self._free) >= KEPT:
            for longest in list(self._free)[: len(self._free) - KEPT + 1]:
                self._free.pop(longest, None)
        self._free[size] = one
