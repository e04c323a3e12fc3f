"""knnscope data."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from knnscope.cli import options
from knnscope.cli.notes import notes
from knnscope.datasets import ground_truth, registry, synthetic
from knnscope.errors import KnnscopeError
from knnscope.progress import bar
from knnscope.records import TextDataset, VectorDataset
from knnscope.report.text import paragraph, plain, table
from knnscope.store import home, whole_file
from knnscope.units import size


class Data:
    """Data sets: list them, get one onto this machine, show what is in it.

    knnscope data list
    knnscope data get NAME              download a BEIR collection, or write synthetic vectors to a file
    knnscope data show NAME             counts, and relevant pairs of a query and a document
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("action", choices=("list", "get", "show"), metavar="list|get|show")
        options.add_dataset(parser, optional=True)
        parser.add_argument(
            "--pairs", type=options.natural, default=5, metavar="N", help="show: relevant pairs (default 5)"
        )
        parser.add_argument("--offset", type=options.natural, default=0, metavar="N", help="show: pairs to skip first")
        parser.add_argument(
            "--grade", type=int, metavar="G", help="show: pairs of this grade only (default 1)", default=1
        )
        parser.add_argument("-o", "--out", metavar="FILE", help="get synthetic:...: the .npy file to write")
        parser.add_argument("--json", action="store_true", help="list: print JSON")

    def run(self, args: argparse.Namespace) -> int:
        """Do the action."""
        if args.action == "list":
            if args.dataset:
                raise KnnscopeError(
                    f"knnscope data list takes no name: knnscope data show {plain(args.dataset)} tells of one"
                )
            return _list(args)
        if not args.dataset:
            raise KnnscopeError(f"knnscope data {args.action} needs the name of a data set (knnscope data list)")
        return _get(args) if args.action == "get" else _show(args)


def _list(args: argparse.Namespace) -> int:
    entries = registry.catalogue(options.dataset_options(args))
    if args.json:
        keys = ("name", "documents", "queries", "state", "what")
        print(json.dumps([{k: getattr(e, k) for k in keys} for e in entries], indent=2))
        return 0
    rows = [(e.name, f"{e.documents:,}", f"{e.queries:,}", e.state, e.what) for e in entries]
    print(table(rows, ("name", "documents", "queries", "state", "what"), right=(1, 2)))
    print(f"\nDownloads go to {home()}. Any BEIR folder, table of texts or file of vectors can stand for a name.")
    return 0


def _get(args: argparse.Namespace) -> int:
    if args.dataset.startswith("synthetic:"):
        return _write_synthetic(args)
    if args.out:
        raise KnnscopeError("-o is for synthetic vectors; downloads go to KNNSCOPE_HOME")
    if args.dataset.partition("/")[0] in registry.published():
        folder, note = registry.download(args.dataset)
        notes([note] if note else [])
        print(f"{args.dataset} lies in {folder}")
        return 0
    dataset, said = registry.load(args.dataset, options.dataset_options(args))
    notes(said)
    print(f"{dataset.name} is on this machine already: nothing to get")
    return 0


def _write_synthetic(args: argparse.Namespace) -> int:
    recipe = synthetic.parse(args.dataset)
    base = Path(args.out or f"{recipe.kind}-{recipe.rows}x{recipe.dim}-{recipe.seed}.npy")
    if base.suffix != ".npy":
        raise KnnscopeError(f"{base}: synthetic vectors are written as .npy, give a name that ends so")
    targets = [(base, recipe.rows, 0)]
    if recipe.queries:
        targets.append((base.with_name(f"{base.stem}-queries.npy"), recipe.queries, 1))
    for path, rows, stream in targets:
        with whole_file(path) as file, bar(rows, path.name, "row", scale=True) as progress:
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows, recipe.dim)}
            np.lib.format.write_array_header_2_0(file, header)
            for block in synthetic.blocks(recipe, rows, stream):
                file.write(np.ascontiguousarray(block, dtype="<f4").data)
                progress.update(len(block))
        print(f"{path}: {rows:,} x {recipe.dim} float32, {size(path.stat().st_size)}")
    return 0


def _show(args: argparse.Namespace) -> int:
    if ground_truth.is_one(Path(args.dataset)):
        print(f"{plain(args.dataset)}: ground truth: {ground_truth.described(ground_truth.load(args.dataset))}")
        return 0
    dataset, said = registry.load(args.dataset, options.dataset_options(args))
    notes(said)
    if isinstance(dataset, VectorDataset):
        _show_vectors(dataset)
    else:
        show_texts(dataset, args.pairs, args.offset, args.grade)
    return 0


def _show_vectors(dataset: VectorDataset) -> None:
    rows = dataset.documents
    print(f"{dataset.name}: {len(rows):,} rows of {rows.dim} {rows.values.dtype}, {size(rows.values.nbytes)}")
    if dataset.queries is not None:
        print(f"{len(dataset.queries):,} queries of {dataset.queries.dim} {dataset.queries.values.dtype}")
    if (truth := ground_truth.of(dataset)) is not None:
        what = "stored ground truth" if dataset.truth is not None else "as ground truth, which its numbers may be"
        print(f"{what}: {ground_truth.described(truth)}")
    if dataset.encoded_by is not None:
        kept = "texts are kept" if rows.texts is not None else "texts are not kept"
        print(
            f"encoded by {plain(dataset.encoded_by.name)}, recipe {plain(str(dataset.encoded_by.recipe['name']))}; {kept}"
        )
    print(f"metric: {dataset.metric or 'not declared, l2 is the default'}")
    some = np.asarray(rows.values[np.linspace(0, len(rows) - 1, min(len(rows), 10_000)).astype(int)], dtype=np.float64)
    norms = np.linalg.norm(some, axis=1)
    print(f"norms (of {len(some):,} rows): {norms.min():.6g} to {norms.max():.6g}, median {np.median(norms):.6g}")
    print(f"norm of the mean row: {np.linalg.norm(some.mean(axis=0)):.6g}")


def show_texts(dataset: TextDataset, pairs: int, offset: int, grade: int) -> None:
    """Counts, then some relevant pairs of one grade."""
    judged, grades = dataset.qrels, dataset.qrels.grades
    print(
        f"{dataset.name}: {len(dataset.documents):,} documents, {len(dataset.queries):,} queries, {len(judged):,} judgements"
    )
    counts = ", ".join(f"{np.count_nonzero(grades == g):,} of grade {g}" for g in np.unique(grades)[::-1])
    absent = f"{len(judged.absent_grades):,} of documents that the corpus lacks" if len(judged.absent_grades) else ""
    print(f"judgements: {', '.join(filter(None, (counts, absent))) or 'none'}")
    chosen = np.flatnonzero(grades == grade)
    shown = chosen[offset : offset + pairs]
    if not len(chosen) and len(judged):
        print(f"no pair has grade {grade}: choose another with --grade")
    for i in shown:
        query, document = int(judged.queries[i]), int(judged.documents[i])
        print(f"\nquery {plain(dataset.queries.ids[query])}")
        print(paragraph(dataset.queries.texts[query], lines=6))
        print(f"document {plain(dataset.documents.ids[document])}, grade {grade}")
        print(paragraph(dataset.documents.texts[document], lines=6))
    if len(chosen) and not len(shown) and pairs:
        print(f"no pairs from --offset {offset} on: there are {len(chosen):,} of grade {grade}")
    elif 0 < offset + len(shown) < len(chosen) and pairs:
        print(
            f"\n{len(chosen):,} pairs of grade {grade}: knnscope data show {dataset.name} --grade {grade} --offset {offset + len(shown)} goes on"
        )
