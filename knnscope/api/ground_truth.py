"""Ground truth with a certificate: what ``knnscope truth`` does, for Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope import threads
from knnscope.api.loading import options_of
from knnscope.datasets import ground_truth
from knnscope.distributed.waiting import connected
from knnscope.errors import KnnscopeError
from knnscope.groundtruth import certificate as certificates
from knnscope.groundtruth import files, parts
from knnscope.groundtruth.answers import Plan, compute, plan
from knnscope.groundtruth.inputs import Inputs, open_inputs
from knnscope.groundtruth.on_workers import compute_on, plan_on
from knnscope.groundtruth.ties import Ties
from knnscope.records import FloatArray, GroundTruth, IdArray
from knnscope.report import ground_truth as report
from knnscope.store import check_file, check_outputs

Compute = Callable[[Inputs, Plan, parts.Store], None]
"""Asks every batch for every row."""


@dataclass(frozen=True, slots=True)
class TruthOptions:
    """How ground truth is computed.

    Attributes:
        metric: "l2", "ip" or "cosine"; None is what the base declares, else l2.
        ids: what rows are called: whole numbers, as an array or a file; None for their numbers.
        memory: MiB that may be used; None is half of what is free. Rows are taken in blocks that keep to it.
        threads: how many work at once; None is all cores.
        scheduler: the address of a Dask scheduler, such as "tcp://127.0.0.1:8786": its workers read the base, a file that they see under the same
            name, and search; memory and threads are then those of each worker. It is trusted like a shell.
    """

    metric: str | None = None
    ids: Any = None
    memory: int | None = None
    threads: int | None = None
    scheduler: str | None = None


class Truth:
    """Ground truth: ids and distances of each query's nearest rows, and its certificate. ``str`` gives what the command prints.

    Attributes:
        path: the file; None where it was not asked for.
        certificate: inputs and their sums, definition, margins, ties at the k-th place, how to check, in JSON's own types.
        notes: what was odd about the inputs.
    """

    def __init__(
        self,
        found: GroundTruth,
        certificate: dict[str, Any],
        path: Path | None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Made by ``truth`` and ``Truth.load``."""
        self._found, self.certificate, self.path, self.notes = found, certificate, path, notes

    @property
    def ids(self) -> npt.NDArray[np.integer[Any]]:
        """Best first, (queries, k)."""
        return self._found.ids

    @property
    def distances(self) -> FloatArray | None:
        """As the file has them, (queries, k): what the certificate says of it; float64 as defined where there is no file."""
        return self._found.distances

    @property
    def k(self) -> int:
        """Neighbors of a query."""
        return int(self.ids.shape[1])

    @property
    def metric(self) -> str:
        """The metric."""
        return str(self.certificate["key"]["metric"])

    @property
    def tied(self) -> int:
        """Queries whose k-th place is as near as a row that is not in the answer."""
        return int(self.certificate["ties_at_k"]["queries"])

    def save(self, path: str | Path) -> None:
        """Write ids and distances, the ending says how, and the certificate beside them.

        Raises:
            KnnscopeError: another ending, distances that were rounded already, or a file that cannot be written.
        """
        path = Path(path)
        if self.path is not None or self._found.distances is None:
            raise KnnscopeError(f"{path}: this ground truth lies in {self.path}: copy that, or compute it with out=")
        largest = int(self.ids.max())
        files.check(path, largest)
        certificates.check_beside(path, certificates.load(path))
        both = np.asarray(self.ids, np.int64), np.asarray(self._found.distances, np.float64)
        written = files.write(path, files.Answers(len(self.ids), self.k, self.metric, largest, lambda: iter([both])))
        certificates.save(path, certificates.with_files(self.certificate, written))

    @classmethod
    def load(cls, path: str | Path) -> Truth:
        """Read what ``truth`` wrote; the certificate lies beside it.

        Raises:
            KnnscopeError: no such file, a damaged one, or no certificate.
        """
        path = Path(path)
        found, certificate = ground_truth.given(str(path)), certificates.load(path)
        if certificate is None:
            raise KnnscopeError(
                f"{certificates.path_of(path)}: no such file: verify grades ground truth without a certificate"
            )
        return cls(found, certificate, path)

    def to_dict(self) -> dict[str, Any]:
        """The certificate, in JSON's own types; ids and distances are in ``ids`` and ``distances``, and in ``rows``."""
        return dict(self.certificate)

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict a neighbor: query, rank (from 1), id, distance where it is known."""
        distances = self.distances
        return [
            {"query": query, "rank": rank + 1, "id": int(row)}
            | ({} if distances is None else {"distance": float(distances[query, rank])})
            for query, line in enumerate(self.ids)
            for rank, row in enumerate(line)
        ]

    def __str__(self) -> str:
        return report.truth_text(self.certificate, self.path)

    def __repr__(self) -> str:
        return f"<Truth of {report.heading(self.certificate)}>"

    def _repr_html_(self) -> str:
        return report.html(str(self))


def truth(
    base: Any,
    queries: Any = None,
    k: int = 100,
    out: str | Path | None = None,
    options: TruthOptions | None = None,
    **keywords: Any,
) -> Truth:
    """The k nearest rows of each query, as float64 defines them, with a certificate; the same call after an interruption goes on where it was.

    Args:
        base: (rows, dim), or the path of a file or folder of vectors, which may be larger than memory where its format can be mapped.
        queries: the same; by default the base's own.
        k: 1 to the number of rows.
        out: a file: .npy, .hdf5, .ivecs, .ibin or big-ann's .bin; FILE.work beside it holds what is finished until all is.
        options: how to compute it.
        **keywords: fields of the options: ``metric="cosine"``.

    Raises:
        KnnscopeError: inputs that do not fit, changed since the work began or while it goes on, or a full disk.
    """
    how = options_of(options or TruthOptions(), keywords)
    count = threads.chosen(how.threads)
    inputs = open_inputs(base, queries, how.metric, how.ids)
    if how.scheduler is None:
        return _truth(inputs, plan(inputs, k, how.memory, count), out, compute)
    with connected(how.scheduler) as cluster:
        planned = plan_on(cluster, inputs, k, how.memory, how.threads)
        return _truth(inputs, planned, out, partial(compute_on, cluster))


def _truth(inputs: Inputs, planned: Plan, out: str | Path | None, compute: Compute) -> Truth:
    """Ground truth, however it is computed."""
    if out is None:
        return _in_memory(inputs, planned, compute)
    path = Path(out)
    files.check(path, _largest(inputs))
    check_file(certificates.path_of(path))
    check_outputs([path, files.beside(path), certificates.path_of(path)], inputs.paths())
    began = time.monotonic()
    with parts.work_folder(path) as folder:
        key = _key(inputs, planned.k)
        known = certificates.load(path)
        if known is not None and certificates.holds(path, known, key):
            parts.remove(folder)
            return Truth(
                ground_truth.given(str(path)),
                known,
                path,
                (*inputs.notes, f"{path}: is there already, computed from these inputs"),
            )
        if not parts.is_writing(folder):
            certificates.check_beside(path, known)
        store = parts.OnDisk(folder, certificates.bare(key), len(inputs.queries.values), planned.batch)
        compute(inputs, planned, store)
        try:
            inputs.check(key)
        except KnnscopeError:
            parts.remove(folder)  # it may be of both
            raise
        ties, work = _gathered(store, planned.k, inputs.metric)
        answers = files.Answers(
            len(inputs.queries.values), planned.k, inputs.metric, _largest(inputs), lambda: _batches(store, planned.k)
        )
        parts.begin_writing(folder)
        written = files.write(path, answers)
        made = certificates.build(key, written, ties, certificates.Work(*work, time.monotonic() - began))
        certificates.save(path, made)
        parts.remove(folder)
    return Truth(ground_truth.given(str(path)), made, path, inputs.notes)


def _in_memory(inputs: Inputs, planned: Plan, compute: Compute) -> Truth:
    began = time.monotonic()
    store = parts.InMemory(len(inputs.queries.values), planned.batch)
    key = _key(inputs, planned.k)
    compute(inputs, planned, store)
    inputs.check(key)
    ties, work = _gathered(store, planned.k, inputs.metric)
    both = list(_batches(store, planned.k))
    ids, distances = (np.concatenate([pair[i] for pair in both]) for i in (0, 1))
    made = certificates.build(key, [], ties, certificates.Work(*work, time.monotonic() - began))
    return Truth(GroundTruth(ids, distances), made, None, inputs.notes)


def _key(inputs: Inputs, k: int) -> dict[str, Any]:
    """What the answer depends on.

    Raises:
        KnnscopeError: a file was changed since it was opened: its sum is that of another.
    """
    key = certificates.key_of(inputs, k)
    inputs.check()
    return key


def _largest(inputs: Inputs) -> int:
    return len(inputs.base.values) - 1 if inputs.names is None else int(inputs.names.max())


def _batches(store: parts.Store, k: int) -> Iterator[tuple[IdArray, FloatArray]]:
    for number in range(len(store.batches)):
        found = _finished(store, number).found
        yield found.ids[:, :k], found.distances[:, :k]


def _finished(store: parts.Store, number: int) -> parts.Part:
    part = store.get(number)
    if part is None:
        raise KnnscopeError("a finished part has gone or was damaged: the same command computes it again")
    return part


def _gathered(store: parts.Store, k: int, metric: str) -> tuple[Ties, tuple[int, int]]:
    ties, candidates, computed = Ties(k, metric), 0, 0
    for number, batch in enumerate(store.batches):
        part = _finished(store, number)
        ties.add(batch.start, part)
        candidates += int(part.candidates.sum())
        computed += int(part.computed.sum())
    return ties, (candidates, computed)
