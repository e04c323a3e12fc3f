"""Runs the kernels over seeded shapes for compute-sanitizer; every axis meets the sizes around a warp, a block and a pool.

compute-sanitizer --tool memcheck --error-exitcode 1 python -m tests.gpu.sanitized [--kernels certified]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

EDGES = (1, 31, 32, 33, 127, 128, 129, 1023, 1024, 1025)


def shapes(count: int, seed: int) -> Iterator[tuple[int, int, int, int, bool]]:
    """Rows, dim, k, queries, float16: each edge on each axis, k of rows, then drawn combinations of edges."""
    chance = random.Random(seed)
    known = [(edge, 33, min(edge, 32), 1, False) for edge in EDGES]
    known += [(129, edge, 10, 1, bool(i % 2)) for i, edge in enumerate(EDGES)]
    known += [(1025, 32, edge, 1, False) for edge in EDGES]
    known += [(edge, 5, edge, 2, True) for edge in EDGES]
    known += [(33, 5, 3, edge, bool(i % 2)) for i, edge in enumerate(EDGES)]
    known += [(4097, 8, 2048, 1, False), (4097, 8, 2049, 1, False), (9000, 384, 10, 33, False)]
    while len(known) < count:
        rows = chance.choice(EDGES)
        known.append(
            (rows, chance.choice(EDGES), chance.randint(1, rows), chance.choice((1, 2, 31)), chance.random() < 0.5)
        )
    return iter(known)


def certified_shapes(count: int, seed: int) -> Iterator[tuple[int, int, int, int, str]]:
    """Rows, dim, k, queries, metric: few rows, the plane, tiles of every height, longer lists, all rows."""
    chance = random.Random(seed)
    known = [
        (rows, dim, 10, queries, "l2")
        for queries in (1, 4, 5, 16, 17, 32, 33, 65, 129, 257)
        for rows, dim in ((4500, 96), (9000, 384))
    ]
    known += [(4500, 96, k, queries, "l2") for k in (1, 255, 257, 513) for queries in (2, 40)]
    known += [(edge, 33, min(edge, 5), 3, "l2") for edge in EDGES]
    known += [(4097, 96, 10, queries, metric) for metric in ("ip", "cosine") for queries in (3, 70)]
    while len(known) < count:
        rows = chance.choice((4096, 4097, 5000, 8191, 12_345))
        known.append(
            (rows, chance.choice((96, 384)), chance.choice((1, 9, 100)), chance.choice((1, 3, 31, 64, 130)), "l2")
        )
    return iter(known[:count])


def certified(count: int, seed: int) -> int:
    """Certified search; every answer is held against the definition."""
    import cupy

    from knnscope.certified.index import ExactIndex
    from knnscope.search import definition

    done = 0
    for rows, dim, k, queries, metric in certified_shapes(count, seed):
        draw = np.random.default_rng(done)
        values = draw.standard_normal((rows, dim)) * (np.arange(dim) + 1.0) ** -0.5
        if done % 3 == 2:
            values = np.round(values * 2)  # ties
        values = values.astype(np.float32)
        asked = draw.standard_normal((queries, dim)).astype(np.float32)
        found: Any = ExactIndex(cupy.asarray(values), metric, device="cuda").search(cupy.asarray(asked), k)
        expected = definition.search(values, asked, k, metric, threads=4)
        np.testing.assert_array_equal(found.ids.get(), expected.ids)
        np.testing.assert_array_equal(found.distances.get(), expected.distances)
        assert found.certificate.exact
        done += 1
        print(rows, dim, k, queries, metric, *found.certificate.path, flush=True)
    return done


def main() -> None:
    """All shapes; the answers are looked at as well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kernels", choices=("topk", "certified"), default="topk")
    args = parser.parse_args()
    run = certified if args.kernels == "certified" else topk
    print(f"{run(args.shapes, args.seed)} shapes")


def topk(count: int, seed: int) -> int:
    """The ladder's kernels."""
    import cupy

    from knnscope.kernels.fused_topk import MOST, FusedTopk, SelectNearest

    done = 0
    for rows, dim, k, queries, half in shapes(count, seed):
        draw = np.random.default_rng(done)
        values = draw.standard_normal((rows, dim)).astype(np.float16 if half else np.float32)
        asked = draw.standard_normal((queries, dim)).astype(np.float32)
        ids, distances = FusedTopk(cupy.asarray(values)).search(cupy.asarray(asked), k)
        true = ((values[None].astype(np.float64) - asked[:, None].astype(np.float64)) ** 2).sum(axis=2)
        best = np.sort(true, axis=1)[:, :k]
        np.testing.assert_allclose(distances.get(), best, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(true, ids.get(), axis=1), best, rtol=1e-4, atol=1e-6)
        every = cupy.empty((queries, rows), cupy.float32)
        FusedTopk(cupy.asarray(values)).distances(cupy.asarray(asked), every)
        np.testing.assert_allclose(every.get(), np.sqrt(true), rtol=1e-4, atol=1e-6)
        if k <= MOST:
            flat = cupy.asarray(true[0].astype(np.float32))
            chosen = SelectNearest(rows, k)(flat).get()
            np.testing.assert_array_equal(chosen, np.argsort(flat.get(), kind="stable")[:k])
        done += 1
    return done


if __name__ == "__main__":
    main()
