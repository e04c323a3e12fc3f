"""ONNX graphs as they are found: inputs, outputs, number formats, weights beside them. NumPy or ONNX Runtime is the judge."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper

from knnscope.encoders import graphs, models
from knnscope.encoders.onnx_encoder import OnnxEncoder
from knnscope.errors import KnnscopeError
from tests.encoders.folders import DIM, Graph, bare, pool, table, write

IDS, MASK, TYPES, PLACES = "input_ids", "attention_mask", "token_type_ids", "position_ids"
WORDS = ["a tax on sugar", "why", "", "the cat sat mat Sun sun"]


def open_encoder(folder: Path, weights: str | None = None) -> OnnxEncoder:
    model = models.resolve(str(folder), weights)
    return OnnxEncoder(model, model.recipe)


def token_rows(encoder: OnnxEncoder, places: bool = False) -> list[np.ndarray]:
    """What the graph of ``Graph`` gives for each token, in NumPy."""
    return [
        table()[ids] + (np.arange(len(ids), dtype=np.float32)[:, None] * np.float32(0.1) if places else 0)
        for ids in encoder.tokens(WORDS)
    ]


def pooled(rows: list[np.ndarray], mode: str) -> np.ndarray:
    """Each mode by its definition, text by text."""

    def one(x: np.ndarray) -> np.ndarray:
        weight = np.arange(1, len(x) + 1, dtype=np.float64)[:, None]
        return {
            "cls": x[0],
            "lasttoken": x[-1],
            "max": x.max(axis=0),
            "mean": x.mean(axis=0, dtype=np.float64),
            "mean_sqrt_len_tokens": x.sum(axis=0, dtype=np.float64) / np.sqrt(len(x)),
            "weightedmean": (x * weight).sum(axis=0) / weight.sum(),
        }[mode]

    return np.stack([one(x) for x in rows])


@pytest.mark.parametrize("opset", [9, 11, 12, 13, 17, 18, 20])
@pytest.mark.parametrize("mode", ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])
def test_every_mode_in_every_opset(mode: str, opset: int, tmp_path: Path) -> None:
    Graph().save(pool(bare(tmp_path), mode) / "model.onnx", opset=opset)
    encoder = open_encoder(tmp_path)
    assert encoder._graph.inside == (opset >= 11)
    np.testing.assert_allclose(encoder.encode(WORDS), pooled(token_rows(encoder), mode), rtol=0, atol=1e-6)


@pytest.mark.parametrize("integer", [T.INT64, T.INT32])
@pytest.mark.parametrize("mask", [T.INT64, T.INT32, T.FLOAT, T.FLOAT16, T.BOOL])
def test_inputs_are_given_in_the_graphs_own_types(integer: int, mask: int, tmp_path: Path) -> None:
    Graph({IDS: integer, MASK: mask, TYPES: integer, PLACES: integer}).save(
        pool(bare(tmp_path), "lasttoken") / "model.onnx"
    )
    encoder = open_encoder(tmp_path)
    expected = pooled(token_rows(encoder, places=True), "lasttoken")
    np.testing.assert_allclose(encoder.encode(WORDS), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kinds", [(IDS,), (IDS, MASK), (IDS, PLACES), (IDS, MASK, TYPES)])
def test_only_what_the_graph_takes_is_given_and_without_a_mask_filling_is_never_pooled(
    kinds: tuple[str, ...], tmp_path: Path
) -> None:
    Graph(dict.fromkeys(kinds, T.INT64)).save(pool(bare(tmp_path), ["mean", "lasttoken"]) / "model.onnx")
    encoder = open_encoder(tmp_path)
    rows = token_rows(encoder, PLACES in kinds)
    expected = np.concatenate([pooled(rows, "mean"), pooled(rows, "lasttoken")], axis=1)
    np.testing.assert_allclose(encoder.encode(WORDS), expected, rtol=0, atol=1e-6)
    seen: list[tuple[int, ...]] = []
    inner = encoder._session.run
    encoder._session = type(
        "S", (), {"run": lambda _, n, feed: seen.append(feed[IDS].shape) or inner(n, feed), "get_inputs": None}
    )()
    encoder.encode(WORDS)
    assert len(seen) == (1 if MASK in kinds else len({len(t) for t in encoder.tokens(WORDS)}))


@pytest.mark.parametrize("kind", [T.FLOAT16, T.BFLOAT16, T.DOUBLE])
@pytest.mark.parametrize("rank", [2, 3])
def test_other_number_formats_become_float32_before_anything_is_added_up(kind: int, rank: int, tmp_path: Path) -> None:
    name = "last_hidden_state" if rank == 3 else "sentence_embedding"
    Graph(outputs={name: (kind, rank)}).save(bare(tmp_path) / "model.onnx")
    if rank == 3:
        pool(tmp_path, "mean")
    encoder = open_encoder(tmp_path)
    rows = token_rows(encoder)
    digits = {T.FLOAT16: 2**-10, T.BFLOAT16: 2**-7, T.DOUBLE: 1e-6}[kind]
    expected = pooled(rows, "mean") if rank == 3 else np.stack([r.sum(axis=0) for r in rows])
    found = encoder.encode(WORDS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=digits * np.abs(expected).max())


def test_bfloat16_of_a_graph_that_cannot_be_changed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Graph(outputs={"last_hidden_state": (T.BFLOAT16, 3)}).save(pool(bare(tmp_path), "mean") / "model.onnx", opset=13)
    monkeypatch.setattr(graphs, "LARGEST", 10)
    with pytest.raises(KnnscopeError, match=r"gives bfloat16 and cannot be given a cast \(over 2 GB\)"):
        open_encoder(tmp_path)


def test_a_declared_pooling_goes_before_the_graphs_own(tmp_path: Path) -> None:
    outputs = {"sentence_embedding": (T.FLOAT, 2), "pooler_output": (T.FLOAT, 2), "token_embeddings": (T.FLOAT, 3)}
    Graph(outputs=outputs).save(pool(bare(tmp_path), "mean") / "model.onnx")
    encoder = open_encoder(tmp_path)
    np.testing.assert_allclose(encoder.encode(WORDS), pooled(token_rows(encoder), "mean"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("outputs", [("sentence_embedding", "token_embeddings"), ("sentence_embedding",), ("vectors",)])
@pytest.mark.parametrize("declared", ["nothing", "transformer only"])
def test_where_nothing_is_declared_the_graphs_own_vector_is_taken_as_it_is(
    outputs: tuple[str, ...], declared: str, tmp_path: Path
) -> None:
    Graph(outputs={name: (T.FLOAT, 3 if name.startswith("token") else 2) for name in outputs}).save(
        bare(tmp_path) / "model.onnx"
    )
    if declared != "nothing":
        write(tmp_path, "modules.json", [{"path": "", "type": "sentence_transformers.models.Transformer"}])
    encoder = open_encoder(tmp_path)
    np.testing.assert_allclose(
        encoder.encode(WORDS), np.stack([r.sum(axis=0) for r in token_rows(encoder)]), rtol=0, atol=1e-5
    )
    assert encoder.recipe.pooling == "model"
    assert "pool" in " ".join((*encoder.notes, *encoder.model.notes))


def test_the_first_output_need_not_be_the_tokens(tmp_path: Path) -> None:
    Graph(outputs={"pooler_output": (T.FLOAT, 2), "last_hidden_state": (T.FLOAT, 3)}).save(
        pool(bare(tmp_path), "mean") / "model.onnx"
    )
    encoder = open_encoder(tmp_path)
    np.testing.assert_allclose(encoder.encode(WORDS), pooled(token_rows(encoder), "mean"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["pooler_output", "logits"])
def test_outputs_that_are_no_sentence_vectors_are_refused(name: str, tmp_path: Path) -> None:
    Graph(outputs={name: (T.FLOAT, 2 if name == "pooler_output" else 3)}).save(
        pool(bare(tmp_path), "mean") / "model.onnx"
    )
    with pytest.raises(KnnscopeError, match=rf"none of its outputs '{name}' is a float tensor of shape"):
        open_encoder(tmp_path)


def test_inputs_that_nobody_can_give_are_named(tmp_path: Path) -> None:
    graph = Graph({IDS: T.INT64, MASK: T.INT64, "task_id": T.INT64})
    graph.save(bare(tmp_path) / "model.onnx")
    with pytest.raises(KnnscopeError, match="takes attention_mask, input_ids, task_id; an encoder takes input_ids"):
        open_encoder(tmp_path)
    model = Graph({IDS: T.INT64, MASK: T.DOUBLE}).model()
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(KnnscopeError, match=r"attention_mask is a tensor\(double\)"):
        open_encoder(tmp_path)


@pytest.mark.parametrize("shape", [("batch", 6), (1, "tokens"), (3, 6), (1, 6)])
@pytest.mark.parametrize("mode", ["mean", "lasttoken", "max"])
def test_sizes_that_are_fixed_are_kept(shape: tuple[Any, Any], mode: str, tmp_path: Path) -> None:
    Graph().save(pool(bare(tmp_path), mode) / "model.onnx", shape=shape)
    encoder = open_encoder(tmp_path)
    limit = shape[1] if isinstance(shape[1], int) else 48
    assert encoder.recipe.max_tokens == limit
    assert max(len(t) for t in encoder.tokens(WORDS)) == min(limit, 8)
    np.testing.assert_allclose(encoder.encode(WORDS), pooled(token_rows(encoder), mode), rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("own", [False, True])
def test_texts_are_filled_up_where_the_graph_expects_it(side: str, own: bool, tmp_path: Path) -> None:
    """A graph that takes the last column itself needs left filling; one that gives tokens is right with either."""
    model = Graph().model()
    if own:
        model.graph.node.append(helper.make_node("Gather", ["last_hidden_state", "minus"], ["vector"], axis=1))
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(-1, np.int64), "minus"))
        del model.graph.output[:]
        model.graph.output.append(helper.make_tensor_value_info("vector", T.FLOAT, ["batch", DIM]))
    write(pool(bare(tmp_path), "lasttoken"), "tokenizer_config.json", {"padding_side": side})
    onnx.save(model, tmp_path / "model.onnx")
    encoder = open_encoder(tmp_path)
    expected = pooled(token_rows(encoder), "lasttoken")
    if own and side == "right":  # the graph's own mistake: it takes a column of filling
        assert np.abs(encoder.encode(WORDS) - expected).max() > 0.1
    else:
        np.testing.assert_allclose(encoder.encode(WORDS), expected, rtol=0, atol=1e-6)


def save_beside(folder: Path, location: str = "model.onnx_data", opset: int = 17) -> np.ndarray:
    """model.onnx whose table lies in a file beside it."""
    model = Graph().model(opset)
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=64)
    if location != "model.onnx_data":
        model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        (folder / "model.onnx").write_bytes(model.SerializeToString())
    return table()


@pytest.mark.parametrize("limit", [graphs.LARGEST, 10])
@pytest.mark.parametrize("mode", ["mean", "max", "lasttoken", ["weightedmean", "cls"]])
def test_weights_beside_the_graph(
    mode: str | list[str], limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LARGEST", limit)
    save_beside(pool(bare(tmp_path), mode))
    encoder = open_encoder(tmp_path)
    assert encoder._graph.inside == (limit > 10)
    modes = mode if isinstance(mode, list) else [mode]
    expected = np.concatenate([pooled(token_rows(encoder), m) for m in modes], axis=1)
    np.testing.assert_allclose(encoder.encode(WORDS), expected, rtol=0, atol=1e-6)
    key = encoder.key
    raw = np.fromfile(tmp_path / "model.onnx_data", np.float32)
    (raw * np.float32(1.5)).tofile(tmp_path / "model.onnx_data")
    assert open_encoder(tmp_path).key != key


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret", "link", "a/../secret"]
)
@pytest.mark.parametrize("limit", [graphs.LARGEST, 10])
def test_weights_outside_of_the_folder_are_never_read(
    location: str, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LARGEST", limit)
    (tmp_path / "secret").write_bytes(bytes(4096))
    folder = bare(tmp_path / "model")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "a").mkdir()
    save_beside(pool(folder, "mean"), location)
    with pytest.raises(KnnscopeError, match="outside of its folder"):
        open_encoder(folder)


def test_a_hubs_cache_of_links_is_read(tmp_path: Path) -> None:
    """Snapshots hold links to blobs that lie together in another folder."""
    folder, blobs = pool(bare(tmp_path / "snapshot"), "mean"), tmp_path / "blobs"
    blobs.mkdir()
    save_beside(folder)
    for name, blob in (("model.onnx", "1f3a"), ("model.onnx_data", "9c0d")):
        (folder / name).rename(blobs / blob)
        (folder / name).symlink_to(Path("..") / "blobs" / blob)
    encoder = open_encoder(folder)
    np.testing.assert_allclose(encoder.encode(WORDS), pooled(token_rows(encoder), "mean"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("damage", ["missing", "short", "folder"])
@pytest.mark.parametrize("limit", [graphs.LARGEST, 10])
def test_damaged_weights_beside_the_graph_are_one_line(
    damage: str, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LARGEST", limit)
    save_beside(pool(bare(tmp_path), "mean"))
    data = tmp_path / "model.onnx_data"
    if damage == "short":
        os.truncate(data, 100)
    else:
        data.unlink()
    if damage == "folder":
        data.mkdir()
    with pytest.raises(KnnscopeError, match=r"missing beside it|ONNX Runtime cannot run it") as told:
        open_encoder(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("kind", "pad", "first"), [("bert", 0, 0), ("roberta", 1, 2), ("xlm-roberta", 3, 4), ("gpt2", 7, 0)]
)
def test_positions_begin_where_the_architecture_has_them(kind: str, pad: int, first: int, tmp_path: Path) -> None:
    Graph({IDS: T.INT64, MASK: T.INT64, PLACES: T.INT64}).save(pool(bare(tmp_path), "cls") / "model.onnx")
    write(tmp_path, "config.json", {"model_type": kind, "pad_token_id": pad, "max_position_embeddings": 40})
    encoder = open_encoder(tmp_path)
    assert encoder.recipe.max_tokens == 40 - first
    expected = pooled(token_rows(encoder), "cls") + np.float32(0.1) * first
    np.testing.assert_allclose(encoder.encode(WORDS), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("beside", [False, True])
def test_a_damaged_graph_is_one_line(seed: int, beside: bool, tmp_path: Path) -> None:
    """A few bytes changed, taken out or put in, near the names and types at the end or anywhere."""
    pool(bare(tmp_path), "mean")
    if beside:
        save_beside(tmp_path)
    else:
        Graph().save(tmp_path / "model.onnx")
    raw, random = bytearray((tmp_path / "model.onnx").read_bytes()), np.random.default_rng(seed)
    for _ in range(1 + seed % 3):
        at = int(random.integers(len(raw) - 300 if seed % 2 and not beside else 0, len(raw)))
        raw[at : at + int(random.integers(0, 4))] = random.bytes(int(random.integers(0, 4)))
    (tmp_path / "model.onnx").write_bytes(raw)
    try:
        found = open_encoder(tmp_path).encode(WORDS)
    except KnnscopeError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(found).all()


@pytest.mark.parametrize(
    "name",
    [
        b"input_ids",
        b"attention_mask",
        b"last_hidden_state",
        b"batch",
        b"tokens",
        b"model.onnx_data",
        b"location",
        b"Gather",
    ],
)
def test_names_that_are_no_text_are_one_line(name: bytes, tmp_path: Path) -> None:
    save_beside(pool(bare(tmp_path), "mean"))
    raw = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(raw.replace(name, name[:-1] + b"\xe1"))
    with pytest.raises(KnnscopeError) as told:
        open_encoder(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
def test_a_quantized_graph(kind: str, tmp_path: Path) -> None:
    """What ONNX Runtime's own quantization makes of a BERT: its tokens pooled by NumPy are right."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from knnscope.encoders import bert_graph
    from tests.encoders.folders import FIXTURES

    source = models.resolve(str(FIXTURES / "bert"))
    exact = bert_graph.build(bert_graph.read_weights(source.weights), source.config, source.weights)
    onnx.save(exact, tmp_path / "exact.onnx")
    folder = pool(bare(tmp_path / "model"), "mean")
    (folder / "onnx").mkdir()
    quantized = folder / "onnx" / "model_quantized.onnx"
    quantize_dynamic(tmp_path / "exact.onnx", quantized, weight_type=getattr(QuantType, kind))
    encoder = open_encoder(folder)
    session = onnxruntime.InferenceSession(str(quantized), providers=["CPUExecutionProvider"])
    for text in WORDS:
        ids = np.array(encoder.tokens([text]), np.int64)
        hidden = session.run(None, {IDS: ids, MASK: np.ones_like(ids)})[0]
        np.testing.assert_allclose(encoder.encode([text]), hidden.mean(axis=1), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_graph_of_more_than_two_gigabytes(tmp_path: Path) -> None:
    """The real size: encoded, with the weights taken into memory once at most."""
    import subprocess
    import sys

    rows = np.zeros((35_000_000, DIM), np.float32)
    rows[:50] = table()
    model = Graph().model(rows=rows[:50])
    weights = next(t for t in model.graph.initializer if t.name == "table")
    weights.ClearField("raw_data")
    weights.dims[0], weights.data_location = len(rows), T.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    folder = pool(bare(tmp_path), "mean")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    rows.tofile(folder / "weights.bin")
    size = (folder / "weights.bin").stat().st_size
    assert size > graphs.LARGEST
    del rows
    code = (
        "import resource, sys, numpy; from tests.encoders.test_graphs import *; from pathlib import Path\n"
        "encoder = open_encoder(Path(sys.argv[1])); found = encoder.encode(WORDS)\n"
        "numpy.testing.assert_allclose(found, pooled(token_rows(encoder), 'mean'), rtol=0, atol=1e-6)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    print(f"{size:,} bytes of weights, at most {int(done.stdout):,} in memory")
    assert int(done.stdout) < size + (1 << 29)
