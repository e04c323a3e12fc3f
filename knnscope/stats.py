"""Statistics of timings: medians, intervals over rounds, and whether one engine is really faster than another.

A round times every case once, in random order. Under the hypothesis that two engines are equally fast, which of the two was
timed first in a round is a coin toss, so the sign of their log ratio is one too: the signed-rank test below is exact whatever
the noise does over time (drift, bursts, heavy tails).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median

LEVEL = 0.03
"""Chance of a verdict where there is no difference."""

ROUNDS, SAMPLES = 20, 3
"""Rounds and samples a round. Many short rounds beat few long ones: on simulated machines with drift, bursts and heavy tails
(tests/test_stats.py) 10 rounds of 5 samples find a slowdown of 15% in 76 of 100 runs, 20 rounds of 3 in 98."""

FEWEST_ROUNDS = 7
"""With fewer rounds no outcome of the test is as unlikely as ``LEVEL`` (2 / 2^6 > 0.03)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How long A takes in units of B.

    ratio: median over rounds of (median time of A) / (median time of B). low, high: 95% interval of the ratio. p: exact two-sided
    probability of so uneven an outcome without a difference. rounds: rounds in which both were timed, those of the same processes
    counted once.
    """

    ratio: float
    low: float
    high: float
    p: float
    rounds: int

    @property
    def verdict(self) -> str:
        """One of faster, slower (A than B), cannot tell."""
        if self.p > LEVEL:
            return "cannot tell"
        return "faster" if self.ratio < 1 else "slower"


def compare(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], together: int = 1) -> Comparison:
    """Compare two engines round by round.

    Args:
        a: times of engine A, a sequence for each round; an empty one where the round has none.
        b: those of B, round by round beside A's.
        together: rounds in a row that the same two processes answered. What stays for the life of a process (where its memory
            lies) is in all of them, so they count as one: the mean of their log ratios.

    Raises:
        ValueError: no round has both, or a time is not above zero.
    """
    pairs = [(median(x), median(y)) if x and y else None for x, y in zip(a, b, strict=True)]
    if not any(pairs) or min(min(pair) for pair in pairs if pair) <= 0:
        raise ValueError("a comparison needs a round in which both were timed, and times above zero")
    lives = [[p for p in pairs[i : i + together] if p] for i in range(0, len(pairs), together)]
    logs = [fmean(math.log(x / y) for x, y in life) for life in lives if life]
    low, high = walsh_interval(logs)
    return Comparison(math.exp(median(logs)), math.exp(low), math.exp(high), signed_rank_p(logs), len(logs))


def signed_rank_p(differences: Sequence[float]) -> float:
    """Exact two-sided p of Wilcoxon's signed-rank test, ties by mid-ranks, zeros counted as half for and half against.

    Wilcoxon 1945, Biometrics Bulletin 1(6); zeros as in Pratt 1959, JASA 54(287).
    """
    order = sorted(range(len(differences)), key=lambda i: abs(differences[i]))
    ranks = [0] * len(order)  # twice the mid-rank, a whole number
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and abs(differences[order[end]]) == abs(differences[order[start]]):
            end += 1
        for i in order[start:end]:
            ranks[i] = start + 1 + end
        start = end
    signed = [(r, d) for r, d in zip(ranks, differences, strict=True) if d != 0]
    ways = [1]  # ways[s]: choices of signs whose positive ranks add up to s
    for rank, _ in signed:
        grown = ways + [0] * rank
        for s, count in enumerate(ways):
            grown[s + rank] += count
        ways = grown
    total = sum(r for r, _ in signed)
    observed = sum(r for r, d in signed if d > 0)
    tail = min(observed, total - observed)
    return min(1.0, 2 * sum(ways[: tail + 1]) / float(2 ** len(signed)))


def walsh_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Interval of the centre that the signed-rank test would not reject: order statistics of all pairwise means.

    Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, section 3.3. With very few values it is the whole range.
    """
    means = sorted((x + y) / 2 for i, x in enumerate(values) for y in values[i:])
    n = len(values)
    ways = [1]
    for rank in range(1, n + 1):
        grown = ways + [0] * rank
        for s, count in enumerate(ways):
            grown[s + rank] += count
        ways = grown
    cut, tail = 0, 0
    while cut < len(means) // 2 and (tail + ways[cut]) / 2**n <= (1 - level) / 2:
        tail += ways[cut]
        cut += 1
    cut = max(cut - 1, 0)
    return means[cut], means[len(means) - 1 - cut]


def bootstrap(
    rounds: Sequence[Sequence[float]], level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the median of the rounds' medians, by drawing rounds anew.

    Percentiles are widened for few rounds as in Hesterberg 2015, The American Statistician 69(4), section 5.3, with the normal
    quantile in the place of Student's.

    Raises:
        ValueError: no round has a sample.
    """
    medians = [median(r) for r in rounds if r]
    if not medians:
        raise ValueError("no samples")
    n = len(medians)
    if n == 1:
        return medians[0], medians[0]
    chance = random.Random(seed)  # noqa: S311 - not a secret
    found = sorted(median(chance.choices(medians, k=n)) for _ in range(draws))
    normal = NormalDist()
    tail = normal.cdf(normal.inv_cdf((1 - level) / 2) * math.sqrt(n / (n - 1)))
    place = int(tail * draws)
    return found[place], found[draws - 1 - place]
