"""From the name a user gives to a data set: the one list of what there is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from knnscope.checks import check_finite
from knnscope.datasets import archive, beir, lines, saved, synthetic, vector_files, wordnet
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.fetch import Remote, fetch
from knnscope.records import TextDataset, VectorDataset
from knnscope.store import home, locked

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
    return ["sample", "wordnet", *(f"synthetic:{kind}" for kind in synthetic.KINDS), *published(), *parts]


def load(spec: str, options: DatasetOptions | None = None) -> tuple[TextDataset | VectorDataset, tuple[str, ...]]:
    """Open a data set, downloading it if need be.

    Args:
        spec: a name of ``all_names``, a BEIR folder, or a file of vectors.
        options: the part to take, and WordNet's whereabouts.

    Returns:
        The data set, and notes for the user.

    Raises:
        KnnscopeError: an unknown name, or anything wrong with the data.
    """
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
    if vector_files.is_vector_file(spec):
        dataset = vector_files.load(spec)
        check_finite(dataset.documents.values, spec)
        if dataset.queries is not None:
            check_finite(dataset.queries.values, f"{spec}, queries")
        return saved.with_queries_beside(dataset, Path(spec))
    path = Path(spec)
    if path.is_dir() and (path / "vectors.npy").is_file():
        return saved.load(path), ()
    if path.is_dir():
        return beir.load_folder(path, path.resolve().name, options.selection), ()
    if path.exists():
        raise KnnscopeError(
            f"{spec}: not a kind of file read here: a BEIR folder, or {' '.join(sorted(vector_files.READERS))}"
        )
    raise unknown_name("data set, folder or file", spec, all_names(), "(knnscope data list)")


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
        state = "not found"
    entries.append(Entry("wordnet", 117_659, 48_339, state, "definitions; queries are usage examples"))
    entries += [
        Entry(f"synthetic:{kind}", 75_000, 1_000, "made on demand", "vectors; add ,rows=N,dim=N,seed=N,queries=N")
        for kind in synthetic.KINDS
    ]
    for name, entry in published().items():
        parts = (
            f"BEIR, in {len(entry['parts'])} parts: {name}/{entry['parts'][0]} ..." if entry.get("parts") else "BEIR"
        )
        state = "downloaded" if folder_of(name).exists() else "knnscope data get"
        entries.append(Entry(name, entry["documents"], entry["queries"], state, parts))
    return entries
