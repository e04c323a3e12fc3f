"""A TREC run with its measures, and encoders side by side on the same data: what ``knnscope run`` does, for Python. Nothing is timed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from knnscope.analysis import quality, significance, trec_run
from knnscope.analysis.significance import Difference
from knnscope.api.loading import opened, options_of
from knnscope.api.workload import EncoderOptions, Workload
from knnscope.certified.index import ExactIndex
from knnscope.datasets import beir, qrels, vector_files
from knnscope.datasets.registry import DatasetOptions
from knnscope.errors import ArgumentError, KnnscopeError, unknown_name
from knnscope.progress import bar
from knnscope.records import METRICS, Neighbors, Qrels, TextDataset
from knnscope.report import retrieval as report
from knnscope.store import check_file, check_outputs, is_stream, not_ours, read_json, write_json

BATCH = 1000
"""Queries that are searched between two steps of the bar."""
BEHIND = ".measures.json"
"""Behind the name of the run."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is searched and judged, and how.

    Attributes:
        k: answers to a query; all documents where there are fewer.
        metric: "l2", "ip" or "cosine"; None is the encoder's, or what the vectors declare, else l2.
        qrels: a file of judgements by ids, for vectors, or instead of the data set's own.
        keep_own: count documents that have the query's own id as answers.
        dataset: which part of a named data set.
        encoder: device, recipe and prompts; its name is given beside it.
    """

    k: int = 100
    metric: str | None = None
    qrels: str | Path | None = None
    keep_own: bool = False
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    encoder: EncoderOptions = field(default_factory=EncoderOptions)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """One encoder's answers: what made the vectors, by which metric, means of the measures, and their values by query id."""

    encoder: str
    metric: str
    facts: dict[str, Any]
    means: dict[str, float]
    values: dict[str, dict[str, float]]
    run: trec_run.TrecRun | None = None


class Retrieval:
    """Answers of one encoder or several to the queries of a data set, and their measures. ``str`` gives what the command prints.

    Attributes:
        systems: what each encoder found; a loaded record has the measures and not the answers, which are in the run files.
        differences: each pair of encoders by each measure.
        files: the run files, where they were written.
    """

    def __init__(
        self,
        facts: dict[str, Any],
        systems: Sequence[Retrieved],
        differences: Sequence[Difference],
        notes: Sequence[str] = (),
    ) -> None:
        """Made by ``run`` and ``Retrieval.load``."""
        self.facts, self.systems, self.differences = dict(facts), tuple(systems), tuple(differences)
        self.notes, self.files = tuple(notes), tuple[Path, ...]()

    def save(self, path: str | Path) -> None:
        """Write the run, of several encoders one each (NAME-ENCODER), and the measures as PATH.measures.json, but where PATH is a pipe or a device.

        Raises:
            KnnscopeError: an id with a blank, a loaded record, measures' name is another file's, or a file that cannot be written.
        """
        _check_own(Path(f"{path}{BEHIND}"))
        self.files = written(Path(path), self.systems)
        if not is_stream(Path(path), follow=True):
            write_json(Path(f"{path}{BEHIND}"), self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Retrieval:
        """The measures of a saved run.

        Raises:
            KnnscopeError: no such file, or something else.
        """
        found = read_json(Path(f"{path}{BEHIND}"))
        try:
            systems = [Retrieved(**one) for one in found["systems"]]
            return cls(found["about"], systems, [Difference(**one) for one in found["differences"]])
        except (KeyError, TypeError) as error:
            raise KnnscopeError(f"{path}{BEHIND}: not what knnscope run wrote ({error})") from error

    def to_dict(self) -> dict[str, Any]:
        """All but the answers, in JSON's own types."""
        systems = [
            {n: getattr(one, n) for n in ("encoder", "metric", "facts", "means", "values")} for one in self.systems
        ]
        return {"about": self.facts, "systems": systems, "differences": [asdict(one) for one in self.differences]}

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict for each encoder and judged query, with its measures."""
        return [
            {"encoder": one.encoder, "query": query, **{name: values[query] for name, values in one.values.items()}}
            for one in self.systems
            for query in next(iter(one.values.values()), {})
        ]

    def __str__(self) -> str:
        return report.text(self.facts, [(one.encoder, one.means) for one in self.systems], self.differences)

    def __repr__(self) -> str:
        return f"<Retrieval of {report.heading(self.facts)}: {', '.join(one.encoder for one in self.systems)}>"

    def _repr_html_(self) -> str:
        return report.html(str(self))


def run(
    dataset: Any,
    encoder: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    options: RunOptions | None = None,
    **keywords: Any,
) -> Retrieval:
    """The exact answers to all queries as a TREC run, with nDCG@10, recall and MRR; several encoders are compared by a significance test.

    Args:
        dataset: a data set of texts, or of vectors with queries; its name or path.
        encoder: one or several, of texts; by default all-MiniLM-L6-v2.
        out: a file for the run; of several encoders each has its own, NAME-ENCODER.
        options: what is searched and how.
        **keywords: fields of the options: ``k=1000``.

    Raises:
        KnnscopeError: no queries, no such data set or encoder, or numbers that cannot be.
    """
    how = options_of(options or RunOptions(), keywords)
    if how.metric is not None and how.metric not in METRICS:
        raise unknown_name("metric", how.metric, METRICS)
    if not isinstance(how.k, int) or how.k < 1:
        raise ArgumentError(f"k {how.k}: a number from 1 up was expected")
    given = [encoder] if encoder is None or isinstance(encoder, str) else list(dict.fromkeys(encoder))
    if not given:
        raise ArgumentError("encoder is empty: a name, a folder, or several")
    if out is not None:
        read = [vector_files.split(str(one))[0] for one in (dataset, how.qrels) if isinstance(one, str | Path)]
        check_outputs([Path(out), Path(f"{out}{BEHIND}")], read)
        for place in (Path(out), Path(f"{out}{BEHIND}")):
            check_file(place)
        _check_own(Path(f"{out}{BEHIND}"))
    first = opened(dataset, how.dataset, replace(how.encoder, name=given[0] or how.encoder.name))
    others = [Workload(first.dataset, None, replace(how.encoder, name=name)) for name in given[1:]]
    _check_ids(first)
    judged, said = _judgements(first, how)
    names = _names([Path(name).name if name else None for name in given])
    systems, notes = [], [*said]
    for name, workload in zip(names, (first, *others), strict=True):
        systems.append(_retrieved(name, workload, judged, how))
        notes += [note for note in workload.said() if note not in notes]
        if out is not None and not is_stream(Path(out), follow=True):
            # an answer is on disk before it is judged, and before the next encoder begins
            written(Path(out), systems, len(given))
    if own := {} if how.keep_own else quality.own_documents(first.dataset):
        notes.append(quality.own_note(first.dataset.name, own, judged))
    rows, queries = len(first.dataset.documents), len(systems[0].run.queries if systems[0].run else ())
    facts = {
        "dataset": first.dataset.name,
        "documents": rows,
        "queries": queries,
        "k": min(how.k, rows),
        "judged": _judged(systems),
    }
    if judged is not None and how.k < min(quality.DEPTH, rows):
        notes.append(
            f"{first.dataset.name}: nDCG@10 and MRR@10 are of {how.k} answers, as in trec_eval: -k {quality.DEPTH} or more gives all they look at"
        )
    if judged is None:
        notes.append(f"{first.dataset.name}: no judgements, so nothing is measured: --qrels FILE gives some")
    by_row = {one.encoder: {m: dict(enumerate(v.values())) for m, v in one.values.items()} for one in systems}
    found = Retrieval(facts, systems, significance.differences(by_row), notes)
    if out is not None:
        found.save(out)
    return found


def _check_own(place: Path) -> None:
    """Refuse to write over a file behind the run's that is no record of measures.

    Raises:
        KnnscopeError: it is none.
    """
    if not os.path.lexists(place):
        return
    try:
        is_own = place.is_file() and read_json(place).keys() >= {"about", "systems", "differences"}
    except KnnscopeError:
        is_own = False
    if not is_own:
        raise not_ours(place)


def _judged(systems: Sequence[Retrieved]) -> int:
    return len(next(iter(systems[0].values.values()), {}))


def _names(given: Sequence[str | None]) -> list[str]:
    """What encoders are called: the last part of their path, with a number where two have the same; empty where the data says it."""
    found: list[str] = []
    for name in given:
        base, number = name or "", 2
        while (called := base if number == 2 else f"{base}-{number - 1}") in found:
            number += 1
        found.append(called)
    return found


def _retrieved(name: str, workload: Workload, judged: Qrels | None, how: RunOptions) -> Retrieved:
    data = workload.dataset
    metric = how.metric or workload.metric
    own = {} if how.keep_own else quality.own_documents(data)
    rows, asked = workload.documents, workload.queries
    k = min(how.k, len(rows))
    found = _search(rows.values, asked, min(k + bool(own), len(rows)), metric)
    numbers = list(range(len(asked)))
    lines = [line[:k] for line in quality.ranked(found, metric, own, numbers)]
    far = [
        dict(zip(ids, ds, strict=True)) for ids, ds in zip(found.ids.tolist(), found.distances.tolist(), strict=True)
    ]
    distances = [[of[row] for row in line] for of, line in zip(far, lines, strict=True)]
    if isinstance(data, TextDataset):
        about = json.loads(json.dumps(workload.encoder_facts()))  # as it is read from a file
        called = name or workload.encoder.model.name
    else:
        called, about = name or (data.encoded_by.name if data.encoded_by else "vectors"), {}
    query_ids = workload.query_ids or [str(i) for i in numbers]
    document_ids = data.documents.ids or [str(i) for i in range(len(rows))]
    told = trec_run.TrecRun(query_ids, document_ids, lines, distances, metric, f"knnscope-{called}")
    values = quality.by_query(lines, judged, k, numbers) if judged is not None else {}
    by_id = {m: {query_ids[q]: value for q, value in sorted(of.items())} for m, of in values.items() if of}
    means = {m: float(np.mean(list(of.values()))) for m, of in by_id.items()}
    return Retrieved(called, metric, about, means, by_id, told)


def _search(rows: Any, queries: Any, k: int, metric: str) -> Neighbors:
    index = ExactIndex(rows, metric).wait()
    parts = []
    with bar(len(queries), "search", "query") as progress:
        for first in range(0, len(queries), BATCH):
            parts.append(index.search(queries[first : first + BATCH], k))
            progress.update(len(parts[-1].ids))
    return Neighbors(np.concatenate([p.ids for p in parts]), np.concatenate([p.distances for p in parts]))


def _check_ids(workload: Workload) -> None:
    """Refuse ids of saved vectors that stand twice: a run knows rows by nothing else.

    Raises:
        KnnscopeError: names the first one.
    """
    data = workload.dataset
    for what, part in (("document", data.documents), ("query", data.queries)):
        seen: set[str] = set()
        for key in (part.ids if part is not None else None) or ():
            if key in seen:
                raise KnnscopeError(f"{data.name}: {what} id {key!r} stands twice; ids must be unique")
            seen.add(key)


def _judgements(workload: Workload, how: RunOptions) -> tuple[Qrels | None, Sequence[str]]:
    """Those of a file, or the data set's own, and notes about those of a file; None where there are none.

    Raises:
        KnnscopeError: a file that judges none of the queries.
    """
    data = workload.dataset
    if data.queries is None or not len(data.queries):
        raise KnnscopeError(f"{data.name}: holds no queries: a run answers those of a data set")
    if how.qrels is None:
        return (data.qrels if isinstance(data, TextDataset) and len(data.qrels) else None), ()
    listed, notes = qrels.read([Path(how.qrels)])
    queries = {key: row for row, key in enumerate(data.queries.ids or map(str, range(len(data.queries))))}
    documents = {key: row for row, key in enumerate(data.documents.ids or map(str, range(len(data.documents))))}
    there = [(queries[q], documents[d], g) for q, d, g in listed if q in queries and d in documents]
    absent = [(queries[q], g) for q, d, g in listed if q in queries and d not in documents]
    if not there:
        raise KnnscopeError(f"{how.qrels}: judges no pair of a query and a document of {data.name}: its ids are others")
    columns = np.array(there, np.int64).T, np.array(absent, np.int64).reshape(-1, 2).T
    others = beir.of_others(len(listed), len(absent), [q for q, _, _ in listed if q not in queries])
    return Qrels(*columns[0], *columns[1]), (*notes, *(f"{how.qrels}: {said}" for said in others))


def written(path: Path, systems: Sequence[Retrieved], count: int | None = None) -> tuple[Path, ...]:
    """Write the run of each system, and say where.

    Raises:
        KnnscopeError: an id with a blank, no answers, or a file that cannot be written.
    """
    files = []
    for one in systems:
        if one.run is None:
            raise KnnscopeError(f"{path}: this record was loaded and has no answers: the run files have them")
        alone = (count or len(systems)) == 1
        files.append(path if alone else path.with_name(f"{path.stem}-{one.encoder}{path.suffix}"))
        trec_run.write(files[-1], one.run)
    return tuple(files)
