"""Engines measured in this process: most of what is said of a comparison does not depend on where they run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from knnscope.bench import timing
from knnscope.bench.child import Data
from knnscope.bench.failures import failure
from knnscope.bench.plan import Case, Options
from knnscope.bench.worker import Built, Turn, Warmed, Worker
from knnscope.records import Neighbors
from knnscope.search.catalog import Entry, load_entry

T = TypeVar("T")


class Here:
    """What ``Child`` does, by a worker of this process; what the engine raises is a status as it is there.

    It starts in a hundredth of the time. Engines that end their process, or need one to be steered or limited, need a child.
    """

    def __init__(self, entry: Entry, data: Data, options: Options) -> None:
        self._entry, self._data, self._seconds = entry, data, options.warm_seconds
        self._worker: Worker | None = None
        self._time: Any = time  # planted.Takes replaces that of its process

    def build(self) -> Built:
        return self._ask(Worker.build)

    def build_checked(self, later: int = 0) -> bool:
        return self._ask(lambda worker: worker.build_checked(later))

    def warm(self, case: Case) -> Warmed:
        return self._ask(lambda worker: worker.warm(case, self._seconds))

    def turn(self, case: Case, firsts: Sequence[int], cold: bool = False, prime: bool = True) -> Turn:
        return self._ask(lambda worker: worker.turn(case, firsts, cold, prime))

    def answers(self, k: int, batch: int, count: int) -> Neighbors:
        return self._ask(lambda worker: worker.answers(k, batch, count))

    def pause(self) -> None:
        """It rests anyway."""

    def close(self) -> None:
        self._worker = None

    def _open(self) -> Worker:
        rows, queries = (self._read(path) for path in (self._data.rows, self._data.queries))
        return Worker(load_entry(self._entry), rows, queries, self._data.metric)

    def _read(self, path: Any) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = np.load(path)
        return found

    def _ask(self, work: Callable[[Worker], T]) -> T:
        before, vars(timing)["time"] = timing.time, self._time
        try:
            self._worker = self._worker or self._open()
            return work(self._worker)
        except Exception as error:  # as in a child: an engine fails in any way it likes
            raise failure(error) from error
        finally:
            self._time, vars(timing)["time"] = timing.time, before
