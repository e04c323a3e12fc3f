"""Which labels may be answers, as Faiss' selectors say it. Faiss' own are taken as well, and asked label by label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.faiss.arrays import Int64, ShapeError

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class SearchParameters:
    """What one search is told: the selector of its labels, ours or Faiss' own."""

    sel: Any = None


def members(selector: Any, labels: Int64) -> Mask:
    """Which labels are in a selector, or in an array of labels, (ids,).

    Raises:
        ShapeError: it is something else.
    """
    if isinstance(selector, IDSelector):
        return selector.members(labels)
    if hasattr(selector, "is_member"):
        return np.fromiter(map(selector.is_member, labels.tolist()), np.bool_, len(labels))
    wanted = np.asarray(selector)
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
        raise ShapeError(f"ids are {wanted.dtype}, {wanted.shape}: whole numbers, (ids,), or a selector were expected")
    return np.isin(labels, wanted.astype(np.int64))  # as int64 and uint64 together NumPy compares them as float64


class IDSelector:
    """A set of labels, told by a function of labels, int64, (labels,), that gives bool, (labels,)."""

    def __init__(self, members: Callable[[Int64], Mask]) -> None:
        self.members = members

    def is_member(self, label: int) -> bool:
        """Whether a label is in it."""
        return bool(self.members(np.array([label], dtype=np.int64))[0])


class IDSelectorArray(IDSelector):
    """The labels of an array, (ids,)."""

    def __init__(self, ids: Any) -> None:
        kept = np.array(ids, dtype=np.int64)
        super().__init__(lambda labels: np.isin(labels, kept))


class IDSelectorBatch(IDSelectorArray):
    """The labels of an array: in Faiss this one is for many."""


class IDSelectorRange(IDSelector):
    """Labels from the first up to the last, which is not in it."""

    def __init__(self, imin: int, imax: int, assume_sorted: bool = False) -> None:  # noqa: ARG002
        super().__init__(lambda labels: (labels >= imin) & (labels < imax))


class IDSelectorBitmap(IDSelector):
    """Labels whose bit is set in bytes, uint8, (bytes,): of label i it is bit i % 8 of byte i // 8, the lowest first."""

    def __init__(self, bitmap: Any) -> None:
        named = np.flatnonzero(np.unpackbits(np.asarray(bitmap, dtype=np.uint8), bitorder="little"))
        super().__init__(lambda labels: np.isin(labels, named))


class IDSelectorAll(IDSelector):
    """All labels."""

    def __init__(self) -> None:
        super().__init__(lambda labels: np.ones(len(labels), dtype=np.bool_))


class IDSelectorNot(IDSelector):
    """Labels that another selector leaves out."""

    def __init__(self, sel: Any) -> None:
        super().__init__(lambda labels: ~members(sel, labels))


class IDSelectorAnd(IDSelector):
    """Labels that two selectors have."""

    def __init__(self, lhs: Any, rhs: Any) -> None:
        super().__init__(lambda labels: members(lhs, labels) & members(rhs, labels))
