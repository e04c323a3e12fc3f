"""knnscope compare."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from knnscope.analysis import again, statistics
from knnscope.analysis.change import UNTOLD, Change
from knnscope.analysis.measurement import FAILED, Measurement
from knnscope.analysis.run import AGAIN, ROWS
from knnscope.analysis.verdict import QUICK_MATTERS
from knnscope.api import reporting
from knnscope.api.changing import Changes, changes, earlier_runs
from knnscope.api.comparing import QUERIES, QUICK_QUERIES, SECONDS, CompareOptions, Comparison, compare
from knnscope.bench.plan import QUICK_ROUNDS
from knnscope.bench.turns import AGAIN as AGAIN_BESIDE
from knnscope.bench.turns import PROCESSES
from knnscope.cli import inputs, options
from knnscope.cli.notes import notes
from knnscope.cli.show import show, show_rows, show_two
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.search import catalog
from knnscope.store import check_outputs

FAIL_ON = ("wrong", "undecided", *FAILED, "noisy")
NAMED = 4
"""Rows that a line names."""
SLOWER = "slower"
"""What --fail-on takes besides where there is a run to compare with."""


class Compare:
    """Which engine is fastest and right on this data and machine: every engine measured side by side, every answer checked.

    Each engine runs in a process of its own with the same thread budget, in rounds of random order. The first call, calls
    with cold caches and calls with hot ones are measured apart. An answer is exact (the ids that float64 defines), float32
    (only rows exchanged that float32 rounding may exchange), undecided (so much rounding may exchange any rows) or wrong; only
    the first two win. Ctrl-C keeps what was measured.

    knnscope compare wordnet --limit 75000 --batch 1,10,100,1000
    knnscope compare base.fbin --queries queries.fbin -k 10,100 --engines faiss,usearch
    knnscope compare vectors.npy --against runs/baseline --fail-on slower,wrong
    knnscope compare vectors.npy --against runs/1 runs/2 runs/3 runs/4 --fail-on slower,wrong
    knnscope compare vectors.npy --against runs/1 runs/2 runs/3 runs/4 --again 2
    knnscope compare vectors.npy --beside ../main/.venv --fail-on slower,wrong
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        inputs.add_dataset(parser, optional=True)
        _add_workload(parser)
        _add_effort(parser)
        _add_outcome(parser)
        inputs.add_encoder(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Measure and print."""
        if args.beside is not None and args.against is not None:
            raise KnnscopeError("--beside and --against: what changed since what? leave one of them out")
        fail_on = _fail_on(args.fail_on, args.against is not None or args.beside is not None)
        times = _times(args, SLOWER in fail_on)
        earlier = _earlier(args.against, args.dataset) if args.against is not None else None
        out = args.out or f"runs/compare-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        check_outputs([Path(out)], [Path(folder) for folder in args.against or ()])
        try:
            found = _measured(args, out, times)
        except KeyboardInterrupt as stop:
            if stop.args:  # it has said what is kept
                raise
            raise KeyboardInterrupt("interrupted; nothing was measured yet, no run was written") from stop
        notes(reporting.beside(found.run))
        since, more = self._shown(args, earlier, found, times)
        if any(one.interrupted for one in (found, *more)) and found.folder is not None:
            raise KeyboardInterrupt(f"interrupted; what was measured until then is in {found.folder.resolve()}")
        failing = _failing(found.measurements, more, fail_on)
        if since is not None and SLOWER in fail_on:
            failing += [f"{row.engine} slower at batch {row.batch}" for row in since.worse]
            notes(_unchecked(since))
        if failing:
            notes([f"--fail-on: {'; '.join(failing)}"])
            return 1
        if all(row.median_ns is None for row in found.measurements):
            first = found.measurements[0]
            raise KnnscopeError(f"nothing was measured: {first.engine}: {first.reason}")
        return 0

    def _shown(
        self, args: argparse.Namespace, earlier: Sequence[Comparison] | None, found: Comparison, times: int
    ) -> tuple[Changes | None, list[Comparison]]:
        """Print it; returns what changed, where there is something to compare with, and the runs that measured again for it."""
        if (other := found.beside) is not None:
            show_two(other.run, found.run, args.json)
            return changes(other, found), []
        if args.json:
            notes(found.notes)
            show_rows(found.measurements)
        else:
            show(found.run)
        if earlier is None:
            return None, []
        since, more = _since(args, earlier, found, times)
        print(f"\n{since}", file=sys.stderr if args.json else sys.stdout)
        return since, more


def _measured(args: argparse.Namespace, out: str | Path, times: int = 0) -> Comparison:
    with options.dashed():
        return compare(
            args.dataset or "sample",
            _queries(args.queries),
            options.listed(args.engines) if args.engines is not None else None,
            options.numbers(args.k, "-k"),
            options.numbers(args.batch, "--batch"),
            _options(args, times),
            out,
        )


def _times(args: argparse.Namespace, checked: bool) -> int:
    """How often to measure again: where a check may fail for it, and by turns, by default."""
    if args.again and args.against is None and args.beside is None:
        raise KnnscopeError(
            f"--again {args.again}: measures again what seems to have changed: name an earlier run with --against DIR, or another "
            f"environment with --beside PYTHON"
        )
    if args.again is not None:
        return int(args.again)
    return AGAIN_BESIDE if args.beside is not None else again.TIMES if checked else 0


def _since(
    args: argparse.Namespace, earlier: Sequence[Comparison], found: Comparison, times: int
) -> tuple[Changes, list[Comparison]]:
    """What changed, and the runs that measured again, while a row is not clear."""
    since = changes(earlier, found)
    more: list[Comparison] = []
    for number in range(1, times + 1):
        if not since.unclear or found.folder is None or any(one.interrupted for one in (found, *more)):
            break
        why = f"since it is not clear yet: {_named(since.unclear)}"
        notes([f"measuring again ({number} of at most {times}), {why}"])
        more.append(_measured(args, found.folder / f"{AGAIN}{number}"))
        notes(reporting.beside(more[-1].run))
        since = changes(earlier, found)
    return since, more


def _named(rows: Sequence[Change]) -> str:
    """Rows in a few words."""
    some = [f"{row.engine} at batch {row.batch}" for row in rows[:NAMED]]
    return "; ".join(some) + (f"; and {len(rows) - NAMED} more" if len(rows) > NAMED else "")


def _earlier(folders: Sequence[str], dataset: str | None) -> list[Comparison]:
    """The runs of --against, which takes all words that follow it."""
    if dataset is None and len(folders) > 1 and not Path(folders[-1], ROWS).is_file():
        raise KnnscopeError(
            f"--against {folders[-1]}: no run of knnscope compare; if it is the data, name it before --against"
        )
    return earlier_runs(folders, Comparison)


def _options(args: argparse.Namespace, times: int) -> CompareOptions:
    return CompareOptions(
        metric=args.metric,
        quick=args.quick,
        boundary=options.listed(args.boundary) if args.boundary is not None else None,
        threads=options.threads_of(args.threads),
        rounds=args.rounds,
        seconds=args.seconds,
        timeout=args.timeout,
        memory=args.memory,
        seed=args.seed,
        keep_own=args.keep_own,
        beside=args.beside,
        again=times,
        dataset=inputs.dataset_options(args),
        encoder=inputs.encoder_options(args),
    )


def _queries(text: str | None) -> str | int | None:
    """A number, or the name of a file."""
    return options.number(text, "--queries") if text is not None and text.isascii() and text.isdigit() else text


def _add_workload(parser: argparse.ArgumentParser) -> None:
    """What is compared."""
    parser.add_argument(
        "--queries",
        metavar="FILE|N",
        help=f"a file of vectors, or how many (default: the data's own, at most {QUERIES:,}; else {QUERIES:,} rows, held out)",
    )
    parser.add_argument(
        "--engines",
        metavar="E,E...",
        help=f"of {', '.join(catalog.ENGINES)} (default: all but dask and {catalog.REFERENCE}, by which they are judged)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"under a minute for 100,000 x 384: {QUICK_QUERIES} queries, {QUICK_ROUNDS} rounds by one process an engine, "
        f"no cold caches; tells apart what differs {QUICK_MATTERS:g} times or more",
    )
    parser.add_argument("-k", default="10", metavar="K,K...", help="neighbors (default 10)")
    parser.add_argument("--batch", default="1,10,100", metavar="B,B...", help="queries in a call (default 1,10,100)")
    inputs.add_metric(parser)
    parser.add_argument(
        "--boundary",
        metavar="B,B",
        help="host: queries and answers in host memory; device: both in GPU memory (default: all that an engine has)",
    )


def _add_effort(parser: argparse.ArgumentParser) -> None:
    """How long it may take, and with what."""
    options.add_threads(parser)
    parser.add_argument(
        "--rounds",
        type=options.positive,
        metavar="N",
        help=f"at least 5; at least 7 for a verdict on two engines, more for more (default {statistics.ROUNDS}; --beside: {PROCESSES}, each by new processes)",
    )
    parser.add_argument(
        "--seconds",
        type=options.positive,
        metavar="S",
        help=f"time for each engine, k and batch size (default {SECONDS}; less with --quick)",
    )
    parser.add_argument(
        "--timeout",
        type=options.positive,
        default=300,
        metavar="S",
        help="seconds after which a step is given up: a build, a warm-up, a turn (default 300)",
    )
    parser.add_argument(
        "--memory",
        type=options.positive,
        metavar="MIB",
        help="what one engine may allocate in host memory (default: no limit)",
    )
    parser.add_argument(
        "--seed",
        type=options.natural,
        default=0,
        metavar="N",
        help="of the choice of queries and the order of calls (default 0)",
    )


def _add_outcome(parser: argparse.ArgumentParser) -> None:
    """What becomes of the answers."""
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where the run is saved (default: runs/compare-DATE-TIME)",
    )
    parser.add_argument(
        "--against",
        nargs="+",
        action="extend",
        metavar="DIR",
        help="a saved run, or several, oldest first: also print what changed since then, row by row; the more runs, the smaller a change is told",
    )
    parser.add_argument(
        "--again",
        type=options.natural,
        metavar="N",
        help="with --against: measure the whole up to N times more while a row is not clear, and judge all these runs together "
        f"(default {again.TIMES} with --fail-on {SLOWER} or any, else 0); with --beside: up to N times as many rounds more "
        f"(default {AGAIN_BESIDE})",
    )
    parser.add_argument(
        "--beside",
        metavar="PYTHON",
        help="another environment, its interpreter or its folder: measure each engine there and here by turns, and print what changed from there to here",
    )
    parser.add_argument(
        "--keep-own",
        action="store_true",
        help="count documents that have the query's own id as answers when quality is measured (default: leave them out, as BEIR does)",
    )
    parser.add_argument("--json", action="store_true", help="print the rows, a JSON object a line")
    parser.add_argument(
        "--fail-on",
        metavar="S,S...",
        help=f"exit with 1 if a row is one of {', '.join(FAIL_ON)} (or any); with --against or --beside also {SLOWER} than there",
    )


def _fail_on(text: str | None, against: bool) -> list[str]:
    if text is None:
        return []
    known = (*FAIL_ON, SLOWER)
    chosen = options.listed(text)
    if not chosen:
        raise KnnscopeError(f"--fail-on is empty: {', '.join(known)}")
    if "any" in chosen:
        every = known if against else FAIL_ON
        chosen = list(dict.fromkeys([*(name for name in chosen if name != "any"), *every]))
    for name in chosen:
        if name not in known:
            raise unknown_name("choice for --fail-on", name, known)
    if SLOWER in chosen and not against:
        raise KnnscopeError(
            f"--fail-on {SLOWER}: slower than what? name an earlier run with --against DIR, or another environment with --beside PYTHON"
        )
    return chosen


def _failing(rows: Sequence[Measurement], more: Sequence[Comparison], fail_on: Sequence[str]) -> list[str]:
    """Each engine with what it failed in, in the order of the rows; noisy is what the table shows as such, its hot calls.

    more: runs that measured again, in which a row may be noisy.
    """
    found = []
    for row in rows:
        noisy = "noisy" if row.noisy and row.cache == "hot" else ""
        found += [f"{row.engine} {why}" for why in (*_states(row), noisy) if why in fail_on]
    found += [
        f"{row.engine} {why}" for one in more for row in one.measurements for why in _states(row) if why in fail_on
    ]
    return list(dict.fromkeys(found))


def _states(row: Measurement) -> tuple[str, ...]:
    return (row.status, "undecided") if row.grade == "undecided" else (row.status,)


def _unchecked(since: Changes) -> list[str]:
    """Says so where not one row could tell whether it is slower, so that a check that passes is not taken for one that looked."""
    hot = [row for row in since.measurements if row.cache == "hot"]
    if not hot or any(row.outcome not in UNTOLD for row in hot):
        return []
    reasons = "; ".join(dict.fromkeys(row.why for row in hot if row.why)) or "too noisy to tell"
    return [f"--fail-on {SLOWER}: no row could tell: {reasons}"]
