"""Generated vectors: seeded, streamed, and of the character their names promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knnscope.datasets import synthetic
from knnscope.errors import KnnscopeError
from knnscope.search import definition


def rows(spec: str) -> np.ndarray:
    return synthetic.materialise(synthetic.parse(spec)).documents.values


@pytest.mark.parametrize("distribution", synthetic.DISTRIBUTIONS)
def test_seeded_and_independent_of_the_number_of_rows(distribution: str) -> None:
    few, many = (rows(f"synthetic:{distribution},rows={n},dim=24,seed=3") for n in (5000, 9001))
    assert few.dtype == np.float32
    np.testing.assert_array_equal(few, many[:5000])
    assert (few != rows(f"synthetic:{distribution},rows=5000,dim=24,seed=4")).any()
    made = synthetic.materialise(synthetic.parse(f"synthetic:{distribution},rows=50,dim=24,queries=50"))
    assert made.queries is not None
    assert (made.documents.values != made.queries.values).any()
    assert np.isfinite(made.documents.values).all()


@pytest.mark.parametrize("distribution", synthetic.DISTRIBUTIONS)
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_tiny_dimensions(distribution: str, dim: int) -> None:
    assert rows(f"synthetic:{distribution},rows=10,dim={dim}").shape == (10, dim)


def test_text_is_clustered_off_centre_with_norms_about_ten() -> None:
    x = rows("synthetic:text,rows=8000,dim=384").astype(np.float64)
    norms = np.linalg.norm(x, axis=1)
    assert 9 < np.median(norms) < 11
    assert np.linalg.norm(x.mean(axis=0)) > 3
    spectrum = np.linalg.svd(x[:2000] - x[:2000].mean(axis=0), compute_uv=False) ** 2
    share = spectrum / spectrum.sum()
    assert share[:20].sum() > 5 * 20 / 384, "a power law, not a ball"
    assert share[200:].sum() > 0.02, "but no dimension is empty"


def test_isotropic_has_no_structure() -> None:
    x = rows("synthetic:isotropic,rows=8000,dim=64").astype(np.float64)
    assert np.linalg.norm(x.mean(axis=0)) < 0.5
    values = np.linalg.eigvalsh(np.cov(x.T))
    assert values.max() / values.min() < 2


def test_near_duplicate_has_exact_and_almost_exact_copies() -> None:
    x = rows("synthetic:near-duplicate,rows=8000,dim=64")
    unique = len(np.unique(x, axis=0))
    assert 4000 < unique < 7900
    nearest = definition.search(x, x[:50], 5, "l2").distances
    assert (np.sqrt(nearest) < 0.1).mean() > 0.5


def test_large_norm_cancels_in_float32() -> None:
    x = rows("synthetic:large-norm,rows=2000,dim=384")
    assert np.median(np.linalg.norm(x, axis=1)) > 900
    q = x[:20] + np.float32(0.01)
    expanded = (x * x).sum(1) - 2 * q @ x.T + (q * q).sum(1)[:, None]
    exact = definition.distances(x, q, "l2")
    nearest = [set(np.argsort(line)[:10]) for line in exact]
    assert sum(set(np.argsort(line)[:10]) != right for line, right in zip(expanded, nearest, strict=True)) >= 5


def test_ties_has_many_equal_distances() -> None:
    x = rows("synthetic:ties,rows=3000,dim=8")
    assert len(np.unique(definition.distances(x, x[:1], "l2"))) < 40


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("synthetic:texts", "did you mean text"),
        ("synthetic:text,row=3", "did you mean rows"),
        ("synthetic:text,rows=-1", "whole number"),
        ("synthetic:text,rows=", "whole number"),
        ("synthetic:text,rows=0", "at least one row"),
        ("synthetic:text,dim=0", "at least one row"),
        ("synthetic:text,dim=99999999", "dimensions"),
        ("synthetic:text,rows=9999999999999", "whole number"),
    ],
)
def test_refusals(spec: str, message: str) -> None:
    with pytest.raises(KnnscopeError, match=message):
        synthetic.parse(spec)


def test_queries_that_lie_there_alone_are_not_ours(tmp_path: Path) -> None:
    recipe = synthetic.parse("synthetic:ties,rows=9,dim=2,queries=3")
    beside = tmp_path / "rows-queries.npy"
    beside.write_text("mine")
    with pytest.raises(KnnscopeError, match=r"rows-queries.npy: knnscope did not write it, and would write over it"):
        synthetic.write(recipe, tmp_path / "rows.npy")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    beside.unlink()
    for _ in range(2):  # both are written again
        synthetic.write(recipe, tmp_path / "rows.npy")
    assert np.load(beside).shape == (3, 2)
