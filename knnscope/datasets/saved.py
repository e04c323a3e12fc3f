"""What this program wrote itself: the folder of ``knnscope embed -o``, and the two files of ``knnscope data get synthetic:...``."""

from __future__ import annotations

import json
from pathlib import Path

from knnscope.checks import check_finite
from knnscope.datasets import vector_files
from knnscope.errors import KnnscopeError
from knnscope.records import Strings, VectorDataset, Vectors
from knnscope.store import os_problem

METRICS = ("l2", "ip", "cosine")


def load(folder: Path) -> VectorDataset:
    """vectors.npy with ids.txt, meta.json and queries/, as far as they are there.

    Raises:
        KnnscopeError: damaged, or ids and rows that do not match.
    """
    documents = _part(folder)
    queries = _part(folder / "queries") if (folder / "queries" / "vectors.npy").is_file() else None
    return VectorDataset(str(folder), documents, queries, _metric(folder / "meta.json"))


def _part(folder: Path) -> Vectors:
    values = vector_files.load(str(folder / "vectors.npy")).documents
    check_finite(values.values, str(folder / "vectors.npy"))
    path = folder / "ids.txt"
    if not path.is_file():
        return values
    try:
        ids = Strings(path.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise KnnscopeError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    if len(ids) != len(values):
        raise KnnscopeError(
            f"{path}: {len(ids):,} ids for {len(values):,} rows of vectors.npy: the files do not belong together"
        )
    return Vectors(values.values, ids)


def _metric(path: Path) -> str | None:
    """The metric of the recipe that made the vectors."""
    if not path.is_file():
        return None
    try:
        meta = json.loads(path.read_text("utf-8"))
        metric = meta["recipe"]["metric"]
    except OSError as error:
        raise os_problem(error, path) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KnnscopeError(f"{path}: holds no recipe: delete it to search by l2") from error
    if metric not in METRICS:
        raise KnnscopeError(f"{path}: no metric {metric!r}: {', '.join(METRICS)}")
    return str(metric)


def with_queries_beside(dataset: VectorDataset, path: Path) -> tuple[VectorDataset, tuple[str, ...]]:
    """NAME.npy with the queries of NAME-queries.npy, where ``data get`` left them; a note says so."""
    beside = path.with_name(f"{path.stem}-queries.npy")
    if path.suffix != ".npy" or dataset.queries is not None or not beside.is_file():
        return dataset, ()
    queries = vector_files.load(str(beside)).documents
    check_finite(queries.values, str(beside))
    if queries.dim != dataset.documents.dim:
        return dataset, (
            f"{beside}: {queries.dim} components, the rows have {dataset.documents.dim}: not taken as queries",
        )
    return VectorDataset(dataset.name, dataset.documents, queries, dataset.metric), (
        f"queries are the rows of {beside}",
    )
