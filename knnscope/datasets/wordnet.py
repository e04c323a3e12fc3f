"""WordNet as a retrieval task: documents are definitions, queries usage examples, relevant the synset each illustrates.

Format of data.noun, data.verb, data.adj, data.adv: the manual page wndb(5WN).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from knnscope.datasets.beir import Selection, Source, assemble
from knnscope.datasets.qrels import Row
from knnscope.errors import KnnscopeError
from knnscope.records import TextDataset
from knnscope.store import os_problem

FILES = {"n": "data.noun", "v": "data.verb", "a": "data.adj", "r": "data.adv"}
USUAL = (Path("/usr/share/wordnet"), Path("/usr/local/share/wordnet"))
HOW_TO = (
    "get Debian's package and unpack it without root: apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wn, "
    "then add --wordnet wn/usr/share/wordnet"
)

_EXAMPLE = re.compile(r'"([^"]*)"')
_MARKER = re.compile(r"\((?:a|p|ip)\)$")


def find_folder(chosen: str | None) -> Path:
    """The folder of data files: the one named, else ``WNSEARCHDIR``, else where Debian puts them.

    Raises:
        KnnscopeError: none there; says how to get them.
    """
    named = chosen or os.environ.get("WNSEARCHDIR")
    for folder in (Path(named),) if named else USUAL:
        for candidate in (folder, folder / "dict", folder / "usr/share/wordnet"):
            if (candidate / FILES["n"]).is_file():
                return candidate
    if named:
        raise KnnscopeError(f"{named}: no WordNet data files ({', '.join(FILES.values())}) there: {HOW_TO}")
    raise KnnscopeError(f"WordNet's data files are not on this machine: {HOW_TO}")


def load(folder: Path, selection: Selection, lemmas: bool = False) -> TextDataset:
    """Read the four data files.

    Args:
        folder: see ``find_folder``.
        selection: as for BEIR; "relevant" keeps the synsets that have an example.
        lemmas: put the synset's words before its definition.

    Raises:
        KnnscopeError: a missing or damaged file.
    """
    documents: list[tuple[str, str, str]] = []
    queries: list[tuple[str, str, str]] = []
    rows: list[Row] = []
    for letter, file in FILES.items():
        path = folder / file
        for place, offset, words, gloss in _synsets(path):
            key = letter + offset
            definition, examples = split_gloss(gloss)
            documents.append((place, key, f"{', '.join(words)}: {definition}" if lemmas else definition))
            for number, example in enumerate(examples, 1):
                queries.append((place, f"{key}-{number}", example))
                rows.append((f"{key}-{number}", key, 1))
    return assemble(Source("wordnet", documents, queries, rows), selection)


def split_gloss(gloss: str) -> tuple[str, list[str]]:
    """Definition and usage examples of a gloss; an unclosed quotation mark stays in the definition."""
    examples = [e.strip() for e in _EXAMPLE.findall(gloss)]
    definition = re.sub(r"\s+", " ", _EXAMPLE.sub("", gloss)).strip(" ;")
    return re.sub(r"(?:; ?)+;", ";", definition), [e for e in examples if e]


def _synsets(path: Path) -> Iterator[tuple[str, str, list[str], str]]:
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if raw.startswith(b"  "):  # the licence
                    continue
                place = f"{path}, line {number}"
                head, bar, gloss = raw.decode("utf-8", "replace").partition(" | ")
                fields = head.split(" ")
                try:
                    if not bar or not re.fullmatch(r"\d{8}", fields[0]) or not raw.endswith(b"\n"):
                        raise ValueError("no synset")
                    count = int(fields[3], 16)
                    words = [_MARKER.sub("", w).replace("_", " ") for w in fields[4 : 4 + 2 * count : 2]]
                    if len(words) != count:
                        raise ValueError("too few words")
                except (ValueError, IndexError) as error:
                    raise KnnscopeError(
                        f"{place}: not a WordNet data line, the file is damaged or cut off: {HOW_TO}"
                    ) from error
                yield place, fields[0], words, gloss
    except OSError as error:
        raise os_problem(error, path) from error
