"""How it was measured, so that a colleague can judge the figures and get them again."""

from __future__ import annotations

from typing import Any

from knnscope.analysis import statistics
from knnscope.analysis.measurement import Measurement
from knnscope.analysis.run import ComparisonRun, LadderRun
from knnscope.analysis.verdict import MATTERS, QUICK_MATTERS
from knnscope.report.page.content import Block, Facts, Listed, Section

COMPARE = (
    "Every engine runs in a process of its own with the same budget of threads. Rounds visit all cases in random order; a round takes "
    "several samples of each. A time is the median of the rounds' medians; its 95% interval is bootstrapped over processes and their rounds, so a "
    "quick run, of one process, has none.",
    f"One engine is faster than another if a signed-rank test over the rounds that both took part in says so (p at most "
    f"{statistics.LEVEL:g}, rounds of the same two processes counted once) and the ratio is {MATTERS:g} or more. Of several engines with the "
    "same k, batch size and boundary, the p values are corrected by Holm's method for the rivals, though not for which one leads: of engines that are "
    f"equally fast one is called slower in {statistics.LEVEL:.0%} of groups of two at most, in 4 to 5% of seven, in 6 to 8% of fifteen. But "
    f"{QUICK_MATTERS:g} times as long, by the whole interval of the ratio, is told without it, and in a quick run, which has no such test, that in every round "
    "alone. Otherwise they are not told apart.",
    "Times run from queries in memory to ids and distances in the same memory: host or GPU, as the table says. p99 needs 100 samples.",
    "exact: the ids of float64, ties to the smaller row. float32: only rows were exchanged whose float64 distances differ by less than "
    "float32 rounding of the engine's own formula explains. undecided: that rounding is not small against what tells rows "
    "apart, and would excuse wrong rows as well. wrong: anything else. Neither of the two wins.",
)
CLIMB = (
    "All rungs run in one process, one after the other, with the same queries in turn. A time is the median of the searches after the "
    "first, on the wall, with the answer copied back; GPU events are around the search alone.",
    "Every answer is judged by float64, as compare does: exact, float32 (rounding explains the difference), or wrong.",
    "The floor is the time in which this device reads all rows once, at the rate measured here.",
)
WORDS = {
    "threads": "threads",
    "rounds": "rounds",
    "seconds": "budget of a case, s",
    "timeout": "time limit of a step, s",
    "memory": "memory limit",
    "seed": "seed",
    "cold": "cold caches measured",
    "quick": "quick",
}


def section(run: ComparisonRun | LadderRun) -> Section:
    """The rules, the options, and the notes of the run."""
    facts = _facts(run)
    notes = list(run.facts.notes)
    blocks: list[Block] = [Listed(COMPARE if isinstance(run, ComparisonRun) else CLIMB)]
    if facts:
        blocks.append(Facts(facts))
    if notes:
        blocks.append(Listed(notes))
    return Section("method", "Method", blocks)


def _facts(run: ComparisonRun | LadderRun) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if isinstance(run, LadderRun):
        known = {
            "repeats": run.facts.repeat,
            "queries": run.facts.queries,
            "rows that loops visit": run.facts.loop_rows,
        }
        return [(name, f"{value:,}") for name, value in known.items() if value is not None]
    if run.geometry is not None:
        found.append(("the vectors", run.geometry.said()))
    if run.facts.queries is not None:
        found.append(("queries", f"{run.facts.queries:,}{', rows that were held out' if run.facts.held_out else ''}"))
    found += [(word, _said(run.options[name])) for name, word in WORDS.items() if name in run.options]
    if overheads := [r.overhead_ns for r in run.rows if isinstance(r, Measurement) and r.overhead_ns]:
        found.append(("timing an empty call", f"{max(overheads):,} ns"))
    return found


def _said(value: Any) -> str:
    return (
        "none"
        if value is None
        else {True: "yes", False: "no"}.get(value, str(value))
        if isinstance(value, bool)
        else str(value)
    )
