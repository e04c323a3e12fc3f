"""Another environment beside this one: whether its interpreter can measure, by whose code, and what is installed there.

Where it has no knnscope, or the same one, this package is copied for it, so that the measuring code and the engines are equal and only libraries differ.
Where it has another knnscope, that is what is asked about: its own answers, over the same messages.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knnscope import environment
from knnscope.bench.child import PROTOCOL, Place
from knnscope.errors import ArgumentError
from knnscope.processes import PACKAGE
from knnscope.search.rounding import Formula
from knnscope.store import no_temporary_folder
from knnscope.units import short

NEEDS = (3, 11)
"""The first Python that this package runs on."""
LIBRARIES = ("llvmlite", "msgspec", "numpy", "tqdm")
"""What it needs whatever the engine."""
SCRIPT = Path(__file__).with_name("told.py")
VERSION = "import sys; print('Python %d.%d.%d' % sys.version_info[:3])"
"""Asked first, in what every Python understands."""
SECONDS = 300
"""An answer takes as long as loading the library of every engine."""
STEERING = ("PYTHONPATH", "PYTHONHOME", "PYTHONEXECUTABLE", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""Variables of this environment that would lead into it."""
CODE = "code"
"""The folder that this package is copied into."""


@dataclass(frozen=True, slots=True)
class Other:
    """An interpreter that can measure. own: by the knnscope of its environment, which is another one."""

    python: str
    own: bool

    def place(self, folder: Path) -> Place:
        """Where its children run. folder: one that is empty, and stays as long as they do."""
        variables: dict[str, str | None] = dict.fromkeys(STEERING)
        if not self.own:
            code = folder / CODE
            if not code.exists():
                shutil.copytree(PACKAGE / "knnscope", code / "knnscope")
            variables["PYTHONPATH"] = str(code)
        start = folder / "empty"
        start.mkdir(exist_ok=True)
        return Place(self.python, start, variables)


@dataclass(frozen=True, slots=True)
class Shape:
    """What the formulas of engines depend on."""

    metric: str
    dtype: str
    dim: int
    batches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What an environment has. entries: its engines that can be used; problems: why the others cannot. formulas: by engine and batch."""

    environment: dict[str, Any]
    entries: dict[str, dict[str, Any]]
    problems: dict[str, str]
    formulas: dict[tuple[str, int], Formula]


def find(given: str | Path) -> Other:
    """The interpreter that a user names.

    Args:
        given: an executable, or the folder of a virtual environment.

    Raises:
        ArgumentError: there is none, it is too old, or lacks what knnscope needs.
    """
    python = _executable(Path(given))
    version = _run(given, [python, "-c", VERSION], "no Python interpreter")
    found = re.fullmatch(r"Python (\d+)\.(\d+)\.\d+\s*", version)
    if found is None:
        raise ArgumentError(
            f"beside {given}: no Python interpreter: asked for its version, it says {short(version.strip(), 100)!r}"
        )
    if tuple(map(int, found.groups())) < NEEDS:
        raise ArgumentError(f"beside {given}: {version.strip()}: knnscope needs {'.'.join(map(str, NEEDS))} or later")
    told = _ask(given, python, {"libraries": {"needed": LIBRARIES}})
    if told["lacks"]:
        raise ArgumentError(
            f"beside {given}: lacks {', '.join(told['lacks'])}, which knnscope needs: {python} -m pip install {' '.join(told['lacks'])}"
        )
    return Other(python, told["own"] not in (None, environment.source_digest()))


def tell(other: Other, place: Place, names: Sequence[str], shape: Shape) -> Told:
    """What is installed there, and which of these engines it can measure.

    Raises:
        ArgumentError: knnscope does not load there, or its own one speaks otherwise.
    """
    asked = {"engines": {"names": list(names), "shape": {name: getattr(shape, name) for name in Shape.__slots__}}}
    told = _ask(other.python, other.python, asked, place)
    if told["protocol"] != PROTOCOL:
        raise ArgumentError(
            f"beside {other.python}: its knnscope is measured by other messages ({told['protocol']}, here {PROTOCOL}): "
            f"uninstall it there, then this one measures"
        )
    around = told["environment"]
    if not other.own:  # a copy has no commit
        around |= {
            "knnscope": environment.version(),
            "commit": environment.commit(),
            "source_sha256": environment.source_digest(),
        }
    usable = {name: one for name, one in told["engines"].items() if one["problem"] is None}
    return Told(
        around,
        {name: one["entry"] for name, one in usable.items()},
        {name: one["problem"] for name, one in told["engines"].items() if one["problem"] is not None},
        {
            (name, batch): Formula(**formula)
            for name, one in usable.items()
            for batch, formula in zip(shape.batches, one["formulas"], strict=True)
        },
    )


def _executable(given: Path) -> str:
    """Its path, made absolute but not followed: a virtual environment's interpreter is known by its own name."""
    if given.is_dir():
        inside = given / "bin" / "python"
        if not inside.is_file():
            raise ArgumentError(f"beside {given}: no virtual environment: it has no bin/python")
        return os.path.abspath(inside)
    path = shutil.which(given)
    if path is None:
        why = "not an executable file" if given.exists() else "no such file"
        raise ArgumentError(
            f"beside {given}: {why}: a Python interpreter was expected, or the folder of a virtual environment"
        )
    return os.path.abspath(path)


def _ask(given: str | Path, python: str, asked: dict[str, Any], place: Place | None = None) -> dict[str, Any]:
    command = [python, "-c", SCRIPT.read_text("utf-8"), json.dumps(asked)]
    text = _run(given, command, "knnscope does not load there", place)
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ArgumentError(f"beside {given}: asked what it has, it says {short(text.strip(), 100)!r}") from error
    return found


def _run(given: str | Path, command: Sequence[str], failed: str, place: Place | None = None) -> str:
    """What an interpreter prints. failed: what it means where that fails.

    Raises:
        ArgumentError: it cannot be run, fails, or takes too long; with its last line.
        KnnscopeError: nothing temporary can be written.
    """
    try:
        folder = tempfile.TemporaryDirectory()
    except OSError as error:
        raise no_temporary_folder(error) from error
    with folder as empty:
        where = place or Place(command[0], Path(empty), dict.fromkeys(STEERING))
        try:
            done = subprocess.run(
                command,
                env=where.environment(os.environ),
                cwd=where.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ArgumentError(f"beside {given}: no answer within {SECONDS} s") from error
        except OSError as error:
            raise ArgumentError(
                f"beside {given}: no Python interpreter: it cannot be run ({error.strerror})"
            ) from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise ArgumentError(f"beside {given}: {failed}: {short(lines[-1].strip(), 300)}")
    return done.stdout.decode("utf-8", "replace")
