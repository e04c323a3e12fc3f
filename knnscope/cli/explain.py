"""knnscope explain."""

from __future__ import annotations

import argparse
import json

from knnscope.api.explaining import explain
from knnscope.cli.notes import notes
from knnscope.trace.findings import SEVERITIES


class Explain:
    """Why a trace is slow: findings ranked by what mending them would save, each with its evidence and a remedy.

    TRACE is what knnscope profile wrote, or any SQLite export of Nsight Systems. The first line says what bounds the run. A phase is an NVTX range
    of the program: "GPU busy" is how long the GPU had work while the host was in it, "its GPU work" how long the GPU worked on what was launched
    in it, whenever that ran. Savings are predicted for one time through a phase; the first time, which loads kernels, is left out.
    --against compares with a later trace, and says whether the predictions came true.

    knnscope explain runs/traces/cupy-loop-75000x384-k10.sqlite
    knnscope explain before.sqlite --against after.sqlite
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "trace", metavar="TRACE", help="an SQLite export of Nsight Systems, or what knnscope profile wrote"
        )
        parser.add_argument("--against", metavar="TRACE", help="a later trace of the same work, to compare with")
        parser.add_argument("--json", action="store_true", help="print a JSON object")
        parser.add_argument(
            "--fail-on", choices=SEVERITIES, help="exit with 1 if there is a finding of this severity or above"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Explain and print."""
        found = explain(args.trace, args.against)
        print(json.dumps(found.to_dict(), indent=2, allow_nan=False) if args.json else found)
        notes(found.notes)
        if args.fail_on and (failing := found.at_least(args.fail_on)):
            notes([f"--fail-on {args.fail_on}: {len(failing)} finding{'s' if len(failing) != 1 else ''}"])
            return 1
        return 0
