"""Encode 75,000 WordNet definitions: CPU time against padding all to 128 tokens, and five kills on the way.

    python benchmarks/encode.py --wordnet DIR [--texts 75000] [--kills 5] [--out benchmarks/results/encode.json]

Three whole-process runs of ``knnscope embed``, each with a cache of its own: left alone, with every text padded to 128 tokens,
and killed with SIGKILL five times. All cut texts at 128 tokens, so that their vectors must be the same. Every batch is logged
before and after it is encoded, so that work done twice is counted, not guessed. CPU time is user plus system of the processes,
as the operating system counts it. Vectors are compared bit by bit (killed against left alone) and by their largest difference
(padded against left alone).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from knnscope import environment
from knnscope.datasets import registry, wordnet
from knnscope.datasets.beir import Selection
from knnscope.records import Texts


def child(log: str, padded: str, arguments: Sequence[str]) -> int:
    """``knnscope embed`` with a line in the log around every batch."""
    from knnscope import cli
    from knnscope.encoders import models, onnx_encoder

    known = models.MODELS[models.DEFAULT]
    recipe = replace(known.recipe, max_tokens=128, pad_to=128 if padded == "padded" else None)
    models.MODELS[models.DEFAULT] = replace(known, recipe=recipe)
    inner = onnx_encoder.OnnxEncoder.encode_tokens
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def logged(self: onnx_encoder.OnnxEncoder, tokens: Sequence[Sequence[int]]) -> onnx_encoder.Vectors:
        os.write(file, f"start {len(tokens)}\n".encode())
        vectors = inner(self, tokens)
        os.write(file, f"done {len(tokens)}\n".encode())
        return vectors

    onnx_encoder.OnnxEncoder.encode_tokens = logged  # type: ignore[method-assign]
    sys.argv[1:] = ["embed", *arguments]
    return cli.run()


class Run:
    """Processes that share a cache, a log and an account of CPU time."""

    def __init__(self, folder: Path, name: str, arguments: Sequence[str]) -> None:
        self.out, self.log, self.home = folder / name / "out", folder / name / "log", folder / name / "home"
        self.log.parent.mkdir(parents=True)
        kind = "padded" if name == "padded" else "own"
        self.command = [sys.executable, __file__, "--child", str(self.log), kind, *arguments, "-o", str(self.out)]
        self.cpu = self.wall = 0.0

    def batches(self, word: str) -> list[int]:
        """Sizes of the batches started or done so far; single texts are the probe for the dimension."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(word) and line != f"{word} 1"]

    def counted(self, word: str) -> int:
        """Texts in them."""
        return sum(self.batches(word))

    def go(self, until: int | None = None) -> int:
        """Run to the end, or kill it once it has finished so many texts."""
        start = time.perf_counter()
        process = subprocess.Popen(self.command, env={**os.environ, "KNNSCOPE_HOME": str(self.home)})
        while until is not None and process.poll() is None and self.counted("done") < until:
            time.sleep(0.02)
        if until is not None and process.returncode is None:
            process.send_signal(signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0) if process.returncode is None else (0, process.returncode, None)
        self.wall += time.perf_counter() - start
        if usage is not None:
            self.cpu += usage.ru_utime + usage.ru_stime
        return os.waitstatus_to_exitcode(status)

    def vectors(self) -> np.ndarray:
        """What it wrote."""
        return np.load(self.out / "vectors.npy", mmap_mode="r")


def write_documents(folder: Path, documents: Texts) -> Path:
    """The definitions as a collection with one query, so that definitions are all that is measured."""
    folder.mkdir()
    with (folder / "corpus.jsonl").open("w") as file:
        for key, text in zip(documents.ids, documents.texts, strict=True):
            file.write(json.dumps({"_id": key, "title": "", "text": text}) + "\n")
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "definition"}) + "\n")
    return folder


def main() -> int:
    """Run, compare, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", metavar="DIR")
    parser.add_argument("--texts", type=int, default=75_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/encode.json"))
    args = parser.parse_args()
    folder = wordnet.find_folder(args.wordnet)
    dataset, _ = registry.load("wordnet", registry.DatasetOptions(Selection(limit=args.texts), str(folder)))
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_TMP")) as temporary:
        collection = write_documents(Path(temporary) / "definitions", dataset.documents)
        alone, killed, padded = (
            Run(Path(temporary), name, [str(collection)]) for name in ("alone", "killed", "padded")
        )
        assert alone.go() == 0
        total = alone.counted("done")
        chance = random.Random(args.seed)
        marks = sorted(chance.randrange(total // 50, total - total // 50) for _ in range(args.kills))
        endings = [killed.go(mark) for mark in marks]
        assert killed.go() == 0
        assert padded.go() == 0
        once, again = alone.vectors(), killed.vectors()
        result = {
            "texts": len(dataset.documents),
            "unique_texts": len(set(dataset.documents.texts)),
            "cpu_s": {r: round(v.cpu, 1) for r, v in (("alone", alone), ("killed", killed), ("padded", padded))},
            "wall_s": {r: round(v.wall, 1) for r, v in (("alone", alone), ("killed", killed), ("padded", padded))},
            "cpu_ratio_alone_to_padded": round(alone.cpu / padded.cpu, 4),
            "largest_difference_to_padded": float(
                max(
                    np.abs(once[i : i + 4096] - padded.vectors()[i : i + 4096]).max() for i in range(0, len(once), 4096)
                )
            ),
            "kills": {
                "at_texts": marks,
                "exit_codes": endings,
                "bit_equal": bool((once.view(np.uint32) == again.view(np.uint32)).all()),
                "texts_started": killed.counted("start"),
                "texts_needed": total,
                "texts_encoded_twice": killed.counted("start") - total,
                "batches_started": len(killed.batches("start")),
                "batches_needed": len(alone.batches("start")),
            },
            "environment": environment.collect(),
        }
    print(json.dumps({k: v for k, v in result.items() if k != "environment"}, indent=2))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(child(sys.argv[2], sys.argv[3], sys.argv[4:]) if sys.argv[1:2] == ["--child"] else main())
