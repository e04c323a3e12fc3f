"""Errors that reach the user as one line, and the one gate to optional libraries."""

from __future__ import annotations

import difflib
import importlib.util
import resource
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

EXTRA_OF = {
    "faiss": "cpu",
    "h5py": "files",
    "onnx": "cpu",
    "onnxruntime": "cpu",
    "pyarrow": "files",
    "pytrec_eval": "cpu",
    "safetensors": "cpu",
    "sklearn": "cpu",
    "tokenizers": "cpu",
    "usearch": "cpu",
    "cupti": "cupti",
    "cupy": "cuda13",
    "cuvs": "cuda13",
    "flashlib": "flashlib",
    "certex": "certex",
    "dask": "dask",
    "distributed": "dask",
    "torch": "torch",
    "sentence_transformers": "sentence-transformers",
    "beir": "beir",
    "langchain_core": "langchain",
    "jinja2": "report",
    "matplotlib": "report",
    "vl_convert": "report",
}

PACKAGE = Path(__file__).resolve().parent

ROOM = 1 << 29
"""Bytes of address space that loading a library may take: Faiss with its OpenBLAS takes the most."""


NEAR = 0.7
"""Likeness from which on a name may be a slip of the fingers: numba is none for numpy (0.6), fais is one for faiss (0.9)."""


class KnnscopeError(Exception):
    """A problem that the user can act on; its text is one line: what, where, what to do."""

    exit_code = 2


class ArgumentError(KnnscopeError):
    """An argument that cannot be; its text begins with the argument's name, which the command line writes with two dashes."""


class MissingLibraryError(KnnscopeError):
    """An optional library is not installed or does not load."""


class UnsupportedError(KnnscopeError):
    """An engine does not do what is asked; its text says what it does."""


class NoGpuError(KnnscopeError):
    """There is no GPU, or it does not answer."""


class GpuFullError(KnnscopeError):
    """A GPU has no memory left for what is asked."""


def install_line(extra: str) -> str:
    """The command that installs an extra of this package; in a checkout, from the checkout."""
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        return f"{sys.executable} -m pip install -e '{checkout}[{extra}]'"
    return f"pip install 'knnscope[{extra}]'"


def near(name: str, known: Iterable[str]) -> list[str]:
    """The known names that a mistyped one may stand for, the nearest first."""
    folded = {one.casefold(): one for one in known}
    return [folded[found] for found in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=NEAR)]


def installed(library: str, extra: str | None = None) -> None:
    """Look whether an optional library is installed, without loading it.

    Args:
        library: the top-level name it is imported by.
        extra: the extra to name; by default the one that declares the library.

    Raises:
        MissingLibraryError: it is not; names the line that installs it.
    """
    if importlib.util.find_spec(library) is None:
        raise MissingLibraryError(_absent(library, extra, library))


def _absent(name: str, extra: str | None, library: str) -> str:
    return f"{name} is not installed: {_line_of(library, extra)}"


def _line_of(library: str, extra: str | None) -> str:
    return install_line(extra or EXTRA_OF.get(library, "cpu"))


def require(module: str, extra: str | None = None, library: str | None = None) -> ModuleType:
    """Import an optional library, or say which extra brings it.

    Args:
        module: dotted name to import: the library, or the module of this package that is written for it.
        extra: the extra to name; by default the one that declares the library.
        library: top-level name of the library, where ``module`` is not it.

    Raises:
        MissingLibraryError: it is not installed, or its own import fails.
        Exception: a mistake in this package's own code is raised as it is: installing something would not mend it.
    """
    library = library or module.partition(".")[0]
    _room_for(library)
    try:
        importlib.import_module(library)
        return importlib.import_module(module)
    except Exception as error:
        # a library built against another version fails in any way it likes; Ctrl-C inside its set-up comes out as its error
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        if _is_ours(error):
            raise
        if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(f"{library}."):
            raise MissingLibraryError(_absent(error.name or library, extra, library)) from error
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise MissingLibraryError(
            f"{library} is installed but does not load ({reason}): reinstall it with {_line_of(library, extra)}"
        ) from error


def _is_ours(error: Exception) -> bool:
    """Whether an import failed by a mistake in this package: a wrong name of one of its parts, or code that is none."""
    if isinstance(error, SyntaxError | NameError):
        place = (
            error.filename if isinstance(error, SyntaxError) else traceback.extract_tb(error.__traceback__)[-1].filename
        )
        return Path(place or "").resolve().is_relative_to(PACKAGE)
    name = error.name if isinstance(error, ImportError) else None
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        name = error.obj.__name__
    return (name or "").partition(".")[0] == PACKAGE.name


def _room_for(library: str) -> None:
    """Refuse to load a library where its address space is nearly used up: several end the process then, by SIGSEGV."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or library in sys.modules:
        return
    try:
        used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return
    if limit - used < ROOM:
        raise KnnscopeError(
            f"{library} is not loaded: this process may use {limit:,} bytes of address space (ulimit -v) and uses {used:,} already: "
            f"raise the limit to {used + ROOM:,} or more"
        )


def unknown_name(what: str, name: str, known: Iterable[str], hint: str = "") -> KnnscopeError:
    """The error for a mistyped name, with the nearest known ones."""
    names = sorted(known)
    close = near(name, names)
    guess = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
    if not close and "engine" in what:
        guess += " (see knnscope info)"
    return KnnscopeError(f"no {what} named {name!r}: {guess}{' ' + hint if hint else ''}")
