"""The list of engines. Adding one is a file and a line here; tests/contracts then hold it to what every engine keeps."""

from __future__ import annotations

from dataclasses import dataclass

from knnscope.errors import MissingLibraryError, installed, require, unknown_name
from knnscope.search.device import gpu_problem
from knnscope.search.engine import Engine


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an engine lives, what it needs, and where it computes: "cpu" or "cuda"."""

    path: str
    library: str
    extra: str | None
    what: str
    device: str = "cpu"
    late: bool = False
    """It loads its library itself, when it builds."""
    named: bool = False
    """It is asked and timed only where it is named."""
    slow: bool = False
    """Its library takes half a second or more to load."""
    elsewhere: bool = False
    """It computes in processes of its own, whose CPU time is not told."""


ENGINES = {
    "numpy64": Entry(
        "knnscope.search.engines.numpy64:Numpy64Engine", "numpy", None, "float64 reference, exact by definition"
    ),
    "certified": Entry(
        "knnscope.certified.engine:CertifiedEngine",
        "llvmlite",
        None,
        "int8 codes, certified bound, ranked by definition",
    ),
    "numpy": Entry("knnscope.search.engines.numpy:NumpyEngine", "numpy", None, "one matrix product, expanded form"),
    "faiss": Entry("knnscope.search.engines.faiss:FaissEngine", "faiss", "cpu", "IndexFlat"),
    "faiss-tuned": Entry(
        "knnscope.search.engines.faiss_tuned:FaissTunedEngine",
        "faiss",
        "cpu",
        "IndexFlat, with the settings that are fastest here",
        late=True,
    ),
    "faiss-panorama": Entry(
        "knnscope.search.engines.faiss_panorama:FaissPanoramaEngine", "faiss", "cpu", "IndexFlatPanorama, rows rotated"
    ),
    "sklearn": Entry(
        "knnscope.search.engines.sklearn:SklearnEngine", "sklearn", "cpu", "NearestNeighbors, brute force", slow=True
    ),
    "usearch": Entry("knnscope.search.engines.usearch:UsearchEngine", "usearch", "cpu", "exact search"),
    "torch": Entry(
        "knnscope.search.engines.torch:TorchEngine", "torch", "torch", "one matrix product, topk", slow=True
    ),
    "dask": Entry(
        "knnscope.distributed.engine:DaskEngine",
        "distributed",
        "dask",
        "certified in shards, on Dask workers here",
        named=True,
        slow=True,
        elsewhere=True,
    ),
    "certified-gpu": Entry(
        "knnscope.certified.engine:CertifiedGpuEngine", "cupy", "cuda13", "as certified, on a GPU", "cuda"
    ),
    "cupy": Entry("knnscope.search.engines.cupy:CupyEngine", "cupy", "cuda13", "matrix product and selection", "cuda"),
    "cuvs": Entry("knnscope.search.engines.cuvs:CuvsEngine", "cuvs", "cuda13", "brute_force", "cuda"),
    "faiss-gpu": Entry("knnscope.search.engines.faiss_gpu:FaissGpuEngine", "faiss", "cuda13", "GpuIndexFlat", "cuda"),
    "faiss-gpu-cuvs": Entry(
        "knnscope.search.engines.faiss_gpu:FaissGpuCuvsEngine", "faiss", "cuda13", "GpuIndexFlat through cuVS", "cuda"
    ),
    "torch-cuda": Entry(
        "knnscope.search.engines.torch:TorchCudaEngine", "torch", "torch", "one matrix product, topk", "cuda"
    ),
    "flashlib": Entry("knnscope.search.engines.flashlib:FlashlibEngine", "flashlib", "flashlib", "flash_knn", "cuda"),
    "certex": Entry("knnscope.search.engines.certex:CertexEngine", "certex", "certex", "certified exclusion", "cuda"),
}


PARTS = ("capabilities", "formula", "build")
"""What every engine has."""
REFERENCE = "numpy64"
"""Every answer is judged by its definition; it is timed only where it is named, since it takes longer than all others together."""


def timed() -> list[str]:
    """Engines that are measured where none is named."""
    return [name for name, entry in ENGINES.items() if name != REFERENCE and not entry.named]


def libraries() -> tuple[str, ...]:
    """What the engines compute with, each by the name it is imported by."""
    return tuple(dict.fromkeys(entry.library for entry in ENGINES.values()))


def load(name: str) -> Engine:
    """The engine of this name.

    Raises:
        KnnscopeError: unknown, or its library is missing: names the line that installs it.
    """
    entry = ENGINES.get(name)
    if entry is None:
        raise unknown_name("engine", name, ENGINES)
    return load_entry(entry)


def load_entry(entry: Entry) -> Engine:
    """The engine of an entry, also of one that is in no list.

    Raises:
        MissingLibraryError: names the line that installs its library.
        TypeError: there is no such class, or it is no engine.
    """
    module, _, name = entry.path.partition(":")
    cls = getattr(require(module, entry.extra, module if entry.late else entry.library), name, None)
    if cls is None:
        raise TypeError(f"{entry.path}, as the list of engines has it: the module has no class {name!r}")
    if lacks := [part for part in PARTS if not hasattr(cls, part)]:
        raise TypeError(f"{entry.path} is no engine: it has no {', '.join(lacks)} (see knnscope/search/engine.py)")
    engine: Engine = cls()
    return engine


def problem(name: str, loading: bool = True) -> str | None:
    """Why an engine cannot be used here, with the line that mends it; None if it can.

    Args:
        name: of the engine.
        loading: load its library, whatever that takes. False: of one that takes long it is only looked whether it is installed.
    """
    entry = ENGINES[name]
    if entry.device == "cuda" and (why := gpu_problem()):
        return why
    try:
        if entry.slow and not loading:
            installed(entry.library, entry.extra)
        else:
            load(name)
    except MissingLibraryError as error:
        return str(error)
    return None


def available() -> list[str]:
    """Engines whose library, and GPU where they need one, is here, in the order of the list."""
    return [name for name in ENGINES if problem(name) is None]


def usual() -> list[str]:
    """Those of ``available`` that are asked where none is named."""
    return [name for name in available() if not ENGINES[name].named]
