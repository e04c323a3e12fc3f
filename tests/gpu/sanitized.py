"""Runs the kernels over seeded shapes for compute-sanitizer; every axis meets the sizes around a warp, a block and a pool.

compute-sanitizer --tool memcheck --error-exitcode 1 python -m tests.gpu.sanitized
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator

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


def main() -> None:
    """All shapes; the answers are looked at as well."""
    import cupy

    from knnscope.kernels.fused_topk import MOST, FusedTopk, SelectNearest

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    done = 0
    for rows, dim, k, queries, half in shapes(args.shapes, args.seed):
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
    print(f"{done} shapes")


if __name__ == "__main__":
    main()
