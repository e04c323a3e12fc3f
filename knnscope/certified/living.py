"""The rows of an index, and all that changes them: one state after the other, each put in place in one step. Decision 035."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from knnscope.certified import merging
from knnscope.certified import state as states
from knnscope.certified.cpu.meanwhile import Given, Meanwhile
from knnscope.certified.dtypes import BFLOAT, widened
from knnscope.certified.either import Either
from knnscope.certified.ids import (
    ALL,
    STRING,
    Ids,
    Numbers,
    Strings,
    consecutive,
    joined,
    new_ids,
    of_other_kind,
    wanted_ids,
)
from knnscope.certified.making import Maker, OnCuda
from knnscope.certified.rows import as_added, plain
from knnscope.certified.saved.changes import ADD, REMOVE, UPDATE, Change
from knnscope.certified.state import EMPTY, Part, Segment, State, state_of
from knnscope.certified.tail import SEAL, Tail
from knnscope.checks import check_finite
from knnscope.errors import GpuFullError, KnnscopeError
from knnscope.search.device import is_device


class Keeper(Protocol):
    """A folder that has all changes; see saved/folder.py."""

    def recorded(self, change: Change) -> AbstractContextManager[None]:
        """Within it the change is on disk, and is put in place."""
        ...

    def is_due(self) -> bool:
        """Whether it is time to write segments in place of changes."""
        ...

    def save(self, living: Living) -> None:
        """Write segments in place of changes, in the turn to merge."""
        ...

    def close(self) -> None:
        """Take no more changes."""
        ...


class Living:
    """Rows of one metric, on one machine.

    state: what they are now; who looks at them takes it once. dim: components. dtype: of rows, int16 for bfloat16; None where there has been none.
    keeper: the folder that changes are written to; None for none.
    """

    def __init__(self, maker: Maker, metric: str, dim: int) -> None:
        """No rows."""
        self.maker, self.metric, self.dim = maker, metric, dim
        self.dtype: Any = None
        self.state = EMPTY
        self.keeper: Keeper | None = None
        self._tail: Tail | None = None
        self._turns: dict[int, merging.Turns] = {}

    @property
    def turns(self) -> merging.Turns:
        """Who may change the rows, in this process: a fork has none of its parent's threads."""
        process = os.getpid()
        return self._turns.get(process) or self._turns.setdefault(process, merging.Turns())

    def begin(self, rows: Any, called: Ids) -> None:
        """Take the first rows, without copying them."""
        scanner = self.maker.first(Given(rows, called.names, self.metric))
        rows = self.maker.rows(scanner, rows)
        self.dtype = np.dtype(str(rows.dtype))
        next_id = called.largest() + 1 if isinstance(called, Numbers) else 0
        self.state = state_of([states.whole(Segment(rows, called, scanner))], next_id)

    def has(self, called: Any) -> bool:
        """Whether there is a row with this id."""
        state = self.state
        try:
            wanted, single = wanted_ids(called, _kind(state))
        except KnnscopeError:  # of another kind: no row is called so
            return False
        return single and any(bool((places >= 0).any()) for places in states.find(state, wanted))

    def wait(self) -> None:
        """See ``ExactIndex.wait``."""
        with self.turns.writing():
            parts = []
            for part in self.state.parts:
                segment = part.segment
                if isinstance(segment.scanner, Meanwhile | Either):
                    part = part._replace(segment=Segment(segment.rows, segment.ids, segment.scanner.wait()))
                parts.append(part)
            self.state = state_of(parts, self.state.next_id)
        self._merge_due(beside=False)

    def write(self, vectors: Any, ids: Any, updates: bool) -> npt.NDArray[Any]:
        """Add rows, or update them; see ``ExactIndex``."""
        self.turns.raise_error()
        with self.turns.writing():
            rows = self._as_added(vectors)
            called = _called(ids, len(rows), self.state)
            found = self._written(rows, called, ids is not None, updates)
        self._merge_beside()
        return Strings.bare(found) if found.dtype.kind == "T" else found.copy()  # the caller may change it

    def replay(self, changes: Iterable[Change]) -> None:
        """Make changes again that a folder has, and that are checked as far as their shapes.

        Raises:
            KnnscopeError: they are not changes of these rows.
        """
        for what, ids, rows in changes:
            if rows is None:
                self.remove(ids)
                continue
            if self.dtype is not None and rows.dtype != self.dtype:
                raise KnnscopeError("rows of another type than those that are there")
            check_finite(widened(rows), "rows")
            with self.turns.writing():
                self._written(rows, _called(ids, len(rows), self.state), True, what == UPDATE)
            self._merge_beside()

    def _written(self, rows: Any, called: Ids, are_named: bool, updates: bool) -> npt.NDArray[Any]:
        """Put the state with these rows in place; returns their ids."""
        state, found = self.state, called.array()
        if updates:
            parts = states.without(state, _places(state, found))
        else:
            if are_named:
                _refuse_known(state, found)
            parts = list(state.parts)
        if len(rows):
            next_id = state.next_id
            if isinstance(called, Numbers):
                next_id = max(next_id, called.largest() + 1) if are_named else next_id + len(rows)
            self._put(self._with(parts, rows, called, next_id), Change(UPDATE if updates else ADD, found, rows))
        return found

    def _put(self, state: State, change: Change) -> None:
        """Put a state in place, on disk first where there is a folder."""
        if self.keeper is None:
            self.state = state
        else:
            with self.keeper.recorded(change):
                self.state = state

    def remove(self, ids: Any) -> None:
        """See ``ExactIndex.remove``."""
        self.turns.raise_error()
        with self.turns.writing():
            state = self.state
            wanted, _ = wanted_ids(ids, _kind(state))
            left = state_of(states.without(state, _places(state, wanted)), state.next_id)
            if len(wanted):
                self._put(left, Change(REMOVE, wanted))
        self._merge_beside()

    def get(self, ids: Any) -> npt.NDArray[Any]:
        """See ``ExactIndex.get``."""
        state = self.state
        wanted, single = wanted_ids(ids, _kind(state))
        made: npt.NDArray[Any] | None = None
        for part, places in zip(state.parts, _places(state, wanted, twice=True), strict=True):
            here = np.flatnonzero(places >= 0)
            if len(here):
                some = self.maker.read(part.segment.rows, places[here])
                if made is None:
                    made = np.empty((len(wanted), self.dim), dtype=some.dtype)
                made[here] = some
        if made is None:
            made = np.empty((0, self.dim), dtype=np.float32 if self.dtype in (None, BFLOAT) else self.dtype)
        return made[0] if single else made

    def merge(self) -> None:
        """See ``ExactIndex.merge``."""
        self.turns.raise_error()
        with self.turns.merging():
            before = self.state.parts[merging.filed(self.state.parts) :]
            if len(before) > 1 or any(
                part.live is not None or part.segment.is_open or part.segment.is_coarse for part in before
            ):
                self._merged(before, beside=False)

    def _as_added(self, vectors: Any) -> Any:
        """Rows of the index' type in host memory, checked."""
        rows = self.maker.host_rows(vectors) if is_device(vectors) and isinstance(self.maker, OnCuda) else vectors
        return as_added(rows, self.dim, self.dtype)

    def _with(self, parts: list[Part], rows: Any, called: Ids, next_id: int) -> State:
        """The state of these parts and some rows more."""
        tail, metric = None, self.metric
        if parts and parts[-1].segment.is_open:
            tail = parts.pop()
        count = 0 if tail is None else tail.left

        def make(rows: Any, names: Any) -> Any:
            return self.maker.open(Given(rows, names, metric))

        if count + len(rows) < SEAL:
            if tail is None or self._tail is None or tail.live is not None or not self._tail.holds(tail):
                self._tail = Tail(self.dim, rows.dtype, isinstance(called, Strings))
                if tail is not None and tail.left:
                    before = np.asarray(tail.segment.rows)
                    places = tail.places()
                    tail = self._tail.extended(None, before if places is None else before[places], tail.ids(), make)
                else:
                    tail = None
            parts.append(self._tail.extended(tail, rows, called, make))
        else:
            if tail is not None and tail.left:
                rows = self.maker.stacked(tail.segment.rows, tail.places(), rows)
                called = joined([tail.ids(), called])
            else:
                rows = self.maker.stacked(rows[:0], None, rows)
            scanner, coarse = self.maker.added(Given(rows, called.names, metric))
            parts.append(states.whole(Segment(self.maker.rows(scanner, rows), called, scanner, coarse)))
        if self.dtype is None:
            self.dtype = rows.dtype
        return state_of(parts, next_id)

    def _merge_beside(self) -> None:
        """Merge what is due, by a thread beside all others where there may be one."""
        if not self._is_due():
            return
        if self.maker.beside and self.turns.beside(self._merge_due, self._is_due):
            return
        try:  # what was asked is done
            self._merge_due(beside=False)
        except GpuFullError:
            pass  # segments stay as they are, and ``merge`` says why
        except Exception as error:
            self.turns.keep_error(error, self._is_due())

    def save(self) -> None:
        """Write segments to the folder that has the changes, if there is one."""
        self.turns.raise_error()
        with self.turns.merging():
            if self.keeper is not None:
                self.keeper.save(self)

    def close(self) -> None:
        """Take no more changes, and let others write to the folder."""
        with self.turns.merging(), self.turns.writing():
            if self.keeper is not None:
                self.keeper.close()

    def copy(self) -> Living:
        """The same rows, in memory, changed by themselves from now on; what does not change is shared."""
        made = Living(self.maker, self.metric, self.dim)
        with self.turns.writing():
            made.state, made.dtype = self.state, self.dtype
        return made

    def _is_due(self) -> bool:
        return merging.due(self.state.parts) is not None or (self.keeper is not None and self.keeper.is_due())

    def _merge_due(self, beside: bool = True) -> None:
        """Merge for as long as something is due."""
        with self.turns.merging():
            while (which := merging.due(parts := self.state.parts)) is not None:
                self._merged(parts[slice(*which)], beside)
            if self.keeper is not None and self.keeper.is_due():
                self.keeper.save(self)

    def _merged(self, before: tuple[Part, ...], beside: bool) -> None:
        """Write parts as one."""
        rows = self.maker.joined([(part.segment.rows, part.places()) for part in before])
        called = joined([part.ids() for part in before])
        scanner = self.maker.merged(Given(rows, called.names, self.metric), beside)
        made = Segment(self.maker.rows(scanner, rows), called, scanner)
        with self.turns.writing():
            self.state = merging.put(self.state, before, made)


def _kind(state: State) -> str | None:
    return state.parts[0].segment.ids.kind if state.parts else None


def _places(state: State, wanted: npt.NDArray[Any], twice: bool = False) -> list[Any]:
    """Of each part the rows of these ids.

    Raises:
        KnnscopeError: one is not there; or stands twice, unless it may.
    """
    found = states.find(state, wanted)
    there = np.zeros(len(wanted), dtype=np.bool_)
    for places in found:
        there |= places >= 0
    if not there.all():
        raise KnnscopeError(f"ids: {_shown(wanted[np.argmin(there)])} is not in the index{_others(~there)}")
    if not twice and len(np.unique(wanted)) < len(wanted):
        ascending = np.sort(wanted)
        raise KnnscopeError(f"ids: {_shown(ascending[1:][ascending[1:] == ascending[:-1]][0])} stands more than once")
    return found


def _called(ids: Any, rows: int, state: State) -> Ids:
    kind = _kind(state)
    if not rows and (ids is None or plain(ids, "ids").size == 0):
        return Strings(np.empty(0, dtype=STRING)) if kind == Strings.kind else Numbers(ALL, 0)
    if ids is None:
        if kind == Strings.kind:
            raise KnnscopeError("ids of this index are strings: give one for each row")
        return consecutive(state.next_id, rows)
    if rows == 1 and (one := plain(ids, "ids")).ndim == 0:
        ids = [ids] if isinstance(ids, str) else one.reshape(1)  # arrays drop NUL at the end of a string
    called = new_ids(ids, rows, kind)
    if kind is not None and rows and called.kind != kind:
        raise of_other_kind("ids", called.kind, kind)
    return called


def _refuse_known(state: State, found: npt.NDArray[Any]) -> None:
    known = np.zeros(len(found), dtype=np.bool_)
    for places in states.find(state, found):
        known |= places >= 0
    if known.any():
        raise KnnscopeError(
            f"ids: {_shown(found[np.argmax(known)])} is in the index already{_others(known)}: update it, or give another id"
        )


def _shown(called: Any) -> str:
    return repr(called) if isinstance(called, str) else str(called)


def _others(which: npt.NDArray[np.bool_]) -> str:
    """That there are more such ids."""
    count = int(np.count_nonzero(which)) - 1
    return f" ({count:,} other{'s' * (count > 1)} too)" if count else ""
