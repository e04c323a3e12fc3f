"""Statistics of timings: medians, intervals over rounds, and whether one engine is really faster than another.

A round times every case once, in random order. Under the hypothesis that two engines are equally fast, which of the two was
timed first in a round is a coin toss, so the sign of their log ratio is one too: the signed-rank test below is exact whatever
the noise does over time (drift, bursts, heavy tails). Rounds that the same two processes answered share what stays for the life
of a process (where its memory lies), so their signs are one coin, not many.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

import numpy as np
import numpy.typing as npt

LEVEL = 0.03
"""Chance of a verdict where there is no difference."""

ROUNDS, SAMPLES = 20, 3
"""Rounds and samples a round. Many short rounds beat few long ones: on simulated machines with drift, bursts and heavy tails
(tests/analysis/test_statistics.py) 10 rounds of 5 samples find a slowdown of 15% in 76 of 100 runs, 20 rounds of 3 in 98."""

FEWEST_ROUNDS = 7
"""With fewer rounds no outcome of the test is as unlikely as ``LEVEL`` (2 / 2^6 > 0.03)."""
QUICK_FEWEST = 3
"""Rounds of a quick run: with fewer not even a large difference is told."""
MOST = 120
"""Rounds, and processes, that are told apart in a few tenths of a second; of more, neighbors count as one."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How long A takes in units of B.

    ratio: centre over rounds of (median time of A) / (median time of B), by Hodges and Lehmann. low, high: 95% interval of the
    ratio. p: exact two-sided probability of so uneven an outcome without a difference. rounds: rounds in which both were timed,
    those of the same processes counted once. least: the ratio of the round in which it is smallest.
    """

    ratio: float
    low: float
    high: float
    p: float
    rounds: int
    least: float

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
        together: rounds in a row that the same two processes answered.

    Raises:
        ValueError: no round has both, or a time is not above zero.
    """
    pairs = [(median(x), median(y)) if x and y else None for x, y in zip(a, b, strict=True)]
    if not any(pairs) or min(min(pair) for pair in pairs if pair) <= 0:
        raise ValueError("a comparison needs a round in which both were timed, and times above zero")
    each = by_process([math.log(p[0] / p[1]) if p else None for p in pairs], together)
    least = math.exp(min(map(min, each)))
    logs = _joined(each)
    low, high = interval(logs)
    return Comparison(math.exp(centre(logs)), math.exp(low), math.exp(high), signed_rank_p(logs), len(logs), least)


def _joined(processes: Sequence[Sequence[float]]) -> list[list[float]]:
    """At most ``MOST`` differences, since the test takes the cube of that: neighboring processes toss one coin, then rounds count by their median.

    Without a difference each sign is as likely as before, so the test stays exact.
    """
    step = -(-len(processes) // MOST)
    coins = [[d for some in processes[i : i + step] for d in some] for i in range(0, len(processes), step)]
    each = max(1, MOST // len(coins))
    sizes = [-(-len(some) // each) for some in coins]
    return [
        [median(some[i : i + size]) for i in range(0, len(some), size)] for some, size in zip(coins, sizes, strict=True)
    ]


def least_p(rounds: int) -> float:
    """The smallest p that any outcome of so many rounds has."""
    return min(1.0, 2.0 ** (1 - rounds))


def signed_rank_p(groups: Sequence[Sequence[float]]) -> float:
    """Exact two-sided p of Wilcoxon's signed-rank test where the differences of a group change sign together.

    All differences are ranked as one sample, so one far outlier costs its own rank and not its group's; the distribution is over
    the groups' signs. Ties by mid-ranks, zeros counted as half for and half against. Wilcoxon 1945, Biometrics Bulletin 1(6);
    zeros as in Pratt 1959, JASA 54(287); groups as in Rosner, Glynn and Lee 2006, Biometrics 62(1), with the exact distribution.
    """
    values = [d for group in groups for d in group]
    order = sorted(range(len(values)), key=lambda i: abs(values[i]))
    signed = [0] * len(order)  # twice the mid-rank, a whole number, with the sign of its difference
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and abs(values[order[end]]) == abs(values[order[start]]):
            end += 1
        for i in order[start:end]:
            signed[i] = (start + 1 + end) * ((values[i] > 0) - (values[i] < 0))
        start = end
    place = iter(signed)
    sums = [s for s in (sum(next(place) for _ in group) for group in groups) if s]
    # share[s]: of the choices of signs, those whose positive sums add up to s
    share = np.zeros(sum(map(abs, sums)) + 1)
    share[0] = 1
    for size in map(abs, sums):
        share /= 2  # exact: of up to 52 groups every share is a whole number of 2^-52
        share[size:] += share[:-size].copy()
    for_it = sum(s for s in sums if s > 0)
    tail = min(for_it, len(share) - 1 - for_it)
    return min(1.0, 2 * float(share[: tail + 1].sum()))


def centre(groups: Sequence[Sequence[float]]) -> float:
    """The shift that leaves the signed ranks in balance: median of all pairwise means (Hodges and Lehmann 1963)."""
    return median(_walsh(groups))


def interval(groups: Sequence[Sequence[float]], level: float = 0.95) -> tuple[float, float]:
    """Shifts of all differences that the test above does not reject. With very few groups it is the whole range."""
    means = _walsh(groups)
    mirrored = [[-d for d in group] for group in groups]
    return _edge(groups, means, 1 - level), -_edge(mirrored, [-m for m in reversed(means)], 1 - level)


def _walsh(groups: Sequence[Sequence[float]]) -> list[float]:
    values = [d for group in groups for d in group]
    return sorted((x + y) / 2 for i, x in enumerate(values) for y in values[i:])


def _edge(groups: Sequence[Sequence[float]], means: Sequence[float], alpha: float) -> float:
    """Lower end: the test changes at pairwise means only, so it is asked between them."""
    rejected, kept = -1, len(means) // 2
    while kept - rejected > 1:
        i = (rejected + kept) // 2
        shift = (means[i] + means[i + 1]) / 2
        if signed_rank_p([[d - shift for d in group] for group in groups]) <= alpha:
            rejected = i
        else:
            kept = i
    return means[kept]


def bootstrap(
    rounds: Sequence[Sequence[float]], level: float = 0.95, draws: int = 2000, seed: int = 0, together: int = 1
) -> tuple[float, float]:
    """Interval of the median of the rounds' medians, by drawing processes anew, and of each its rounds.

    Rounds of one process share what stays for its life, so they are no independent draws (two-stage bootstrap: Davison and Hinkley 1997,
    section 3.8). Percentiles are widened for few processes as in Hesterberg 2015, The American Statistician 69(4), section 5.3, with the normal
    quantile in the place of Student's.

    Args:
        rounds: times, a sequence for each round.
        level: of the interval.
        draws: how often to draw.
        seed: of the draws.
        together: rounds in a row that one process answered.

    Raises:
        ValueError: no round has a sample.
    """
    medians = by_process([median(r) if r else None for r in rounds], together)
    if not medians:
        raise ValueError("no samples")
    n, most = len(medians), max(map(len, medians))
    if n == 1:
        return min(medians[0]), max(medians[0])
    table = np.array([[*some, *[math.nan] * (most - len(some))] for some in medians], dtype=np.float64)
    counts = np.array([len(some) for some in medians])
    process = (_uniform(seed, draws * n) * n).astype(np.intp).reshape(draws, n, 1)
    place: npt.NDArray[np.intp] = np.zeros((draws, n, 1), dtype=np.intp)
    if most > 1:
        place = (_uniform(seed + 1, draws * n * most).reshape(draws, n, most) * counts[process]).astype(np.intp)
    values = table[process, place].reshape(draws, -1)
    values.sort(axis=1)
    width = values.shape[1]
    found = np.sort((values[:, (width - 1) // 2] + values[:, width // 2]) / 2).tolist()
    normal = NormalDist()
    tail = normal.cdf(normal.inv_cdf((1 - level) / 2) * math.sqrt(n / (n - 1)))
    at = int(tail * draws)
    return found[at], found[draws - 1 - at]


def by_process(medians: Sequence[float | None], together: int) -> list[list[float]]:
    """Medians of rounds by the process that answered them; rounds and processes without a sample are left out."""
    chunks = (medians[i : i + together] for i in range(0, len(medians), together))
    return [some for chunk in chunks if (some := [m for m in chunk if m is not None])]


def _uniform(seed: int, count: int) -> npt.NDArray[np.float64]:
    """What ``random.Random(seed).random()`` gives so many times, in a tenth of the time."""
    _, state, _ = random.Random(seed).getstate()  # noqa: S311 - not a secret
    generator = np.random.MT19937()
    generator.state = {"bit_generator": "MT19937", "state": {"key": state[:-1], "pos": state[-1]}}
    return np.random.Generator(generator).random(count)
