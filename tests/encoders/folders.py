"""Folders of tiny models: those that sentence-transformers saved (tests/fixtures/make_models.py), and graphs made here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "encoders"
RECORDED: dict[str, Any] = json.loads((FIXTURES / "cases.json").read_text("utf-8"))
TEXTS: list[str] = RECORDED["texts"]
VECTORS = np.load(FIXTURES / "vectors.npz")
DIM = 16


def lay_out(name: str, folder: Path) -> Path:
    """The folder of a recorded case, as sentence-transformers saved it."""
    case = RECORDED["cases"][name]
    shutil.copytree(FIXTURES / case["base"], folder, dirs_exist_ok=True)
    for file, value in case["files"].items():
        write(folder, file, value)
    for layer in case["layers"]:
        (folder / layer).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FIXTURES / name / layer, folder / layer)
    return folder


def write(folder: Path, file: str, value: object) -> None:
    """A JSON file."""
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")


def bare(folder: Path, **files: object) -> Path:
    """Tokenizer and config.json only, with further JSON files: ``modules="..."`` is modules.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("tokenizer.json", "config.json"):
        shutil.copy(FIXTURES / "bert" / file, folder)
    for file, value in files.items():
        write(folder, f"{file}.json", value)
    return folder


def pool(folder: Path, mode: str | list[str], **more: object) -> Path:
    """Declare a pooling, and nothing after it."""
    write(folder, "1_Pooling/config.json", {"embedding_dimension": DIM, "pooling_mode": mode, **more})
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling")]
    write(folder, "modules.json", [{"path": path, "type": f"sentence_transformers.models.{k}"} for k, path in kinds])
    return folder


def table(seed: int = 1) -> np.ndarray:
    """Rows that stand for token ids."""
    return np.random.default_rng(seed).normal(size=(50, DIM)).astype(np.float32)


class Graph:
    """A graph that looks up a row for each token; what a test wants of it is said by the arguments.

    inputs: names to element types. outputs: names to (element type, rank). Rank 2 is the sum over tokens under the mask.
    A graph with position_ids adds a tenth of the position.
    """

    def __init__(self, inputs: dict[str, int] | None = None, outputs: dict[str, tuple[int, int]] | None = None) -> None:
        self.inputs = inputs or {"input_ids": TensorProto.INT64, "attention_mask": TensorProto.INT64}
        self.outputs = outputs or {"last_hidden_state": (TensorProto.FLOAT, 3)}

    def model(
        self, opset: int = 17, shape: tuple[Any, Any] = ("batch", "tokens"), rows: np.ndarray | None = None
    ) -> Any:
        """The ModelProto."""
        nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"])]
        last = "rows"
        if "position_ids" in self.inputs:
            nodes += [
                helper.make_node("Cast", ["position_ids"], ["places"], to=TensorProto.FLOAT),
                helper.make_node("Reshape", ["places", "column"], ["places3"]),
                helper.make_node("Mul", ["places3", "tenth"], ["shift"]),
                helper.make_node("Add", ["rows", "shift"], ["moved"]),
            ]
            last = "moved"
        for name, (kind, rank) in self.outputs.items():
            source = last
            if rank == 2:
                nodes += [
                    helper.make_node("Cast", ["attention_mask"], [f"{name}.m"], to=TensorProto.FLOAT),
                    helper.make_node("Reshape", [f"{name}.m", "flat"], [f"{name}.row"]),
                    helper.make_node("MatMul", [f"{name}.row", last], [f"{name}.sum"]),
                    helper.make_node("Reshape", [f"{name}.sum", "two"], [f"{name}.two"]),
                ]
                source = f"{name}.two"
            nodes.append(helper.make_node("Cast", [source], [name], to=kind))
        numbers = {
            "column": np.array([0, -1, 1], np.int64),
            "flat": np.array([0, 1, -1], np.int64),
            "two": np.array([0, -1], np.int64),
            "tenth": np.array([0.1], np.float32),
            "table": table() if rows is None else rows,
        }
        ports = [helper.make_tensor_value_info(n, t, list(shape)) for n, t in self.inputs.items()]
        ends = [
            helper.make_tensor_value_info(n, t, ["batch", "tokens", DIM] if rank == 3 else ["batch", DIM])
            for n, (t, rank) in self.outputs.items()
        ]
        weights = [numpy_helper.from_array(v, k) for k, v in numbers.items()]
        graph = helper.make_graph(nodes, "lookup", ports, ends, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)

    def save(self, path: Path, **options: Any) -> Path:
        """A file of it; returns the folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(self.model(**options), path)
        return path.parent
