"""Which segments are written together, when, and by whom. Decision 035."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np

from knnscope.arithmetic import Ieee
from knnscope.certified.cpu.ending import EndingError, at_work
from knnscope.certified.cpu.threads import start_thread
from knnscope.certified.row_file import file_of
from knnscope.certified.state import Part, Segment, State, state_of
from knnscope.errors import KnnscopeError

RATIO = 8
"""A segment has at least so many times the rows of all that follow it, or is written together with them: so there are few, and a row is written again
a few times for each power of eight that the index grows by."""
DEAD = 16
"""One row in so many that is not there any more is enough to write a segment again: until then a search looks at it in vain."""


def due(parts: Sequence[Part]) -> tuple[int, int] | None:
    """The segments to be written together next, from one number up to another; None where all is well."""
    count, begin = len(parts) - (bool(parts) and parts[-1].segment.is_open), filed(parts)
    after = 0
    found: tuple[int, int] | None = None
    for number in range(count - 1, begin - 1, -1):
        part = parts[number]
        if part.left < RATIO * after:
            found = number, count
        after += part.left
    if found is not None:
        return found
    for number, part in enumerate(parts[:count]):
        if number >= begin and (
            part.segment.is_coarse or (len(part.segment.ids) - part.left) * DEAD >= len(part.segment.ids)
        ):
            return number, number + 1
    return None


def filed(parts: Sequence[Part]) -> int:
    """How many segments come first whose rows stay in a file: they are never written again."""
    return next((number for number, part in enumerate(parts) if file_of(part.segment.rows) is None), len(parts))


def put(state: State, before: Sequence[Part], made: Segment) -> State:
    """The state with a segment in place of those that it was written from, less the rows that have gone since.

    Args:
        state: as it is now.
        before: the parts as they were when writing began.
        made: all their rows that were left then.
    """
    now = {id(part.segment): part for part in state.parts}
    live = []
    for part in before:
        current, places = now.get(id(part.segment)), part.places()
        if current is None:
            left = np.zeros(part.left, dtype=np.bool_)
        elif current.live is None:
            left = np.ones(part.left, dtype=np.bool_)
        else:
            left = current.live[0] if places is None else current.live[0, places]
        live.append(left)
    mask = np.concatenate(live)[None]
    count = int(np.count_nonzero(mask))
    new = Part(made, None if count == mask.size else mask, count)
    replaced = {id(part.segment) for part in before}
    parts, placed = list[Part](), False
    for part in state.parts:
        if id(part.segment) not in replaced:
            parts.append(part)
        elif not placed:
            parts.append(new)
            placed = True
    return state_of(parts, state.next_id)


class _Turn:
    """One thread at a time."""

    def __init__(self, what: str) -> None:
        self._lock, self._owner, self._what = threading.Lock(), 0, what

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for it, and have it.

        Raises:
            KnnscopeError: a signal handler that interrupted the thread that has it, which it cannot wait for.
        """
        me = threading.get_ident()
        if self._owner == me:
            raise KnnscopeError(
                f"the index is being {self._what} by what this signal handler interrupted: change it later"
            )
        with self._lock:
            self._owner = me
            try:
                yield
            finally:
                self._owner = 0


class Turns:
    """Who may change an index, in one process. Readers do not ask."""

    def __init__(self) -> None:
        self._write, self._merge = _Turn("changed"), _Turn("merged")
        self._at_work, self._error = False, list[tuple[BaseException, bool]]()

    def writing(self) -> AbstractContextManager[None]:
        """The turn to put another state in place."""
        return self._write.taken()

    def merging(self) -> AbstractContextManager[None]:
        """The turn to merge, for which no writer waits."""
        return self._merge.taken()

    def raise_error(self) -> None:
        """Raise what an index has met that it did by itself, once.

        Raises:
            KnnscopeError: it.
        """
        if self._error:
            error, is_due = self._error.pop()
            again = " and will be tried again with the next change" if is_due else ""
            raise KnnscopeError(
                f"merging or saving in the background failed{again}; answers are right, and this call has changed nothing: "
                f"{error if isinstance(error, KnnscopeError) else repr(error)}"
            ) from error

    def keep_error(self, error: BaseException, is_due: bool) -> None:
        """For the next call to raise. is_due: whether it is tried again."""
        self._error.append((error, is_due))

    def beside(self, work: Callable[[], None], is_due: Callable[[], bool]) -> bool:
        """Let a thread work beside all others for as long as something is due, if none does yet; False where the system gives none."""
        with self.writing():
            if self._at_work:
                return True
            self._at_work = True
        if start_thread(self._run, work, is_due):
            return True
        self._at_work = False
        return False

    def _run(self, work: Callable[[], None], is_due: Callable[[], bool]) -> None:
        try:
            with at_work(), np.errstate(all="ignore"), Ieee():
                while True:
                    work()
                    with self.writing():  # else what became due now would wait for the next change
                        if not is_due():
                            self._at_work = False  # the last thing: from here on another thread may have begun
                            return
        except BaseException as error:
            if not isinstance(error, EndingError):
                self.keep_error(error, is_due())
            self._at_work = False
