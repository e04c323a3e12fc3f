"""How much longer each row takes in one environment than in another, where both were measured by turns. Pure arithmetic on times.

In every round a process of the one and a process of the other answer the same calls, one right after the other, in an order that is drawn. What the
machine and its neighbors do meets both, so no other engine has to tell it. What is left is the luck of a process, which lasts as long as it lives: so each
pair of processes counts once, by the median over its rounds of the logarithm of the one's time over the other's.

If nothing changed, each of these numbers is as likely to be of the one sign as of the other, whatever the noise: Wilcoxon's signed-rank test of them is
exact (``statistics``). LEVEL is shared by all rows and by all looks at which one may be named (Bonferroni). A look in between can only end the measuring of
a row that is clear, which takes chances of a false verdict away and adds none (docs/decisions/054 and 059).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from knnscope.analysis import statistics
from knnscope.analysis.shifts import TELLS, Case, Floats, Key, Shift, Told
from knnscope.analysis.statistics import LEVEL
from knnscope.analysis.verdict import MATTERS

CLEAR = 1.12
"""A row is clear if its ratio is no change that matters, and the 95% interval lies between this and one over this. So 15% are called clear by chance in
fewer than one of forty looks; by simulation in none of a hundred runs (tests/analysis/test_turns_simulated.py)."""
MOST = 60
"""Pairs that are told apart; of more, neighbors count as one."""


def pairs(before: Floats, after: Floats, together: int) -> list[float]:
    """One number a pair of processes: how much longer it took after than before, as a logarithm.

    Args:
        before: of each round the logarithm of its time, nan where there is none.
        after: the same of the other environment, round by round.
        together: rounds in a row that the same two processes answered.
    """
    rounds = min(len(before), len(after))
    apart = after[:rounds] - before[:rounds]
    together *= -(-rounds // (together * MOST)) or 1
    groups = (apart[i : i + together] for i in range(0, rounds, together))
    return [float(np.median(kept)) for group in groups if len(kept := group[~np.isnan(group)])]


def clear(found: Sequence[float]) -> bool:
    """Whether more pairs would tell nothing that matters. found: as ``pairs`` gives it."""
    if not found:
        return False
    each = [[value] for value in found]
    low, high = statistics.interval(each)
    return abs(statistics.centre(each)) < math.log(MATTERS) and -math.log(CLEAR) < low and high < math.log(CLEAR)


def level(rows: int, again: int) -> float:
    """Chance of a false verdict in one direction, of one row at one look. again: looks beside the first."""
    return LEVEL / max(1, rows) / (1 + again)


def told(found: Sequence[float], chance: float) -> Shift:
    """What the pairs of a row tell. chance: as ``level`` gives it; 0 for a row that is not judged."""
    count = len(found)
    if not count or 0.5**count > chance:
        return Shift("few", processes=(count, count))
    each = [[value] for value in found]
    centre, p = statistics.centre(each), statistics.signed_rank_p(each) / 2
    low, high = statistics.interval(each)
    lowest, highest = statistics.interval(each, 1 - 2 * chance)
    tells = max(math.log(MATTERS), (highest - lowest) / 2)
    outcome: Told = "same" if tells <= TELLS else "noisy"
    if p <= chance and abs(centre) >= math.log(MATTERS):
        outcome = "worse" if centre > 0 else "better"
    return Shift(outcome, centre, low, high, tells, p, (count, count))


def judge(cases: Sequence[Case], again: int) -> dict[Key, Shift]:
    """Judge every row; only those of calls with hot caches have enough processes.

    Args:
        cases: rows of both environments, each key once.
        again: looks beside the first.
    """
    found = {case.key: pairs(case.times[0], case.times[1], case.together[0]) for case in cases}
    chance = level(sum(case.key[4] == "hot" for case in cases), again)
    return {case.key: told(found[case.key], chance if case.key[4] == "hot" else 0.0) for case in cases}
