"""What one to four queries take on a GPU by the plane and by codes, predicted. Nothing here needs a GPU.

Fitted to lines of one query of benchmarks/results/certified-gpu-*-h200.json, which tests hold it to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from knnscope.certified import components

SCAN_RATE, LINK_RATE, LOOK_RATE = 3.5e6, 5e4, 1e6
"""Bytes a microsecond: of codes from the GPU's memory and over its link to the host, and of rows here and there."""
PLANE, CODES = (10.0, 0.1), (12.0, 0.85)
"""Microseconds that a query takes whatever it reads, and more for each neighbor."""
SIDES = 8, 12
"""Bytes of a row's numbers beside its half bytes and beside its codes."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """rows; leading: components of the plane; width: bytes of a row's codes; row: bytes of a row; streamed: whether codes come from host memory."""

    rows: int
    leading: int
    width: int
    row: int
    streamed: bool = False


def left(survivors: tuple[float, ...], k: int) -> float:
    """The share of rows that the plane leaves. survivors: as ``components.Directions`` has them."""
    share = float(np.interp(np.log(k), np.log(components.KS), survivors)) * max(1.0, k / components.KS[-1])
    return min(1.0, components.UNLIKE * share)


def by_plane(sizes: Sizes, k: int, share: float) -> float:
    """Microseconds. share: of rows that are left."""
    scanned = sizes.rows * (sizes.leading / 2 + SIDES[0]) / (LINK_RATE if sizes.streamed else SCAN_RATE)
    return PLANE[0] + PLANE[1] * k + scanned + share * sizes.rows * sizes.row / LOOK_RATE


def by_codes(sizes: Sizes, k: int) -> float:
    """Microseconds."""
    scanned = sizes.rows * (sizes.width + SIDES[1]) / (LINK_RATE if sizes.streamed else SCAN_RATE)
    return CODES[0] + CODES[1] * k + scanned
