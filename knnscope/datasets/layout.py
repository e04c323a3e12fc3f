"""Where the parts of a collection lie: BEIR's own folder, the hub's folders of Parquet, a folder around either.

BEIR: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv. The hub: corpus/corpus-00000-of-00001.parquet, queries/..., and the judgements
in qrels/, default/ or data/, by split.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from knnscope.datasets import tables
from knnscope.errors import KnnscopeError

SPLITS = ("test", "dev", "validation", "valid", "train")
QRELS_FOLDERS = ("qrels", "default", "data")
LINES = (".tsv", ".txt", ".trec", ".qrels", ".qrel")
"""Endings of judgements that are lines, not tables."""
DEPTH = 4
"""Levels of folders that are looked through for a data set."""
MOST = 1000
"""Folders of a level that are looked through."""


def part(folder: Path, name: str, split: str | None = None) -> list[Path]:
    """The files of ``corpus`` or ``queries``: NAME.jsonl and the like, NAME-00000-of-00002.parquet, or those in NAME/.

    Raises:
        KnnscopeError: a part of a table is missing, or several tables are there.
    """
    if found := tables.groups(folder).get(name):
        return _one_format(found)
    inner = folder / name
    for _ in range(2):  # the hub's converted copies lie in corpus/corpus/
        if not inner.is_dir():
            return []
        if found_there := tables.groups(inner):
            return _chosen(inner, found_there, (name, *((split,) if split else SPLITS)))
        folders = _folders(inner)
        inner = folders[0] if len(folders) == 1 else inner / name
    return []


def _chosen(folder: Path, found: dict[str, list[Path]], names: Iterable[str]) -> list[Path]:
    if len(found) == 1:
        return _one_format(next(iter(found.values())))
    for name in names:
        if name in found:
            return _one_format(found[name])
    raise KnnscopeError(f"{folder}: several tables ({', '.join(sorted(found))}): leave one there")


def _one_format(paths: list[Path]) -> list[Path]:
    """Of one table in several formats, the first that is read."""
    endings = {tables.ending(path) for path in paths}
    first = next(ending for ending in tables.READERS if ending in endings)
    chosen = [path for path in paths if tables.ending(path) == first]
    unpacked = [path for path in chosen if not path.name.endswith(".gz")]
    return unpacked or chosen


def qrels(folder: Path, split: str | None) -> list[Path]:
    """The files of the judgements of a split, or of the first there is of ``SPLITS``; none where there are no judgements.

    Raises:
        KnnscopeError: the split that was asked for is not there.
    """
    places = [place for name in QRELS_FOLDERS if (place := folder / name).is_dir()]
    for wanted in (split,) if split else SPLITS:
        for place in (*places, folder):
            if found := _lines(place, wanted):
                return [found]
        for place in places:
            if found_there := tables.groups(place).get(wanted):
                return _one_format(found_there)
    if split in (None, "test"):  # a file that names no split
        for place in (folder, *places):
            if found := _lines(place, "qrels"):
                return [found]
            if found_there := tables.groups(place).get("qrels"):
                return _one_format(found_there)
    if split:
        there = sorted(p.name for place in places for p in place.iterdir() if not p.name.startswith("."))
        raise KnnscopeError(f"{folder / 'qrels'}: no {split}.tsv; there is {', '.join(there) or 'nothing'}")
    return []


def _lines(folder: Path, stem: str) -> Path | None:
    names = [stem + suffix + packed for suffix in LINES for packed in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def root(folder: Path) -> Path | None:
    """The folder that holds a data set: this one, or the only one below it.

    Raises:
        KnnscopeError: several do, or the folder cannot be read.
    """
    level = [folder]
    for _ in range(DEPTH):
        found = [place for place in level if is_one(place)]
        if len(found) > 1:
            raise KnnscopeError(
                f"{folder}: {len(found)} data sets ({', '.join(map(str, found[:5]))}): name one of them"
            )
        if found:
            return found[0]
        level = [inner for place in level for inner in _folders(place)][:MOST]
    return None


def is_one(folder: Path) -> bool:
    """Whether this folder itself holds a saved run, a collection or tables."""
    return (folder / "vectors.npy").is_file() or bool(part(folder, "corpus")) or bool(tables.groups(folder))


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    except OSError as error:
        raise KnnscopeError(f"{folder}: cannot be read ({error.strerror})") from error
