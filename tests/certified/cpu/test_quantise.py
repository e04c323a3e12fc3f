"""What is written of a row is held to the row itself, however near to the centre it lies: squares of float32 vanish below 2^-75."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope import ExactIndex
from knnscope.certified.cpu import quantise, rotation
from knnscope.certified.cpu.workers import Workers
from knnscope.search import definition


def rotated(rows: np.ndarray, mapping: quantise.Mapping) -> np.ndarray:
    """Rows as they are quantised, in float64."""
    z = np.zeros((rows.shape[1], 16))
    found = []
    for first in range(0, len(rows), 16):
        some = rows[first : first + 16].astype(np.float64)
        z[:, : len(some)] = ((some - mapping.centre) * (mapping.factors * mapping.scaling)).T
        rotation.apply(z, mapping.ends)
        found.append(z[:, : len(some)].T.copy())
    return np.concatenate(found)


def written(rows: np.ndarray) -> tuple[quantise.Codes, np.ndarray]:
    """Codes, and the vectors that they stand for."""
    codes = quantise.build(rows, "l2", Workers(1))
    assert codes is not None
    coded, dim = codes.coded, rows.shape[1]
    wholes = coded.codes.transpose(0, 2, 1, 3).reshape(-1, coded.codes.shape[1] * 4)[: len(rows), :dim]
    return codes, wholes.astype(np.float64) * coded.scales[: len(rows), None].astype(np.float64)


def far(dim: int) -> np.ndarray:
    """Rows whose mean is zero and whose lengths are one."""
    ends = np.eye(dim)[: min(dim, 40)]
    return np.concatenate([ends, -ends])


@pytest.mark.parametrize("dim", [16, 100, 384, 1024])
@pytest.mark.parametrize("power", range(-100, -50, 3))
def test_a_rows_error_is_at_least_what_its_code_misses(dim: int, power: int) -> None:
    small = np.random.default_rng(dim).uniform(-1, 1, (40, dim)) * 2.0**power
    rows = np.concatenate([far(dim), small, -small]).astype(np.float32)
    codes, y = written(rows)
    z = rotated(rows, codes.mapping)
    missed = np.sqrt(((z - y) ** 2).sum(axis=1))
    assert (missed <= codes.coded.errors[: len(rows)]).all()


def transformed(z: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The vector that is rotated to z, a power of two of components: Hadamard's matrix is its own inverse, but for a factor."""
    found, half = z.astype(np.float64), 1
    while half < len(z):
        pairs = found.reshape(-1, 2, half)
        found = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        half *= 2
    return found / len(z) / factors


def test_a_row_whose_rest_vanishes_is_found() -> None:
    """4,096 components, each of which misses a little less than half a step of 2^-73: their squares are 0 in float32."""
    dim, step = 4096, 2.0**-73 * 0.999
    factors = rotation.make(dim).factors
    near, beside = np.full(dim, 0.4999 * step), np.full(dim, 0.4895 * step)
    near[0] = 127 * step
    near, beside = (transformed(z, factors) for z in (near, beside))
    rows = np.array([*far(dim), near, -near, *[beside, -beside] * 20], dtype=np.float32)
    index = ExactIndex(rows, device="cpu").wait()
    for power in (-31, -30, -29.5, -29, -28, -27):
        unit = 32258 * 2.0 ** np.round(np.log2(2.0**power / 64 / 32258))
        query = transformed(np.full(dim, unit), factors)[None]
        expected = definition.search(rows, query, 1, "l2")
        found = index.search(query, 1)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)
        assert expected.ids[0, 0] in index.radius_search(query, float(expected.distances[0, 0])).ids
