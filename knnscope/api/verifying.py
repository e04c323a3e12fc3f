"""Anyone's ground truth, graded: what ``knnscope verify`` does, for Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knnscope import threads
from knnscope.api.ground_truth import Truth
from knnscope.api.loading import options_of
from knnscope.datasets import ground_truth
from knnscope.errors import KnnscopeError
from knnscope.groundtruth.grades import Asked, Verified, verify_inputs
from knnscope.groundtruth.inputs import open_inputs
from knnscope.records import GroundTruth, Neighbors
from knnscope.report import ground_truth as report
from knnscope.store import read_json, write_json


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How ground truth is graded.

    Attributes:
        sample: as many queries, chosen by the seed; None is all.
        seed: of the choice.
        metric: "l2", "ip" or "cosine"; None is what the base declares, else l2.
        ids: what rows are called: whole numbers, as an array or a file; None for their numbers.
        memory: MiB that may be used; None is half of what is free.
        threads: how many work at once; None is all cores.
    """

    sample: int | None = None
    seed: int = 0
    metric: str | None = None
    ids: Any = None
    memory: int | None = None
    threads: int | None = None


class Verification:
    """The grade of ground truth. ``str`` gives what the command prints; ``record`` has every figure."""

    def __init__(self, record: Verified, notes: tuple[str, ...] = ()) -> None:
        """Made by ``verify``."""
        self.record, self.notes = record, notes

    @property
    def grade(self) -> str:
        """exact, float32 or wrong."""
        return self.record.grade

    @property
    def ok(self) -> bool:
        """Whether ids, and distances where there are any, are right up to float32 rounding."""
        return self.record.ok

    def save(self, path: str | Path) -> None:
        """Write ``to_dict`` as JSON.

        Raises:
            KnnscopeError: the file cannot be written.
        """
        write_json(Path(path), self.to_dict(), follow=True)

    @classmethod
    def load(cls, path: str | Path) -> Verification:
        """Read what ``save`` wrote.

        Raises:
            KnnscopeError: no such file, or something else.
        """
        try:
            return cls(Verified.of(read_json(Path(path))))
        except (KeyError, TypeError, ValueError) as error:
            raise KnnscopeError(f"{path}: not what Verification.save wrote ({error})") from error

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types."""
        return self.record.to_dict()

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict for each query whose evidence is kept."""
        found: list[dict[str, Any]] = self.to_dict()["evidence"]
        return found

    def __str__(self) -> str:
        return report.verified_text(self.record)

    def __repr__(self) -> str:
        return f"<Verification of {report.verified_heading(self.record)}: {self.record.told}>"

    def _repr_html_(self) -> str:
        return report.html(str(self))


def verify(
    base: Any,
    truth: Any,
    queries: Any = None,
    options: VerifyOptions | None = None,
    **keywords: Any,
) -> Verification:
    """Grade ground truth by the definition: exact, right up to ties, right up to float32 rounding, or wrong, with the evidence.

    Args:
        base: (rows, dim), or the path of a file or folder of vectors.
        truth: a file (HDF5 with ``neighbors``, .npy, .ivecs, .ibin, big-ann's .bin), ids of shape (queries, k), ids and distances, or a ``Truth``.
        queries: as base; by default the base's own.
        options: how to grade.
        **keywords: fields of the options: ``sample=100``.

    Raises:
        KnnscopeError: a damaged file, one that answers other queries, or inputs that are changed meanwhile.
    """
    how = options_of(options or VerifyOptions(), keywords)
    count = threads.chosen(how.threads)
    inputs = open_inputs(base, queries, how.metric, how.ids)
    found, name = _truth(truth)
    asked = Asked(how.sample, how.seed, how.memory, count)
    graded = verify_inputs(inputs, found, name, asked)
    inputs.check()
    return Verification(graded, inputs.notes)


def _truth(given: Any) -> tuple[GroundTruth, str]:
    if isinstance(given, str | Path):
        return ground_truth.given(str(given)), str(given)
    if isinstance(given, Truth):
        return GroundTruth(given.ids, given.distances), str(given.path or "truth")
    if isinstance(given, Neighbors | tuple):
        ids, distances = given
    else:
        ids, distances = given, None
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.dtype.kind not in "iu" or not ids.size:
        raise KnnscopeError(
            f"truth: ids of shape {ids.shape} and type {ids.dtype}: whole numbers, (queries, k), were expected"
        )
    if distances is not None and np.shape(distances) != ids.shape:
        raise KnnscopeError(f"truth: distances of shape {np.shape(distances)} for ids of shape {ids.shape}")
    with np.errstate(invalid="ignore"):  # a NaN may be of the kind that signals
        return GroundTruth(ids, None if distances is None else np.asarray(distances, np.float64)), "truth"
