"""Which rows may be answers: a mask, bits, ids to keep or to leave out; one for all queries, or one each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.ids import wanted_ids
from knnscope.certified.rows import as_mask, plain
from knnscope.certified.state import Mask, State, find
from knnscope.errors import KnnscopeError


class Keep:
    """Only rows with these ids may be answers; an id that is not in the index is no error, since a row may just have been removed."""

    def __init__(self, ids: Any) -> None:
        """Whole numbers or strings, as the index has them: an array, a list, a set, or a single one."""
        self.ids = ids

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_count(self.ids)})"


class Without(Keep):
    """Rows with these ids are no answers; an id that is not in the index is no error."""


class Bits:
    """A mask of one bit a row: bit i belongs to row i of ``index.ids``."""

    def __init__(self, packed: npt.ArrayLike, order: str = "big") -> None:
        """Bits of masks.

        Args:
            packed: uint8, (bytes,) or (queries, bytes), as many bytes as hold a bit a row.
            order: big, the highest bit of a byte first, as numpy.packbits writes them; or little, as Faiss and cuVS do.

        Raises:
            KnnscopeError: another type, shape or order.
        """
        self.packed, self.order = plain(packed, "bits"), order
        if self.packed.dtype != np.uint8 or self.packed.ndim not in (1, 2):
            raise KnnscopeError(
                f"bits have shape {self.packed.shape} and type {self.packed.dtype}: uint8, (bytes,) or (queries, bytes), was expected"
            )
        if order not in ("big", "little"):
            raise KnnscopeError(f"order = {order!r}: big or little was expected")

    def __repr__(self) -> str:
        return f"Bits({self.packed.shape} bytes, {self.order})"

    def mask(self, rows: int) -> Mask:
        """As truth values.

        Raises:
            KnnscopeError: bits for another number of rows.
        """
        if self.packed.shape[-1] != -(-rows // 8):
            raise KnnscopeError(
                f"bits of shape {self.packed.shape}: {-(-rows // 8)} bytes, one bit for each of {rows} rows, were expected"
            )
        order: Any = self.order
        return np.unpackbits(self.packed, axis=-1, count=rows, bitorder=order).view(np.bool_)


def is_filter(where: Any) -> bool:
    """Whether it is no mask as it stands."""
    return isinstance(where, (Keep, Bits, list, tuple))


def is_list(where: Any) -> bool:
    """Whether it is a list of filters, one a query, None for all rows; a list of truth values is a mask."""
    if not isinstance(where, (list, tuple)):
        return False
    return not where or any(one is None or isinstance(one, (Keep, Bits)) for one in where)


def masks(where: Any, state: State, queries: int) -> list[Mask]:
    """For each part the rows that may be answers, bool, (0 or 1 or queries, rows of the segment); (0, rows) for all.

    Args:
        where: as ``ExactIndex.search`` takes it.
        state: the index.
        queries: how many there are.

    Raises:
        KnnscopeError: another shape, type or kind of ids.
    """
    if where is None:
        return [_live(part) for part in state.parts]
    if isinstance(where, Keep):
        return _by_ids(where, state)
    if is_list(where):
        return _one_each(where, state, queries)
    mask = as_mask(where.mask(state.rows) if isinstance(where, Bits) else where, queries, state.rows)
    made, first = [], 0
    for part in state.parts:
        some, places = mask[:, first : first + part.left], part.places()
        first += part.left
        if places is None:
            made.append(np.ascontiguousarray(some))
        else:
            own = np.zeros((len(mask), len(part.segment.ids)), dtype=np.bool_)
            own[:, places] = some
            made.append(own)
    return made


def _live(part: Any) -> Mask:
    return np.empty((0, len(part.segment.ids)), dtype=np.bool_) if part.live is None else part.live


def _by_ids(where: Keep, state: State) -> list[Mask]:
    kind = state.parts[0].segment.ids.kind if state.parts else None
    wanted, _ = wanted_ids(where.ids, kind, "where: ids")
    made, keeps = [], not isinstance(where, Without)
    for part, places in zip(state.parts, find(state, wanted), strict=True):
        if keeps:
            own = np.zeros((1, len(part.segment.ids)), dtype=np.bool_)
        else:
            own = np.ones((1, len(part.segment.ids)), dtype=np.bool_) if part.live is None else part.live.copy()
        own[0, places[places >= 0]] = keeps
        made.append(own)
    return made


def check_count(where: Sequence[Any], queries: int) -> None:
    """Whether there is a filter for each query.

    Raises:
        KnnscopeError: there are more or fewer.
    """
    if len(where) != queries:
        raise KnnscopeError(
            f"where has {len(where)} filter{'s' * (len(where) != 1)}: one for each of {queries} queries was expected"
        )


def _one_each(where: Sequence[Any], state: State, queries: int) -> list[Mask]:
    check_count(where, queries)
    made = [np.empty((queries, len(part.segment.ids)), dtype=np.bool_) for part in state.parts]
    for number, one in enumerate(where):
        for own, lines in zip(made, masks(one, state, 1), strict=True):
            own[number] = lines[0] if len(lines) else True
    return made


def _count(ids: Any) -> str:
    try:
        return f"{len(ids):,} ids" if not isinstance(ids, str) else repr(ids)
    except TypeError:
        return repr(ids)
