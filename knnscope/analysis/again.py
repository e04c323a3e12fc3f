"""Whether a later run is worth measuring again: the rows of which it is not clear that nothing changed.

What was measured again is judged together with the first (``several``). A look on the way may only end the search, and then no row is
worse or better; a row is named only where it was measured as often as it may be. So the looks cost no part of the level: to stop early
for want of a change takes chances of a false verdict away, and adds none (Jennison and Turnbull 2000, Group Sequential Methods with
Applications to Clinical Trials: early stopping to accept the null hypothesis).
"""

from __future__ import annotations

from knnscope.analysis.change import FEW, Change, Changes
from knnscope.analysis.verdict import MATTERS

TIMES = 2
"""How often a check measures again: three runs have a middle one, so that a single wild run decides nothing."""


def unclear(found: Changes) -> tuple[Change, ...]:
    """Rows of which more runs may tell more: worse or better as it seems, too noisy to tell, or slower by what would matter."""
    return tuple(row for row in found.rows if row.cache == "hot" and _unclear(row))


def _unclear(row: Change) -> bool:
    if row.outcome == "noisy":
        return row.ratio is not None and not row.why.startswith(FEW)
    return row.outcome in ("worse", "better") or (
        row.outcome == "same" and row.ratio is not None and row.ratio >= MATTERS
    )
