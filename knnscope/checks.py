"""Checks of input that several stages make."""

from __future__ import annotations

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
