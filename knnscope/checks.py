"""Checks of input that several stages make."""

from __future__ import annotations

import operator
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError

COMPONENTS = 1 << 22
"""Components looked at at once, so that a memory map is not read whole."""


def check_finite(values: npt.NDArray[Any], what: str, first: int = 0) -> None:
    """Refuse NaN and infinity in (rows, dim), whose first row is number ``first``.

    Raises:
        KnnscopeError: names the first such row and component.
    """
    if values.dtype.kind != "f":
        return
    step = max(1, COMPONENTS // values.shape[1])
    for start in range(0, len(values), step):
        bad = ~np.isfinite(block := values[start : start + step])
        if bad.any():
            row, component = np.argwhere(bad)[0]
            others = f" ({count:,} such rows from there on)" if (count := int(bad.any(axis=1).sum())) > 1 else ""
            raise KnnscopeError(
                f"{what}: row {first + start + row:,} has {block[row, component]} in component {component}{others}: "
                "only finite numbers can be searched"
            )


def check_named(name: Any, what: str) -> None:
    """Refuse a name of nothing, which a path takes for this folder.

    Raises:
        KnnscopeError: it is empty.
    """
    if not os.fspath(name):
        raise KnnscopeError(f"{what} is empty: perhaps a variable is not set")


def check_whole(value: Any, what: str, least: int, most: int, expected: str) -> int:
    """A whole number in a range, of Python, NumPy or whatever counts as one; no truth value.

    Args:
        value: what was given.
        what: its name.
        least: the smallest allowed.
        most: the largest allowed.
        expected: the range in words.

    Raises:
        KnnscopeError: anything else.
    """
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise KnnscopeError(f"{what} = {value!r}: a whole number, {expected}, was expected")
    try:
        number = operator.index(value)
    except TypeError as error:  # an array of several, or of another type
        raise KnnscopeError(f"{what} = {value!r}: a whole number, {expected}, was expected") from error
    if not least <= number <= most:
        raise KnnscopeError(f"{what} = {number} is outside {expected}")
    return number
