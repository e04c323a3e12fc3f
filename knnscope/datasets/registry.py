"""From the name a user gives to a data set: the one list of what there is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from knnscope.checks import check_finite, check_named
from knnscope.datasets import (
    archive,
    arrow,
    arrow_vectors,
    beir,
    ground_truth,
    layout,
    lines,
    saved,
    synthetic,
    tables,
    vector_files,
    wordnet,
)
from knnscope.errors import KnnscopeError, near, unknown_name
from knnscope.fetch import Remote, digest, fetch
from knnscope.records import TextDataset, VectorDataset
from knnscope.store import home, locked, no_file

SAMPLE = Path(str(files("knnscope.datasets") / "sample_data"))


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """What a command says about a data set beside its name."""

    selection: beir.Selection = field(default_factory=beir.Selection)
    wordnet: str | None = None
    lemmas: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of ``knnscope data list``."""

    name: str
    documents: int
    queries: int
    state: str
    what: str


@cache
def published() -> dict[str, dict[str, Any]]:
    """The public BEIR collections: MD5, size where known, counts."""
    listing: dict[str, Any] = json.loads((files("knnscope.datasets") / "downloads.json").read_text("utf-8"))
    return {name: {**entry, "url": f"{listing['base']}{name}.zip"} for name, entry in listing["datasets"].items()}


def all_names() -> list[str]:
    """Every name that ``load`` knows, folders and files apart."""
    parts = [f"{name}/{part}" for name, entry in published().items() for part in entry.get("parts", ())]
    return ["sample", "wordnet", *(f"synthetic:{name}" for name in synthetic.DISTRIBUTIONS), *published(), *parts]


def load(spec: str, options: DatasetOptions | None = None) -> tuple[TextDataset | VectorDataset, tuple[str, ...]]:
    """Open a data set, downloading it if need be.

    Args:
        spec: a name of ``all_names``, a folder, or a file of texts or vectors; ``#NAME`` behind it names a column or array.
        options: the part to take, and WordNet's whereabouts.

    Returns:
        The data set, and notes for the user.

    Raises:
        KnnscopeError: an unknown name, or anything wrong with the data.
    """
    check_named(spec, "the name of a data set")
    options = options or DatasetOptions()
    dataset, notes = _open(spec, options)
    if isinstance(dataset, TextDataset):
        return dataset, notes + dataset.notes
    if options.selection.subset != "all" or options.selection.split:
        raise KnnscopeError(f"{spec}: holds vectors, which have no judgements: --subset and --split do not apply")
    return _limited(dataset, options.selection.limit), notes + dataset.notes


def _open(spec: str, options: DatasetOptions) -> tuple[TextDataset | VectorDataset, tuple[str, ...]]:
    if spec == "sample":
        return beir.load_folder(SAMPLE, "sample", options.selection), ()
    if spec == "wordnet":
        folder = wordnet.find_folder(options.wordnet)
        return wordnet.load(folder, options.selection, options.lemmas), ()
    if spec.startswith("synthetic:"):
        return synthetic.materialise(synthetic.parse(spec)), ()
    if spec.partition("/")[0] in published() and not Path(spec).exists():
        folder, note = download(spec)
        return beir.load_folder(folder, spec, options.selection), (note,) if note else ()
    path, column = vector_files.split(spec)
    if path.suffix.lower() == ".zip" and path.is_file():
        path = _unpacked(path)
    if path.is_dir():
        return _open_folder(path, column, options.selection)
    return _open_file(spec, path, column, options.selection)


def _open_folder(
    path: Path, column: str, selection: beir.Selection
) -> tuple[TextDataset | VectorDataset, tuple[str, ...]]:
    folder = layout.root(path)
    if folder is None:
        vector_files.check_folder(path)
        return beir.load_folder(path, path.resolve().name, selection), ()  # says what is missing
    if (folder / "vectors.npy").is_file():
        return saved.load(folder), ()
    if layout.part(folder, "corpus"):
        return beir.load_folder(folder, folder.resolve().name, selection), ()
    found = tables.groups(folder)
    if len(found) > 1:
        raise KnnscopeError(
            f"{folder}: several tables ({', '.join(sorted(found))}) and no corpus: name one file of them"
        )
    return _open_tables(str(path), next(iter(found.values())), column, selection)


def _open_tables(
    name: str, paths: list[Path], column: str, selection: beir.Selection
) -> tuple[TextDataset | VectorDataset, tuple[str, ...]]:
    """Vectors where a column holds lists of numbers, else texts."""
    if paths[0].suffix.lower() in arrow.FORMATS:
        lists, others = arrow_vectors.columns(paths[0])
        if column and column not in (*lists, *others):
            raise KnnscopeError(f"{paths[0]}: no column {column!r}; there is {', '.join((*lists, *others)) or 'none'}")
        if column in lists if column else lists:
            return _finite(arrow_vectors.load_parts(name, paths, column)), ()
    return beir.load_tables(paths, column, name, selection), ()


def _open_file(
    spec: str, path: Path, column: str, selection: beir.Selection
) -> tuple[TextDataset | VectorDataset, tuple[str, ...]]:
    if not path.is_file() and (path.exists() or path.is_symlink()):
        raise no_file(path)
    if path.is_file() and not path.stat().st_size:
        raise KnnscopeError(f"{path}: the file is empty")
    table = tables.ending(path)
    if table and len(table) >= len(vector_files.ending(path)) and path.is_file():
        return _open_tables(str(path), [path], column, selection)
    if ground_truth.is_one(path):
        told = ground_truth.described(ground_truth.load(str(path)))
        raise KnnscopeError(f"{path}: ground truth ({told}), not vectors: knnscope data show describes it")
    if vector_files.is_vector_file(spec):
        return saved.with_queries_beside(_finite(vector_files.load(spec)), path)
    if path.exists():
        raise KnnscopeError(
            f"{spec}: this type of file is not read; what is: a BEIR folder or a zip of one, or {_endings()}"
        )
    if table or ((path.suffix or "/" in spec) and not near(spec, all_names())):
        raise KnnscopeError(f"{path}: no such file{'' if path.suffix else ' or folder'}")
    if near(spec, all_names()):
        raise unknown_name("data set, folder or file", spec, all_names(), "(knnscope data list)")
    raise KnnscopeError(f"no data set, folder or file named {spec!r}: knnscope data list names the data sets")


def _endings() -> str:
    return " ".join(sorted({*vector_files.READERS, *tables.READERS}))


def _finite(dataset: VectorDataset) -> VectorDataset:
    check_finite(dataset.documents.values, dataset.name)
    if dataset.queries is not None:
        check_finite(dataset.queries.values, f"{dataset.name}, queries")
    return dataset


def _unpacked(zipped: Path) -> Path:
    """The folder of a zip file's contents, unpacked once and kept by their digest."""
    folder = home() / "unpacked" / f"{zipped.stem}-{digest(zipped, 'sha256')[:16]}"
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            archive.unzip(zipped, folder)
    return folder


def _limited(dataset: VectorDataset, limit: int | None) -> VectorDataset:
    if limit is None or limit >= len(dataset.documents):
        return dataset
    rows = dataset.documents
    kept = replace(
        rows,
        values=rows.values[:limit],
        ids=rows.ids[:limit] if rows.ids is not None else None,
        texts=rows.texts[:limit] if rows.texts is not None else None,
    )
    return replace(dataset, documents=kept)


def folder_of(name: str) -> Path:
    """Where a downloaded collection is unpacked."""
    return home() / "datasets" / name


def download(spec: str) -> tuple[Path, str | None]:
    """Bring a BEIR collection here, checked and unpacked; nothing happens when it is there.

    Returns:
        The folder that holds corpus.jsonl, and a note where the checksum was unknown.

    Raises:
        KnnscopeError: as ``fetch`` and ``archive.unzip``; or a collection of parts without the part.
    """
    name, _, part = spec.partition("/")
    entry = published()[name]
    parts = entry.get("parts", ())
    if bool(parts) != bool(part) or (part and part not in parts):
        raise unknown_name("part", spec, [f"{name}/{p}" for p in parts] or [name])
    folder, note = folder_of(name), None
    zipped = home() / "downloads" / f"{name}.zip"
    with locked(zipped.with_suffix(".lock")):
        if not folder.exists():
            checksum = f"md5:{entry['md5']}" if entry.get("md5") else None
            note = fetch(Remote(entry["url"], entry.get("size"), checksum), zipped)
            archive.unzip(zipped, folder, lambda unpacked: _collection(zipped, _inner(unpacked, name, part)))
            zipped.unlink(missing_ok=True)
    return _inner(folder, name, part), note


def _inner(folder: Path, name: str, part: str) -> Path:
    """Where corpus.jsonl lies: most archives hold a folder of their own name."""
    inner = folder / name if (folder / name).is_dir() else folder
    return inner / part if part else inner


def _collection(zipped: Path, folder: Path) -> None:
    """Refuse an archive of something else: unpacked, it would count as the data set for good."""
    if not (lines.find(folder, "corpus.jsonl") and lines.find(folder, "queries.jsonl")):
        raise KnnscopeError(f"{zipped}: holds no corpus.jsonl and queries.jsonl: delete it and download it again")


def catalogue(options: DatasetOptions) -> list[Entry]:
    """Every data set by name, with its size and whether it is here."""
    entries = [Entry("sample", 240, 60, "shipped", "arguments and counter-arguments, graded")]
    try:
        state = f"at {wordnet.find_folder(options.wordnet)}"
    except KnnscopeError:
        state = "knnscope data get"  # says how
    entries.append(Entry("wordnet", 117_659, 48_339, state, "definitions; queries are usage examples"))
    entries += [
        Entry(f"synthetic:{name}", 75_000, 1_000, "made on demand", "vectors; add ,rows=N,dim=N,seed=N,queries=N")
        for name in synthetic.DISTRIBUTIONS
    ]
    for name, entry in published().items():
        parts = (
            f"BEIR, in {len(entry['parts'])} parts: {name}/{entry['parts'][0]} ..." if entry.get("parts") else "BEIR"
        )
        state = "downloaded" if folder_of(name).exists() else "knnscope data get"
        entries.append(Entry(name, entry["documents"], entry["queries"], state, parts))
    return entries
