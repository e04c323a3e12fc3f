"""The rate of matrix products, however they are computed."""

from __future__ import annotations

from collections.abc import Callable

PILOT = 1024
LARGEST = 8192
REPEATS = 4


def best_rate(prepare: Callable[[int], Callable[[], float]], seconds: float) -> float:
    """Operations/s of n x n by n x n products, 2n^3 each; the best of some repeats.

    Args:
        prepare: for a side n, what multiplies once and returns the seconds that this took.
        seconds: what one product should take; it decides the side, a multiple of 256 from 1,024 to 8,192.
    """
    pilot = prepare(PILOT)
    pilot()  # the library sets itself up
    rate = 2 * PILOT**3 / min(pilot(), pilot())
    side = min(LARGEST, max(PILOT, int((rate * seconds / 2) ** (1 / 3)) // 256 * 256))
    product = prepare(side)
    return 2 * side**3 / min(product() for _ in range(REPEATS))
