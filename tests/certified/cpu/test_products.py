"""All instruction sets give the same whole numbers, and the test of 32 rows is the one that bound.py describes."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.certified.cpu import dispatch, products
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.llvm import excluded, trailing_zeros
from knnscope.certified.cpu.quantise import TILE_BYTES, aligned

ISAS = dispatch.available()


def test_this_processor_is_used_as_well_as_it_can_be() -> None:
    assert ISAS[-1] == "portable"
    assert dispatch.choose(None) == ISAS[0]
    assert list(dispatch.NEEDS) == ["amx", "vnni", "avx2", "portable"]


def test_a_batch_leaves_as_little_of_its_tiles_empty_as_their_widths_allow() -> None:
    for queries in range(5, 200):
        plan = dispatch.plan("vnni", queries)
        vectors = queries * plan.digits
        least = min(-(-vectors // width) * width for width in dispatch.TILES["vnni"])
        assert -(-vectors // plan.width) * plan.width == least
    assert [dispatch.plan("vnni", queries).width for queries in (5, 6, 8, 10, 12, 16, 100, 120)] == [
        10,
        12,
        8,
        10,
        12,
        8,
        10,
        12,
    ]
    assert [dispatch.plan("amx", queries).width for queries in (13, 16, 17, 40)] == [16, 16, 32, 32]


def pack(digits: np.ndarray, isa: str, count: int) -> np.ndarray:
    """Query vectors, (2 count, components), as ``products.packed_shape`` says."""
    (pieces, _, inside), dtype = products.packed_shape(digits.shape[1] // 4, isa, count)
    full = np.zeros((2, count, pieces * inside), dtype=dtype)
    full[:, :, : digits.shape[1]] = digits.reshape(2, count, -1)
    return np.ascontiguousarray(full.reshape(2, count, pieces, inside).transpose(0, 2, 1, 3))


@pytest.mark.parametrize("groups", [1, 15, 16, 17, 96, 100])
@pytest.mark.parametrize("isa", ISAS)
def test_products_are_the_defined_whole_numbers(isa: str, groups: int) -> None:
    random = np.random.default_rng(groups)
    codes = aligned((6, groups, 16, 4), np.int8, TILE_BYTES)
    codes[...] = random.integers(-127, 128, codes.shape)
    codes[2, :, 5], codes[3, :, 7] = 127, -127
    rows = codes.transpose(0, 2, 1, 3).reshape(96, groups * 4).astype(np.int64)
    for count in dispatch.TILES[isa]:
        for ahead, lines in ((0, 16), (4, 4), (16, 0)):
            digits = random.integers(-127, 128, (2 * count, groups * 4)).astype(np.int8)
            digits[count], digits[-1] = 127, -127
            biases = (-128 * digits.sum(axis=1, dtype=np.int32)).reshape(2, count)
            out = np.zeros((count, 32), dtype=np.int32)
            if isa == "amx":
                products.begin_amx()
            packed = (pack(digits, isa, count), biases)
            getattr(products, isa)(count, codes, 2, packed, 1, (ahead, lines), out)
            if isa == "amx":
                products.end_amx()
            np.testing.assert_array_equal(out, digits[count:].astype(np.int64) @ rows[32:64].T)


@compiled()
def _excluded(out, digits, rows, queries, masks):  # type: ignore[no-untyped-def]
    """``rows`` are scales, errors and terms, ``queries`` steps, slopes and limits."""
    (scales, errors, terms), (steps, slopes, limits) = rows, queries
    addresses = (scales.ctypes.data, errors.ctypes.data, terms.ctypes.data)
    asked = (steps.ctypes.data, slopes.ctypes.data, limits.ctypes.data)
    return excluded((out.ctypes.data, out.shape[0], digits), addresses, asked, masks.ctypes.data)


@pytest.mark.parametrize("digits", [1, 2])
@pytest.mark.parametrize("queries", [1, 4, 16])
def test_the_test_of_a_tile(digits: int, queries: int) -> None:
    """Limits lie far from every value, but for rounding: float64 decides alike."""
    random = np.random.default_rng(queries)
    for _ in range(20):
        out = random.integers(-(10**6), 10**6, (queries * digits, 32)).astype(np.int32)
        scales, errors, terms = random.random((3, 32)).astype(np.float32)
        steps, slopes, limits = random.random((3, queries)).astype(np.float32)
        f = out if digits == 1 else 254.0 * out[::2] + out[1::2]
        g = terms - scales * steps[:, None].astype(np.float64) * f - slopes[:, None] * errors
        values = np.sort(g, axis=1)
        place = random.integers(0, 31, queries)
        limits = (values[np.arange(queries), place] / 2 + values[np.arange(queries), place + 1] / 2).astype(np.float32)
        masks = np.zeros(queries, dtype=np.uint32)
        some = _excluded(out, digits, (scales, errors, terms), (steps, slopes, limits), masks)
        kept = g <= limits[:, None]
        np.testing.assert_array_equal((masks[:, None] >> np.arange(32, dtype=np.uint32)) & 1, kept)
        assert some == sum(1 << i for i in range(queries) if kept[i].any())


def test_padding_is_never_kept() -> None:
    """A padded row has no scale, no error and an infinite term; a padded query keeps nothing at all."""
    none, infinite = np.zeros(32, np.float32), np.full(32, np.inf, np.float32)
    masks = np.ones(2, dtype=np.uint32)
    limits = np.array([1e30, -np.inf], dtype=np.float32)
    out = np.ones((2, 32), dtype=np.int32)
    ones = np.ones(2, np.float32)
    assert _excluded(out, 1, (none, none, infinite), (ones, ones, limits), masks) == 0
    assert not masks.any()


@compiled()
def _trailing(value):  # type: ignore[no-untyped-def]
    return trailing_zeros(value)


def test_trailing_zeros() -> None:
    assert [_trailing(1 << i | 1 << 40) for i in (0, 1, 7, 31, 39)] == [0, 1, 7, 31, 39]
