"""A first look at a file by another process: libraries in C and C++ crash, abort or loop on some damaged files, and would take this one along.

For each kind of file a process waits that has the library loaded, and forks for every file: to start it takes what importing the library
takes, a look takes milliseconds. It ends when nothing was asked for ``IDLE`` seconds, and with the thread that started it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from knnscope import processes, threads
from knnscope.datasets import endings
from knnscope.errors import KnnscopeError
from knnscope.processes import PACKAGE, PARENT
from knnscope.store import os_problem

SECONDS = 20.0
"""How long a look may take."""
START = 60.0
"""How long the process that looks may take to load the library, from a disk that is far away."""
IDLE = 5.0
SERVE = "import sys; from knnscope.datasets import probe; probe.serve(*sys.argv[1:])"
LATE = b"late"


class _Prober:
    """The process that looks at files in one way."""

    def __init__(self, look: str) -> None:
        self._process = subprocess.Popen(
            # libraries have threads when it forks, of which Python warns
            [sys.executable, "-W", "ignore", "-c", SERVE, look, str(SECONDS), str(IDLE)],
            env={**os.environ, **threads.environment(1), PARENT: str(os.getpid())},
            cwd=PACKAGE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for this process, with which it ends
        )

    def ask(self, path: Path) -> bytes:
        """What became of a look: the number of the signal that ended it, ``0`` or ``LATE``; nothing where the process itself does not answer."""
        question, answer = self._process.stdin, self._process.stdout
        assert question is not None
        assert answer is not None
        try:
            question.write(os.fsencode(path.absolute()).hex().encode() + b"\n")
        except BrokenPipeError:
            return b""
        return answer.readline().strip() if _ready(answer.fileno(), START + SECONDS) else b""

    def end(self) -> None:
        """The process, and its pipes."""
        self._process.kill()
        with self._process:
            pass

    def forget(self) -> None:
        """In a forked process: it is the parent's."""
        self._process.returncode = 0
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


_lock = threading.Lock()
_probers: dict[str, _Prober] = {}
_seen: set[tuple[object, ...]] = set()


def look(how: str, path: Path, what: str) -> None:
    """Have another process look at a file, once in this process as long as the file stays the same.

    Args:
        how: the function of a module beside this one that takes the path and does what may crash; what it raises does not count.
        path: the file.
        what: its format, for the error.

    Raises:
        KnnscopeError: the look crashed, or did not come to an end, or there is no such file.
    """
    try:
        facts = path.stat()
        key = (how, facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        with _lock:
            if key in _seen:
                return
            said = _asked(how, path)
            if said == b"0":
                _seen.add(key)
                return
    except OSError as error:
        raise os_problem(error, path) from error
    if said == LATE:
        raise KnnscopeError(f"{path}: a damaged {what} file: reading its header does not end")
    if not said:
        raise KnnscopeError(
            f"{path}: not read, since the process that looks at {what} files first does not start: "
            "it may lack memory (free some), or the installation is damaged (install knnscope again)"
        )
    raise KnnscopeError(f"{path}: a damaged {what} file: reading its header crashes (signal {said.decode()})")


def _asked(how: str, path: Path) -> bytes:
    for _ in range(2):  # one that waited may just have ended
        prober = _probers.get(how) or _probers.setdefault(how, _Prober(how))
        said = b""
        try:
            said = prober.ask(path)
        finally:
            # interrupted, too: an answer that comes later would be taken for that of the next file
            if said in (b"", LATE):
                del _probers[how]
                prober.end()
        if said:
            break
    return said


@atexit.register
def _end() -> None:
    while _probers:
        _probers.popitem()[1].end()


def _forked() -> None:
    global _lock
    _lock = threading.Lock()
    while _probers:
        _probers.popitem()[1].forget()


os.register_at_fork(after_in_child=_forked)


def serve(how: str, seconds: str, idle: str) -> None:
    """Answer questions on standard input, until it ends or none comes: a line with a path in hexadecimal, a line with what ``ask`` gives."""
    processes.end_with_parent()
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    touch: Callable[[Path], None] = endings.reader(how)
    with contextlib.suppress(Exception):
        touch(Path(os.devnull))  # loads the library
    while _ready(0, float(idle)):
        line = b""
        while not line.endswith(b"\n"):
            some = os.read(0, 1 << 16)
            if not some:
                return
            line += some
        os.write(answers, _look(touch, Path(os.fsdecode(bytes.fromhex(line.decode()))), float(seconds)) + b"\n")


def _look(touch: Callable[[Path], None], path: Path, seconds: float) -> bytes:
    ended, alive = os.pipe()
    server = os.getpid()
    child = os.fork()
    if not child:
        try:
            processes.end_with(server)
            resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
            touch(path)
        finally:
            os._exit(0)
    os.close(alive)
    late = not _ready(ended, seconds)
    if late:
        os.kill(child, signal.SIGKILL)
    os.close(ended)
    status = os.waitpid(child, 0)[1]
    return LATE if late else str(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0).encode()


def _ready(handle: int, seconds: float) -> bool:
    """Whether something can be read within that time, or the other end is closed; a process may have more files open than ``select`` can number."""
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    return bool(waiting.poll(1000 * seconds))
