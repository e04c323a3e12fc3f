"""Programs: calls of compiled functions, step by step, laid out once and made as often as wanted, in one call of Python's.

What Python does for sixteen items of twenty arrays takes as long as their scan, and nobody else does anything meanwhile. So what all searches of a size
have in common is laid out once, and what each of them brings, its queries and answers, is filled in: the arguments of compiled code are addresses
of arrays' objects, so another array is another address in the same places. Decision 077.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import board
from knnscope.certified.cpu.jit import Calls, Compiled, Given, places_of

Array = npt.NDArray[Any]


class Step(NamedTuple):
    """Calls of one function, and their arguments, which live as long: the first ones, and each call's others."""

    calls: Calls
    first: tuple[Any, ...]
    others: Sequence[tuple[Any, ...]]


def steps_of(first: tuple[Any, ...], functions: Sequence[tuple[Compiled, Sequence[tuple[Any, ...]]]]) -> list[Step]:
    """Calls of several functions that have the first arguments in common."""
    given = Given.of(first)
    return [Step(function.for_each(given, others), first, others) for function, others in functions]


class Program:
    """Steps, each of which begins when those before it have ended. One thread at a time may run it."""

    def __init__(self, steps: Sequence[Step], threads: int, open_: Sequence[Array] = ()) -> None:
        """Lay out.

        Args:
            steps: at least one, none without calls.
            threads: that share out each step.
            open_: arrays among the arguments, each of which another one of the same kind takes the place of whenever the program runs.
        """
        self.steps = steps
        helpers = [min(threads, len(step.others)) - 1 for step in steps]
        self.helpers = max(helpers)
        # one thread that has several items can be interrupted between them
        self.is_posted = all(len(step.others) <= board.ITEM_MASK for step in steps) and (
            bool(self.helpers) or all(len(step.others) == 1 for step in steps)
        )
        self._words = np.concatenate([step.calls.arguments.reshape(-1) for step in steps])
        self._answers = np.empty(sum(len(step.others) for step in steps), dtype=np.int64)
        rows, which, places, at, done = list[list[int]](), list[int](), list[int](), 0, 0
        self._own = list[Calls]()
        for step, others in zip(steps, helpers, strict=True):
            calls, words = step.calls.arguments.shape
            own = self._words[at : at + calls * words].reshape(calls, words)
            self._own.append(Calls(step.calls.entry, own))
            rows.append(
                [step.calls.entry.address, own.ctypes.data, 8 * words, self._answers[done:].ctypes.data, calls, others]
            )
            for number, array in enumerate(open_):
                for place in places_of(array, step.first + tuple(step.others[0])):
                    which += [number] * calls
                    places += range(at + place, at + calls * words, words)
            at, done = at + calls * words, done + calls
        self._which, self._places = np.array(which, dtype=np.int64), np.array(places, dtype=np.int64)
        self.table = np.array(rows, dtype=np.int64)
        """As ``board.post`` is given it."""

    def fill(self, arrays: Sequence[Array]) -> None:
        """Put the arrays of a search in the open places. They have to live until the search has ended."""
        if len(self._places):
            self._words[self._places] = np.array([id(array) for array in arrays])[self._which]

    def calls(self) -> list[Calls]:
        """The calls of each step, with the arrays that were filled in."""
        return self._own
