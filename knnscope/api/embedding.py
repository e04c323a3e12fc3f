"""Texts to vectors for Python: what ``knnscope embed`` does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope import environment
from knnscope.api.loading import opened, options_of
from knnscope.api.workload import EncoderOptions, Workload
from knnscope.datasets import saved, vector_files
from knnscope.datasets.registry import DatasetOptions
from knnscope.encoders import devices as runs
from knnscope.encoders import embed as encoding
from knnscope.encoders.devices import DeviceRun
from knnscope.encoders.onnx_encoder import PROVIDERS
from knnscope.encoders.recipes import told
from knnscope.errors import KnnscopeError
from knnscope.records import EncodedBy, Qrels, TextDataset, Texts, VectorDataset, Vectors
from knnscope.report.text import plain
from knnscope.store import check_outputs, new_folder, whole_file, write_json
from knnscope.strings import Strings
from knnscope.units import short

LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "tokenizers")
"""Those that the vectors depend on."""


class Part(NamedTuple):
    """The documents or the queries: their texts, the prompt before each, and what encoding them took."""

    texts: Texts
    prompt: str
    work: encoding.Work


class Embedding:
    """Vectors of the documents and queries of a data set.

    They lie in the cache, or in the folder that they were loaded from, and are read when they are first asked for.

    Attributes:
        facts: what ``meta.json`` says: data set, encoder, weights' digest, recipe, device, versions.
        work: what encoding took, by part ("documents", "queries"); empty for loaded vectors.
        notes: what was odd about data or encoder.
    """

    def __init__(self, source: Workload | VectorDataset, parts: Mapping[str, Part], facts: Mapping[str, Any]) -> None:
        """Made by ``embed`` and ``Embedding.load``."""
        self._source, self._parts, self.facts = (
            source,
            dict(parts),
            {"dataset": "unknown", "encoder": "unknown", **facts},
        )
        self._dataset = source if isinstance(source, VectorDataset) else None
        self.work = {} if isinstance(source, VectorDataset) else {name: part.work for name, part in parts.items()}
        self.notes = source.notes if isinstance(source, VectorDataset) else source.said()

    @property
    def dataset(self) -> VectorDataset:
        """Documents and queries as vectors with ids and texts; ``knnscope.compare`` takes it."""
        if self._dataset is None:
            assert isinstance(self._source, Workload)
            found = {
                name: Vectors(self._read(part), part.texts.ids, part.texts.texts)
                for name, part in self._parts.items()
                if len(part.texts)
            }
            recipe = self.facts["recipe"]
            made = EncodedBy(
                str(self.facts.get("encoder_folder") or self.facts["encoder"]),
                str(self.facts["sha256"]),
                dict(recipe),
                self.facts.get("weights") if "encoder_folder" in self.facts else None,
                self.facts.get("others"),
            )
            self._dataset = VectorDataset(
                self.name, found["documents"], found.get("queries"), recipe["metric"], self.notes, made
            )
        return self._dataset

    @property
    def vectors(self) -> npt.NDArray[Any]:
        """Of the documents: float32, (documents, dim)."""
        return self.dataset.documents.values

    @property
    def queries(self) -> npt.NDArray[Any] | None:
        """Of the queries: float32, (queries, dim); None where the data set has none."""
        return None if self.dataset.queries is None else self.dataset.queries.values

    @property
    def declared_recipe(self) -> str | None:
        """The recipe in words where it is the model's own; None where a note says it, or for loaded vectors."""
        if isinstance(self._source, VectorDataset):
            return None
        encoder = self._source.encoder
        own = encoder.recipe == encoder.model.recipe and not encoder.model.declared.notes
        return told(encoder.recipe) if own else None

    @property
    def name(self) -> str:
        """The data set's."""
        return str(self.facts["dataset"])

    def __len__(self) -> int:
        """Documents."""
        return len(self._parts["documents"].texts)

    def save(self, folder: str | Path) -> None:
        """Write the folder that ``embed -o`` writes: vectors.npy, ids.txt, texts.jsonl, meta.json, and the same of the queries in queries/.

        ``knnscope.load`` reads it, and so does every command. Vectors go from the cache to the file block by block.

        Raises:
            KnnscopeError: the folder cannot be written.
        """
        dim = int(self.facts["dim"])
        columns = {
            name: saved.Column(
                part.texts, self._blocks(name, part), dim, {**self.facts, "part": name, "prompt": part.prompt}
            )
            for name, part in self._parts.items()
        }
        saved.write(Path(folder), columns["documents"], columns["queries"])

    @classmethod
    def load(cls, folder: str | Path) -> Embedding:
        """Read a saved folder.

        Raises:
            KnnscopeError: it is none, or damaged.
        """
        folder = Path(folder)
        if missing := [name for name in saved.FILES if not (folder / name).is_file()]:
            raise KnnscopeError(f"{folder}: no {missing[0]}: a folder that knnscope embed -o wrote was expected")
        dataset, parts = saved.load(folder), {}
        for name, rows in (("documents", dataset.documents), ("queries", dataset.queries)):
            texts = Texts((), ()) if rows is None else Texts(rows.ids or (), rows.texts or ())
            prompt = saved.facts(folder if name == "documents" else folder / name).get("prompt", "")
            parts[name] = Part(texts, str(prompt), encoding.Work())
        return cls(dataset, parts, {**saved.facts(folder), "dim": dataset.documents.dim})

    def to_dict(self) -> dict[str, Any]:
        """The facts, and what encoding took, in JSON's own types."""
        return {**self.facts, "work": {name: asdict(work) for name, work in self.work.items()}, "notes": [*self.notes]}

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict a document: row, id, text, and its vector as an array."""
        return self.dataset.rows()

    def __repr__(self) -> str:
        name, encoder = (short(plain(str(word)), 100) for word in (self.name, self.facts["encoder"]))
        return f"<Embedding of {name!r} by {encoder}: {len(self):,} documents x {self.facts['dim']}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"

    def _blocks(self, name: str, part: Part) -> Iterator[npt.NDArray[np.float32]]:
        if isinstance(self._source, VectorDataset):
            rows = self._source.documents if name == "documents" else self._source.queries
            if rows is not None:
                yield rows.values
            return
        cache = encoding.open_cache(self._source.encoder)
        try:
            for _, block in encoding.read_blocks(cache, part.texts.texts, part.prompt):
                yield block
        finally:
            cache.close()

    def _read(self, part: Part) -> npt.NDArray[np.float32]:
        blocks = list(self._blocks("", part))
        return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]


def embed(
    texts_or_dataset: Any,
    encoder: str | EncoderOptions | None = None,
    out: str | Path | None = None,
    dataset: DatasetOptions | None = None,
    **keywords: Any,
) -> Embedding:
    """Encode the documents and queries of a data set; interrupted, the same call goes on where it was.

    Vectors are kept in a cache by text, so nothing is encoded twice.

    Args:
        texts_or_dataset: texts (a sequence of str), a data set, or the name or path of one.
        encoder: a published model, a folder, or all its options; by default all-MiniLM-L6-v2.
        out: a folder to save the vectors in.
        dataset: which part of a named data set.
        **keywords: fields of ``EncoderOptions``: device, recipe, weights, query_prompt, document_prompt.

    Raises:
        KnnscopeError: no texts, no such data set or encoder, or no room on the disk.
    """
    how = encoder if isinstance(encoder, EncoderOptions) else EncoderOptions(encoder)
    check_out(texts_or_dataset, out)
    workload = opened(as_texts(texts_or_dataset), dataset, options_of(how, keywords))
    found = encoded(workload)
    if out is not None:
        with new_folder(Path(out)) as folder:
            found.save(folder)
    return found


def check_out(texts_or_dataset: Any, out: str | Path | None) -> None:
    """Refuse a folder in which vectors and their texts would take the place of those that are read, or of what others wrote.

    Raises:
        KnnscopeError: names the file.
    """
    if out is None:
        return
    if isinstance(texts_or_dataset, str | Path):
        check_outputs([Path(out) / name for name in saved.FILES], [vector_files.split(str(texts_or_dataset))[0]])
    saved.check_own(Path(out))


def encoded(workload: Workload) -> Embedding:
    """The same for a data set that is open already.

    Raises:
        KnnscopeError: it holds vectors, or the encoder cannot be had.
    """
    texts, encoder = workload.texts, workload.encoder
    if encoder.device == "cuda":
        encoder.encode([""])  # its nodes are placed with the first run
    columns = {
        "documents": (texts.documents, encoder.recipe.document_prompt),
        "queries": (texts.queries, encoder.recipe.query_prompt),
    }
    cache = encoding.open_cache(encoder)
    try:
        parts = {
            name: Part(column, prompt, encoding.fill(cache, encoder, column.texts, f"encode {name}", prompt))
            for name, (column, prompt) in columns.items()
        }
    finally:
        cache.close()
    libraries = {name: v for name, v in environment.libraries().items() if name in LIBRARIES and v}
    written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    facts: dict[str, Any] = {
        "device": encoder.device,
        "knnscope": environment.version(),
        "libraries": libraries,
        "written": written,
    }
    facts = {"dataset": texts.name, **workload.encoder_facts(), **facts, "dim": encoder.dim}
    return Embedding(workload, parts, json.loads(json.dumps(facts)))  # as they are read from a file


def as_texts(data: Any) -> Any:
    """A sequence of texts as a data set without queries; all else as it is.

    Raises:
        KnnscopeError: a sequence of something else, or of nothing; or a text that is no name.
    """
    if isinstance(data, str) and " " in data and not os.path.exists(vector_files.split(data)[0]):
        raise KnnscopeError(
            f"no data set, folder or file named {short(data, 100)!r}: a string is a name; texts are given as a list, [text]"
        )
    if isinstance(data, np.ndarray) and data.dtype.kind in "UO":
        raise KnnscopeError("texts in an array: give a list of them, array.tolist()")
    if isinstance(data, str | Path) or not isinstance(data, Sequence):
        return data
    if not data:
        raise KnnscopeError("texts: there are none")
    if not all(isinstance(text, str) for text in data):
        raise KnnscopeError("texts: a sequence of str, a data set, or the name or path of one was expected")
    none = np.empty(0, np.int64)
    rows = Texts(Strings(str(i) for i in range(len(data))), Strings(data))
    return TextDataset("texts", rows, Texts((), ()), Qrels(none, none, none))


class DeviceComparison:
    """The same texts encoded on several devices, nothing cached: figures and vectors, the first device first."""

    def __init__(self, facts: Mapping[str, Any], timed: Sequence[DeviceRun], vectors: Sequence[Any]) -> None:
        """Made by ``time_devices``."""
        self.facts, self.runs, self.vectors = dict(facts), tuple(timed), tuple(vectors)
        self.notes: tuple[str, ...] = ()

    def save(self, folder: str | Path) -> None:
        """devices.json, environment.json, and vectors-DEVICE.npy of each.

        Raises:
            KnnscopeError: the folder cannot be written.
        """
        folder = Path(folder)
        write_json(folder / "devices.json", self.to_dict())
        write_json(folder / "environment.json", environment.collect())
        for run, values in zip(self.runs, self.vectors, strict=True):
            with whole_file(folder / f"vectors-{run.device}.npy") as file:
                np.save(file, values, allow_pickle=False)

    def to_dict(self) -> dict[str, Any]:
        """Data set, encoder and figures in JSON's own types."""
        return {**self.facts, "runs": self.rows()}

    def rows(self) -> list[dict[str, Any]]:
        """A dict a device."""
        return [run.as_dict() for run in self.runs]

    def __repr__(self) -> str:
        rates = ", ".join(f"{run.device} {run.wall_s:.2f} s" for run in self.runs)
        return f"<DeviceComparison of {self.runs[0].texts:,} texts: {rates}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def time_devices(
    dataset: Any,
    encoder: EncoderOptions,
    devices: Sequence[str],
    options: DatasetOptions | None = None,
    out: str | Path | None = None,
) -> DeviceComparison:
    """Encode the documents on each device in turn, and time it: what ``knnscope embed --device cpu,cuda`` does.

    Args:
        dataset: as ``embed`` takes it.
        encoder: model and recipe; its device is not used.
        devices: of "cpu" and "cuda".
        options: which part of a named data set.
        out: a folder to save figures and vectors in.

    Raises:
        KnnscopeError: an unknown device, or one that is not here.
    """
    check_devices(devices)
    if out is not None and (there := next((p for p in _timed_files(Path(out), devices) if p.exists()), None)):
        raise KnnscopeError(f"{there}: is there already, and stays: choose another folder, or remove it")
    workload = opened(as_texts(dataset), options)
    texts = workload.texts.documents
    model, recipe = replace(encoder, device=devices[0]).open()
    timed, vectors = runs.time_devices(model, recipe, devices, texts.texts)
    facts = {"dataset": workload.dataset.name, **model.as_dict(), "recipe": recipe.as_dict()}
    found = DeviceComparison(facts, timed, vectors)
    strayed = [f"{run.device}: {run.strayed}" for run in timed if run.strayed]
    found.notes = (*workload.notes, *model.notes, *strayed)
    if out is not None:
        with new_folder(Path(out)) as folder:
            found.save(folder)
    return found


def _timed_files(folder: Path, devices: Sequence[str]) -> list[Path]:
    """What ``DeviceComparison.save`` writes."""
    return [folder / name for name in ("devices.json", "environment.json", *(f"vectors-{d}.npy" for d in devices))]


def check_devices(devices: Sequence[str]) -> None:
    """Refuse a device that no encoder runs on.

    Raises:
        KnnscopeError: names it.
    """
    if wrong := [d for d in devices if d not in PROVIDERS]:
        raise KnnscopeError(f"no device {wrong[0]!r}: cpu, cuda, or cpu,cuda to time both")
