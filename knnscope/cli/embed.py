"""knnscope embed."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

from knnscope.api import embedding
from knnscope.api.workload import Workload
from knnscope.cli import inputs, options
from knnscope.cli.notes import notes
from knnscope.datasets import saved
from knnscope.report import encoding
from knnscope.store import new_folder


class Embed:
    """Encode the documents and queries of a data set. After an interruption the same command continues where it stopped.

    Vectors are cached by text, so nothing is encoded twice. With -o those of the documents are written to
    DIR/vectors.npy, beside ids.txt, texts.jsonl and meta.json, and those of the queries to the same files in DIR/queries.
    Such files that knnscope did not write are left as they are, and nothing is encoded.
    Words that knnscope search DIR is given are then encoded with the same encoder. --device cpu,cuda encodes the documents on both and shows
    the times side by side.
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        inputs.add_dataset(parser)
        inputs.add_encoder(parser, "cpu, cuda, or cpu,cuda to time both")
        parser.add_argument(
            "-o",
            "--out",
            metavar="DIR",
            help="the folder to write the vectors to (default: they are kept in the cache alone)",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Encode."""
        devices = options.listed(args.device)
        embedding.check_devices(devices)
        embedding.check_out(args.dataset, args.out)
        with new_folder(Path(args.out)) if args.out else nullcontext():  # before minutes of encoding, not after
            if len(devices) > 1:
                return _time_devices(args, devices)
            encoder = inputs.encoder_options(args, devices[0] if devices else "cpu")
            try:
                found = embedding.encoded(Workload(args.dataset, inputs.dataset_options(args), encoder))
            except KeyboardInterrupt as stop:
                said = "interrupted; what was finished is kept, and the same command goes on from there"
                raise KeyboardInterrupt(said) from stop
            show(found)
            if args.out:
                found.save(args.out)
                queries = f", and of the queries in {args.out}/queries" if found.work["queries"].texts else ""
                print(f"wrote {args.out}/{', '.join(saved.FILES)}{queries}")
            else:
                print("kept in the cache: knnscope search with the same options uses them")
        return 0


def show(found: embedding.Embedding) -> None:
    """Print what was done, and note what was odd."""
    notes(found.notes)
    if found.declared_recipe:
        print(f"{found.facts['encoder']}: {found.declared_recipe}")
    print(encoding.work_text(found.work))


def _time_devices(args: argparse.Namespace, devices: list[str]) -> int:
    found = embedding.time_devices(
        args.dataset, inputs.encoder_options(args), devices, inputs.dataset_options(args), args.out
    )
    notes(found.notes)
    run, model, recipe = found.runs[0], found.facts["encoder"], found.facts["recipe"]["name"]
    print(f"{run.texts:,} texts, {run.tokens:,} tokens, {model}, recipe {recipe}, nothing cached")
    print(encoding.devices_text(found.runs))
    if args.out:
        print(f"wrote {args.out}/devices.json, environment.json and the vectors of each device")
    return 0
