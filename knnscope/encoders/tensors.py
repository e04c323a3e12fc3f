"""Weights of safetensors files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError, MissingLibraryError, require

Weights = dict[str, npt.NDArray[Any]]


def load(path: Path) -> Weights:
    """Tensors of floating types as float32, by name; whole numbers are left out.

    Raises:
        KnnscopeError: damaged, or no safetensors file.
    """
    read = require("safetensors.numpy").load_file
    with contextlib.suppress(MissingLibraryError):
        require("ml_dtypes")  # gives NumPy bfloat16; onnx brings it
    try:
        tensors: Weights = read(path)
        return {
            name: tensor.astype(np.float32, copy=False)
            for name, tensor in tensors.items()
            if tensor.dtype.kind not in "iub"
        }
    except Exception as error:
        # the library raises its own type and, on odd headers, several builtin ones
        said = str(error).splitlines() or [type(error).__name__]
        raise KnnscopeError(f"{path}: no safetensors file, or a damaged one ({said[0][:120]})") from error
