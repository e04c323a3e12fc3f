"""The list of engines. Adding one is a file in search/ and a line here."""

from __future__ import annotations

from dataclasses import dataclass

from knnscope.errors import MissingLibraryError, require, unknown_name
from knnscope.search.engine import Engine


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an engine lives and what it needs."""

    path: str
    library: str
    extra: str | None
    what: str


ENGINES = {
    "numpy64": Entry(
        "knnscope.search.numpy64_engine:Numpy64Engine", "numpy", None, "float64 reference, exact by definition"
    ),
    "numpy": Entry("knnscope.search.numpy_engine:NumpyEngine", "numpy", None, "one matrix product, expanded form"),
    "faiss": Entry("knnscope.search.faiss_engine:FaissEngine", "faiss", "cpu", "IndexFlat"),
    "sklearn": Entry("knnscope.search.sklearn_engine:SklearnEngine", "sklearn", "cpu", "NearestNeighbors, brute force"),
    "usearch": Entry("knnscope.search.usearch_engine:UsearchEngine", "usearch", "cpu", "exact search"),
}


def load(name: str) -> Engine:
    """The engine of this name.

    Raises:
        KnnscopeError: unknown, or its library is missing: names the line that installs it.
    """
    entry = ENGINES.get(name)
    if entry is None:
        raise unknown_name("engine", name, ENGINES)
    module, _, cls = entry.path.partition(":")
    engine: Engine = getattr(require(module, entry.extra, entry.library), cls)()
    return engine


def problem(name: str) -> str | None:
    """Why an engine cannot be used here, with the line that mends it; None if it can."""
    try:
        load(name)
    except MissingLibraryError as error:
        return str(error)
    return None


def available() -> list[str]:
    """Engines whose library is here, in the order of the list."""
    return [name for name in ENGINES if problem(name) is None]
