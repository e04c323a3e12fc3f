"""Writes docs/ladder.md from the results of knnscope ladder and of benchmarks/fused_topk.py.

    python -m benchmarks.ladder_page [--check]

--check writes nothing and exits with 1 where the page is not what the results say.
"""

from __future__ import annotations

import argparse
import json
import sys
from inspect import cleandoc
from pathlib import Path
from typing import Any

from knnscope import analysis
from knnscope.analysis.run import LadderRun
from knnscope.report.ladder import COLUMNS, cells
from knnscope.search import ladder

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "ladder.md"
RUNS = ("ladder-75000-k3", "ladder-75000-k10", "ladder-1000000-k10")
HEAD = """# The ladder

One search that looks at every row, version after version: from a Python loop to a kernel that reads the rows at memory's rate. Each version is a *rung*; the
[lessons](#the-lessons) say why it is slow or fast, and [words](words.md#gpu) what kernels, events and pinned memory are. This page is written by
`python -m benchmarks.ladder_page` from the results beside it. On your data and GPU:

```sh
knnscope ladder vectors.npy -k 10
knnscope ladder --rungs verbose          # what a search does, in words
```

Each rung is also a program of its own, so that any profiler can run it. It takes `--rows`, `--dim`, `-k`, `--repeat` and `--device`:

```sh
nsys profile -t cuda,nvtx python -m knnscope.search.ladder fused-topk --rows 75000 --dim 384 -k 3 --repeat 10
```

- *Wall* is a search and copying its answer back, as Python sees it; *events* is the GPU's time between two events around the search,
  what it waits for the host included.
- *Vs previous* and *vs first*: how many times as fast as the rung above, and as the first one.
- *Moved* is what the array operations read and write, each by itself.
- *Kernels* and *copies* (between host and GPU) are counted by CUPTI; ~ marks what follows from the code where a search is too long to be done once more for
  counting.
- `certified` is timed as compiled code: the ladder waits for the compiler, outside of the times. (The runs on this page are of 27 November 2026.
  Then every search waited, as it does in the ladder now, so that these figures are of compiled code as well. Where the first call
  took two seconds or more, compiling is in it, and it is one of the six samples whose median stands here.)
- The runs are older than [decision 068](decisions/068-figures-that-say-what-they-claim.md), and what it took out of the times was not in them
  yet: at that commit no call of Faiss began with a look at the query's size. Grades were given to the same rows by the same definition.
- *Of floor* is the time that reading the rows once takes at this GPU's measured best (`knnscope info --measure`), as a share of the events' time, or of
  the wall's where there are none.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    tables = []
    for name in RUNS:
        found = analysis.load(RESULTS / name)
        assert isinstance(found, LadderRun)
        tables.append(_run(name, found))
    parts += [tables[0], _lessons(), *tables[1:]]
    parts.append(_own(json.loads((RESULTS / "fused-topk.json").read_text())).rstrip() + "\n")
    return "\n".join(parts)


def _commit(recorded: str) -> str:
    """The commit that a run recorded; a plus behind it says that files were changed since."""
    changed = " and changes to it" if recorded.endswith("+") else ""
    return f"measured by commit {recorded[:7]}{changed}"


def _run(name: str, found: LadderRun) -> str:
    rows, environment, facts = found.rows, found.environment, found.facts
    gpu = environment["gpus"][0]
    title = f"## {facts.rows:,} rows of {facts.dim} components, k = {facts.k}"
    where = (
        f"{gpu['name']}, driver {gpu['driver']}, {environment['cpu']['model']}, Python {environment['python']}, "
        f"CuPy {environment['libraries'].get('cupy-cuda13x') or environment['libraries'].get('cupy')}; `{facts.dataset}`; "
        f"results in `benchmarks/results/{name}`, {_commit(environment['commit'])}"
    )
    shown = [(f"`{row.rung}`" + (" \\*" if row.scaled else ""), *cells(row)) for row in rows]
    table = [
        f"| {' | '.join(COLUMNS)} |",
        "|---|---|" + "--:|" * (len(COLUMNS) - 2),
        *(f"| {' | '.join(line)} |" for line in shown),
    ]
    marked = (
        ["", "\\* the loop visited fewer rows, and its time was scaled to all."] if any(r.scaled for r in rows) else []
    )
    notes = [f"- {row.rung}: {row.note}" for row in rows if row.note]
    return "\n".join([title, "", where, "", *table, *marked, *([""] if notes else []), *notes, ""])


def _own(found: dict[str, Any]) -> str:
    """The kernel by itself."""
    gpu = found["environment"]["gpus"][0]
    head = [
        "## fused-topk by itself",
        "",
        f"{gpu['name']}; one query, medians of {found['searches']} event-timed searches, interleaved with reading the same bytes once by the "
        "project's own reading kernel (the floor). *Queued*: events enclose the kernel alone; *as called*: a call from Python on an idle GPU; "
        "*asked*: the goal that was set before. "
        "`python -m benchmarks.fused_topk`.",
        "",
        "| rows | type | k | floor | queued | times the floor | as called | asked |",
        "|--:|---|--:|--:|--:|--:|--:|---|",
    ]
    rows = [
        f"| {c['rows']:,} | {c['dtype']} | {c['k']:,} | {c['us']['floor']:.1f} µs | {c['us']['queued']:.1f} µs | {c['times the floor']:.3f} | "
        f"{c['us']['as called']:.1f} µs | {c.get('asked', '')} |"
        for c in found["cases"]
    ]
    return "\n".join([*head, *rows, ""])


def _lessons() -> str:
    parts = ["## The lessons", ""]
    for name in ladder.RUNGS:
        cls = ladder.rung_class(name)
        parts += [f"### `{name}`", "", f"*New: {cls.changed}.*", "", cleandoc(cls.__doc__ or ""), ""]
    return "\n".join(parts)


def main() -> None:
    """Write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        sys.exit(PAGE.read_text("utf-8") != page())
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
