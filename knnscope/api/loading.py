"""Data sets for Python: what every command does with DATASET."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from knnscope.api.workload import EncoderOptions, Workload
from knnscope.datasets import registry
from knnscope.datasets.registry import DatasetOptions
from knnscope.errors import unknown_name
from knnscope.records import TextDataset, VectorDataset, Vectors
from knnscope.search.engine import check_matrix

Dataset = TextDataset | VectorDataset
O = TypeVar("O")  # noqa: E741 - options


def load(name_or_path: str | Path, options: DatasetOptions | None = None, **keywords: Any) -> Dataset:
    """Open a data set by name or path; a published name is downloaded if need be.

    Args:
        name_or_path: a name (``knnscope data list``), a BEIR folder or a zip of one, a table of texts (.jsonl, .csv, .parquet), a file of
            vectors (.npy, .fbin, .hdf5, ...; FILE#NAME names a column or array), or a folder that ``embed -o`` wrote.
        options: which part of it.
        **keywords: fields of the options or of their selection: subset ("all", "relevant"), limit (documents), split (judgements),
            wordnet (a folder), lemmas.

    Returns:
        Texts with queries and judgements, or vectors; ``notes`` says what was odd about the input.

    Raises:
        KnnscopeError: an unknown name or option, or data that cannot be read.
    """
    dataset, notes = registry.load(str(name_or_path), dataset_options(options, keywords))
    return replace(dataset, notes=tuple(notes))


def dataset_options(options: DatasetOptions | None, given: Mapping[str, Any]) -> DatasetOptions:
    """The options with what is given by keyword, fields of the selection among them.

    Raises:
        KnnscopeError: no such option.
    """
    options = options or DatasetOptions()
    inner = {f.name for f in fields(options.selection)}
    selection = options_of(options.selection, {k: v for k, v in given.items() if k in inner})
    known = [f.name for f in fields(options) if f.name != "selection"]
    for name in given:
        if name not in inner and name not in known:
            raise unknown_name("option", name, [*inner, *known])
    return replace(options, selection=selection, **{k: v for k, v in given.items() if k in known})


def options_of(options: O, given: Mapping[str, Any]) -> O:
    """The options with what is given by keyword.

    Raises:
        KnnscopeError: no such option.
    """
    assert is_dataclass(options)
    known = [f.name for f in fields(options)]
    for name in given:
        if name not in known:
            raise unknown_name("option", name, known)
    changed: O = replace(options, **given)  # type: ignore[type-var]
    return changed


def opened(data: Any, dataset: DatasetOptions | None = None, encoder: EncoderOptions | None = None) -> Workload:
    """A name, a path, a data set or an array of shape (rows, dim), ready to be searched.

    Raises:
        KnnscopeError: there is no such data set, or the array is none of vectors.
    """
    if isinstance(data, Workload):
        return data
    if isinstance(data, TextDataset | VectorDataset):
        return Workload(data, None, encoder)
    if isinstance(data, str | Path):
        return Workload(str(data), dataset, encoder)
    values = np.asarray(data)
    check_matrix(values, "vectors")
    return Workload(VectorDataset("vectors", Vectors(values)), None, encoder)
