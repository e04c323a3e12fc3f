"""What stands beside the rows, as named arrays and a few numbers: written to files, and taken from them without being written again.

Who reads them trusts their shapes and nothing else: kernels go by shapes, so that whatever the bytes are, nothing beyond them is read.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified import plane_bound
from knnscope.certified.components import STEP
from knnscope.certified.cpu import lines, plane, rotation
from knnscope.certified.cpu.again import LaidOut
from knnscope.certified.cpu.levels import Levels
from knnscope.certified.cpu.plane import Map, Most, Plane
from knnscope.certified.cpu.quantise import FAR, MOST_DIM, PANEL, Coded, Codes, Mapping

LAYOUT = 3
"""Of codes, plane and lines: larger with every change of what their bytes mean. Others are written again from the rows."""
NAMES = (
    "codes", "scales", "errors", "terms", "centre", "factors", "plane", "plane.matrix", "plane.centre", "lines",
)  # fmt: skip
"""Of all arrays that there may be."""
Arrays = dict[str, npt.NDArray[Any]]


class UnfitError(Exception):
    """The arrays are not those of such rows."""


class Kept(Levels):
    """Levels that are there already."""

    def __init__(self, codes: Codes | None, of: Plane | None, beside: npt.NDArray[np.int8] | None) -> None:
        self.codes, self.plane, self.lines = codes, of, beside
        self.laid_out = LaidOut()
        self._scanned = None if beside is not None else codes


def told(levels: Levels) -> tuple[dict[str, Any], Arrays]:
    """Numbers, as JSON has them, and arrays."""
    numbers: dict[str, Any] = {"layout": LAYOUT}
    arrays: Arrays = {}
    codes, leading = levels.codes, levels.plane
    if codes is not None:
        arrays.update(
            codes=codes.coded.codes, scales=codes.coded.scales, errors=codes.coded.errors, terms=codes.coded.terms
        )
        arrays.update(centre=codes.mapping.centre, factors=codes.mapping.factors)
        numbers["mapping"] = [codes.mapping.scaling, codes.mapping.reach2]
    if leading is not None:
        ways = leading.map
        arrays["plane"], arrays["plane.matrix"], arrays["plane.centre"] = leading.blocks, ways.matrix, ways.centre
        numbers["plane"] = [ways.rho, ways.scaling, ways.longest, *ways.most]
        numbers["neighbors"] = list(leading.neighbors)
    if levels.lines is not None:
        arrays["lines"] = levels.lines
    return numbers, arrays


def levels_of(numbers: dict[str, Any], arrays: Arrays, shape: tuple[int, int], metric: int) -> Levels:
    """Levels of rows of this shape.

    Args:
        numbers: see ``told``.
        arrays: aligned, and with bytes behind them; see saved/sections.py.
        shape: of the rows.
        metric: its number.

    Raises:
        UnfitError: they are not such.
    """
    try:
        if numbers["layout"] != LAYOUT:
            raise UnfitError(f"layout {numbers['layout']}")
        leading = _plane(numbers, arrays, shape, metric) if "plane" in numbers else None
        codes = _codes(numbers, arrays, shape, metric, leading is not None) if "mapping" in numbers else None
        beside = None
        if leading is not None and codes is not None:
            groups = -(-shape[1] // 4)
            beside = _array(
                arrays, "lines", np.int8, (shape[0], lines.HEAD + -(-groups * 4 // lines.STEP) * lines.STEP)
            )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnfitError(str(error)) from error
    return Kept(codes, leading, beside)


def _codes(numbers: dict[str, Any], arrays: Arrays, shape: tuple[int, int], metric: int, is_in_lines: bool) -> Codes:
    count, dim = shape
    if dim > (lines.MOST_DIM if is_in_lines else MOST_DIM):
        raise UnfitError("dim")
    padded = -(-count // PANEL) * PANEL
    coded = Coded(
        _array(arrays, "codes", np.int8, (0 if is_in_lines else padded // 16, -(-dim // 4), 16, 4)),
        *(_array(arrays, name, np.float32, (padded,)) for name in ("scales", "errors", "terms")),
    )
    scaling, reach2 = _floats(numbers["mapping"], 2)
    if math.frexp(scaling)[0] != 0.5 or not 0 <= reach2 < FAR * FAR:
        raise UnfitError("mapping")
    turn = rotation.make(dim)  # where its blocks end decides what is written where, so that is not read
    centre, factors = _vector(arrays, "centre", dim), _vector(arrays, "factors", dim)
    return Codes(count, coded, Mapping(metric, centre, scaling, reach2, factors, turn.ends, turn.roundings))


def _plane(numbers: dict[str, Any], arrays: Arrays, shape: tuple[int, int], metric: int) -> Plane:
    count, dim = shape
    matrix = arrays["plane.matrix"]
    m = len(matrix)
    if not plane.DIMS[0] <= dim <= plane.DIMS[1] or m % STEP or not 0 < m <= min(dim, plane_bound.MOST):
        raise UnfitError("plane")
    _array(arrays, "plane.matrix", np.float32, (m, -(-dim // plane.LANES) * plane.LANES))
    if not np.isfinite(matrix).all():
        raise UnfitError("plane.matrix")
    blocks = _array(arrays, "plane", np.uint8, (-(-count // plane.LANES), 8 * m + plane.SIDES))
    rho, scaling, longest, *most = _floats(numbers["plane"], 8)
    neighbors = numbers["neighbors"]
    if len(neighbors) != len(plane.UP_TO) + 1 or any(type(k) is not int or not 0 <= k < 1 << 31 for k in neighbors):
        raise UnfitError("neighbors")
    if math.frexp(scaling)[0] != 0.5 or min(rho, longest, *most) < 0:
        raise UnfitError("plane")
    centre = _vector(arrays, "plane.centre", dim)
    return Plane(blocks, count, tuple(neighbors), Map(matrix, rho, metric, centre, scaling, Most(*most), longest))


def _array(arrays: Arrays, name: str, dtype: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    found = arrays[name]
    if found.dtype != dtype or found.shape != shape:
        raise UnfitError(f"{name} has shape {found.shape} and type {found.dtype}")
    return found


def _vector(arrays: Arrays, name: str, dim: int) -> npt.NDArray[np.float64]:
    found = _array(arrays, name, np.float64, (dim,))
    if not np.isfinite(found).all():
        raise UnfitError(name)
    return found


def _floats(given: Any, count: int) -> list[float]:
    if type(given) is not list or len(given) != count or any(type(one) not in (int, float) for one in given):
        raise UnfitError("numbers")
    found = [float(one) for one in given]
    if not all(map(math.isfinite, found)):
        raise UnfitError("numbers")
    return found
