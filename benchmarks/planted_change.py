"""Runs of compare, one after the other: how often is a change told where there is none, and is a planted slowdown of 15% found?

    python benchmarks/planted_change.py [--runs 21] [--earlier 1] [--again 0] [--drawn 0] [--rounds 7] [--folder DIR]
                                        [--out benchmarks/results/planted-change.json]

The same engines are measured in run after run, and each run is held against as many before it as --earlier says: nothing changed. Every
run also has numpy with 15% more to do; put in numpy's place in the later run, it is the planted change. While a row is not clear, the runs
that follow are taken for what is measured again, as many as --again says. With --drawn the earlier runs of each case are drawn from all
but the later ones, which begin anywhere: more cases, of the same runs. Runs in DIR are kept, and not measured again.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from msgspec import structs

from knnscope import analysis, environment
from knnscope.analysis import run as runs
from knnscope.analysis.again import unclear
from knnscope.analysis.change import Change, changes
from knnscope.analysis.run import CompareFacts, ComparisonRun
from knnscope.analysis.shifts import Floats
from knnscope.bench import session
from knnscope.bench.plan import Options
from knnscope.bench.task import Task
from knnscope.datasets import registry
from knnscope.search import catalog
from knnscope.search.catalog import Entry

DATA = "synthetic:text,rows=20000,queries=200"
ENGINES = ("numpy", "faiss", "certified", "sklearn")
CHANGED, PLANTED = "numpy", "numpy-planted"
BATCHES = (10,)
Case = tuple[list[int], list[int]]
OPTIONS = Options(threads=1, rounds=7, seconds=0.5, cold=False)
"""One thread, so that other work finds a core of its own; up to 13 rounds each is a process, from 14 on each process has two."""


def main() -> None:
    """Measure, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--earlier", type=int, default=1, help="runs that each is held against (default 1)")
    parser.add_argument("--again", type=int, default=0, help="measured again at most so often (default 0)")
    parser.add_argument("--drawn", type=int, default=0, help="so many cases are drawn (default: each run in its turn)")
    parser.add_argument("--rounds", type=int, default=OPTIONS.rounds)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/planted-change.json"))
    args = parser.parse_args()
    if args.earlier < 1 or args.again < 0 or args.earlier + args.again >= args.runs:
        parser.error(
            f"--earlier {args.earlier}, --again {args.again}: from 1 and from 0 up, together fewer than {args.runs} runs"
        )
    with tempfile.TemporaryDirectory() as own:
        found = [
            measured((args.folder or Path(own)) / f"{number:02}", number, args.rounds) for number in range(args.runs)
        ]
    later = 1 + args.again
    cases = drawn(args.runs, args.earlier, later, args.drawn) if args.drawn else in_turn(args.runs, args.earlier, later)
    pairs = [pair([found[i] for i in before], [found[i] for i in after]) for before, after in cases]
    for one in pairs:
        print(one)
    summary = {
        "earlier runs of a pair": args.earlier,
        "measured again at most": args.again,
        "drawn": bool(args.drawn),
        "pairs": len(pairs),
        "nothing changed": {
            "pairs with a row that is worse": sum(bool(p["worse"]) for p in pairs),
            "pairs with a row that is better": sum(bool(p["better"]) for p in pairs),
            "rows": total(p["nothing changed"] for p in pairs),
            "later runs that were needed": counted(p["later runs"] for p in pairs),
            "a change of so many times would have been told, median": round(median(p["tells"] for p in pairs), 2),
        },
        "planted": {
            f"{CHANGED}, 15% slower": total([p["planted"]] for p in pairs),
            "later runs that were needed": counted(p["later runs, planted"] for p in pairs),
            "its ratio, median": round(median(p["ratio"] for p in pairs), 3),
            "the others": total(p["others"] for p in pairs),
            "pairs with another row that is worse or better": sum(
                bool({"worse", "better"} & set(p["others"])) for p in pairs
            ),
        },
        "what wanders from run to run": wandering(found),
        "cores kept busy by other work, median": median(p["other cores"] for p in pairs),
    }
    print(json.dumps(summary, indent=1))
    facts = {"summary": summary, "pairs": pairs, "environment": environment.collect(catalog.libraries())}
    args.out.write_text(json.dumps(facts, indent=1) + "\n")


def in_turn(runs: int, earlier: int, later: int) -> list[Case]:
    """Numbers of earlier runs and of later ones, which follow them."""
    starts = range(earlier, runs - later + 1)
    return [(list(range(start - earlier, start)), list(range(start, start + later))) for start in starts]


def drawn(runs: int, earlier: int, later: int, cases: int) -> list[Case]:
    """Later runs that follow each other, and earlier ones of all the others."""
    chance = random.Random(1)
    found = []
    for _ in range(cases):
        start = chance.randrange(runs - later + 1)
        after = list(range(start, start + later))
        before = chance.sample([i for i in range(runs) if i not in after], earlier)
        found.append((sorted(before), after))
    return found


def measured(folder: Path, number: int, rounds: int) -> ComparisonRun:
    """A run of all engines, the planted one among them; one that is there already is read."""
    if not (folder / runs.FACTS).exists():
        dataset, _ = registry.load(DATA)
        task = Task(DATA, dataset.documents.values, dataset.queries.values, "l2")
        catalog.ENGINES[PLANTED] = Entry("benchmarks.slower_numpy:SlowerByTheClock", "numpy", None, "numpy, 15% slower")
        began = time.monotonic()
        got = session.measure(
            task,
            session.Grid((*ENGINES, PLANTED), (10,), BATCHES),
            replace(OPTIONS, seed=number, rounds=rounds),
            ceilings=False,
        )
        if got.interrupted:
            raise KeyboardInterrupt
        runs.save(ComparisonRun(tuple(got.rows), got.environment, CompareFacts(queries=len(task.queries))), folder)
        print(f"run {number}: {time.monotonic() - began:.0f} s", flush=True)
    run = analysis.load(folder)
    assert isinstance(run, ComparisonRun)
    return run


def pair(before: Sequence[ComparisonRun], after: Sequence[ComparisonRun]) -> dict[str, Any]:
    """What is said of earlier runs and later ones, as they are and with the planted engine in the later ones."""
    still, needed = hot(before, [as_it_is(run) for run in after])
    moved, planted_needed = hot(before, [planted(run) for run in after])
    (row,) = (row for row in moved if row.engine == CHANGED)
    return {
        "worse": [row.engine for row in still if row.outcome == "worse"],
        "better": [row.engine for row in still if row.outcome == "better"],
        "nothing changed": [row.outcome for row in still],
        "later runs": needed,
        "planted": row.outcome,
        "ratio": round(row.ratio or 0, 3),
        "later runs, planted": planted_needed,
        "others": [row.outcome for row in moved if row.engine != CHANGED],
        "tells": round(median(row.tells or 0 for row in still), 3),
        "other cores": max(run.other_cores or 0 for run in (*before, *after)),
    }


def hot(before: Sequence[ComparisonRun], after: Sequence[ComparisonRun]) -> tuple[Sequence[Change], int]:
    """The rows of calls with hot caches, and how many of the later runs were looked at, as compare --again does."""
    earlier = [as_it_is(run) for run in before]
    for count in range(1, len(after) + 1):
        found = changes(earlier, after[:count])
        if not unclear(found):
            break
    return [row for row in found.rows if row.cache == "hot"], count


def wandering(found: Sequence[ComparisonRun]) -> dict[str, dict[str, float]]:
    """Of each engine beside the others, as logarithms: how far it lies from run to run by wall time, CPU time and the fastest call of each round.

    by processes: what the spread of a run's rounds, each a process's own, lets expect of that (standard error of their mean). next: the
    correlation of a run and the one after it, by wall time.
    """
    names = [*ENGINES, PLANTED]
    hot_rows = [{row.engine: row for row in run.rows if row.cache == "hot"} for run in found]
    rounds = np.log([[[median(ns) for ns in rows[name].samples_ns] for name in names] for rows in hot_rows])
    fastest = np.log([[[min(ns) for ns in rows[name].samples_ns] for name in names] for rows in hot_rows])
    cpu = np.log([[[rows[name].cpu_ns] for name in names] for rows in hot_rows])
    wall, by_cpu, by_fastest = (beside(some) for some in (rounds, cpu, fastest))
    levels, cpu_levels, fastest_levels = (np.median(some, axis=2) for some in (wall, by_cpu, by_fastest))
    errors = np.sqrt(np.mean(wall.var(axis=2, ddof=1) / wall.shape[2], axis=0))
    return {
        name: {
            "wall time": round(float(levels[:, i].std(ddof=1)), 3),
            "CPU time": round(float(cpu_levels[:, i].std(ddof=1)), 3),
            "fastest call": round(float(fastest_levels[:, i].std(ddof=1)), 3),
            "by processes": round(float(errors[i]), 3),
            "next": round(float(np.corrcoef(levels[:-1, i], levels[1:, i])[0, 1]), 2),
        }
        for i, name in enumerate(names)
    }


def beside(times: Floats) -> Floats:
    """Logarithms of shape (runs, engines, rounds) beside the median of the other engines, each in units of its usual time."""
    moved = times - np.median(times, axis=(0, 2), keepdims=True)
    found = np.empty_like(moved)
    for i in range(len(ENGINES) + 1):
        others = [j for j in range(len(ENGINES)) if j != i and (i < len(ENGINES) or ENGINES[j] != CHANGED)]
        found[:, i] = moved[:, i] - np.median(moved[:, others], axis=1)
    return found


def as_it_is(run: ComparisonRun) -> ComparisonRun:
    """Without the planted engine."""
    return replace(run, rows=tuple(row for row in run.rows if row.engine != PLANTED))


def planted(run: ComparisonRun) -> ComparisonRun:
    """With it in the place of the engine that it is made of."""
    kept = (row for row in run.rows if row.engine != CHANGED)
    return replace(
        run, rows=tuple(structs.replace(row, engine=CHANGED) if row.engine == PLANTED else row for row in kept)
    )


def total(outcomes: Any) -> dict[str, int]:
    """How often each comes."""
    return dict(Counter(outcome for some in outcomes for outcome in some).most_common())


def counted(numbers: Any) -> dict[str, int]:
    """How often each comes, least first."""
    return {str(number): count for number, count in sorted(Counter(numbers).items())}


if __name__ == "__main__":
    main()
