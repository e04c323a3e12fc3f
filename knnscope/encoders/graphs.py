"""ONNX files as they are found: their outputs, weights in files beside them, and how much of them fits into one message.

Weights beside the graph stay where they are: ONNX Runtime maps them, so that a model of many gigabytes takes its own size once.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.encoders.pooling import OPSET, OWN, Pooling
from knnscope.errors import KnnscopeError, require
from knnscope.fetch import digest

LARGEST = (1 << 31) - 1
"""Bytes that protobuf puts into one message: a graph that is larger with its weights inside is left as it is."""

FLOATS = {0, 1, 10, 11, 16}
"""Element types of an output: not stated, float32, float16, float64, bfloat16."""
BFLOAT16 = 16


@dataclass(frozen=True, slots=True)
class Loaded:
    """A graph that ONNX Runtime can open.

    message: the graph, or None where the file is to be opened as it is.
    hidden: the output that holds a vector for each token, or, where ``own``, one for each text.
    inside: its pooling is part of the graph.
    folder: where weights beside the graph lie; arrays: weights that are handed over apart.
    sha256: of the graph and all its weights. beside: of the files of weights beside the graph.
    """

    message: bytes | None
    hidden: str
    own: bool
    inside: bool
    sha256: str
    folder: Path | None = None
    beside: str = ""
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)


@contextlib.contextmanager
def understood(where: Path) -> Iterator[None]:
    """Damage of a graph shows in any call: a name that is no text, a type that nothing has, each as another error.

    Raises:
        KnnscopeError: instead of any of them.
    """
    try:
        yield
    except (KnnscopeError, MemoryError):
        raise
    except Exception as error:
        said = str(error).splitlines() or [type(error).__name__]
        raise KnnscopeError(f"{where}: no ONNX model, or a damaged one ({said[0][:120]})") from error


def read(path: Path) -> Any:
    """The ModelProto of a file, without the weights beside it.

    Raises:
        KnnscopeError: no ONNX file, or a damaged one.
    """
    onnx = require("onnx")
    with understood(path):
        return onnx.load(str(path), load_external_data=False)


def prepare(
    model: Any, pooling: str, where: Path, assumed: bool, arrays: dict[str, npt.NDArray[Any]] | None = None
) -> Loaded:
    """Put the pooling at the end of a graph, where it can be changed.

    Args:
        model: a ModelProto, of ``read`` or built from ``where``.
        pooling: as in a recipe.
        where: its file.
        assumed: nobody declared the pooling, so that the graph's own is taken where there is one.
        arrays: weights that are to be handed over apart.

    Raises:
        KnnscopeError: no output that can be pooled, or weights beside the graph that are missing or lie outside its folder.
    """
    hidden, own = choose_output(model.graph, pooling, where, assumed)
    file, arrays = where.suffix == ".onnx", arrays or {}
    folder, beside = _beside(model, where) if file else (None, [])
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    large = file and model.ByteSize() > LARGEST
    sha256 = hashlib.sha256()
    for path in beside:
        sha256.update(digest(path, "sha256").encode())
    sums = sha256.hexdigest() if beside else ""
    if large or (file and opset < OPSET and not own):
        element = next(o.type.tensor_type.elem_type for o in model.graph.output if o.name == hidden)
        if element == BFLOAT16:
            raise KnnscopeError(
                f"{where}: gives bfloat16 and cannot be given a cast ({'over 2 GB' if large else f'opset {opset}'}): "
                "export it with float32 outputs, or with its weights as external data"
            )
        sha256.update(digest(where, "sha256").encode())
        return Loaded(None, hidden, own, False, sha256.hexdigest(), beside=sums)
    if own:
        _as_float32(model.graph, hidden)
    else:
        Pooling(tuple(pooling.split("+"))).append(model.graph, hidden, opset)
    message = model.SerializeToString()
    sha256.update(message)
    for array in arrays.values():
        sha256.update(np.ascontiguousarray(array).data)
    return Loaded(message, hidden, own, not own, sha256.hexdigest(), folder, sums, arrays)


def choose_output(graph: Any, pooling: str, where: Path, assumed: bool) -> tuple[str, bool]:
    """The name of the output to take, and whether it is pooled already.

    Raises:
        KnnscopeError: there is none that fits.
    """
    tokens, texts = [], []
    for output in graph.output:
        tensor = output.type.tensor_type
        rank = len(tensor.shape.dim) if tensor.HasField("shape") else 0
        if tensor.elem_type not in FLOATS or output.name.startswith(("present", "past", "logits")):
            continue
        if rank == 2 or (not rank and "sentence" in output.name):
            texts.append(output.name)
        elif rank in (0, 3):
            tokens.append(output.name)
    named = [name for name in ("last_hidden_state", "token_embeddings") if name in tokens]
    token = (named or tokens or [None])[0]
    # BERT's pooler_output is one more layer, trained for another task: nobody's sentence vector
    texts = [name for name in texts if name != "pooler_output"]
    text = "sentence_embedding" if "sentence_embedding" in texts else (texts or [None])[0]
    if text and (pooling == OWN or token is None or (assumed and text == "sentence_embedding")):
        return text, True
    if token is None or pooling == OWN:
        there = ", ".join(f"{output.name!r}" for output in graph.output)[:200]
        wanted = (
            "(batch, dim), and no Pooling is declared" if pooling == OWN else "(batch, tokens, dim) or (batch, dim)"
        )
        raise KnnscopeError(f"{where}: none of its outputs {there} is a float tensor of shape {wanted}")
    return token, False


def _as_float32(graph: Any, name: str) -> None:
    """The only output ``pooled``: half precision has no type in NumPy, or too few digits for what follows."""
    helper = require("onnx").helper
    graph.node.append(helper.make_node("Cast", [name], ["pooled"], name="pool.cast", to=1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("pooled", 1, None))


def _tensors(graph: Any) -> Iterator[Any]:
    """All weights of a graph, those of graphs inside its nodes too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _tensors(inner)


def _beside(model: Any, where: Path) -> tuple[Path | None, list[Path]]:
    """The real folder of the weights beside a graph, and their files; their places in the graph become relative to it.

    Raises:
        KnnscopeError: one is missing, or lies elsewhere.
    """
    tensors = [*_tensors(model.graph), *(t for function in model.functions for t in _of_nodes(function.node))]
    entries = [e for t in tensors if t.data_location == 1 for e in t.external_data if e.key == "location"]
    if not entries:
        return None, []
    # a hub's cache holds links to files that lie together elsewhere: there the model's own file points
    allowed = [where.parent.resolve(), where.resolve().parent]
    files: dict[str, Path] = {}
    for place in {entry.value for entry in entries}:
        parts = PurePosixPath(place)
        try:
            real = (where.parent / place).resolve()
            inside = not parts.is_absolute() and ".." not in parts.parts and "\\" not in place
            inside = inside and any(real.is_relative_to(folder) for folder in allowed)
            there = real.is_file()
        except (OSError, ValueError, RuntimeError):  # a null byte, a loop of links
            inside = there = False
        if not inside:
            raise KnnscopeError(f"{where}: its weights are said to lie in {place[:80]!r}, outside of its folder")
        if not there:
            raise KnnscopeError(f"{where}: its weights lie in {place[:80]!r}, which is missing beside it")
        files[place] = real
    base = next((folder for folder in allowed if all(p.is_relative_to(folder) for p in files.values())), None)
    if base is None:
        raise KnnscopeError(f"{where}: its weights lie in several folders: put them beside it")
    for entry in entries:
        entry.value = files[entry.value].relative_to(base).as_posix()
    return base, sorted(set(files.values()))
