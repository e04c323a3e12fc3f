"""`knnscope compare` twice on the same data: are the verdicts the same, where they say that they can tell?

    python benchmarks/verdict_twice.py --out benchmarks/results/verdict-wordnet.json -- wordnet --limit 75000 --batch 1,10,100,1000

Everything after -- goes to compare. Two verdicts contradict each other when each names one engine for certain, and not the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from knnscope import analysis
from knnscope.analysis import verdict
from knnscope.analysis.measurement import NOT_HERE, to_dict
from knnscope.analysis.run import ComparisonRun


def main() -> None:
    """Run, compare, print; exit code 1 where they contradict each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/verdict.json"))
    parser.add_argument("compare", nargs="+")
    args = parser.parse_args()
    runs = []
    for number in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "knnscope", "compare", *args.compare, "--out", folder, "--seed", "0"]
            printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            print(f"== run {number}\n{printed}", flush=True)
            run = analysis.load(folder)
            assert isinstance(run, ComparisonRun)
            runs.append(run)
    found = []
    firsts, seconds = ({(v.k, v.batch, v.boundary, v.grade): v for v in verdict.verdicts(run.rows)} for run in runs)
    for key in {**firsts, **seconds}:
        a, b = firsts.get(key), seconds.get(key)
        certain = [v.engine for v in (a, b) if v is not None and not v.level_with]
        found.append(
            {
                "case": key,
                "fastest": [v and v.engine for v in (a, b)],
                "level with": [[r.engine for r in v.level_with] if v else None for v in (a, b)],
                "contradiction": len(set(certain)) > 1,
            }
        )
        print(found[-1])
    outcome = {"command": f"knnscope compare {' '.join(args.compare)}", "verdicts": found}
    args.out.write_text(json.dumps(outcome, indent=1)[:-2] + ',\n "runs": [\n' + ",\n".join(map(_run, runs)) + "]\n}\n")
    sys.exit(any(f["contradiction"] for f in found))


def _run(run: ComparisonRun) -> str:
    """A run in few lines: without samples, which are a megabyte, and without engines that are not here."""
    kept = [
        {k: v for k, v in to_dict(row).items() if k not in ("samples_ns", "evidence")}
        for row in run.rows
        if row.status not in NOT_HERE
    ]
    lines = ",\n   ".join(map(json.dumps, kept))
    said, around = json.dumps(verdict.sentences(run.rows)), json.dumps(run.environment)
    return f' {{"sentences": {said},\n  "environment": {around},\n  "rows": [\n   {lines}]}}'


if __name__ == "__main__":
    main()
