"""knnscope demo."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np

from knnscope.analysis import run as runs
from knnscope.analysis.side_by_side import Question, side_by_side
from knnscope.api import reporting
from knnscope.api.choosing import Choice, choose
from knnscope.api.comparing import CompareOptions, recorded, settings_of
from knnscope.api.embedding import check_out, encoded
from knnscope.api.searching import Rows, search_all, top
from knnscope.api.workload import Workload
from knnscope.bench import session
from knnscope.bench.session import Grid
from knnscope.cli import inputs
from knnscope.cli.embed import show
from knnscope.cli.notes import notes
from knnscope.report import comparison
from knnscope.report import side_by_side as answers
from knnscope.report.datasets import Pairs, texts_text
from knnscope.search import catalog
from knnscope.store import free, new_folder

QUERY = "q-crewed-mars"
DEPTH = 10
OUT = Path("runs/demo")


class Demo:
    """The shipped sample from words to a verdict: encode it, search it with every engine, measure which is fastest and right.

    Needs no network once the packages are installed. The vectors and the measurements are saved.
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--out",
            metavar="DIR",
            help="where the run is saved (default: runs/demo, or runs/demo-DATE-TIME where that holds a run)",
        )
        parser.add_argument(
            "--quick",
            action="store_true",
            help="measure as a quick compare does: about a minute, large differences only",
        )
        inputs.add_encoder(parser)

    def run(self, args: argparse.Namespace) -> int:
        """All steps in turn."""
        out = Path(args.out or free(OUT, runs.is_run))
        runs.check_free(out)
        check_out(None, out)
        with new_folder(out) as folder:
            workload = Workload("sample", None, inputs.encoder_options(args))
            texts = workload.texts
            print("== 1. A query and a document that people judged relevant\n")
            row, judged = workload.query_row(QUERY), texts.qrels
            best = judged.queries[judged.grades == 2]
            print(texts_text(texts, Pairs(1, int(np.flatnonzero(best == row)[0]), 2)))

            print(f"\n== 2. {len(texts.documents)} documents and {len(texts.queries)} queries become vectors\n")
            found = encoded(workload)
            show(found)
            found.save(folder)
        rows, queries = Rows(workload.documents.values, workload.metric), workload.queries
        print(f"{workload.encoder.model.name}: {rows.values.shape[1]} components each, searched by {rows.metric}")

        print("\n== 3. One query, its three nearest documents, from every engine here\n")
        answered, refused = search_all(catalog.usual(), rows, queries, DEPTH)
        question = Question(queries[row : row + 1], row)
        print(answers.text(side_by_side(workload, rows.metric, question, top(answered, row))))
        notes(refused)

        print(f"\n== 4. All {len(queries)} queries: which engine is fastest and right on this machine\n")
        task = choose(workload, Choice())
        grid = Grid(catalog.timed(), (DEPTH,), (1, 10))
        measured = session.measure(task, grid, settings_of(CompareOptions(quick=args.quick), grid))
        run = recorded(workload, task, measured, folder=folder).run
        print(f"{comparison.figures(run)}\n\n{comparison.verdict(run)}\n")
        notes(reporting.beside(run))
        if (folder / reporting.PAGE).exists():
            print(f"\nThe page to decide from, for a browser: {(folder / reporting.PAGE).resolve()}")
        files = "vectors.npy, ids.txt, texts.jsonl, meta.json, queries/, results.jsonl, environment.json, run.json, verdict.json"
        print(f"The run is saved in {folder.resolve()}: {files}")
        program = "knnscope" if shutil.which("knnscope") else sys.argv[0]
        print(f'Go on with: {program} search sample "your own words", or {program} compare with your own vectors')
        if measured.interrupted:
            raise KeyboardInterrupt(f"interrupted; what was measured until then is in {folder.resolve()}")
        return 0
