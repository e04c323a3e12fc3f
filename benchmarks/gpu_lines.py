"""Certified search on a GPU beside all peers, line by line. Needs no GPU: it reads results of ``benchmarks.certified_gpu``.

certex needs libraries that clash with those of cuVS, so each kind of data has two runs: one beside certex and torch, one beside torch and the others.
A line counts as so many times as fast as it was in the run where it was less.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).resolve().parent / "results"
RUNS = {
    "certex": "certified-gpu-h200",
    "k-certex": "certified-gpu-k-peers-h200",
    "isotropic-certex": "certified-gpu-isotropic-peers-h200",
    "near-duplicate": "certified-gpu-near-duplicate-peers-h200",
    "128": "certified-gpu-128-peers-h200",
    "768": "certified-gpu-768-peers-h200",
    "1536": "certified-gpu-1536-peers-h200",
}
"""Results beside certex and torch, and those beside torch and the others."""
OURS = ("graph_us", "cold_us", "call_us", "proof_us")
"""Columns of our own; all others are peers."""
WANTED = 3.0
"""Times as fast as the best peer, asked of most lines."""
MANY = 1000
"""Queries from which on the other peers were asked for some shapes alone."""


class Line(NamedTuple):
    """A shape, measured in both runs.

    own: its line beside certex. wrong: answers of ours, in both. others: microseconds of the best other peer, infinite where none was asked.
    times: as fast as the best peer.
    """

    data: str
    dim: int
    own: dict[str, Any]
    wrong: int
    others: float
    times: float


def peers(line: dict[str, Any]) -> dict[str, float]:
    """What each peer took, microseconds, without those that failed."""
    return {
        key: value
        for key, value in line.items()
        if key.endswith("_us") and key not in OURS and isinstance(value, int | float)
    }


def lines() -> list[Line]:
    """All of them; the other peers were asked for most."""
    found = []
    for name, other in RUNS.items():
        run, more = (
            json.loads((RESULTS / f"{file}.json").read_text("utf-8")) for file in (f"certified-gpu-{name}-h200", other)
        )
        by_shape = {_shape(line): line for line in more["lines"]}
        for line in run["lines"]:
            times, wrong, others = _times(line), line["wrong"], float("inf")
            if again := by_shape.get(_shape(line)):
                times, wrong = min(times, _times(again)), wrong + again["wrong"]
                others = min(value for key, value in peers(again).items() if key != "torch-cuda_us")
            found.append(Line(run["data"], run["dim"], line, wrong, others, times))
    return found


def _shape(line: dict[str, Any]) -> tuple[int, int, int]:
    return line["rows"], line["queries"], line["k"]


def _times(line: dict[str, Any]) -> float:
    return min(peers(line).values()) / float(line["graph_us"])


def section(duration: Callable[[float], str], table: Callable[[list[str], list[list[str]]], str]) -> str:
    """What docs/figures.md says of them.

    Args:
        duration: nanoseconds, in words.
        table: of a head and lines.
    """
    every = lines()
    fast = sum(line.times >= WANTED for line in every)
    wrong = sum(line.wrong for line in every)
    asked = [line for line in every if line.own["queries"] >= MANY and line.others < float("inf")]
    slower = [line.others / line.own["certex_us"] for line in asked]
    rows = [
        [
            f"{line.data}, {line.dim:,}", f"{line.own['rows']:,}", f"{line.own['queries']:,}", str(line.own["k"]),
            *(duration(line.own[key] * 1e3) for key in ("graph_us", "certex_us", "torch-cuda_us")),
            duration(line.others * 1e3) if line.others < float("inf") else "", f"{line.times:.2f}",
        ]
        for line in every
    ]  # fmt: skip
    head = [
        "data, components", "rows", "queries", "k", "replayed", "certex", "torch-cuda", "best of cuVS, Faiss, FlashLib", "times as fast",
    ]  # fmt: skip
    return f"""### Beside certex, torch, cuVS, Faiss and FlashLib

The same for other data and shapes. certex and cuVS need libraries that clash, so there are two runs: *times as fast* is as the best peer of either,
where that is less. **{fast} of {len(every)} lines are at least {WANTED:.0f} times as fast**; {wrong} wrong answers. certex certifies too, in float32;
the others do not. Where a cell is empty they were not asked; where they were, with {MANY:,} queries and more, the best of them took
{min(slower, default=0):.1f} to {max(slower, default=0):.1f} times what certex did.

{table(head, rows)}
"""
