"""BEIR collections: a folder with corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, each plain or gzipped.

Format: https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.datasets.lines import find, read_lines, read_objects, string_field
from knnscope.errors import KnnscopeError
from knnscope.records import Judgements, Strings, TextDataset, Texts

SPLITS = ("test", "dev", "train")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a collection to take.

    subset: "relevant" keeps the documents that the judgements name, "all" keeps every one.
    limit: the first N documents, after ``subset``.
    split: which judgements; None takes the first there is of test, dev, train.
    """

    subset: str = "all"
    limit: int | None = None
    split: str | None = None


Row = tuple[str, str, int]
"""Query id, document id, grade."""


def load_folder(folder: Path, name: str, selection: Selection | None = None) -> TextDataset:
    """Read a collection; documents are ``title text``, queries those with a judged document in the selection.

    Memory above what the result keeps: 16 bytes a document and the judgements.

    Raises:
        KnnscopeError: missing or damaged files, bad lines, duplicate ids, nothing left.
    """
    selection = selection or Selection()
    corpus, questions = find(folder, "corpus.jsonl"), find(folder, "queries.jsonl")
    if corpus is None or questions is None:
        missing = "corpus.jsonl" if corpus is None else "queries.jsonl"
        raise KnnscopeError(
            f"{folder}: no {missing} or {missing}.gz there: a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/"
        )
    rows, judged_in = _judgements(folder, selection.split)
    if selection.subset == "relevant" and not rows:
        raise KnnscopeError(f"{folder}: --subset relevant needs judgements, and there is no qrels/*.tsv")
    return assemble(
        name,
        ((f"{corpus}, line {n}", *_document(corpus, n, value)) for n, value in read_objects(corpus, "documents")),
        (
            (
                f"{questions}, line {n}",
                string_field(questions, n, value, "_id"),
                string_field(questions, n, value, "text"),
            )
            for n, value in read_objects(questions, "queries")
        ),
        rows,
        selection,
        () if rows else (f"{folder}: no judgements ({judged_in or 'qrels/*.tsv'}), every query is kept",),
    )


def _document(path: Path, number: int, value: dict[str, object]) -> tuple[str, str]:
    title = string_field(path, number, value, "title", "")
    text = string_field(path, number, value, "text")
    return string_field(path, number, value, "_id"), f"{title} {text}".strip()


def assemble(
    name: str,
    documents: Iterable[tuple[str, str, str]],
    queries: Iterable[tuple[str, str, str]],
    rows: list[Row],
    selection: Selection,
    notes: tuple[str, ...] = (),
) -> TextDataset:
    """Put a task together from (place, id, text) triples and judgements by id; what is left out is said.

    Raises:
        KnnscopeError: duplicate ids, no documents, no queries.
    """
    wanted_queries = {q for q, _, _ in rows}
    wanted_documents = {d for _, d, _ in rows}
    kept = _First((d for d in documents if selection.subset != "relevant" or d[1] in wanted_documents), selection.limit)
    texts, document_rows, blanks = _column(kept, wanted_documents, "document", name)
    asking = wanted_queries
    if kept.cut:  # queries whose judged documents are all cut off ask for nothing that is there
        asking = {q for q, d, _ in rows if d in document_rows} or wanted_queries
    chosen = (q for q in queries if not rows or q[1] in asking)
    asked, query_rows, blank_queries = _column(chosen, wanted_queries, "query", name)
    if not len(texts):
        raise KnnscopeError(f"{name}: no documents are left: check the corpus, --subset and --limit")
    if not len(asked):
        raise KnnscopeError(f"{name}: no queries: none in the file has a judgement")
    found = [(query_rows[q], document_rows[d], g) for q, d, g in rows if q in query_rows and d in document_rows]
    absent = [(query_rows[q], g) for q, d, g in rows if q in query_rows and d not in document_rows and not kept.cut]
    notes += tuple(f"{name}: {said}" for said in _left_out(rows, found, absent, query_rows, selection, kept.cut))
    if blanks or blank_queries:
        notes += (f"{name}: {blanks:,} documents and {blank_queries:,} queries have an empty text; they are kept",)
    columns = (*_columns(found, 3), *_columns(absent, 2))
    return TextDataset(name, texts, asked, Judgements(*columns), notes)


def _columns(rows: list[Any], count: int) -> npt.NDArray[np.int64]:
    return np.ascontiguousarray(np.array(rows, dtype=np.int64).reshape(-1, count).T)


def _left_out(
    rows: list[Row], found: list[Any], absent: list[Any], queries: dict[str, int], selection: Selection, cut: bool
) -> Iterator[str]:
    if cut and len(rows) > len(found):
        without = len({q for q, _, _ in rows}) - len({q for q, _, _ in found})
        yield (
            f"--limit {selection.limit:,} keeps {len(found):,} of {len(rows):,} judgements "
            f"and leaves out the {without:,} queries about other documents"
        )
        return
    if absent:
        yield (
            f"{len(absent):,} of {len(rows):,} judgements are about documents that the corpus lacks: "
            "nobody can find them, and they count in nDCG's ideal and in recall, as in trec_eval"
        )
    if lost := sum(q not in queries for q, _, _ in rows):
        without = len({q for q, _, _ in rows} - queries.keys())
        yield (
            f"{lost:,} of {len(rows):,} judgements are about {without:,} queries that the data set lacks: left out, as in trec_eval"
        )


class _First:
    """The first rows, up to a limit; ``cut`` says afterwards whether there were more."""

    def __init__(self, rows: Iterable[tuple[str, str, str]], limit: int | None) -> None:
        self._rows, self._limit, self.cut = rows, limit, False

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        for count, row in enumerate(self._rows):
            if self._limit is not None and count >= self._limit:
                self.cut = True
                return
            yield row


def _column(
    rows: Iterable[tuple[str, str, str]], wanted: set[str], kind: str, name: str
) -> tuple[Texts, dict[str, int], int]:
    """The texts, the row number of each wanted id, and how many texts are empty."""
    ids, texts, where, blanks = Strings(), Strings(), dict[str, int](), 0
    hashes = array("q")  # a set of millions of ids would cost more than the ids; equal hashes are looked at one by one
    for place, key, text in rows:
        if not key:
            raise KnnscopeError(f"{place}: the {kind} id is empty")
        if any(c in "\t\n" or "\ud800" <= c <= "\udfff" for c in key):  # what ids.txt and judgements cannot hold
            raise KnnscopeError(f"{place}: the {kind} id {key!r} has a tab, line feed or lone surrogate")
        if key in wanted:
            if key in where:
                raise KnnscopeError(f"{place}: {kind} id {key!r} stands twice; ids must be unique")
            where[key] = len(ids)
        hashes.append(hash(key))
        ids.append(key)
        texts.append(text)
        blanks += not text.strip()
    _refuse_duplicates(ids, hashes, kind, name)
    return Texts(ids, texts), where, blanks


def _refuse_duplicates(ids: Strings, hashes: array[int], kind: str, name: str) -> None:
    codes = np.frombuffer(hashes, dtype=np.int64) if hashes else np.empty(0, np.int64)
    order = np.sort(codes)
    repeated = np.unique(order[1:][order[1:] == order[:-1]])
    if not repeated.size:
        return
    seen: dict[str, int] = {}
    for row in np.flatnonzero(np.isin(codes, repeated)).tolist():
        if (key := ids[row]) in seen:
            raise KnnscopeError(
                f"{name}: {kind} id {key!r} stands twice, in rows {seen[key] + 1:,} and {row + 1:,}; ids must be unique"
            )
        seen[key] = row


def _judgements(folder: Path, split: str | None) -> tuple[list[Row], Path | None]:
    for candidate in (split,) if split else SPLITS:
        path = find(folder / "qrels", f"{candidate}.tsv")
        if path is not None:
            return list(_judgement_rows(path)), path
    if split:
        there = sorted(p.name for p in (folder / "qrels").glob("*.tsv*"))
        raise KnnscopeError(f"{folder / 'qrels'}: no {split}.tsv; there is {', '.join(there) or 'nothing'}")
    return [], None


def _judgement_rows(path: Path) -> Iterator[Row]:
    seen: set[tuple[str, str]] = set()
    for number, line in read_lines(path, "judgements"):
        fields = line.split("\t")
        if number == 1 and fields[-1].strip() == "score":
            continue
        if len(fields) != 3:
            raise KnnscopeError(
                f"{path}, line {number}: {len(fields)} tab-separated fields, expected query-id, corpus-id, score"
            )
        query, document, grade = fields
        try:
            value = int(grade)
        except ValueError as error:
            raise KnnscopeError(f"{path}, line {number}: the score {grade!r} is no whole number") from error
        if abs(value) > 1000:
            raise KnnscopeError(f"{path}, line {number}: the score {value} is outside -1000 to 1000")
        if (query, document) in seen:
            raise KnnscopeError(f"{path}, line {number}: query {query!r} judges document {document!r} twice")
        seen.add((query, document))
        yield query, document, value
