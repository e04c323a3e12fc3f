"""Rows to save, and what has to be the same afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope import ExactIndex
from knnscope.certified.cpu import levels
from knnscope.records import Neighbors


def some(rows: int, dim: int = 12, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """Whole numbers, so that there are ties."""
    return np.random.default_rng(seed).integers(-3, 4, (rows, dim)).astype(dtype)


def falling(rows: int, dim: int = 96) -> np.ndarray:
    """Rows that have a plane."""
    made = np.random.default_rng(1).standard_normal((rows, dim)).astype(np.float32)
    return made * np.linspace(3, 0.1, dim, dtype=np.float32)


def check_same(one: ExactIndex, other: ExactIndex, queries: np.ndarray, k: int = 10) -> None:
    assert one.shape == other.shape
    assert one.ids.tolist() == other.ids.tolist()
    assert same(one.search(queries, k), other.search(queries, k))


def same(one: Neighbors, other: Neighbors) -> bool:
    return bool((one.ids == other.ids).all() and (one.distances == other.distances).all())


def counted(patch: pytest.MonkeyPatch) -> list[int]:
    """How many rows codes are written for, from now on."""
    built, write = list[int](), levels.mapping_of
    patch.setattr(levels, "mapping_of", lambda rows, *more: built.append(len(rows)) or write(rows, *more))
    return built
