"""knnscope show."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from knnscope.analysis import change, crossover, explained_crossings, jsonl, run
from knnscope.analysis.crossover import CrossoverRun
from knnscope.analysis.run import ComparisonRun
from knnscope.api.reporting import PAGE
from knnscope.cli.notes import notes
from knnscope.report import change as change_text
from knnscope.report import comparison, ladder
from knnscope.report import crossover as crossing


class Show:
    """A saved run of compare, ladder or crossover, printed as the run printed it; no engine's library is needed.

    knnscope show runs/compare-20260101-120000
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "folder", metavar="DIR", help="the folder that compare, ladder or crossover wrote (their --out)"
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help="print the rows, a JSON object a line; of crossover what was found, one object",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Read and print."""
        if (Path(args.folder) / crossover.FILE).is_file():
            crossed(crossover.load(args.folder), args.json)
            return 0
        found = run.load(args.folder, "compare, ladder or crossover")
        if (folder := run.beside(Path(args.folder))) is not None:
            show_two(run.load(folder), found, args.json)
        elif args.json:
            show_rows(found.rows)
        else:
            show(found)
        return 0


def show_two(before: run.Run, after: run.Run, as_rows: bool) -> None:
    """Print what was measured by turns: what changed from one environment to the other, or its rows."""
    told = change.changes(before, after)
    notes(after.facts.notes)
    if as_rows:
        show_rows(told.rows)
        return
    print(change_text.text(told))
    if after.folder is not None:
        print(f"\n{saved(after.folder)}")


def show(found: run.Run) -> None:
    """Print a run: its text, and where it is saved. Notes go to standard error."""
    notes(found.facts.notes)
    print(comparison.text(found) if isinstance(found, ComparisonRun) else ladder.text(found))
    if found.folder is not None:
        print(f"\n{saved(found.folder)}")


def crossed(found: CrossoverRun, as_object: bool) -> None:
    """Print a search for crossings."""
    notes(found.notes)
    print(json.dumps(explained_crossings.as_json(found), allow_nan=False) if as_object else crossing.text(found))


def show_rows(rows: Sequence[msgspec.Struct]) -> None:
    """Print rows as the file has them."""
    for row in rows:
        print(jsonl.text(row), flush=True)


def saved(folder: Path) -> str:
    """Where a run lies, and its files."""
    return f"saved in {folder.resolve()}: {', '.join(name for name in (*run.FILES, run.CHANGES, run.BESIDE, PAGE) if (folder / name).exists())}"
