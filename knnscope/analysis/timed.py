"""The rows of a run of compare, or of the ladder, in one form: what a row is, what became of it, and how long each of its rounds took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
import numpy.typing as npt

from knnscope.analysis.measurement import Measurement, RungMeasurement
from knnscope.analysis.run import ComparisonRun, Run
from knnscope.analysis.shifts import Key
from knnscope.analysis.surroundings import Difference

MOST = 500
"""Rounds of a row that are told apart, so that a file of any length is compared in bounded time and memory."""


@dataclass(frozen=True, slots=True)
class Row:
    """What both kinds of rows have in common. rounds: times of each, nanoseconds."""

    key: Key
    device: Literal["cpu", "cuda"]
    status: str
    reason: str | None
    grade: str | None
    took_ns: int | None
    rounds: Sequence[Sequence[float]]
    together: int
    quick: bool


def rows(run: Run) -> dict[Key, Row]:
    """By key; of rows that a file repeats the last."""
    if isinstance(run, ComparisonRun):
        return {row.key: row for row in map(_measured, run.rows)}
    return {row.key: row for row in map(_climbed, run.rows)}


def _measured(row: Measurement) -> Row:
    return Row(
        (*row.case, row.cache),
        row.device,
        row.status,
        row.reason,
        row.grade,
        row.median_ns,
        row.samples_ns,
        row.rounds_a_process,
        row.quick,
    )


def _climbed(row: RungMeasurement) -> Row:
    """A rung has one process, and repeats instead of rounds; a loop's times are scaled to all rows."""
    samples = [ns for ns in row.samples_ns or [] if ns > 0]
    scale = row.wall_ns / median(samples) if samples and row.wall_ns is not None and row.scaled else 1.0
    return Row(
        (row.rung, row.k, 1, "host", "hot"),
        row.device,
        row.status,
        row.reason,
        row.grade,
        row.wall_ns,
        [[scale * ns] for ns in samples],
        1,
        True,
    )


def times(row: Row, most: int = MOST) -> tuple[npt.NDArray[np.float64], int]:
    """The logarithm of each round's median, nan where it has none, and how many one process answered; of more than most, neighbors are joined."""
    step = -(-len(row.rounds) // most) or 1
    blocks = ([ns for r in row.rounds[i : i + step] for ns in r] for i in range(0, len(row.rounds), step))
    return np.array([math.log(median(ns)) if ns else math.nan for ns in blocks]), max(1, row.together // step)


def alike(a: Row, b: Row) -> bool:
    """Whether both were timed, on the same device, and are both right or both wrong."""
    if a.device != b.device or a.took_ns is None or b.took_ns is None or (a.grade == "wrong") != (b.grade == "wrong"):
        return False
    return any(a.rounds) and any(b.rounds)  # each has a round with a call


def forbidden(device: str, around: Sequence[Difference]) -> str:
    """Why rows of a device cannot be compared; empty if they can."""
    return "; ".join(d.why for d in around if d.forbids == "all" or d.forbids == device == "cuda")
