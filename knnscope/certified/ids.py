"""What rows are called: whole numbers or strings, found by binary search, with no Python object a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.rows import EITHER, as_ids, is_masked, no_ids, plain
from knnscope.errors import KnnscopeError

Int64 = npt.NDArray[np.int64]

STRING = np.dtypes.StringDType(coerce=False)
"""16 bytes an id, and what is longer than 15 bytes. It sorts by code points, as UTF-8 does."""
LONGEST = 512
"""Characters of an id: the longest one decides what an answer's array takes."""
LAST = 2**63 - 1
"""What int64 holds; no id is so large."""
ALL = np.empty(0, dtype=np.int64)
"""In place of 0, 1, 2 ..., as scanners take it."""


class Numbers:
    """Whole numbers from 0; ``names`` as a scanner takes them: (rows,), or (0,) for 0, 1, 2 ..."""

    kind = "whole numbers"

    def __init__(self, names: Int64, rows: int) -> None:
        self.names, self._rows = names, rows
        self._order: Int64 | None = None

    def __len__(self) -> int:
        return self._rows

    def array(self) -> Int64:
        """As the user gave them."""
        return self.names if len(self.names) else np.arange(self._rows)

    def find(self, wanted: Int64) -> Int64:
        """The rows that are called so, int64; -1 for an id that is not here."""
        if not len(self.names):
            return np.where((wanted >= 0) & (wanted < self._rows), wanted, -1)
        if self._rows * len(wanted) <= 1 << 12:
            return _looked(self.names, wanted)
        if self._order is None:
            ascending = bool((self.names[1:] > self.names[:-1]).all())
            self._order = ALL if ascending else np.argsort(self.names)
        return _found(self.names, self._order, wanted)

    def take(self, rows: Int64) -> Numbers:
        """The ids of some rows."""
        return Numbers(rows if not len(self.names) else self.names[rows], len(rows))

    def largest(self) -> int:
        """The largest."""
        return int(self.names.max()) if len(self.names) else self._rows - 1

    def told(self, found: Int64) -> npt.NDArray[Any]:
        """An answer of a scanner as ids."""
        return found


class Strings:
    """Strings; a scanner has their ranks among those of these rows, so that ties go by code points."""

    kind = "strings"

    def __init__(self, values: npt.NDArray[Any]) -> None:
        """Of the type ``STRING``, (rows,), none twice."""
        self._values: npt.NDArray[Any] | None = values
        self._rows = len(values)
        self._ranked: tuple[npt.NDArray[Any], Int64, Int64] | None = None

    def __len__(self) -> int:
        return self._rows

    @property
    def names(self) -> Int64:
        """Ranks, (rows,)."""
        return self._in_order()[2]

    def ranked(self) -> tuple[npt.NDArray[Any], Int64]:
        """The strings sorted, and the rank of each row."""
        ascending, _, ranks = self._in_order()
        return ascending, ranks

    @classmethod
    def in_order(cls, ascending: npt.NDArray[Any], order: Int64, ranks: Int64) -> Strings:
        """Strings that are sorted, the row of each, and the rank of each row."""
        made = cls(ascending)
        made._values, made._ranked = None, (ascending, order, ranks)
        return made

    def _in_order(self) -> tuple[npt.NDArray[Any], Int64, Int64]:
        """The strings sorted, the row of each, and the rank of each row."""
        values, ranked = (
            self._values,
            self._ranked,
        )  # in this order: another thread may put ranks in place of values now
        if ranked is None:
            assert values is not None
            order = np.argsort(values, kind="stable")
            ranks = np.empty(len(values), dtype=np.int64)
            ranks[order] = np.arange(len(values))
            ranked = self._ranked = values[order], order, ranks
            self._values = None  # one copy is enough
        return ranked

    def array(self) -> npt.NDArray[Any]:
        """As the user gave them, of type ``STRING``."""
        values = self._values
        if values is None:
            values = self._in_order()[0][self.names]
        return values

    def find(self, wanted: npt.NDArray[Any]) -> Int64:
        """The rows that are called so, int64; -1 for an id that is not here."""
        values, few = self._values, self._rows * len(wanted) <= 1 << 12
        if values is not None and few:
            return _looked(values, wanted)
        ascending, order, _ = self._in_order()
        return _found(ascending, order, wanted, is_sorted=True)

    def take(self, rows: Int64) -> Strings:
        """The ids of some rows."""
        return Strings(self.array()[rows])

    def told(self, found: Int64) -> npt.NDArray[Any]:
        """An answer of a scanner, ranks, as ids; empty for no row."""
        if not self._rows:
            return np.full(found.shape, "", dtype=STRING)
        made = self._in_order()[0][np.maximum(found, 0)]
        made[found < 0] = ""
        return made

    @staticmethod
    def ranks(found: npt.NDArray[Any]) -> Int64:
        """Whole numbers in the order of the ids of answers; -1 for no row."""
        flat, ranks = found.reshape(-1), np.empty(found.size, dtype=np.int64)
        order = np.argsort(flat, kind="stable")
        ascending = flat[order]
        ranks[order] = np.concatenate([[0], np.cumsum(ascending[1:] != ascending[:-1])])[: found.size]
        ranks[flat == ""] = -1
        return ranks.reshape(found.shape)

    @staticmethod
    def bare(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """As arrays of answers have them: of NumPy's type that every library reads."""
        made: npt.NDArray[Any] = np.array(values.tolist(), dtype=np.str_).reshape(values.shape)
        return made


Ids = Numbers | Strings


def joined(parts: Sequence[Ids]) -> Ids:
    """Ids of one kind, of rows one after another."""
    values = np.concatenate([part.array() for part in parts])
    return Strings(values) if values.dtype.kind == "T" else _numbers(values)


def _looked(values: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Int64:
    """``_found`` of few, without sorting."""
    if not len(values):
        return np.full(len(wanted), -1, dtype=np.int64)
    same = values == wanted[:, None]
    return np.where(same.any(axis=1), same.argmax(axis=1), -1)


def _found(values: npt.NDArray[Any], order: Int64, wanted: npt.NDArray[Any], is_sorted: bool = False) -> Int64:
    """Places of the wanted in values, -1 where there is none.

    Args:
        values: (rows,), none twice.
        order: places that sort them; (0,) where they ascend.
        wanted: any number.
        is_sorted: whether ``values`` lie in that order.
    """
    if not len(values):
        return np.full(len(wanted), -1, dtype=np.int64)
    sorter = order if len(order) and not is_sorted else None
    places = np.searchsorted(values, wanted, sorter=sorter)
    places = np.minimum(places, len(values) - 1)
    there = order[places] if len(order) else places
    same = values[places if is_sorted else there] == wanted
    return np.where(same, there, -1)


def _numbers(names: Int64) -> Numbers:
    """Where they are 0, 1, 2 ... nothing is kept."""
    plain = len(names) > 0 and names[0] == 0 and names[-1] == len(names) - 1 and bool((np.diff(names) == 1).all())
    return Numbers(ALL if plain else names, len(names))


def consecutive(first: int, count: int) -> Numbers:
    """The next whole numbers.

    Raises:
        KnnscopeError: there are no more.
    """
    if first + count > LAST:
        raise KnnscopeError("there is no larger id left than those that rows had: give ids")
    return Numbers(np.arange(first, first + count) if first else ALL, count)


def new_ids(given: Any, rows: int, kind: str | None = None) -> Ids:
    """Ids of new rows, none twice; None for 0, 1, 2 ... kind: what the index takes, for messages.

    Raises:
        KnnscopeError: another shape or type, a number or string that no id can be, or one that stands twice.
    """
    if isinstance(given, (set, frozenset)):
        raise KnnscopeError("ids are a set, whose order is not that of the rows: give a list")
    values = _strings(given, "ids", kind or EITHER)
    if values is None:
        return Numbers(as_ids(given, rows, kind or EITHER), rows)
    if values.shape != (rows,):
        raise KnnscopeError(f"ids have shape {values.shape}: one for each row, ({rows},), was expected")
    made = Strings(values)
    ascending = made.array()[np.argsort(made.array())]
    twice = np.flatnonzero(ascending[1:] == ascending[:-1])
    if len(twice):
        raise KnnscopeError(f"ids: {ascending[twice[0]]!r} stands more than once: each row needs an id of its own")
    return made


def wanted_ids(given: Any, kind: str | None, what: str = "ids") -> tuple[npt.NDArray[Any], bool]:
    """Ids to be looked up, (ids,), of the index' kind; and whether a single one was given.

    Args:
        given: a whole number, a string, or an array or list of these.
        kind: the kind of ids that the index has; None where it has none yet.
        what: what they are, for messages.

    Raises:
        KnnscopeError: another shape or kind.
    """
    values = _strings(given, what, kind or EITHER)
    if values is None:
        values = plain(list(given) if isinstance(given, (set, frozenset, range, dict)) else given, what)
        if not values.size:
            values = np.empty(values.shape, dtype=STRING if kind == Strings.kind else np.int64)
        elif values.dtype.kind not in "iu":
            raise no_ids(values, what, kind or EITHER)
        elif values.dtype == np.uint64:  # what int64 does not hold is no id
            values = np.where(values > LAST, -1, values.astype(np.int64))
        if values.dtype.kind in "iu":
            values = values.astype(np.int64, copy=False)
    is_text = values.dtype.kind == "T"
    if values.ndim > 1:
        raise KnnscopeError(f"{what} have shape {values.shape}: one dimension was expected")
    if kind is not None and values.size and is_text != (kind == Strings.kind):
        raise of_other_kind(what, Strings.kind if is_text else Numbers.kind, kind)
    return np.atleast_1d(values), values.ndim == 0


def of_other_kind(what: str, given: str, kind: str) -> KnnscopeError:
    """What is said of strings where ids are whole numbers, and the other way round."""
    if kind == Strings.kind:
        remedy = "give strings, as when its rows were added"
    else:
        remedy = "give numbers; for strings, build the index with strings, ExactIndex(vectors, ids=[...])"
    return KnnscopeError(f"{what} are {given}: those of this index are {kind}: {remedy}")


def _strings(given: Any, what: str, kind: str = EITHER) -> npt.NDArray[Any] | None:
    """Strings as an array of the type ``STRING``; None where these are none.

    Raises:
        KnnscopeError: some are none, or strings that no id can be.
    """
    if is_masked(given):
        plain(given, what)  # refuses it
    if isinstance(given, (set, frozenset, dict)):
        given = list(given)
    if isinstance(given, (str, list, tuple)):
        some = given if not isinstance(given, str) else (given,)
        if not any(isinstance(one, str) for one in some):
            return None
        if not all(isinstance(one, str) for one in some):
            raise KnnscopeError(
                f"{what} are strings and something else: all strings, or all whole numbers, were expected"
            )
    elif (letter := getattr(getattr(given, "dtype", None), "kind", "")) not in ("U", "T", "O"):
        return None
    elif letter == "O" and not all(isinstance(one, str) for one in np.asarray(given).ravel()):
        raise no_ids(np.asarray(given), what, kind)
    try:
        values = np.array(given, dtype=STRING)
    except (ValueError, TypeError) as error:  # half of a surrogate pair; something missing
        raise KnnscopeError(f"{what} are not all strings of Unicode characters: {error}") from error
    lengths = np.strings.str_len(values)
    if values.size and (int(lengths.min()) == 0 or int(lengths.max()) > LONGEST):
        raise KnnscopeError(
            f"{what}: strings of 1 to {LONGEST} characters were expected; an empty one stands for no row"
        )
    if any("\0" in one for one in values.ravel().tolist()):
        raise KnnscopeError(f"{what}: a string holds the character NUL, which arrays of strings cannot keep")
    return values
