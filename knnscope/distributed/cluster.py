"""A Dask cluster of this machine alone, for trying: a scheduler in this process, workers in others, reached from this machine only."""

from __future__ import annotations

import atexit
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from knnscope.errors import KnnscopeError, require
from knnscope.threads import budget

HOST = "127.0.0.1"
MOST = 4
"""Workers of the engine's cluster."""


@contextmanager
def local_cluster(workers: int, threads: int, port: int = 0) -> Iterator[Any]:
    """Start a cluster, and end it.

    Args:
        workers: processes.
        threads: of each.
        port: of the scheduler; 0 for a free one.

    Yields:
        A ``distributed.LocalCluster``.

    Raises:
        KnnscopeError: the port is taken, or the workers do not start.
    """
    cluster = _started(workers, threads, port)
    try:
        yield cluster
    finally:
        cluster.close()


def _started(workers: int, threads: int, port: int) -> Any:
    distributed = require("distributed")
    try:
        with socket.socket() as free:  # Dask, too, finds out, and says so in many lines
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind((HOST, port))
        # no limit of memory: Dask counts mapped rows, and would stop or end workers for them
        return distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=True,
            host=HOST,
            scheduler_port=port,
            dashboard_address=f"{HOST}:0",  # with none, Dask takes port 8787
            memory_limit=0,
        )
    except (OSError, RuntimeError, TimeoutError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and cause.errno in (errno.EADDRINUSE, errno.EACCES):
            raise KnnscopeError(f"{HOST}:{port}: {cause.strerror}: choose another --port") from error
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise KnnscopeError(
            f"the workers of a cluster did not start ({reason}): a script that starts one does it below if __name__ == '__main__'"
        ) from error


def client() -> Any:
    """A client of this process's own cluster, which is started when it is first asked for and ends with the process."""
    return _own(os.getpid())


@cache
def _own(_: int) -> Any:
    count = budget()
    workers = min(MOST, count)
    cluster = _started(workers, count // workers, 0)
    made = require("distributed").Client(cluster)
    atexit.register(cluster.close)
    atexit.register(made.close)  # the last that is registered is called first
    return made
