"""knnscope show."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from knnscope.analysis import jsonl, run
from knnscope.analysis.run import ComparisonRun
from knnscope.api.reporting import PAGE
from knnscope.cli.notes import notes
from knnscope.report import comparison, ladder


class Show:
    """A saved run of compare or of the ladder, printed as the run printed it; no engine's library is needed.

    knnscope show runs/compare-20260101-120000
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("folder", metavar="DIR", help="the folder that compare or ladder wrote (their --out)")
        parser.add_argument("--json", action="store_true", help="print the rows, a JSON object a line")

    def run(self, args: argparse.Namespace) -> int:
        """Read and print."""
        found = run.load(args.folder)
        if args.json:
            show_rows(found.rows)
        else:
            show(found)
        return 0


def show(found: run.Run) -> None:
    """Print a run: its text, and where it is saved. Notes go to standard error."""
    notes(found.facts.notes)
    print(comparison.text(found) if isinstance(found, ComparisonRun) else ladder.text(found))
    if found.folder is not None:
        print(f"\n{saved(found.folder)}")


def show_rows(rows: Sequence[msgspec.Struct]) -> None:
    """Print rows as the file has them."""
    for row in rows:
        print(jsonl.text(row), flush=True)


def saved(folder: Path) -> str:
    """Where a run lies, and its files."""
    return f"saved in {folder.resolve()}: {', '.join(name for name in (*run.FILES, PAGE) if (folder / name).exists())}"
