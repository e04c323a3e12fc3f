"""Queries as whole numbers: mapped as the rows were, written with one or two digits, with what their bounds need."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, rotation
from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.llvm import Emit, T, instructions
from knnscope.certified.cpu.products import packed_shape
from knnscope.certified.cpu.quantise import EXPONENTS, FAR, LEVELS, Codes
from knnscope.certified.cpu.rotation import LANES

TYPES = (np.dtype(np.float32), np.dtype(np.float64))
"""Of queries that a user gives and that need no conversion but ``wide``."""
BASE = 254
"""v = 254 high + low: the low digit is the nearest whole number, so it fits into int8."""


def wide(queries: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Queries of ``TYPES`` as float64, C order; without a report of NumPy's where a NaN is a signalling one: ``as_queries`` says where it is."""
    if queries.dtype == np.float64:
        return np.ascontiguousarray(queries)
    with np.errstate(invalid="ignore"):
        return queries.astype(np.float64, order="C")


class EncodedQueries(NamedTuple):
    """Query vectors in tiles, and numbers for each query; padded to whole tiles with queries that keep no row.

    packed: see products.packed_shape. biases: int32, (tiles, vectors). steps: float32, 2 t. lengths2, errors: float64, |p|^2 and e_q.
    bases, gains: float64: a value v as defined has the squared distance base + gain v here. blurs: float64, the root of what rounding in
    the definition may add to such a square. far: bool: those whose bounds would overflow or lose their digits.
    """

    packed: npt.NDArray[Any]
    biases: npt.NDArray[np.int32]
    steps: npt.NDArray[np.float32]
    lengths2: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    bases: npt.NDArray[np.float64]
    gains: npt.NDArray[np.float64]
    blurs: npt.NDArray[np.float64]
    far: npt.NDArray[np.bool_]


class Plan(NamedTuple):
    """How queries are scanned: a scan's name (a key of ``scan.SCANS``, or "stream"), query vectors in a tile, digits of a query."""

    scan: str
    width: int
    digits: int


def blank(count: int, groups: int, plan: Plan) -> EncodedQueries:
    """So many queries, to be written for a scan of rows with so many groups of four components."""
    each = plan.width // plan.digits
    total = -(-count // each) * each
    shape, dtype = packed_shape(groups, plan.scan, plan.width)
    packed: npt.NDArray[Any] = np.zeros((total // each, *shape), dtype=dtype)
    biases, steps = np.zeros((total // each, plan.width), dtype=np.int32), np.zeros(total, dtype=np.float32)
    lengths2, errors, bases, gains, blurs = np.zeros((5, total))
    return EncodedQueries(packed, biases, steps, lengths2, errors, bases, gains, blurs, np.ones(total, dtype=np.bool_))


def ask(queries: npt.NDArray[np.float64], codes: Codes, plan: Plan) -> EncodedQueries:
    """Write queries for a scan.

    Args:
        queries: float64, (queries, dim), C order, finite.
        codes: the rows.
        plan: how they are scanned.
    """
    made = blank(len(queries), codes.coded.codes.shape[1], plan)
    write(queries, codes.mapping, plan.digits, made, (0, len(queries)))
    return made


def _kernels(lanes: int) -> tuple[Any, Any, Any]:
    """What is done for each component of so many queries side by side, in the order of the components."""

    def kind(scalar: Any) -> Any:
        return scalar if lanes == 1 else ir.VectorType(scalar, lanes)

    def wide(emit: Emit, value: Any) -> Any:
        return value if lanes == 1 else emit.spread(value, kind(value.type))

    def called(emit: Emit, name: str, *given: Any) -> Any:
        return emit.call(f"llvm.{name}.{'' if lanes == 1 else f'v{lanes}'}f64", kind(T.F64), *given)

    def at(emit: Emit, base: Any, index: Any, itemsize: int) -> Any:
        return emit.at(base, (index, lanes * itemsize))

    @instructions
    def measure(emit: Emit, z: Any, dim: Any, out: Any) -> None:
        """Squared lengths and largest components of vectors: addresses of float64, (dim, lanes), and (2, lanes), written."""
        b, floats = emit.builder, kind(T.F64)

        def component(j: Any, carried: list[Any]) -> list[Any]:
            total, peak = carried
            x = emit.load(floats, at(emit, z, j, 8))
            size = called(emit, "fabs", x)
            return [b.fadd(total, b.fmul(x, x)), b.select(b.fcmp_ordered(">", size, peak), size, peak)]

        zero = wide(emit, ir.Constant(T.F64, 0.0))
        for place, one in enumerate(emit.loop(dim, [zero, zero], component)):
            emit.store(one, at(emit, out, emit.number(place), 8))

    @instructions
    def quantise(emit: Emit, z: Any, sizes: Any, given: Any, out: Any) -> None:
        """Components in whole steps.

        Args:
            emit: where.
            z: address of float64, (dim, lanes).
            sizes: dim, and the largest whole number.
            given: address of float64, (lanes,): steps.
            out: addresses, written: int32, (dim, lanes), whole numbers; float64, (2, lanes), the squared length of what they miss, and their own.
        """
        b, floats, (dim, levels), (wholes, sums) = emit.builder, kind(T.F64), sizes, out
        step, most = emit.load(floats, given), wide(emit, b.sitofp(levels, T.F64))
        least = b.fneg(most)

        def component(j: Any, carried: list[Any]) -> list[Any]:
            missed, squares = carried
            x = emit.load(floats, at(emit, z, j, 8))
            whole = called(emit, "rint", b.fdiv(x, step))
            whole = b.select(b.fcmp_ordered("<", whole, least), least, whole)
            whole = b.select(b.fcmp_ordered(">", whole, most), most, whole)
            rest = b.fsub(x, b.fmul(step, whole))
            emit.store(b.fptosi(whole, kind(T.I32)), at(emit, wholes, j, 4))
            return [b.fadd(missed, b.fmul(rest, rest)), b.fadd(squares, b.fmul(whole, whole))]

        zero = wide(emit, ir.Constant(T.F64, 0.0))
        for place, one in enumerate(emit.loop(dim, [zero, zero], component)):
            emit.store(one, at(emit, sums, emit.number(place), 8))

    @instructions
    def split(emit: Emit, wholes: Any, dim: Any, highs: Any) -> None:
        """High digits of whole numbers: addresses of int32, (dim, lanes), both."""
        b, base = emit.builder, wide(emit, ir.Constant(T.F64, float(BASE)))

        def component(j: Any, _: list[Any]) -> list[Any]:
            whole = b.sitofp(emit.load(kind(T.I32), at(emit, wholes, j, 4)), kind(T.F64))
            high = called(emit, "rint", b.fdiv(whole, base))
            emit.store(b.fptosi(high, kind(T.I32)), at(emit, highs, j, 4))
            return []

        emit.loop(dim, [], component)

    return measure, quantise, split


_measure, _quantise, _split = _kernels(LANES)
_measure_one, _quantise_one, _split_one = _kernels(1)


@compiled(apart=True, unrolled=True)
def write(queries: Any, mapping: Any, digits: int, made: Any, some: tuple[int, int]) -> None:
    """Write some queries, the first of which is a multiple of 16.

    Args:
        queries: float64, (queries, dim), finite.
        mapping: quantise.Mapping.
        digits: 1 or 2, of each query.
        made: EncodedQueries, written; ``packed`` is zero where nothing is written, and is so again where the same digits are.
        some: the first, and the one after the last.
    """
    packed, biases, steps, lengths2, errors, far = (
        made.packed, made.biases, made.steps, made.lengths2, made.errors, made.far,
    )  # fmt: skip
    dim, width, inside = queries.shape[1], packed.shape[2], packed.shape[3]
    lost = (mapping.roundings + 8) * 2.0**-53
    levels = LEVELS if digits == 1 else LEVELS * BASE
    lanes = LANES if queries.shape[0] > 1 else 1
    z, wholes, highs = np.zeros((dim, lanes)), np.empty((dim, lanes), np.int32), np.empty((dim, lanes), np.int32)
    sums, sizes = np.empty((2, lanes)), np.ones(lanes)
    for start in range(some[0], some[1], LANES):
        filled = min(LANES, some[1] - start)
        for lane in range(filled):
            _scaled(queries, start + lane, mapping, made, z[:, lane])
        if lanes == 1:
            rotation.apply_to_one(z, mapping.ends)
            _measure_one(z.ctypes.data, dim, sums.ctypes.data)
        else:
            rotation.apply(z, mapping.ends)
            _measure(z.ctypes.data, dim, sums.ctypes.data)
        for lane in range(filled):
            number = start + lane
            if far[number] or not sums[0, lane] < FAR * FAR:
                far[number] = True
            else:
                lengths2[number] = sums[0, lane]
                steps[number] = np.float32(max(sums[1, lane] / levels, bounds.TINY))
                sizes[lane] = np.float64(steps[number])
        data = (wholes.ctypes.data, sums.ctypes.data)
        if lanes == 1:
            _quantise_one(z.ctypes.data, (dim, levels), sizes.ctypes.data, data)
        else:
            _quantise(z.ctypes.data, (dim, levels), sizes.ctypes.data, data)
        if digits == 2 and lanes == 1:
            _split_one(wholes.ctypes.data, dim, highs.ctypes.data)
        elif digits == 2:
            _split(wholes.ctypes.data, dim, highs.ctypes.data)
        for lane in range(filled):
            number = start + lane
            if far[number]:
                continue
            vector, total, low_total = digits * number, np.int64(0), np.int64(0)
            tile, place = vector // width, vector % width
            next_tile, next_place = (vector + 1) // width, (vector + 1) % width
            for group in range((dim + inside - 1) // inside):
                for j in range(min(inside, dim - group * inside)):
                    whole = np.int64(wholes[group * inside + j, lane])
                    if digits == 2:
                        high = np.int64(highs[group * inside + j, lane])
                        low, whole = whole - BASE * high, high
                        packed[next_tile, group, next_place, j] = low
                        low_total += low
                    packed[tile, group, place, j] = whole
                    total += whole
            biases[tile, place] = -128 * total
            if digits == 2:
                biases[next_tile, next_place] = -128 * low_total
            length2 = lengths2[number]
            steps[number] = np.float32(2) * steps[number]
            lengths2[number] = sizes[lane] * sizes[lane] * sums[1, lane]
            # the definition's own l2 is right to gamma_(d+2); bounds of squares carry it in blurs or widen
            errors[number] = bounds.error(sums[0, lane], length2, (dim + 4) * 2.0**-53, lost, 0.0)


@compiled()
def _scaled(queries: Any, number: int, mapping: Any, made: Any, z: Any) -> None:
    """A query as it is rotated, and what becomes of its values."""
    far, metric, scaling, reach2 = made.far, mapping.metric, mapping.scaling, mapping.reach2
    factors, centre, dim, unit2 = mapping.factors, mapping.centre, queries.shape[1], mapping.scaling * mapping.scaling
    total = 0.0
    for j in range(dim):
        total += queries[number, j] * queries[number, j]
    length, factor = math.sqrt(total), 1.0
    far[number] = False
    base, gain, blur = 0.0, unit2, 0.0
    if metric != 0:
        if not 2.0**-EXPONENTS < length < 2.0**EXPONENTS:
            far[number] = True
            factor, base, gain = 0.0, made.bases[number], made.gains[number]
        else:
            # u makes the query as long as the longest row: errors of both weigh alike
            u = math.sqrt(reach2 / unit2) / length
            factor = u
            if metric == 2:
                u *= length  # of q / |q|
            base = 2.0 * reach2
            gain = -2.0 * u * unit2
            blur = (2 * dim + 40) * 2.0**-50 * reach2
    made.bases[number], made.gains[number] = base, gain
    made.blurs[number] = math.sqrt(blur + abs(gain) * dim * 2.0**-1022)
    for j in range(dim):
        z[j] = (queries[number, j] * factor - centre[j]) * (scaling * factors[j])
