"""knnscope truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from knnscope.api.ground_truth import TruthOptions, truth
from knnscope.cli import inputs, options
from knnscope.cli.notes import notes
from knnscope.groundtruth.files import WRITERS
from knnscope.groundtruth.parts import WORK


class Truth:
    """Ground truth: the k nearest rows of each query as float64 defines them, with a certificate that anybody can check.

    The base may be larger than memory: it is read block by block. What is finished lies in OUT.work until all is, so after Ctrl-C,
    or a kill at any moment, the same command goes on where it was; inputs that were changed meanwhile are refused, and so is a folder
    OUT.work, or a file beside OUT, that knnscope did not write.

    The ending says the format: .hdf5 (neighbors and distances, as ANN-benchmarks has them), .npy (ids in int64, distances beside, in
    float64), .ivecs and .ibin (distances beside, .fvecs and .fbin), .bin (big-ann: ids and distances). All but .npy round distances
    to float32. OUT.certificate.json has the sums of the inputs, the definition, margins, and where place k is a tie, and with whom.

    knnscope truth base.fbin --queries queries.fbin -k 100 -o gt.bin
    knnscope truth base.npy --queries queries.npy -k 10 -o gt.hdf5 --metric cosine --memory 8000
    knnscope truth base.fbin --queries queries.fbin -k 100 -o gt.bin --scheduler tcp://127.0.0.1:8786
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        inputs.add_base(parser)
        parser.add_argument("-k", type=options.positive, default=100, metavar="K", help="neighbors (default 100)")
        parser.add_argument(
            "-o", "--out", required=True, metavar="OUT", help=f"a file that ends in {' '.join(WRITERS)}"
        )
        parser.add_argument(
            "--scheduler",
            metavar="ADDRESS",
            help="of a Dask cluster, such as tcp://127.0.0.1:8786 (knnscope cluster starts one here): its workers read the base, under the same name, "
            "and search; --memory and --threads are then those of each worker; it is trusted like a shell",
        )
        parser.add_argument("--json", action="store_true", help="print the certificate, a JSON object")

    def run(self, args: argparse.Namespace) -> int:
        """Compute, write and print."""
        how = TruthOptions(args.metric, args.ids, args.memory, inputs.threads_number(args.threads), args.scheduler)
        try:
            with options.dashed():
                found = truth(args.base, args.queries, args.k, args.out, how)
        except KeyboardInterrupt as stop:
            if not Path(f"{args.out}{WORK}").is_dir():
                raise
            raise KeyboardInterrupt(f"interrupted; the same command goes on from what is in {args.out}{WORK}") from stop
        notes(found.notes)
        print(json.dumps(found.to_dict(), allow_nan=False) if args.json else found)
        return 0
