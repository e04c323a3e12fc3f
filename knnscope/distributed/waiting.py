"""A Dask client whose every wait ends: with results, with what a worker said, or with one line about what is gone."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from knnscope.errors import KnnscopeError, require
from knnscope.progress import say

POLL = 0.5
"""Seconds between looks at whether anybody works."""
REPLY = 10.0
"""Seconds that a scheduler may take to say who works for it."""

SILENT = 5.0
"""Seconds that a scheduler may take to answer until somebody is told."""


class LostError(Exception):
    """Results that were on workers are gone, with these or with the scheduler: they can be computed again."""


class Waiting:
    """Waits for tasks, as long as there is a scheduler and a worker."""

    def __init__(self, client: Any, patience: float) -> None:
        """Take a client.

        Args:
            client: a ``distributed.Client``.
            patience: seconds without a scheduler or a worker after which it is an error.

        Raises:
            KnnscopeError: it is another thing, or one for coroutines.
        """
        distributed = require("distributed")
        if not isinstance(client, distributed.Client):
            raise KnnscopeError(
                f"client is a {type(client).__name__}: a distributed.Client was expected, such as Client('tcp://127.0.0.1:8786')"
            )
        if client.asynchronous:
            raise KnnscopeError("the client is for coroutines: one made without asynchronous=True was expected")
        self.client, self._patience = client, patience
        self.where = str(client.scheduler.address) if client.scheduler is not None else "the scheduler"
        """The scheduler's address."""
        self._gone = (
            distributed.CancelledError, concurrent.futures.CancelledError, asyncio.CancelledError, distributed.comm.CommClosedError,
        )  # fmt: skip
        self._killed: type[Exception] = distributed.scheduler.KilledWorker

    def known(self) -> dict[str, bool]:
        """Addresses of the scheduler's workers, and whether they take tasks; none where it does not answer."""
        if self.client.status != "running":
            return {}
        try:
            said = self._soon(self.client.scheduler.identity(n_workers=-1)).result(REPLY)
        except (OSError, TimeoutError, AttributeError, *self._gone):  # it goes while it is asked
            return {}
        return {name: facts.get("status") == "running" for name, facts in said["workers"].items()}

    def ready(self) -> list[str]:
        """Wait until a worker takes tasks: addresses of all that do.

        Raises:
            KnnscopeError: there is none for too long.
        """
        began = time.monotonic()
        while not (found := sorted(name for name, works in self.known().items() if works)):
            self._check_patience(began)
            time.sleep(POLL)
        return found

    def results(
        self,
        futures: Sequence[Any],
        seconds: float | None = None,
        tick: Callable[[], None] | None = None,
        on: Collection[str] = (),
    ) -> list[Any]:
        """Wait for the results of tasks.

        Args:
            futures: of this client.
            seconds: how long it may take; None for as long as somebody works.
            tick: called twice a second.
            on: workers that alone may run them: for one that has gone, Dask would wait for ever.

        Raises:
            LostError: some are gone, or a worker is.
            KnnscopeError: what a task raised; it took too long; nobody works.
        """
        found = self._soon(self.client.gather(list(futures), asynchronous=True))
        began = seen = time.monotonic()
        try:
            while True:
                try:
                    return list(found.result(POLL))
                except TimeoutError:
                    if found.done():
                        raise
                now = time.monotonic()
                if tick is not None:
                    tick()
                if seconds is not None and now - began > seconds:
                    raise KnnscopeError(
                        f"{self.where}: no answer within {seconds:g} s: its workers may be busy with other work; timeout= waits longer"
                    )
                known = self.known()
                if any(known.values()):
                    seen = time.monotonic()
                else:
                    self._check_patience(seen)
                if known and not known.keys() >= set(on):
                    raise LostError("a worker has gone")
        except (KnnscopeError, LostError):
            raise
        except self._gone as error:
            raise LostError(str(error)) from error
        except self._killed as error:
            raise KnnscopeError(
                f"{self.where}: workers ended again and again while they worked on one shard, perhaps for want of memory: "
                "use more workers, or more shards than workers; their logs say more"
            ) from error
        except Exception as error:
            raise KnnscopeError(f"{self.where}: a worker failed: {type(error).__name__}: {_line(error)}") from error
        finally:
            found.cancel()

    def _soon(self, coroutine: Any) -> concurrent.futures.Future[Any]:
        loop: asyncio.AbstractEventLoop = self.client.loop.asyncio_loop
        return asyncio.run_coroutine_threadsafe(_awaited(coroutine), loop)

    def _check_patience(self, since: float) -> None:
        if self.client.status in ("closed", "closing"):
            raise KnnscopeError(
                f"{self.where}: the connection to this scheduler has ended: start it again, then make a new Client and a new index"
            )
        if time.monotonic() - since > self._patience:
            what = "no worker takes tasks" if self.client.status == "running" else "the scheduler has gone"
            raise KnnscopeError(
                f"{self.where}: {what} (waited {self._patience:g} s): start some with dask worker ADDRESS, or wait longer with patience="
            )


@contextmanager
def connected(address: str, patience: float = 60.0) -> Iterator[Waiting]:
    """A client of a scheduler, for a while.

    Raises:
        KnnscopeError: none answers there.
    """
    distributed = require("distributed")
    slow = threading.Timer(SILENT, say, [f"{address}: no Dask scheduler has answered yet; Ctrl-C ends the waiting"])
    slow.daemon = True
    try:
        addresses = require("distributed.comm.addressing")
        # Client says it too, then waits a minute and prints a traceback
        addresses.parse_host_port(addresses.parse_address(address)[1])
        slow.start()
        client = distributed.Client(address, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise KnnscopeError(
            f"{address}: no Dask scheduler answers there ({_line(error)}): knnscope cluster starts one on this machine, and prints its address"
        ) from error
    finally:
        slow.cancel()
    with client:
        yield Waiting(client, patience)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:300]
