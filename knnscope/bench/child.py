"""A worker in a child process: crashes, hangs and endless allocation end there, as a status.

Messages are JSON lines over two pipes of their own; what libraries print goes to a file whose last line explains a crash. A child
that is not being timed is stopped (SIGSTOP), so that the spinning threads of one library take nothing from another.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from knnscope import threads
from knnscope.bench.failures import FailedError, failure, out_of_memory
from knnscope.bench.plan import Case, Options
from knnscope.bench.timing import Sample, WarmUp
from knnscope.bench.worker import Built, Turn, Warmed, Worker
from knnscope.compiling import HOW
from knnscope.environment import memory
from knnscope.processes import PACKAGE, end_with
from knnscope.records import Neighbors
from knnscope.search.catalog import Entry, load_entry
from knnscope.store import no_temporary_folder, os_problem

MAPPED_FROM = 0.25
"""Rows above this share of the available memory are mapped, not read."""

ENDS_WITHIN = 10
"""Seconds that a process may take to end once its pipe is closed (a core dump)."""
PROTOCOL = 1
"""Of the messages between a child and its parent, which may be another version of this package (``other``)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where children run: by which interpreter, from which folder, and with which variables in the place of this process's (None: without it)."""

    python: str = sys.executable
    folder: Path = PACKAGE
    variables: Mapping[str, str | None] = field(default_factory=dict)

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Variables of a process there, from those of one here."""
        kept = {name: value for name, value in base.items() if name not in self.variables}
        return kept | {name: value for name, value in self.variables.items() if value is not None}


HERE = Place()


@dataclass(frozen=True, slots=True)
class Data:
    """What every child works on: .npy files and a metric."""

    rows: Path
    queries: Path
    metric: str


class Child:
    """A worker in another process, which starts in the background. Every method may raise ``FailedError``."""

    def __init__(self, entry: Entry | Mapping[str, Any], data: Data, options: Options, place: Place = HERE) -> None:
        """Start it.

        Args:
            entry: the engine, as the catalog of this package has it, or as that of ``place`` does, in JSON's own types.
            data: what it works on.
            options: threads, limits, timeouts.
            place: where it runs.
        """
        self._timeout, self._warm_seconds = options.timeout, options.warm_seconds
        try:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        except OSError as error:
            raise no_temporary_folder(error) from error
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        try:
            self._process = subprocess.Popen(
                [place.python, "-m", "knnscope.bench.child", str(read_there), str(write_there), str(os.getpid())],
                env={
                    **place.environment(threads.environment(options.threads)),
                    HOW: "wait",
                },  # compiled code is measured, and compiling counted apart
                cwd=place.folder,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(read_there, write_there),
                start_new_session=True,  # Ctrl-C is for the parent, which ends its children itself
            )
        except OSError as error:
            raise os_problem(error, place.python) from error
        finally:
            os.close(read_there)
            os.close(write_there)
        self._out = os.fdopen(write_here, "w", encoding="utf-8")
        self._in = os.fdopen(read_here, "rb", buffering=0)
        self._pending = b""
        self._stopped = False
        self._opening = True
        self._entry = entry if isinstance(entry, Mapping) else asdict(entry)
        self._memory = options.memory
        try:
            self._tell("open", **self._opened(data))
        except BaseException:
            self.close()
            raise

    def reopen(self, data: Data) -> None:
        """Work on other data from now on, in the same process; what was built is given up."""
        self._ask("open", **self._opened(data))

    def build_checked(self, later: int = 0) -> bool:
        """See ``Worker.build_checked``."""
        return bool(self._ask("build_checked", later=later)["adds"])

    def build(self) -> Built:
        """See ``Worker.build``."""
        return Built(**self._ask("build"))

    def warm(self, case: Case) -> Warmed:
        """See ``Worker.warm``."""
        answer = self._ask("warm", case=asdict(case), seconds=self._warm_seconds)
        warm = answer.pop("warm")
        return Warmed(warm=WarmUp(**{**warm, "first": Sample(**warm["first"])}), **answer)

    def turn(self, case: Case, firsts: Sequence[int], cold: bool = False, prime: bool = True) -> Turn:
        """See ``Worker.turn``."""
        answer = self._ask("turn", case=asdict(case), firsts=list(firsts), cold=cold, prime=prime)
        return Turn(
            [Sample(*s) for s in answer["samples"]],
            [
                (first, _array(ids, np.int64), _array(distances[0], np.float64) if distances else None)
                for first, ids, *distances in answer["answers"]  # an older version sends none
            ],
        )

    def answers(self, k: int, batch: int, count: int) -> Neighbors:
        """See ``Worker.answers``."""
        answer = self._ask("answers", k=k, batch=batch, count=count)
        return Neighbors(_array(answer["ids"], np.int64), _array(answer["distances"], np.float64))

    def pause(self) -> None:
        """Let it take no time until it is asked again."""
        if not self._stopped and self._process.poll() is None:
            self._signal(signal.SIGSTOP)
            self._stopped = True

    def kill(self) -> None:
        """End the process; a thread that waits for its answer is told."""
        if self._process.poll() is None:
            self._signal(signal.SIGKILL)

    def close(self) -> None:
        """End it, whatever it does."""
        self.kill()
        self._process.wait()
        for stream in (self._out, self._in, self._log):
            try:
                stream.close()
            except OSError:  # a message that was never read
                continue

    def _opened(self, data: Data) -> dict[str, Any]:
        rows, queries = os.path.abspath(data.rows), os.path.abspath(data.queries)
        return {
            "entry": self._entry,
            "rows": rows,
            "queries": queries,
            "metric": data.metric,
            "memory": self._memory,
        }

    def _signal(self, number: signal.Signals) -> None:
        """Signal it and the processes that its library started; it is not reaped yet, so the id is still its own."""
        with contextlib.suppress(ProcessLookupError):  # all of them ended
            os.killpg(self._process.pid, number)

    def _ask(self, what: str, **values: Any) -> dict[str, Any]:
        if self._stopped:
            self._signal(signal.SIGCONT)
            self._stopped = False
        if self._opening:
            self._answer()
            self._opening = False
        self._tell(what, **values)
        return self._answer()

    def _tell(self, what: str, **values: Any) -> None:
        try:
            self._out.write(json.dumps({"do": what, **values}) + "\n")
            self._out.flush()
        except OSError:
            raise self._death() from None

    def _answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._line(time.monotonic() + self._timeout))
        if "status" in answer:
            raise FailedError(answer["status"], answer["reason"])
        return answer

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                self._signal(signal.SIGKILL)
                raise FailedError("timeout", f"no answer within {self._timeout:g} s (--timeout)")
            if not (some := self._in.read(1 << 20)):
                raise self._death()
            self._pending += some
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _death(self) -> FailedError:
        try:
            code = self._process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
            return FailedError("crashed", "it closed the pipe to its parent but did not end")
        lines = _tail(self._log)
        said = f": {lines[-1]}" if lines else ""
        if code == -signal.SIGKILL:
            return FailedError("oom", f"killed by the system, which ran out of memory{said}")
        for line in reversed(lines):
            if out_of_memory(line):
                return FailedError("oom", line)
        ended = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return FailedError("crashed", f"its process ended {ended}{said}")


def _tail(log: IO[bytes]) -> list[str]:
    log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
    return [line.strip()[:300] for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]


def _array(packed: Mapping[str, Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(packed["data"]), dtype=dtype).reshape(packed["shape"])


def _packed(array: npt.NDArray[Any]) -> dict[str, Any]:
    return {"data": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(), "shape": array.shape}


def _serve(asked: IO[str], answered: IO[str]) -> None:
    """Answer until the pipe closes."""
    worker: Worker | None = None
    for line in asked:
        message = json.loads(line)
        try:
            if message["do"] == "open":
                worker = None  # what it holds goes before more comes
                worker, answer = _open(message), {}
            else:
                assert worker is not None
                answer = ACTIONS[message.pop("do")](worker, message)
        except Exception as error:  # an engine fails in any way it likes
            failed = failure(error)
            answer = {"status": failed.status, "reason": failed.reason}
        answered.write(json.dumps(answer) + "\n")
        answered.flush()


def _open(message: Mapping[str, Any]) -> Worker:
    engine = load_entry(Entry(**message["entry"]))
    if message["memory"] is not None and "cuda" not in engine.capabilities.devices:
        resource.setrlimit(resource.RLIMIT_DATA, (message["memory"], message["memory"]))
    rows = Path(message["rows"])
    mapped = rows.stat().st_size > MAPPED_FROM * (memory()["available"] or 0)
    return Worker(
        engine,
        np.load(rows, mmap_mode="r" if mapped else None),
        np.load(message["queries"]),
        message["metric"],
    )


def _turn(worker: Worker, message: Mapping[str, Any]) -> dict[str, Any]:
    made = worker.turn(Case(**message["case"]), message["firsts"], message["cold"], message["prime"])
    return {
        "samples": [(s.wall_ns, s.cpu_ns, s.event_ns) for s in made.samples],
        "answers": [
            (first, _packed(ids), *([] if distances is None else [_packed(distances)]))
            for first, ids, distances in made.answers
        ],
    }


def _answers(worker: Worker, message: Mapping[str, Any]) -> dict[str, Any]:
    found = worker.answers(message["k"], message["batch"], message["count"])
    return {"ids": _packed(found.ids), "distances": _packed(np.asarray(found.distances, dtype=np.float64))}


ACTIONS: dict[str, Callable[[Worker, Mapping[str, Any]], dict[str, Any]]] = {
    "build": lambda worker, _: asdict(worker.build()),
    "build_checked": lambda worker, message: {"adds": worker.build_checked(message["later"])},
    "warm": lambda worker, message: asdict(worker.warm(Case(**message["case"]), message["seconds"])),
    "turn": _turn,
    "answers": _answers,
}


if __name__ == "__main__":
    end_with(int(sys.argv[3]))
    with os.fdopen(int(sys.argv[1]), encoding="utf-8") as asked, os.fdopen(int(sys.argv[2]), "w") as answered:
        _serve(asked, answered)
