"""Which segments are written together, when, and by whom. Decision 035."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from knnscope.arithmetic import Ieee
from knnscope.certified.cpu.ending import EndingError
from knnscope.certified.cpu.threads import start_thread
from knnscope.certified.state import Part, Segment, State, state_of
from knnscope.errors import KnnscopeError

RATIO = 4
"""A segment has at least so many times the rows of all that follow it, or is written together with them: so there are few, and a row is written again
a few times for each power of four that the index grows by."""
DEAD = 8
"""One row in so many that is not there any more is enough to write a segment again: until then a search looks at it in vain."""


def due(parts: Sequence[Part]) -> tuple[int, int] | None:
    """The segments to be written together next, from one number up to another; None where all is well."""
    count = len(parts) - (bool(parts) and parts[-1].segment.is_open)
    after = 0
    found: tuple[int, int] | None = None
    for number in range(count - 1, -1, -1):
        part = parts[number]
        if part.count < RATIO * after:
            found = number, count
        after += part.count
    if found is not None:
        return found
    for number, part in enumerate(parts[:count]):
        if part.segment.is_coarse or (len(part.segment.ids) - part.count) * DEAD >= len(part.segment.ids):
            return number, number + 1
    return None


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
            left = np.zeros(part.count, dtype=np.bool_)
        elif current.live is None:
            left = np.ones(part.count, dtype=np.bool_)
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


class Turns:
    """Who may write: one thread at a time; a forked process begins anew. Readers do not ask."""

    def __init__(self) -> None:
        self.lock, self.merging = threading.Lock(), threading.Lock()
        self._owner: int | None = None
        self.at_work: int | None = None
        """The process in which a thread merges."""
        self.error: BaseException | None = None
        _all.add(self)

    def renew(self) -> None:
        """In a child: none of its parent's threads is here."""
        self.lock, self.merging, self._owner, self.at_work = threading.Lock(), threading.Lock(), None, None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The writer's turn.

        Raises:
            KnnscopeError: a signal handler that interrupted a writer of the same thread, which it cannot wait for.
        """
        if self._owner == threading.get_ident():
            raise KnnscopeError("the index is being changed by what this signal handler interrupted: change it later")
        with self.lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None

    def raise_error(self) -> None:
        """Raise what merging beside all others has met, once.

        Raises:
            KnnscopeError: it.
        """
        error, self.error = self.error, None
        if error is not None:
            raise KnnscopeError(
                f"merging in the background failed, and will be tried again; what is searched is right, this call has changed nothing: {error!r}"
            ) from error

    def beside(self, work: Callable[[], None]) -> bool:
        """Let a thread work beside all others, if none does; False where the system gives none."""
        with self.lock:
            if self.at_work == os.getpid():
                return True
            self.at_work = os.getpid()
        if start_thread(self._run, work):
            return True
        self.at_work = None
        return False

    def _run(self, work: Callable[[], None]) -> None:
        try:
            with np.errstate(all="ignore"), Ieee():
                work()
        except EndingError:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.at_work = None


_all: weakref.WeakSet[Any] = weakref.WeakSet()


def _in_child() -> None:
    for turns in list(_all):
        turns.renew()


os.register_at_fork(after_in_child=_in_child)
