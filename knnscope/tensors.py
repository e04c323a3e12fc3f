"""Embeddings as a library of models gives them: as what an index reads, and in files with what each is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError, require
from knnscope.store import read_arrays, whole_file


def detached(embeddings: Any) -> Any:
    """Embeddings over the same memory where they lie on the host: tensors without their gradient, a list of tensors as one tensor.

    Args:
        embeddings: (rows, dim) or (dim,): an array, a tensor of any device, or a list of either.

    Raises:
        KnnscopeError: a sparse tensor.
    """
    if isinstance(embeddings, list | tuple) and embeddings and hasattr(embeddings[0], "detach"):
        embeddings = require("torch").stack(list(embeddings))
    if not hasattr(embeddings, "detach"):
        return embeddings
    if embeddings.is_sparse:
        raise KnnscopeError("embeddings are a sparse tensor: give embeddings.to_dense()")
    return embeddings.detach().cpu()


def write_named(path: Path, names: Sequence[str], embeddings: Any, of: str = "") -> None:
    """Write names and embeddings, (names, dim), as an .npz file of any name, whole or not at all; bfloat16, which NumPy has not, as float32.

    Args:
        path: its name.
        names: what each is called.
        embeddings: theirs.
        of: a word for what they were made of, which ``made_of`` reads.

    Raises:
        KnnscopeError: the file cannot be written.
    """
    rows = detached(embeddings)
    rows = np.asarray(rows.float() if str(rows.dtype) == "torch.bfloat16" else rows)
    with whole_file(path, follow=True) as file:
        np.savez(file, allow_pickle=False, names=np.array(names, dtype=np.str_), embeddings=rows, of=np.array(of))


def read_named(path: Path) -> tuple[list[str], npt.NDArray[Any]]:
    """Names and embeddings that ``write_named`` wrote.

    Raises:
        KnnscopeError: no such file, or another one; pickles are never read.
    """
    found = read_arrays(path)
    names, rows = found.get("names"), found.get("embeddings")
    if names is None or rows is None or names.shape != rows.shape[:1] or names.dtype.kind != "U":
        raise KnnscopeError(f"{path}: embeddings with a name each were expected, as knnscope writes them: encode again")
    return names.tolist(), rows


def made_of(path: Path) -> str:
    """What ``write_named`` was told that they were made of.

    Raises:
        KnnscopeError: no such file, or another one.
    """
    return str(read_arrays(path).get("of", ""))
