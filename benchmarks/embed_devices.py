"""Encode the same texts on the CPU and on a GPU, as the study did, several rounds in fresh processes.

    python benchmarks/embed_devices.py --wordnet DIR [--rounds 3] [--out benchmarks/results/embed-devices.json]

Cases: the model's own recipe on 75,000 definitions, and the study's recipe (CLS, all padded to 128) on its 1,400 texts.
Each run is ``knnscope embed --device cpu,cuda`` in a process of its own, so that the first batch is a real first batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from knnscope import environment

CASES = (("own", 75_000), ("notebook", 1_400))
FIGURES = ("load_s", "first_batch_s", "steady_s", "texts_per_s", "wall_s", "cpu_s")


def run(wordnet: str, recipe: str, texts: int, devices: str, folder: Path) -> list[dict[str, Any]]:
    """One process, all devices in turn."""
    command = [sys.executable, "-m", "knnscope", "embed", "wordnet", "--wordnet", wordnet, "--limit", str(texts)]
    command += ["--recipe", recipe, "--device", devices, "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    runs: list[dict[str, Any]] = json.loads((folder / "devices.json").read_text())["runs"]
    return runs


def main() -> None:
    """Rounds interleave the cases; medians are printed, every run is saved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", required=True, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", default="cpu,cuda")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/embed-devices.json"))
    args = parser.parse_args()
    samples: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            for recipe, texts in CASES:
                for row in run(args.wordnet, recipe, texts, args.devices, Path(folder)):
                    samples.setdefault((recipe, texts, row["device"]), []).append(row)
    table = []
    for (recipe, texts, device), rows in samples.items():
        medians = {name: round(statistics.median(r[name] for r in rows), 4) for name in FIGURES}
        table.append({"recipe": recipe, "texts": texts, "device": device, "rounds": len(rows), **medians})
        print(
            f"{recipe:9} {texts:6} {device:5} "
            + "  ".join(f"{k} {v:g}" for k, v in medians.items())
            + f"  difference {rows[0]['difference']:.1e}"
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "medians": table,
        "runs": [r for rows in samples.values() for r in rows],
        "environment": environment.collect(),
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
