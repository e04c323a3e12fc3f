"""Read a generated BEIR folder of 4.6 million documents: peak memory above what the result keeps, and CPU time.

    python benchmarks/read_beir.py [--rows 4635922] [--out benchmarks/results/read-beir.json]

The folder has DBpedia-entity's size and shape: ids like <dbpedia:Name>, a title, 30 to 80 words, 400 queries, 43,515 graded
judgements. Peak is the process's highest resident set (VmHWM), kept is what the columns of the result hold, and before is the
resident set when reading starts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from knnscope import environment
from knnscope.datasets.beir import load_folder
from knnscope.strings import Strings

QUERIES, JUDGEMENTS = 400, 43_515


def generate(folder: Path, rows: int) -> None:
    """Write the folder; words are drawn from 5,000 invented ones."""
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijklmnoprstuvwz", k=chance.randint(3, 9))) for _ in range(5000)]
    sentences = [" ".join(chance.choices(words, k=10)) for _ in range(20_000)]
    with (folder / "corpus.jsonl").open("w", buffering=1 << 22) as file:
        for i in range(rows):
            text = ". ".join(sentences[(i * 7919 + j * 104_729) % len(sentences)] for j in range(3 + i % 6))
            file.write(f'{{"_id": "<dbpedia:Thing_{i}>", "title": "Thing {i}", "text": "{text}", "metadata": {{}}}}\n')
    with (folder / "queries.jsonl").open("w") as file:
        for q in range(QUERIES):
            file.write(json.dumps({"_id": f"q{q}", "text": chance.choice(sentences)}) + "\n")
    (folder / "qrels").mkdir()
    with (folder / "qrels" / "test.tsv").open("w") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for j in range(JUDGEMENTS):
            file.write(f"q{j % QUERIES}\t<dbpedia:Thing_{(j * 1_000_003) % rows}>\t{j % 3}\n")


def memory(field: str) -> int:
    """Bytes of a line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def read(folder: Path) -> dict[str, object]:
    """Read it in this process and count."""
    before, cpu = memory("VmRSS"), time.process_time()
    found = load_folder(folder, "generated")
    cpu = time.process_time() - cpu
    columns = [found.documents.ids, found.documents.texts, found.queries.ids, found.queries.texts]
    kept = sum(c.nbytes for c in columns if isinstance(c, Strings)) + 3 * found.qrels.grades.nbytes
    peak = memory("VmHWM")
    return {
        "rows": len(found.documents),
        "queries": len(found.queries),
        "judgements": len(found.qrels),
        "cpu_s": round(cpu, 1),
        "before_bytes": before,
        "kept_bytes": kept,
        "peak_bytes": peak,
        "peak_above_kept_bytes": peak - kept,
        "within_1_GiB": peak - kept < 1 << 30,
    }


def main() -> None:
    """Generate, read in a child, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_635_922)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/read-beir.json"))
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(read(args.read)))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_TMP")) as folder:
        generate(Path(folder), args.rows)
        size = (Path(folder) / "corpus.jsonl").stat().st_size
        command = [sys.executable, __file__, "--read", folder]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result = {"corpus_bytes": size, **json.loads(out.splitlines()[-1])}
    print(json.dumps(result, indent=2))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**result, "environment": environment.collect()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
