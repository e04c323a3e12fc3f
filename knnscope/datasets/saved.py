"""What this program wrote itself: the folder of ``knnscope embed -o``, and the two files of ``knnscope data get synthetic:...``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.checks import check_finite
from knnscope.datasets import vector_files
from knnscope.datasets.lines import read_objects, string_field
from knnscope.errors import KnnscopeError
from knnscope.records import METRICS, EncodedBy, Texts, VectorDataset, Vectors
from knnscope.store import not_ours, os_problem, read_json, whole_file, write_json
from knnscope.strings import Strings

FILES = ("vectors.npy", "ids.txt", "texts.jsonl", "meta.json")
UNFINISHED = {"unfinished": True}
"""What meta.json says while the other files are written."""


def check_own(folder: Path) -> None:
    """Refuse to write over files of a folder, or of its queries/, that this program did not write.

    Raises:
        KnnscopeError: names the file.
    """
    for part in (folder, folder / "queries"):
        _check_own(part)


def _check_own(folder: Path) -> None:
    there = [name for name in FILES if (folder / name).exists()]
    said = _says(folder / "meta.json")
    if there and said != UNFINISHED and not (isinstance(said.get("rows"), int) and isinstance(said.get("dim"), int)):
        raise not_ours(folder / there[0])


def _says(meta: Path) -> dict[str, Any]:
    try:
        return read_json(meta)
    except KnnscopeError:
        return {}


@dataclass(frozen=True, slots=True)
class Column:
    """Documents or queries as they are written.

    texts: ids and texts of the rows. blocks: the rows, in order, (some, dim) at a time. facts: what meta.json says beside the shape; ``load``
    reads encoder, encoder_folder, sha256 and recipe.
    """

    texts: Texts
    blocks: Iterable[npt.NDArray[np.float32]]
    dim: int
    facts: dict[str, Any]


def write(folder: Path, rows: Column, queries: Column | None = None) -> None:
    """The four files of a column of texts, each whole or not at all, and those of the queries in queries/; of none what a former run left is removed.

    Until all is there meta.json says that it is not: a folder that was left half is refused, and never holds queries of another run.

    Raises:
        KnnscopeError: the folder holds files of others, or cannot be written, or the disk is full.
    """
    check_own(folder) if queries is not None else _check_own(folder)
    _write(folder, rows)
    if queries is not None:
        write(folder / "queries", queries)
    if count := len(rows.texts):
        write_json(folder / "meta.json", {**rows.facts, "rows": count, "dim": rows.dim, "dtype": "float32"})


def _write(folder: Path, rows: Column) -> None:
    """All but the last meta.json."""
    texts = rows.texts
    if not len(texts):
        try:
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise os_problem(error, folder) from error
        return
    with whole_file(folder / "vectors.npy") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(texts), rows.dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in rows.blocks:
            file.write(np.ascontiguousarray(block, dtype="<f4").data)
        write_json(folder / "meta.json", UNFINISHED)  # from here on files of two runs may lie beside each other
    with whole_file(folder / "ids.txt") as file:
        file.writelines(f"{key}\n".encode() for key in texts.ids)
    with whole_file(folder / "texts.jsonl") as file:
        for key, text in zip(texts.ids, texts.texts, strict=True):
            # lone surrogates, which UTF-8 cannot hold, stay as JSON's own escapes
            file.write(json.dumps({"_id": key, "text": text}).encode() + b"\n")


def load(folder: Path) -> VectorDataset:
    """vectors.npy with ids.txt, texts.jsonl, meta.json and queries/, as far as they are there.

    Raises:
        KnnscopeError: damaged, or ids, texts and rows that do not match.
    """
    documents = _part(folder)
    queries = _part(folder / "queries") if (folder / "queries" / "vectors.npy").is_file() else None
    metric, encoded_by = _meta(folder / "meta.json")
    return VectorDataset(str(folder), documents, queries, metric, (), encoded_by)


def facts(folder: Path) -> dict[str, Any]:
    """What ``meta.json`` says; nothing where there is none.

    Raises:
        KnnscopeError: it cannot be read, or is no JSON object.
    """
    path = folder / "meta.json"
    return read_json(path) if path.is_file() else {}


def _part(folder: Path) -> Vectors:
    if (folder / "meta.json").is_file() and _says(folder / "meta.json") == UNFINISHED:
        raise KnnscopeError(f"{folder}: was not finished when it was written: write it again")
    values = vector_files.load(str(folder / "vectors.npy")).documents.values
    check_finite(values, str(folder / "vectors.npy"))
    path, words = folder / "ids.txt", folder / "texts.jsonl"
    ids = _ids(path) if path.is_file() else None
    if ids is not None and len(ids) != len(values):
        raise _mismatch(path, f"{len(ids):,} ids", len(values))
    return Vectors(values, ids, _texts(words, ids, len(values)) if words.is_file() else None)


def _mismatch(path: Path, what: str, rows: int) -> KnnscopeError:
    return KnnscopeError(f"{path}: {what} for {rows:,} rows of vectors.npy: the files do not belong together")


def _ids(path: Path) -> Strings:
    """One id a line. Only the line feed ends a line: ids may hold what else Unicode counts as a line end."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise KnnscopeError(f"{path}: not UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise os_problem(error, path) from error
    found = text.removesuffix("\n").split("\n") if text else []
    if not (path.parent / "meta.json").is_file():  # by hand, or by another program
        found[:1] = [line.removeprefix("\ufeff") for line in found[:1]]
        if all(line.endswith("\r") for line in found):
            found = [line[:-1] for line in found]
    return Strings(found)


def _texts(path: Path, ids: Strings | None, rows: int) -> Strings:
    texts = Strings()
    for number, value in read_objects(path, "texts"):
        if ids is not None and len(texts) < len(ids) and value.get("_id") != ids[len(texts)]:
            raise KnnscopeError(
                f"{path}, line {number}: another id than line {len(texts) + 1:,} of ids.txt: the files do not belong together"
            )
        texts.append(string_field(f"{path}, line {number}", value, "text"))
    if len(texts) != rows:
        raise _mismatch(path, f"{len(texts):,} texts", rows)
    return texts


def _meta(path: Path) -> tuple[str | None, EncodedBy | None]:
    """The metric of the recipe that made the vectors, and what else says how they were made."""
    if not path.is_file():
        return None, None
    try:
        meta = json.loads(path.read_bytes().decode("utf-8-sig"))
        recipe = meta["recipe"]
        metric = recipe["metric"]
    except OSError as error:
        raise os_problem(error, path) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KnnscopeError(f"{path}: holds no recipe: delete it to search by l2") from error
    if metric not in METRICS:
        raise KnnscopeError(f"{path}: no metric {metric!r}: {', '.join(METRICS)}")
    name = meta.get("encoder_folder") or meta.get("encoder")
    if isinstance(name, str) and isinstance(meta.get("sha256"), str) and isinstance(recipe.get("name"), str):
        weights = meta.get("weights") if "encoder_folder" in meta else None
        words = (word if isinstance(word, str) else None for word in (weights, meta.get("others")))
        return str(metric), EncodedBy(name, meta["sha256"], recipe, *words)
    return str(metric), None


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
