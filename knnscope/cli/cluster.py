"""knnscope cluster."""

from __future__ import annotations

import argparse
import time

from knnscope.cli import options
from knnscope.distributed.cluster import local_cluster
from knnscope.threads import usable


class Cluster:
    """Start a Dask cluster on this machine, for trying what several machines do; Ctrl-C ends it.

    It prints the scheduler's address, for knnscope truth --scheduler and for Client(...) in Python. Only this machine reaches it; but
    whoever uses this machine may, and runs code as you: a scheduler is trusted like a shell. Workers may use all memory.

    knnscope cluster
    knnscope cluster --workers 4 --threads 2 --port 8786
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--workers", type=options.positive, default=2, metavar="N", help="processes (default 2)")
        parser.add_argument(
            "--threads", type=options.positive, metavar="T", help="of each worker (default: all cores, shared)"
        )
        parser.add_argument(
            "--port",
            type=options.natural,
            default=8786,
            metavar="P",
            help="of the scheduler (default 8786; 0: any that is free)",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Start, print, and wait for Ctrl-C."""
        threads = args.threads or max(1, usable() // args.workers)
        with local_cluster(args.workers, threads, args.port) as cluster:
            workers, each = (
                f"{n} {what}{'s' if n > 1 else ''}" for n, what in ((args.workers, "worker"), (threads, "thread"))
            )
            print(f"{cluster.scheduler_address}: {workers} of {each}; Ctrl-C ends it", flush=True)
            try:
                while True:  # in turns: a signal between Python's last look and a long sleep is noticed after it
                    time.sleep(1)
            except KeyboardInterrupt:
                print("ended", flush=True)
        return 0
