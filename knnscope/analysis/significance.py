"""Is one system's quality really better than another's, on the same queries? A paired randomisation test, its effect, and Holm's correction.

Under the hypothesis that both systems are alike, which of a query's two values belongs to which is a coin toss; the p value is the share of
tosses with a difference of means at least as large (Fisher 1935). Nothing is assumed about how values are distributed, of which many are equal,
0 or 1; Smucker, Allan, Carterette, CIKM 2007, recommend it for retrieval. docs/decisions/038.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EXACT = 16
"""Queries that differ, up to which all tosses are tried."""
TOSSES = 20_000
RESAMPLES = 2_000
BLOCK = 1 << 22
"""Numbers in memory at once."""
LEVEL = 0.05

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """System b against a by one measure, on the same queries.

    difference: mean of b less mean of a. low, high: its 95% interval, paired bootstrap over queries. effect: the difference in standard deviations of
    the queries' differences; None where these are all alike. better, worse, equal: queries, for b. p: two-sided. p_corrected: after Holm's
    correction for all tests that were made together. tosses: tried, all of them where ``exact``.
    """

    measure: str
    a: str
    b: str
    queries: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    effect: float | None
    better: int
    worse: int
    equal: int
    p: float
    p_corrected: float
    tosses: int
    exact: bool

    @property
    def verdict(self) -> str:
        """better, worse (b than a), or cannot tell."""
        if self.p_corrected > LEVEL:
            return "cannot tell"
        return "better" if self.difference > 0 else "worse"


def randomisation(differences: Float64, seed: int = 0) -> tuple[float, int, bool]:
    """Two-sided p value of a mean of paired differences, tosses tried, and whether these are all there are.

    Drawn tosses count the observed one as well, (b + 1) / (m + 1): Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9(1).
    """
    d = differences[differences != 0]  # their signs change nothing
    if not len(d):
        return 1.0, 1, True
    least = abs(float(d.sum())) - 1e-12 * float(np.abs(d).sum())  # equal but for rounding is equal
    if len(d) <= EXACT:
        signs = 1 - 2 * ((np.arange(1 << len(d))[:, None] >> np.arange(len(d))) & 1)
        return float((np.abs(signs @ d) >= least).mean()), len(signs), True
    chance, beyond, left = np.random.default_rng(seed), 0, TOSSES
    while left:
        some = min(left, max(1, BLOCK // len(d)))
        signs = chance.integers(0, 2, (some, len(d)), dtype=np.int8)
        beyond += int((np.abs(2 * (signs @ d) - d.sum()) >= least).sum())
        left -= some
    return (beyond + 1) / (TOSSES + 1), TOSSES, False


def interval(differences: Float64, seed: int = 0) -> tuple[float, float]:
    """95% interval of the mean: percentiles over resampled queries."""
    chance, means = np.random.default_rng(seed), list[Float64]()
    step = max(1, BLOCK // len(differences))
    for first in range(0, RESAMPLES, step):
        rows = chance.integers(0, len(differences), (min(step, RESAMPLES - first), len(differences)))
        means.append(differences[rows].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


def holm(ps: Sequence[float]) -> list[float]:
    """The p values after Holm's correction (1979, Scand. J. Statist. 6): at 0.05, the chance of one wrong verdict among all is at most 0.05."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = largest
    return corrected


def differences(values: dict[str, dict[str, dict[int, float]]], seed: int = 0) -> list[Difference]:
    """Every pair of systems by every measure.

    Args:
        values: by system, measure and query; all systems have the same queries and measures.
        seed: of tosses and resamples.
    """
    names = list(values)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    found = []
    for a, b in pairs:
        for measure, of_a in values[a].items():
            queries = sorted(of_a)
            one, other = (np.array([values[name][measure][q] for q in queries]) for name in (a, b))
            if len(queries):
                found.append((measure, a, b, one, other))
    tested = [randomisation(other - one, seed) for _, _, _, one, other in found]
    corrected = holm([p for p, _, _ in tested])
    return [
        _difference(names, pair, test, p)
        for (*names, one, other), test, p in zip(found, tested, corrected, strict=True)
        for pair in [(one, other)]
    ]


def _difference(
    names: Sequence[str], pair: tuple[Float64, Float64], test: tuple[float, int, bool], corrected: float
) -> Difference:
    one, other = pair
    d = other - one
    spread = float(d.std(ddof=1)) if len(d) > 1 else 0.0
    low, high = interval(d)
    p, tosses, exact = test
    return Difference(
        measure=names[0],
        a=names[1],
        b=names[2],
        queries=len(d),
        mean_a=float(one.mean()),
        mean_b=float(other.mean()),
        difference=float(d.mean()),
        low=low,
        high=high,
        effect=float(d.mean()) / spread if spread else None,
        better=int((d > 0).sum()),
        worse=int((d < 0).sum()),
        equal=int((d == 0).sum()),
        p=p,
        p_corrected=corrected,
        tosses=tosses,
        exact=exact,
    )
