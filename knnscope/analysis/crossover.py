"""The record of knnscope crossover: what was asked, and every probe. bisection.py decides by it, explained_crossings.py concludes.

A probe measures all engines once at one size, each in one new process, as a quick run of compare does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import msgspec

from knnscope.analysis import jsonl
from knnscope.analysis.measurement import Count, Measurement, Metric, Positive
from knnscope.errors import KnnscopeError
from knnscope.store import whole_file

Axis = Literal["rows", "batch"]
FILE = "crossover.json"
"""In the folder of a run."""


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is looked for. over: what grows from low to high. fixed: the sizes of the other, each a search of its own."""

    dataset: str
    dim: Positive
    dtype: str
    metric: Metric
    k: Positive
    engines: tuple[str, ...]
    over: Axis
    low: Positive
    high: Positive
    fixed: tuple[Positive, ...]
    threads: Positive | None = None
    queries: Positive
    seed: Count = 0


class Probe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All engines measured at one size; rows as of a quick run of compare."""

    at: Positive
    measurements: tuple[Measurement, ...]


class CrossoverRun(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="command", tag="crossover"
):
    """A search and what it found so far: all that its text says follows from this record.

    finished: nothing is left to ask.
    """

    schema_version: Literal[1] = 1
    question: Question
    environment: dict[str, Any]
    finished: bool = False
    notes: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()

    def __post_init__(self) -> None:
        """Hold the probes to the question.

        Raises:
            ValueError: says which do not fit.
        """
        q = self.question
        if not q.low <= q.high or len(q.engines) < 2 or not q.fixed:
            raise ValueError("question: a range, two engines and a fixed size are needed")
        for probe in self.probes:
            sizes = {row.rows if q.over == "rows" else row.batch for row in probe.measurements}
            if sizes != {probe.at} or not q.low <= probe.at <= q.high:
                raise ValueError(f"probes: rows of sizes {sorted(sizes)} stand under {probe.at}")

    def rows(self) -> tuple[Measurement, ...]:
        """Of all probes."""
        return tuple(row for probe in self.probes for row in probe.measurements)


def save(run: CrossoverRun, folder: Path) -> None:
    """Write the record into a folder, a line for each row measured; whole or not at all.

    Raises:
        KnnscopeError: the file cannot be written, or a figure is not finite.
    """
    plain: dict[str, Any] = json.loads(jsonl.text(run))
    probes = plain.pop("probes")
    head = json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
    parts = []
    for probe in probes:
        rows = ",\n".join(json.dumps(row, allow_nan=False) for row in probe["measurements"])
        parts.append(f'{{"at": {probe["at"]}, "measurements": [\n{rows}]}}')
    with whole_file(folder / FILE, "w") as file:
        file.write(f'{head},\n "probes": [{", ".join(parts)}]\n}}\n')


def load(path: str | Path) -> CrossoverRun:
    """Read what ``save`` wrote: a folder, or the file itself.

    Raises:
        KnnscopeError: no such file, or no such record: names file and field.
    """
    path = Path(path)
    found: CrossoverRun = jsonl.read_one(path / FILE if path.is_dir() else path, CrossoverRun, "knnscope crossover")
    return found


def resumed(folder: Path, question: Question) -> CrossoverRun | None:
    """The record of an earlier run of the same question, to go on with; None where there is none.

    Raises:
        KnnscopeError: the folder holds another question.
    """
    if not (folder / FILE).exists():
        return None
    found = load(folder)
    if found.question != question:
        names = [n for n in question.__struct_fields__ if getattr(question, n) != getattr(found.question, n)]
        raise KnnscopeError(
            f"{folder}: holds a crossover with other {', '.join(names)}: choose another folder with --out"
        )
    return found
