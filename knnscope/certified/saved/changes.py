"""A change of an index as bytes: what was done, with which ids, and the rows."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu.saved import UnfitError
from knnscope.certified.saved.segments import ROWS, strings_of, text_of

ADD, UPDATE, REMOVE, NEXT = 1, 2, 3, 4
"""NEXT: changes go on in the journal of the next number."""
HEAD = struct.Struct("<BB3sxHQQ")
"""What; whether ids are strings; type of rows; padding; then rows, and bytes of ids. Its size is a multiple of 8."""


class Change(NamedTuple):
    """what: one of the numbers above. ids: int64 or strings, (ids,). rows: (ids, dim); for REMOVE and NEXT None."""

    what: int
    ids: npt.NDArray[Any]
    rows: npt.NDArray[Any] | None = None


NEXT_ONE = Change(NEXT, np.empty(0, dtype=np.int64))


def written(change: Change) -> list[bytes | memoryview]:
    """A change as bytes, in pieces; rows are not copied."""
    is_text = change.ids.dtype.kind == "T"
    ids = text_of(change.ids) if is_text else np.ascontiguousarray(change.ids, dtype="<i8")
    rows, dtype = change.rows, b""
    if rows is not None:
        rows = np.ascontiguousarray(rows)
        dtype = rows.dtype.newbyteorder("<").str.encode()
    head = HEAD.pack(change.what, is_text, dtype, 0, len(change.ids), ids.nbytes)
    pieces: list[bytes | memoryview] = [head, ids.tobytes().ljust(-(-ids.nbytes // 8) * 8, b"\0")]
    if rows is not None and rows.size:
        pieces.append(rows.reshape(-1).view(np.uint8).data)
    return pieces


def read(record: bytes, dim: int) -> Change:
    """The change that such bytes are.

    Raises:
        UnfitError: they are not a change of an index of so many components.
    """
    if len(record) < HEAD.size:
        raise UnfitError("a record is too short")
    what, is_text, dtype, _, count, size = HEAD.unpack_from(record)
    start = HEAD.size + -(-size // 8) * 8
    if what not in (ADD, UPDATE, REMOVE, NEXT) or is_text > 1 or start > len(record):
        raise UnfitError("a record is of no known kind")
    ids = np.frombuffer(record, dtype=np.uint8, count=size, offset=HEAD.size)
    if is_text:
        called: npt.NDArray[Any] = strings_of(ids, count)
    elif size == 8 * count:
        called = ids.view("<i8")
    else:
        raise UnfitError("a record has other ids than it says")
    if what not in (ADD, UPDATE):
        if start != len(record):
            raise UnfitError("a record is too long")
        return Change(what, called)
    name = dtype.rstrip(b"\0").decode("ascii", "replace")
    if name not in ROWS or len(record) - start != count * dim * np.dtype(name).itemsize:
        raise UnfitError("a record has other rows than it says")
    return Change(what, called, np.frombuffer(record, dtype=name, offset=start).reshape(count, dim))


def joined(changes: list[Change]) -> Change:
    """Changes of one kind, one after another, as one."""
    if len(changes) == 1:
        return changes[0]
    rows = [change.rows for change in changes if change.rows is not None]
    return Change(changes[0].what, np.concatenate([one.ids for one in changes]), np.concatenate(rows) if rows else None)


def can_join(one: Change, other: Change) -> bool:
    """Whether two changes, one after the other, are one: two of ADD or of REMOVE, of the same kinds."""
    return (
        one.what == other.what in (ADD, REMOVE)
        and one.ids.dtype.kind == other.ids.dtype.kind
        and (one.rows is None or other.rows is None or one.rows.dtype == other.rows.dtype)
    )
