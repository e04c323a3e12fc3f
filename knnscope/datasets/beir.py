"""Collections in words: documents, and, where they are there, queries and judgements.

Format: https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset; what else is read: layout.py, tables.py, qrels.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.datasets import layout, qrels, tables
from knnscope.datasets.qrels import Row
from knnscope.errors import KnnscopeError
from knnscope.records import Qrels, TextDataset, Texts
from knnscope.strings import Strings


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


def load_folder(folder: Path, name: str, selection: Selection | None = None) -> TextDataset:
    """Read a collection; documents are ``title text``, queries those that are judged, or all where there are no judgements.

    Memory above what the result keeps: 16 bytes a document and the judgements.

    Raises:
        KnnscopeError: missing or damaged files, bad lines, duplicate ids, nothing left.
    """
    selection = selection or Selection()
    corpus = layout.part(folder, "corpus")
    if not corpus:
        raise KnnscopeError(
            f"{folder}: no corpus.jsonl or corpus.jsonl.gz there: a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/"
        )
    questions = layout.part(folder, "queries", selection.split)
    judged_in = layout.qrels(folder, selection.split)
    rows, notes = qrels.read(judged_in)
    if selection.subset == "relevant" and not rows:
        raise KnnscopeError(f"{folder}: --subset relevant needs judgements, and there is no qrels/*.tsv")
    if not questions:
        notes += (f"{folder}: no queries.jsonl: it can be searched with words, and answers are not judged",)
    elif not rows:
        notes += (f"{folder}: no judgements ({judged_in[0] if judged_in else 'qrels/*.tsv'}), every query is kept",)
    documents = tables.texts(corpus, "documents")
    queries = tables.texts(questions, "queries") if questions else None
    return assemble(Source(name, documents, queries, rows, notes), selection)


def load_tables(paths: Sequence[Path], column: str, name: str, selection: Selection) -> TextDataset:
    """Documents alone, from the parts of one table.

    Args:
        paths: files of ``tables.READERS``.
        column: the column of the texts; empty: the one by a known name.
        name: of the data set.
        selection: its limit counts; a subset or a split needs judgements, which are not there.

    Raises:
        KnnscopeError: as ``load_folder``.
    """
    if selection.subset != "all" or selection.split:
        raise KnnscopeError(f"{name}: holds texts without judgements: --subset and --split do not apply")
    return assemble(Source(name, tables.texts(paths, "documents", column, numbered=True)), selection)


@dataclass(frozen=True, slots=True)
class Source:
    """What a task is made of: (place, id, text) triples in order, and judgements by id, each pair once.

    queries: None where there are none. notes: of the readers.
    """

    name: str
    documents: Iterable[tuple[str, str, str]]
    queries: Iterable[tuple[str, str, str]] | None = None
    rows: list[Row] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def assemble(source: Source, selection: Selection) -> TextDataset:
    """Put a task together; what is left out is said.

    Args:
        source: what it is made of.
        selection: what to take.

    Raises:
        KnnscopeError: duplicate ids, no documents; queries, but none that is left.
    """
    name, rows, notes = source.name, source.rows, source.notes
    wanted_queries = {q for q, _, _ in rows}
    wanted_documents = {d for _, d, _ in rows}
    kept = _First(
        (d for d in source.documents if selection.subset != "relevant" or d[1] in wanted_documents), selection.limit
    )
    texts, document_rows, blanks = _column(kept, wanted_documents, "document", name)
    asking = wanted_queries
    if kept.cut:  # queries whose judged documents are all cut off ask for nothing that is there
        asking = {q for q, d, _ in rows if d in document_rows} or wanted_queries
    chosen = (q for q in source.queries or () if not rows or q[1] in asking)
    asked, query_rows, blank_queries = _column(chosen, wanted_queries, "query", name)
    if not len(texts):
        raise KnnscopeError(f"{name}: no documents are left: check the corpus, --subset and --limit")
    if source.queries is not None and not len(asked):
        raise KnnscopeError(f"{name}: no queries: none in the file has a judgement")
    found = [(query_rows[q], document_rows[d], g) for q, d, g in rows if q in query_rows and d in document_rows]
    absent = [(query_rows[q], g) for q, d, g in rows if q in query_rows and d not in document_rows and not kept.cut]
    limit = selection.limit if kept.cut else None
    notes += tuple(f"{name}: {said}" for said in _left_out(rows, found, absent, query_rows, limit))
    if blanks or blank_queries:
        notes += (f"{name}: {blanks:,} documents and {blank_queries:,} queries have an empty text; they are kept",)
    columns = (*_columns(found, 3), *_columns(absent, 2))
    return TextDataset(name, texts, asked, Qrels(*columns), notes)


def _columns(rows: list[Any], count: int) -> npt.NDArray[np.int64]:
    return np.ascontiguousarray(np.array(rows, dtype=np.int64).reshape(-1, count).T)


def _left_out(
    rows: list[Row], found: list[Any], absent: list[Any], queries: dict[str, int], limit: int | None
) -> Iterator[str]:
    """limit: documents that were kept, where some were cut off."""
    if limit is not None and len(rows) > len(found):
        without = len({q for q, _, _ in rows}) - len({q for q, _, _ in found})
        yield (
            f"--limit {limit:,} keeps {len(found):,} of {len(rows):,} judgements "
            f"and leaves out the {without:,} queries about other documents"
        )
        return
    yield from of_others(len(rows), len(absent), [q for q, _, _ in rows if q not in queries])


def of_others(judgements: int, absent: int, lost: Sequence[str]) -> Iterator[str]:
    """What is said of judgements about documents and queries that are not there.

    Args:
        judgements: how many there are.
        absent: of a query that is there and a document that is not.
        lost: the queries that are not there, once a judgement.
    """
    if absent:
        yield (
            f"{absent:,} of {judgements:,} judgements are about documents that the corpus lacks: "
            "nobody can find them, and they count in nDCG's ideal and in recall, as in trec_eval"
        )
    if lost:
        yield (
            f"{len(lost):,} of {judgements:,} judgements are about {len(set(lost)):,} queries that the data set lacks: left out, as in trec_eval"
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
    rows: Iterable[tuple[str, str, str]], wanted: set[str], what: str, name: str
) -> tuple[Texts, dict[str, int], int]:
    """The texts, the row number of each wanted id, and how many texts are empty."""
    ids, texts, where, blanks = Strings(), Strings(), dict[str, int](), 0
    hashes = array("q")  # a set of millions of ids would cost more than the ids; equal hashes are looked at one by one
    for place, key, text in rows:
        if not key:
            raise KnnscopeError(f"{place}: the {what} id is empty")
        if any(c in "\t\n" or "\ud800" <= c <= "\udfff" for c in key):  # what ids.txt and judgements cannot hold
            raise KnnscopeError(f"{place}: the {what} id {key!r} has a tab, line feed or lone surrogate")
        if key in wanted:
            if key in where:
                raise KnnscopeError(f"{place}: {what} id {key!r} stands twice; ids must be unique")
            where[key] = len(ids)
        hashes.append(hash(key))
        ids.append(key)
        texts.append(text)
        blanks += not text.strip()
    _refuse_duplicates(ids, hashes, what, name)
    return Texts(ids, texts), where, blanks


def _refuse_duplicates(ids: Strings, hashes: array[int], what: str, name: str) -> None:
    codes = np.frombuffer(hashes, dtype=np.int64) if hashes else np.empty(0, np.int64)
    order = np.sort(codes)
    repeated = np.unique(order[1:][order[1:] == order[:-1]])
    if not repeated.size:
        return
    seen: dict[str, int] = {}
    for row in np.flatnonzero(np.isin(codes, repeated)).tolist():
        if (key := ids[row]) in seen:
            raise KnnscopeError(
                f"{name}: {what} id {key!r} stands twice, in rows {seen[key] + 1:,} and {row + 1:,}; ids must be unique"
            )
        seen[key] = row
