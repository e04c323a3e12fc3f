"""knnscope info."""

from __future__ import annotations

import argparse
import json

from knnscope.api.machine import describe_encoder, info
from knnscope.cli import inputs, options
from knnscope.cli.notes import notes
from knnscope.cli.options import positive
from knnscope.errors import KnnscopeError
from knnscope.report import machine as report

OF_ENCODER = ("weights", "recipe", "query_prompt", "document_prompt")


class Info:
    """This machine: processor, memory, GPU, libraries, and every engine or the line that installs it.

    It also names libraries that clash and what hides or limits cores and GPUs.
    --measure finds out what the machine can do at best, in 10 to 20 seconds for the CPU and as many for a GPU: bytes read by size, from
    the caches (hot) and from memory (cold), bytes copied, matrix products. The figures are kept and shown from then on.
    --encoder opens an encoder and shows what its files, its graph and the options decide: pooling, limit, prompts, metric.
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--json", action="store_true", help="print a JSON object")
        parser.add_argument("--measure", action="store_true", help="measure anew what CPU and GPU can do at best")
        parser.add_argument(
            "--threads", type=positive, metavar="N", help="of the CPU's figures (default: every usable core)"
        )
        inputs.add_encoder(parser, devices=None, usual="(describes it instead of the machine)")

    def run(self, args: argparse.Namespace) -> int:
        """Print it."""
        if args.encoder:
            return _show_encoder(args)
        if given := [option for option in OF_ENCODER if getattr(args, option) is not None]:
            raise KnnscopeError(f"--{given[0].replace('_', '-')} belongs to an encoder: give --encoder NAME|DIR too")
        with options.dashed():
            machine = info(args.measure, args.threads)
        notes(machine.notes)
        if args.json:
            print(json.dumps(machine.to_dict(), indent=2, allow_nan=False))
            return 0
        print(report.machine_text(machine.facts))
        for found in filter(None, machine.ceilings.values()):
            print(report.ceilings_text(found, whole=args.measure))
        return 0


def _show_encoder(args: argparse.Namespace) -> int:
    encoder = describe_encoder(inputs.encoder_options(args, "cpu"))
    if args.json:
        print(json.dumps(encoder.to_dict(), indent=2, allow_nan=False))
        return 0
    notes(encoder.notes)
    print(report.encoder_text(encoder.model, encoder.recipe, encoder.dim))
    return 0
