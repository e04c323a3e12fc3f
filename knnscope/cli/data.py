"""knnscope data."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from knnscope.api.loading import load
from knnscope.cli import inputs, options
from knnscope.cli.notes import notes
from knnscope.datasets import ground_truth, registry, synthetic
from knnscope.errors import KnnscopeError
from knnscope.records import VectorDataset
from knnscope.report import datasets as report
from knnscope.report.text import plain
from knnscope.store import home
from knnscope.units import size


class Data:
    """Data sets: list them, get one onto this machine, show what is in it.

    knnscope data list
    knnscope data get NAME              download a BEIR collection, or write synthetic vectors to a file
    knnscope data show NAME             counts, and relevant pairs of a query and a document
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "action",
            choices=("list", "get", "show"),
            metavar="list|get|show",
            help="what to do: list what there is, get one, or show what is in it",
        )
        inputs.add_dataset(parser, optional=True)
        parser.add_argument(
            "--pairs", type=options.natural, default=5, metavar="N", help="show: how many relevant pairs (default 5)"
        )
        parser.add_argument("--offset", type=options.natural, default=0, metavar="N", help="show: pairs to skip first")
        parser.add_argument("--grade", type=int, metavar="G", help="show: pairs of this grade (default 1)", default=1)
        parser.add_argument("-o", "--out", metavar="FILE", help="get: the .npy file to write synthetic vectors to")
        parser.add_argument("--json", action="store_true", help="list: print JSON")

    def run(self, args: argparse.Namespace) -> int:
        """Do the action."""
        if args.action == "list":
            if args.dataset:
                raise KnnscopeError(
                    f"knnscope data list takes no name: knnscope data show {plain(args.dataset)} shows that one"
                )
            return _list(args)
        if not args.dataset:
            raise KnnscopeError(f"knnscope data {args.action} needs the name of a data set (knnscope data list)")
        return _get(args) if args.action == "get" else _show(args)


def _list(args: argparse.Namespace) -> int:
    entries = registry.catalogue(inputs.dataset_options(args))
    if args.json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2))
        return 0
    print(report.entries_text(entries))
    print(f"\nDownloads go to {home()}. A BEIR folder, a table of texts or a file of vectors can stand in for a name.")
    return 0


def _get(args: argparse.Namespace) -> int:
    if args.dataset.startswith("synthetic:"):
        recipe = synthetic.parse(args.dataset)
        for path, rows in synthetic.write(recipe, Path(args.out or recipe.file_name)):
            print(f"{path}: {rows:,} x {recipe.dim} float32, {size(path.stat().st_size)}")
        return 0
    if args.out:
        raise KnnscopeError("-o is for synthetic vectors; downloads go to KNNSCOPE_HOME")
    if args.dataset.partition("/")[0] in registry.published():
        folder, note = registry.download(args.dataset)
        notes([note] if note else [])
        print(f"{args.dataset} lies in {folder}")
        return 0
    dataset = load(args.dataset, inputs.dataset_options(args))
    notes(dataset.notes)
    print(f"{dataset.name} is on this machine already: nothing to get")
    return 0


def _show(args: argparse.Namespace) -> int:
    if ground_truth.is_one(Path(args.dataset)):
        print(f"{plain(args.dataset)}: ground truth: {ground_truth.described(ground_truth.load(args.dataset))}")
        return 0
    dataset = load(args.dataset, inputs.dataset_options(args))
    notes(dataset.notes)
    if isinstance(dataset, VectorDataset):
        print(report.vectors_text(dataset))
    else:
        print(report.texts_text(dataset, report.Pairs(args.pairs, args.offset, args.grade)))
    return 0
