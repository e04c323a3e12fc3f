"""Queries as whole numbers: mapped as the rows were, written with one or two digits, with what their bounds need."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, rotation
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.products import pack
from knnscope.certified.cpu.quantise import EXPONENTS, FAR, LEVELS, Codes
from knnscope.certified.cpu.rotation import LANES

BASE = 254
"""v = 254 high + low: the low digit is the nearest whole number, so it fits into int8."""


class EncodedQueries(NamedTuple):
    """Query vectors in tiles, and numbers for each query; padded to whole tiles with queries that keep no row.

    packed: see products.pack. biases: int32, (tiles, vectors). steps: float32, 2 t. lengths2, errors: float64, |p|^2 and e_q.
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


def ask(queries: npt.NDArray[np.float64], codes: Codes, plan: Plan) -> EncodedQueries:
    """Write queries for a scan.

    Args:
        queries: float64, (queries, dim), C order, finite.
        codes: the rows.
        plan: how they are scanned.
    """
    count, digits = plan.width, plan.digits
    total = -(-len(queries) // (count // digits)) * (count // digits)
    groups = codes.coded.codes.shape[1]
    vectors = np.zeros((total * digits, groups * 4), dtype=np.int8)
    biases, steps = np.zeros(total * digits, dtype=np.int32), np.zeros(total, dtype=np.float32)
    lengths2, errors, bases, gains, blurs = np.zeros((5, total))
    far = np.ones(total, dtype=np.bool_)
    made = EncodedQueries(vectors, biases, steps, lengths2, errors, bases, gains, blurs, far)
    write(queries, codes.mapping, digits, made)
    return made._replace(packed=pack(vectors, plan.scan, count), biases=biases.reshape(-1, count))


@compiled(apart=True, unrolled=True)
def write(queries: Any, mapping: Any, digits: int, made: Any) -> None:
    """Fill ``made``, whose vectors are not packed and whose biases lie in a row yet."""
    vectors, biases, steps, lengths2, errors, bases, gains, blurs, far = made
    metric, scaling, reach2 = mapping.metric, mapping.scaling, mapping.reach2
    factors, centre = mapping.factors, mapping.centre
    lost = (mapping.roundings + 8) * 2.0**-53
    count, dim = queries.shape
    levels = LEVELS if digits == 1 else LEVELS * BASE
    lanes = LANES if count > 1 else 1
    z = np.zeros((dim, lanes))
    unit2 = scaling * scaling
    for start in range(0, count, LANES):
        filled = min(LANES, count - start)
        for lane in range(filled):
            number = start + lane
            total = 0.0
            for j in range(dim):
                total += queries[number, j] * queries[number, j]
            length = math.sqrt(total)
            factor = 1.0
            far[number] = False
            if metric == 0:
                bases[number] = 0.0
                gains[number] = unit2
                blurs[number] = 0.0
            else:
                if not 2.0**-EXPONENTS < length < 2.0**EXPONENTS:
                    far[number] = True
                    factor = 0.0
                else:
                    # u makes the query as long as the longest row: errors of both weigh alike
                    u = math.sqrt(reach2 / unit2) / length
                    factor = u
                    if metric == 2:
                        u *= length  # of q / |q|
                    bases[number] = 2.0 * reach2
                    gains[number] = -2.0 * u * unit2
                    blurs[number] = (2 * dim + 40) * 2.0**-50 * reach2
            blurs[number] = math.sqrt(blurs[number] + abs(gains[number]) * dim * 2.0**-1022)
            for j in range(dim):
                z[j, lane] = (queries[number, j] * factor - centre[j]) * (scaling * factors[j])
        if lanes == 1:
            rotation.apply_to_one(z, mapping.ends)
        else:
            rotation.apply(z, mapping.ends)
        for lane in range(filled):
            number = start + lane
            length2 = 0.0
            peak = 0.0
            for j in range(dim):
                length2 += z[j, lane] * z[j, lane]
                peak = max(peak, abs(z[j, lane]))
            if far[number] or not length2 < FAR * FAR:
                far[number] = True
                continue
            step = np.float32(max(peak / levels, bounds.TINY))
            squares = 0
            residual2 = 0.0
            for digit in range(digits):
                biases[number * digits + digit] = 0
            for j in range(dim):
                whole = int(min(max(np.rint(z[j, lane] / np.float64(step)), -levels), levels))
                rest = z[j, lane] - np.float64(step) * whole
                residual2 += rest * rest
                squares += whole * whole
                high = whole
                if digits == 2:
                    high = int(np.rint(whole / BASE))
                    vectors[2 * number + 1, j] = np.int8(whole - BASE * high)
                    biases[2 * number + 1] -= 128 * (whole - BASE * high)
                vectors[digits * number, j] = np.int8(high)
                biases[digits * number] -= 128 * high
            steps[number] = np.float32(2) * step
            lengths2[number] = np.float64(step) * np.float64(step) * squares
            # the definition's own l2 is right to gamma_(d+2); bounds of squares carry it in blurs or widen
            errors[number] = bounds.error(residual2, length2, (dim + 4) * 2.0**-53, lost)
