"""knnscope embed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from knnscope import environment
from knnscope.cli import options
from knnscope.cli.notes import notes
from knnscope.datasets import saved
from knnscope.encoders import devices as device_runs
from knnscope.encoders import embed
from knnscope.encoders.onnx_encoder import PROVIDERS, OnnxEncoder
from knnscope.encoders.recipes import told
from knnscope.errors import KnnscopeError
from knnscope.report.text import table
from knnscope.store import new_folder, whole_file, write_json
from knnscope.workload import Workload


class Embed:
    """Encode the documents and queries of a data set; interrupted, it goes on where it was.

    Vectors are kept in a cache by text, so that nothing is encoded twice. With -o they are written to
    DIR/vectors.npy, with ids.txt, texts.jsonl and meta.json, the queries to the same files in DIR/queries;
    knnscope search DIR "words" encodes the words by the same encoder.
    --device cpu,cuda encodes the documents on both and shows the times side by side.
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        options.add_dataset(parser)
        options.add_encoder(parser, "cpu, cuda, or cpu,cuda to time both")
        parser.add_argument("-o", "--out", metavar="DIR", help="write the vectors there")

    def run(self, args: argparse.Namespace) -> int:
        """Encode."""
        with new_folder(Path(args.out)) if args.out else nullcontext():  # before minutes of encoding, not after
            return self._encode(args)

    def _encode(self, args: argparse.Namespace) -> int:
        named = options.listed(args.device)
        if wrong := [d for d in named if d not in PROVIDERS]:
            raise KnnscopeError(f"no device {wrong[0]!r}: cpu, cuda, or cpu,cuda to time both")
        if len(named) > 1:
            return _side_by_side(args, named)
        args.device = named[0]
        workload = Workload(args.dataset, options.dataset_options(args), options.encoder_options(args))
        encode(workload, Path(args.out) if args.out else None)
        if args.out:
            queries = f", and the queries' in {args.out}/queries" if len(workload.texts.queries) else ""
            print(f"wrote {args.out}/{', '.join(saved.FILES)}{queries}")
        else:
            print("kept in the cache: knnscope search with the same options uses them")
        return 0


def encode(workload: Workload, folder: Path | None) -> None:
    """Bring the documents and queries of a data set into the cache, say what was done, and write them to a folder."""
    texts, encoder = workload.texts, workload.encoder
    prompts = {"documents": encoder.recipe.document_prompt, "queries": encoder.recipe.query_prompt}
    if encoder.device == "cuda":
        encoder.encode([""])  # its nodes are placed with the first run
    notes(workload.said())
    if encoder.recipe == encoder.model.recipe and not encoder.model.declared.notes:  # a note says it of any other
        print(f"{encoder.model.name}: {told(encoder.recipe)}")
    cache = embed.open_cache(encoder)
    try:
        for column, what in ((texts.documents, "documents"), (texts.queries, "queries")):
            if not len(column):
                print(f"{what}: none in the data set")
                continue
            work = embed.fill(cache, encoder, column.texts, f"encode {what}", prompts[what])
            rate = f" at {work.encoded / work.seconds:,.0f} texts/s" if work.seconds else ""
            again = work.texts - work.cached - work.encoded
            repeated = f", {again:,} the same as another" if again else ""
            print(
                f"{what}: {work.texts:,} texts, {work.cached:,} from the cache, {work.encoded:,} encoded{rate}{repeated}"
            )
        if folder is not None:
            facts = {"dataset": texts.name, **workload.encoder_facts(), **_facts(encoder)}
            for part, where, column in (
                ("documents", folder, texts.documents),
                ("queries", folder / "queries", texts.queries),
            ):
                blocks = (block for _, block in embed.read_blocks(cache, column.texts, prompts[part]))
                saved.write(where, column, blocks, cache.dim, {**facts, "part": part, "prompt": prompts[part]})
    finally:
        cache.close()


def _facts(encoder: OnnxEncoder) -> dict[str, Any]:
    return {
        "device": encoder.device,
        "knnscope": environment.version(),
        "libraries": {
            k: v
            for k, v in environment.libraries().items()
            if k in ("onnxruntime", "onnxruntime-gpu", "tokenizers") and v
        },
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _side_by_side(args: argparse.Namespace, named: Sequence[str]) -> int:
    workload = Workload(args.dataset, options.dataset_options(args))
    texts = workload.texts.documents
    model, recipe = replace(options.encoder_options(args), device=named[0]).open()
    notes([*workload.notes, *model.notes])
    runs, vectors = device_runs.time_devices(model, recipe, named, texts.texts)
    slowest = max(run.wall_s for run in runs)
    rows = [
        (
            run.device,
            f"{run.load_s:.2f}",
            f"{run.first_batch_s:.3f}",
            f"{run.steady_s:.2f}" if run.steady_texts else "-",
            f"{run.texts_per_s:,.0f}" if run.steady_texts else "-",
            f"{run.wall_s:.2f}",
            f"{run.cpu_s:.2f}",
            f"{slowest / run.wall_s:.1f}x",
            f"{run.difference:.1e}",
        )
        for run in runs
    ]
    head = ("device", "load s", "first batch s", "steady s", "texts/s", "all s", "CPU s", "speed", "difference")
    print(f"{len(texts):,} texts, {runs[0].tokens:,} tokens, {model.name}, recipe {recipe.name}, nothing cached")
    print(table(rows, head, right=range(1, 9)))
    print(
        "steady: after the first batch (-: there was only one); difference: the largest to the first device's vectors"
    )
    notes([f"{run.device}: {run.strayed}" for run in runs if run.strayed])
    if args.out:
        folder = Path(args.out)
        record = {
            "dataset": args.dataset,
            **model.as_dict(),
            "recipe": recipe.as_dict(),
            "runs": [r.as_dict() for r in runs],
        }
        write_json(folder / "devices.json", record)
        write_json(folder / "environment.json", environment.collect())
        for run, values in zip(runs, vectors, strict=True):
            with whole_file(folder / f"vectors-{run.device}.npy") as file:
                np.save(file, values, allow_pickle=False)
        print(f"wrote {folder}/devices.json, environment.json and the vectors of each device")
    return 0
