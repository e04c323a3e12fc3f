"""Judgements: BEIR's three columns, TREC's four, tables by the names of their columns.

TREC's layout (query, iteration, document, grade): https://trec.nist.gov/data/qrels_eng/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from knnscope.datasets import tables
from knnscope.datasets.lines import read_lines
from knnscope.errors import KnnscopeError

Row = tuple[str, str, int]
"""Query id, document id, grade."""
MAX_GRADE = 1000
"""trec_eval counts the documents of every grade from 0 to the highest."""

_ROLES = {
    "query": "query queryid qid q topic topicid topicno question questionid",
    "document": "corpus corpusid doc document docid documentid docno d did pid passage passageid article articleid",
    "grade": "score relevance rel grade label rating gain judgement judgment qrel relevancescore relevancegrade relevancelabel value",
}
_ROLE_OF = {name: role for role, names in _ROLES.items() for name in names.split()}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_BLANKS = re.compile(r"[ \t]+")  # str.split would split ids at other characters too
_COLUMNS = "query-id, corpus-id, score"


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a line is taken apart, and where the query, the document and the grade stand."""

    separator: str
    width: int
    places: tuple[int, int, int]
    quoted: bool = False

    def fields(self, line: str) -> list[str]:
        found = _BLANKS.split(line.strip(" \t")) if self.separator == " " else line.split(self.separator)
        if self.separator != " " and len(found) > self.width and not "".join(found[self.width :]).strip():
            found = found[: self.width]
        return [_unquoted(f) for f in found] if self.quoted else found


def read(paths: Sequence[Path]) -> tuple[list[Row], tuple[str, ...]]:
    """The judgements of a file, or of the parts of one table, and notes about them.

    Raises:
        KnnscopeError: unreadable; a line of another layout; a grade that is no whole number; two that differ for one pair.
    """
    grades: dict[tuple[str, str], int] = {}
    repeated = 0
    for place, query, document, text in _rows(paths):
        grade = grade_of(place, text)
        before = grades.setdefault((query, document), grade)
        if before != grade:
            first = next(p for p, q, d, _ in _rows(paths) if (q, d) == (query, document))
            raise KnnscopeError(
                f"{place}: query {query!r} judges document {document!r} twice, with grade {grade} here and {before} in {first}"
            )
        repeated += 1
    repeated -= len(grades)
    notes = (
        (f"{paths[0]}: {repeated:,} judgements stand there again with the same grade: each counts once",)
        if repeated
        else ()
    )
    return [(query, document, grade) for (query, document), grade in grades.items()], notes


def _rows(paths: Sequence[Path]) -> Iterator[tuple[str, str, str, str]]:
    """Place, query, document and grade as they stand there."""
    for path in paths:
        yield from _table_rows(path) if tables.ending(path) in tables.TYPED else _line_rows(path)


def grade_of(place: str, text: str) -> int:
    """A grade: a whole number, also written as 1.0.

    Raises:
        KnnscopeError: no number, a fraction, or outside -1000 to 1000.
    """
    clean = text.strip()
    if not _NUMBER.fullmatch(clean):
        raise KnnscopeError(f"{place}: the score {text!r} is no whole number")
    value = float(clean)
    if abs(value) > MAX_GRADE:
        raise KnnscopeError(f"{place}: the score {clean} is outside -{MAX_GRADE} to {MAX_GRADE}")
    if not value.is_integer():
        raise KnnscopeError(
            f"{place}: the score {text!r} is no whole number, and trec_eval would take it for {int(value)}: multiply all grades"
        )
    return int(value)


def _line_rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    layout: _Layout | None = None
    for number, line in read_lines(path, "judgements"):
        place = f"{path}, line {number}"
        if layout is None:
            layout, header = _layout(place, line)
            if header:
                continue
        fields = layout.fields(line)
        if len(fields) != layout.width:
            separated = {"\t": "tab-separated ", ",": "comma-separated ", " ": ""}[layout.separator]
            raise KnnscopeError(
                f"{place}: {len(fields)} {separated}fields, {layout.width} were expected: {_COLUMNS}, or TREC's query 0 document grade"
            )
        query, document, grade = (fields[i] for i in layout.places)
        if not query or not document:
            raise KnnscopeError(f"{place}: the id of the {'document' if query else 'query'} is empty")
        yield place, query, document, grade


def _layout(place: str, line: str) -> tuple[_Layout, bool]:
    """From the first line: the layout, and whether the line is a header."""
    apart = {d: _BLANKS.split(line.strip(" \t")) if d == " " else line.rstrip().split(d) for d in "\t, "}
    quoted = {d: all(len(f) > 1 and f[0] == f[-1] == '"' for f in fields) for d, fields in apart.items()}
    for separator, fields in apart.items():
        names = [_unquoted(f) for f in fields] if quoted[separator] else fields
        roles = [_ROLE_OF.get(re.sub(r"[-_ .]", "", n).lower()) for n in names]
        enough = 1 if separator == "\t" else len(_ROLES)  # ids may hold commas and blanks
        if len(names) > 2 and len(set(roles) - {None}) >= enough and not _NUMBER.fullmatch(names[-1].strip()):
            return _Layout(separator, len(fields), _header_places(place, names, roles), quoted[separator]), True
    for separator, widths in (("\t", (3, 4)), (" ", (4,)), (",", (3, 4))):
        fields = apart[separator]
        last = _unquoted(fields[-1]).strip()
        if len(fields) in widths and (separator == "\t" or _NUMBER.fullmatch(last)):
            places = (0, 1, 2) if len(fields) == 3 else (0, 2, 3)
            return _Layout(separator, len(fields), places, quoted[separator]), False
    count = len(line.split("\t"))
    raise KnnscopeError(
        f"{place}: {count} tab-separated fields, expected {_COLUMNS}, or TREC's four: query 0 document grade"
    )


def _header_places(place: str, names: Sequence[str], roles: Sequence[str | None]) -> tuple[int, int, int]:
    if all(roles.count(role) == 1 for role in _ROLES):
        return roles.index("query"), roles.index("document"), roles.index("grade")
    if len(names) == 3:
        return 0, 1, 2
    if len(names) == 4:
        return 0, 2, 3
    raise KnnscopeError(f"{place}: columns {', '.join(names)}: which are {_COLUMNS}?")


def _unquoted(field: str) -> str:
    quoted = len(field) > 1 and field.startswith('"') and field.endswith('"')
    return field[1:-1].replace('""', '"') if quoted else field


def _table_rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    places: dict[str, str] = {}
    for place, row in tables.read(path, "judgements"):
        if not places:
            places = _table_columns(place, row)
        values = [row.get(places[role]) for role in _ROLES]
        wrong = [
            f"{type(v).__name__} for {places[r]!r}"
            for r, v in zip(_ROLES, values, strict=True)
            if isinstance(v, bool) or not isinstance(v, str | int | float if r == "grade" else str | int)
        ]
        if wrong:
            raise KnnscopeError(f"{place}: has {', '.join(wrong)}: ids and a number were expected")
        yield place, str(values[0]), str(values[1]), str(values[2])


def _table_columns(place: str, names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        if role := _ROLE_OF.get(re.sub(r"[-_ .]", "", name).lower()):
            found.setdefault(role, name)
    if missing := [role for role in _ROLES if role not in found]:
        raise KnnscopeError(
            f"{place}: no column for the {missing[0]} among {', '.join(names) or 'none'}: {_COLUMNS} were expected"
        )
    return found
