"""Statistics of two runs that were not interleaved: their rounds are no pairs, and what lasts as long as a run differs between them.

``verdict`` compares engines of one run, round by round. Here the same engine is compared with itself in another run. Two parts:
a rank-sum test over processes, which knows the noise inside of the runs, and a margin for what differs between the runs, which only
engines that did not change can tell.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist, median

import numpy as np
import numpy.typing as npt

EXACT = 40
"""Processes of both runs up to which the distribution of the rank sum is counted out; above, the normal one is near enough."""
USUAL, WEIGHT = 0.015, 4
"""How far an unchanged engine usually departs from the others between two runs (natural logarithm, standard deviation), and how many
observations that is worth beside those of the runs at hand."""

Groups = Sequence[Sequence[float]]
"""Values by process: what lasts as long as a process is in all of them."""


def rank_sum_p(a: Groups, b: Groups) -> float:
    """Chance that b's values rank as high as this or higher, if each process might as well be of the other run.

    All values are ranked as one sample, ties by mid-ranks; a process keeps its ranks together. Wilcoxon 1945, Biometrics Bulletin 1(6),
    with groups as Rosner and Glynn 2009, Statistics in Medicine 28(8), have them; of few processes exact, by counting every choice.

    Raises:
        ValueError: a sample is empty.
    """
    if not a or not b:
        raise ValueError("two samples were expected")
    values = np.array([v for group in (*a, *b) for v in group], dtype=np.float64)
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    twice = (2 * np.cumsum(count) - count + 1)[place]  # twice the mid-rank, a whole number
    ends = np.cumsum([len(group) for group in (*a, *b)])
    sums = np.diff(np.concatenate([[0], np.cumsum(twice)])[np.concatenate([[0], ends])])
    total, n, m = int(sums[len(a) :].sum()), len(sums), len(b)
    if n <= EXACT:
        return _tail(sums, m, total)
    spread = math.sqrt(m * len(a) / (n - 1) * float(sums.var()))
    return 1.0 if not spread else 1 - NormalDist().cdf((total - 1 - m * float(sums.mean())) / spread)


def _tail(sums: npt.NDArray[np.int64], m: int, total: int) -> float:
    """Share of the choices of m processes whose ranks add up to the total or more."""
    least = int(sums.min())  # what all have in common tells nothing, and without it the table is small
    apart, total = sums - least, total - m * least
    step = max(1, int(np.gcd.reduce(apart)))
    sizes, total = np.sort(apart // step), total // step
    n, most = len(sizes), int(sizes[-m:].sum())
    ways = np.zeros((m + 1, most + 1))
    ways[0, 0] = 1
    reached = 0
    for done, size in enumerate(sizes.tolist(), 1):
        reached = min(reached + size, most)
        # of fewer processes no choice of m can come any more, and of more there is none yet
        first, last = max(1, m - n + done), min(m, done)
        ways[first : last + 1, size : reached + 1] += ways[first - 1 : last, : reached + 1 - size].copy()
    return float(ways[m, total:].sum() / math.comb(n, m))


def fewest_p(a: int, b: int) -> float:
    """The smallest chance that ``rank_sum_p`` can give for so many processes."""
    return 1 / math.comb(a + b, a) if a + b <= EXACT else 0.0


def shift(a: Groups, b: Groups) -> float:
    """How far b lies above a: median of all differences (Hodges and Lehmann 1963)."""
    return float(np.median(_differences(a, b)))


def interval(a: Groups, b: Groups, level: float = 0.95) -> tuple[float, float]:
    """Shifts that the test of both directions does not reject; with very few processes the whole range."""
    apart = np.sort(_differences(a, b))
    return _edge(a, b, apart, (1 - level) / 2), -_edge(b, a, -apart[::-1], (1 - level) / 2)


def _differences(a: Groups, b: Groups) -> npt.NDArray[np.float64]:
    x, y = (np.array([v for group in groups for v in group], dtype=np.float64) for groups in (a, b))
    return np.subtract.outer(y, x).ravel()


def _edge(a: Groups, b: Groups, apart: npt.NDArray[np.float64], alpha: float) -> float:
    """Lower end: the test changes at differences only, so it is asked between them."""
    rejected, kept = -1, len(apart) // 2
    while kept - rejected > 1:
        i = (rejected + kept) // 2
        between = float(apart[i] + apart[i + 1]) / 2
        if rank_sum_p([[v + between for v in group] for group in a], b) <= alpha:
            rejected = i
        else:
            kept = i
    return float(apart[kept])


def error(a: Groups, b: Groups) -> float:
    """About the standard error of ``shift`` from the noise inside of the runs: by the spread of their processes, outliers apart."""
    total = 0.0
    for groups in (a, b):
        middles = [median(group) for group in groups]
        middle = median(middles)
        sigma = 1.4826 * median(abs(m - middle) for m in middles)  # of a normal distribution
        total += sigma**2 / len(groups)
    return math.sqrt(total * math.pi / 3)


@functools.lru_cache(maxsize=1024)
def student(chance: float, freedom: int) -> float:
    """The value that Student's t exceeds with this chance (below a half), of so many degrees of freedom, by bisection."""
    low, high = 0.0, 1.0
    while student_p(high, freedom) > chance:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_p(middle, freedom) > chance else (low, middle)
    return (low + high) / 2


def student_p(t: float, freedom: int) -> float:
    """Chance that Student's t lies above t >= 0: Abramowitz and Stegun 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for i in range(2 + odd, freedom + 1, 2):
        total += term
        term *= square * (i - 1) / i
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 - inside) / 2


def margin(departures: Sequence[tuple[float, float]], freedom: int, chance: float) -> float:
    """How far an unchanged engine may depart from the others between two runs, exceeded with this chance, as a logarithm.

    What the noise inside of the runs explains is taken off. What is left, of few engines, is drawn towards what is usual: Smyth 2004,
    Statistical Applications in Genetics and Molecular Biology 3(1), section 3.

    Args:
        departures: of unchanged engines from the others, as logarithms, each with its standard error.
        freedom: how many of them are independent, less one.
        chance: one-sided.
    """
    own = max(0.0, sum(d * d - e * e for d, e in departures) / len(departures)) if departures else 0.0
    whole = (WEIGHT * USUAL**2 + freedom * own) / (WEIGHT + freedom)
    return student(chance, WEIGHT + freedom) * math.sqrt(whole)
