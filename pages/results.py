"""The results in README.md, between two comments: from kept results, so that they cannot be other than what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.figures_page import duration, medians
from knnscope.search import catalog
from pages.markdown import table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- written by python -m pages -->", "<!-- end of what is written -->"
SHOWN = ((75_000, 1), (75_000, 1_000), (1_000_000, 1), (1_000_000, 1_000))
"""Rows and queries of the GPU's figures."""


def readme() -> str:
    """README.md with its results brought up to date.

    Raises:
        ValueError: it has no place for them.
    """
    text = (ROOT / "README.md").read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{measured()}\n\n{END}{after}"


def measured() -> str:
    """Two tables: a processor, a GPU."""
    run = _load("verdict-wordnet.json")["runs"][-1]
    gpu = _load("certified-gpu-h200.json")
    cpu = run["environment"]["cpu"]
    model = cpu["model"].replace("(R)", "") + (" with AMX" if "amx_int8" in cpu["vector_instructions"] else "")
    return "\n\n".join(
        [
            f"Time of a call: 75,000 WordNet definitions, 384 components, cosine, k = 10, {model}, {cpu['usable_cores']} cores. "
            "≈ marks answers that are right up to float32 rounding only.",
            medians(run["rows"], 10),
            f"On an {gpu['gpu']}, {gpu['data']} data of {gpu['dim']} components, k = 10, all in the GPU's memory: a call from Python. "
            "`certified-gpu` has the answers of float64, the others those of float32.",
            _gpu(gpu),
        ]
    )


def _load(name: str) -> Any:
    return json.loads((RESULTS / name).read_text("utf-8"))


def _gpu(found: dict[str, Any]) -> str:
    peers = [key for key in found["lines"][0] if key.removesuffix("_us") in catalog.ENGINES]
    head = [
        "rows",
        "queries",
        "`certified-gpu`",
        *(f"`{key.removesuffix('_us')}`" for key in peers),
        "times as fast as the next",
    ]
    lines = [line for line in found["lines"] if (line["rows"], line["queries"]) in SHOWN]
    times = [[line["call_us"], *(line[key] for key in peers)] for line in lines]
    return table(
        head,
        (
            [
                f"{line['rows']:,}",
                f"{line['queries']:,}",
                *(duration(1e3 * us) for us in taken),
                f"{min(taken[1:]) / taken[0]:.1f}",
            ]
            for line, taken in zip(lines, times, strict=True)
        ),
    )
