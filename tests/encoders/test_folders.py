"""Which files of a folder are taken, what its configuration may say, and every oddity in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto as T

from knnscope.encoders import embed, models, recipes
from knnscope.encoders.onnx_encoder import OnnxEncoder
from knnscope.errors import KnnscopeError
from tests.encoders.folders import DIM, FIXTURES, Graph, bare, lay_out, pool, table, write

ST = "config_sentence_transformers"


def open_encoder(folder: Path, weights: str | None = None) -> OnnxEncoder:
    model = models.resolve(str(folder), weights)
    return OnnxEncoder(model, model.recipe)


def refused(folder: Path, weights: str | None = None) -> str:
    """The error's one line."""
    with pytest.raises(KnnscopeError) as told:
        open_encoder(folder, weights)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 600
    return str(told.value)


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["model.onnx"], "model.onnx"),
        (["onnx/model.onnx"], "onnx/model.onnx"),
        (["onnx/model_quantized.onnx"], "onnx/model_quantized.onnx"),
        (["model_qint8_avx512_vnni.onnx"], "model_qint8_avx512_vnni.onnx"),
        (["model.onnx", "onnx/model_quantized.onnx", "onnx/model_qint8_avx512.onnx"], "model.onnx"),
        (["onnx/model.onnx", "onnx/model_O4.onnx", "model_quantized.onnx"], "onnx/model.onnx"),
        (["model.safetensors", "onnx/model_quantized.onnx"], "model.safetensors"),
        (["onnx/model_quantized.onnx", "onnx/model_qint8_arm64.onnx"], None),
        (["a.onnx", "b.onnx"], None),
    ],
)
def test_files_of_weights(there: list[str], taken: str | None, tmp_path: Path) -> None:
    pool(bare(tmp_path), "mean")
    for i, file in enumerate(there):
        if file.endswith("safetensors"):
            shutil.copy(FIXTURES / "bert" / file, tmp_path)
        else:
            Graph().save(tmp_path / file, rows=table(i))
    for i, file in enumerate(there):  # any can be chosen
        encoder = open_encoder(tmp_path, file)
        assert encoder.model.weights == tmp_path / file
        if file.endswith("onnx"):
            ids = encoder.tokens(["the cat"])[0]
            np.testing.assert_allclose(encoder.encode(["the cat"])[0], table(i)[ids].mean(axis=0), atol=1e-6)
    if taken is None:
        said = refused(tmp_path)
        assert "several files of weights: choose by --weights" in said
        assert all(file in said for file in there)
        return
    model = models.resolve(str(tmp_path))
    assert model.weights == tmp_path / taken
    assert all(file in " ".join(model.notes) for file in there) == (len(there) > 1)
    assert "no file of weights in" in refused(tmp_path, "onnx/nosuch.onnx")
    assert "no file of weights in" in refused(tmp_path, "../model.onnx")


def test_a_published_model_has_one_file() -> None:
    with pytest.raises(KnnscopeError, match="all-MiniLM-L6-v2 has one file of weights"):
        models.resolve(models.DEFAULT, "onnx/model.onnx")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = bare(tmp_path)
    assert "no model.onnx or model.safetensors there" in refused(folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    assert "pytorch_model.bin is a pickle, which is never read" in refused(folder)
    write(folder, "model.safetensors.index.json", {})
    assert "split into several files" in refused(folder)
    Graph().save(folder / "model.onnx")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("a\n")
    assert "no tokenizer.json there" in refused(folder)
    assert "vocab.txt alone is not read" in refused(folder)


def test_the_transformer_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """As old releases saved it: 0_Transformer holds weights, tokenizer and limits."""
    inner = tmp_path / "0_Transformer"
    Graph().save(bare(inner) / "model.onnx")
    write(inner, "sentence_bert_config.json", {"max_seq_length": 4})
    pool(tmp_path, "lasttoken")
    modules = [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write(tmp_path, "modules.json", [{"path": p, "type": f"sentence_transformers.models.{k}"} for p, k in modules])
    encoder = open_encoder(tmp_path)
    assert (encoder.recipe.max_tokens, encoder.recipe.normalise, encoder.recipe.pooling) == (4, True, "lasttoken")
    sep = table()[encoder.tokens(["the cat sat mat"])[0][-1]]
    np.testing.assert_allclose(encoder.encode(["the cat sat mat"])[0], sep / np.linalg.norm(sep), atol=1e-6)


@pytest.mark.parametrize(
    "path", ["../outside", "/tmp", "a/../../outside", "link", "loop", "nul\0", "1_Pooling/../../outside"]
)
@pytest.mark.parametrize("kind", ["Transformer", "Pooling", "Dense"])
def test_paths_of_modules_never_leave_the_folder(path: str, kind: str, tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "model"
    Graph().save(bare(outside) / "model.onnx")
    pool(outside, "mean")
    write(outside, "config.json", {"pooling_mode": "mean"})
    Graph().save(pool(bare(folder), "mean") / "model.onnx")
    (folder / "link").symlink_to(outside)
    (folder / "loop").symlink_to(folder / "loop")
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense", kind: path}
    write(folder, "modules.json", [{"path": p, "type": f"x.{k}"} for k, p in paths.items()])
    said = refused(folder)
    assert (
        "leaves the model's folder" in said or path == "loop"
    )  # which Python 3.13 resolves to itself: nothing is there


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ('{"a": 1}', "a list of modules was expected"),
        ("[1]", "a list of modules was expected"),
        ("[{}]", "each module has a type and a path"),
        ([("StaticEmbedding", "")], "begins with the module StaticEmbedding"),
        ([("Transformer", ""), ("Normalize", "2_Normalize"), ("Pooling", "1_Pooling")], "right after the Transformer"),
        ([("Transformer", ""), ("Pooling", "1_Pooling"), ("Pooling", "1_Pooling")], "one Pooling"),
        ([("Transformer", ""), ("Pooling", "1_Pooling"), ("CNN", "2_CNN")], "module CNN is not supported"),
        ([("Transformer", ""), ("Pooling", "5_Pooling")], "not there, though modules.json names it"),
        ([("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")], "a pickle is never read"),
        ([("Transformer", "")], "no Pooling is declared"),
    ],
)
def test_modules_that_are_not_supported(modules: Any, said: str, tmp_path: Path) -> None:
    folder = pool(bare(tmp_path), "mean")
    shutil.copy(FIXTURES / "bert" / "model.safetensors", folder)
    value = modules if isinstance(modules, str) else [{"path": p, "type": f"x.{k}"} for k, p in modules]
    write(folder, "modules.json", value)
    assert said in refused(folder)


@pytest.mark.parametrize(
    ("file", "value", "said"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "pooling median is not supported: cls, max, mean"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", 7]}, "pooling 7 is not supported"),
        ("1_Pooling/config.json", {"pooling_mode": []}, "is not supported"),
        ("1_Pooling/config.json", {"pooling_mode_new": True}, "pooling pooling_mode_new is not supported"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": "yes"}, "true or false was expected"),
        ("1_Pooling/config.json", {"pooling_mode": "mean", "include_prompt": "no"}, "include_prompt is 'no'"),
        ("1_Pooling/config.json", {}, "pooling undeclared is not supported"),
        ("sentence_bert_config.json", {"max_seq_length": "128"}, "max_seq_length is '128'"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "a whole number from 1 up"),
        ("sentence_bert_config.json", {"max_seq_length": 2}, "leaves no room for words beside 2 special tokens"),
        ("sentence_bert_config.json", {"max_seq_length": 3.5}, "a whole number from 1 up"),
        ("sentence_bert_config.json", {"do_lower_case": "true"}, "do_lower_case is 'true'"),
        ("tokenizer_config.json", {"model_max_length": True}, "model_max_length is 'True'"),
        ("tokenizer_config.json", {"padding_side": "middle"}, "a side is 'middle'"),
        (f"{ST}.json", {"truncate_dim": -3}, "truncate_dim is '-3'"),
        (f"{ST}.json", {"prompts": ["query: "]}, "names with their words were expected"),
        (f"{ST}.json", {"prompts": {"query": 3}}, "names with their words were expected"),
        (f"{ST}.json", {"default_prompt_name": "web"}, "prompts has no such name"),
        (f"{ST}.json", {"model_type": "SparseEncoder"}, "a SparseEncoder, but"),
        ("config.json", "[1", "cannot be read as JSON"),
        ("config.json", '{"max_position_embeddings": "512"}', "max_position_embeddings is '512'"),
        ("modules.json", "[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_files_that_say_odd_things(file: str, value: object, said: str, tmp_path: Path) -> None:
    Graph().save(pool(bare(tmp_path), "mean") / "model.onnx")
    open_encoder(tmp_path)
    write(tmp_path, file, value)
    assert said in refused(tmp_path)


@pytest.mark.parametrize(
    ("prompts", "default", "query", "document"),
    [
        ({}, None, "", ""),
        ({"query": "q: "}, None, "q: ", ""),
        ({"query": "q: ", "passage": "p: "}, None, "q: ", "p: "),
        ({"query": "q: ", "corpus": "c: "}, None, "q: ", "c: "),
        ({"query": "q: ", "document": "d: ", "passage": "p: "}, None, "q: ", "d: "),
        ({"query": "q: ", "document": "", "passage": "p: "}, None, "q: ", ""),
        ({"web": "w: "}, "web", "w: ", "w: "),
        ({"web": "w: ", "query": "q: "}, "web", "q: ", "w: "),
        ({"query": None, "document": None}, None, "", ""),
        ({"query": "q: "}, "query", "q: ", "q: "),
        ({}, "query", "", ""),
    ],
)
def test_prompts(
    prompts: dict[str, str | None], default: str | None, query: str, document: str, tmp_path: Path
) -> None:
    Graph().save(pool(bare(tmp_path), "mean") / "model.onnx")
    write(tmp_path, f"{ST}.json", {"prompts": prompts, "default_prompt_name": default})
    recipe = models.resolve(str(tmp_path)).recipe
    assert (recipe.query_prompt, recipe.document_prompt) == (query, document)


def test_prompts_can_be_chosen(tmp_path: Path) -> None:
    own = models.resolve(str(lay_out("prompts", tmp_path)))
    known = {**own.declared.prompts, "web search": "w "}

    def chosen(query: str | None, document: str | None) -> tuple[str, str]:
        found = recipes.with_prompts(own.recipe, known, query, document)
        return found.query_prompt, found.document_prompt

    assert chosen(None, None) == ("query : ", "passage : ")
    assert chosen("document", "none") == ("passage : ", "")
    assert chosen("", "web search") == ("", "w ")
    assert chosen("my own: ", None) == ("my own: ", "passage : ")
    with pytest.raises(KnnscopeError, match="no prompt named 'qurey': did you mean query"):
        chosen("qurey", None)


@pytest.mark.parametrize(
    ("declared", "metric"), [("dot", "ip"), ("euclidean", "l2"), ("cosine", "cosine"), (None, "cosine")]
)
@pytest.mark.parametrize("normalised", [False, True])
def test_the_metric(declared: str | None, metric: str, normalised: bool, tmp_path: Path) -> None:
    Graph().save(pool(bare(tmp_path), "mean") / "model.onnx")
    write(tmp_path, f"{ST}.json", {"similarity_fn_name": declared})
    if normalised:
        modules = json.loads((tmp_path / "modules.json").read_text())
        write(tmp_path, "modules.json", [*modules, {"path": "2_Normalize", "type": "x.Normalize"}])
    assert models.resolve(str(tmp_path)).recipe.metric == metric


@pytest.mark.parametrize("declared", ["manhattan", "maxsim", 7, ["dot"]])
def test_a_similarity_that_no_engine_has_is_said(declared: object, tmp_path: Path) -> None:
    Graph().save(pool(bare(tmp_path), "mean") / "model.onnx")
    write(tmp_path, f"{ST}.json", {"similarity_fn_name": declared})
    model = models.resolve(str(tmp_path))
    assert model.recipe.metric == "cosine"
    assert "which no engine here has: cosine is used" in model.notes[1]


def test_prompts_that_are_not_pooled_need_a_graph_that_gives_tokens(tmp_path: Path) -> None:
    Graph(outputs={"sentence_embedding": (T.FLOAT, 2)}).save(
        pool(bare(tmp_path), "mean", include_prompt=False) / "model.onnx"
    )
    open_encoder(tmp_path)
    write(tmp_path, f"{ST}.json", {"prompts": {"query": "query : "}})
    assert "pools inside the graph, but the prompts are not to be pooled" in refused(tmp_path)


def keys(folder: Path) -> tuple[str, bytes]:
    """What names a vector in the cache: the encoder's key, and the text's with the documents' prompt."""
    encoder = open_encoder(folder)
    return encoder.key, embed.digest("the cat", encoder.recipe.document_prompt)


@pytest.mark.parametrize(
    ("file", "value"),
    [
        (f"{ST}.json", {"prompts": {"document": "d: "}}),
        (f"{ST}.json", {"truncate_dim": 3}),
        ("sentence_bert_config.json", {"max_seq_length": 5}),
        ("sentence_bert_config.json", {"do_lower_case": True}),
        ("tokenizer_config.json", {"truncation_side": "left"}),
        ("tokenizer_config.json", {"model_max_length": 9}),
        ("1_Pooling/config.json", {"pooling_mode": "cls"}),
        ("1_Pooling/config.json", {"pooling_mode": "mean", "include_prompt": False}),
    ],
)
def test_whatever_changes_vectors_changes_their_place_in_the_cache(file: str, value: object, tmp_path: Path) -> None:
    Graph().save(pool(bare(tmp_path), "mean") / "model.onnx")
    before = keys(tmp_path)
    write(tmp_path, file, value)
    assert keys(tmp_path) != before
    (tmp_path / file).unlink()
    pool(tmp_path, "mean")
    assert keys(tmp_path) == before


def test_layers_are_part_of_the_key(tmp_path: Path) -> None:
    before = open_encoder(lay_out("dense", tmp_path)).key
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "2_Dense/model.safetensors"
    save_file({k: v * np.float32(2) for k, v in load_file(path).items()}, path)
    assert open_encoder(tmp_path).key != before


def test_prompt_and_text_are_told_apart() -> None:
    found = {embed.digest(*pair) for pair in [("ab", ""), ("b", "a"), ("", "ab"), ("a", "b"), ("ab", "ab")]}
    assert len(found) == 5


def test_a_dense_layer_of_another_width_is_one_line(tmp_path: Path) -> None:
    encoder = open_encoder(lay_out("dense", tmp_path))
    Graph().save(tmp_path / "model.onnx", rows=table()[:, :7].copy())
    encoder = open_encoder(tmp_path)
    with pytest.raises(KnnscopeError, match="its layers do not fit vectors of 7 components"):
        encoder.encode(["the cat"])


ODD = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        5,
        -1,
        3.5,
        1e30,
        float("inf"),
        "mean",
        "cls",
        "",
        "128",
        [],
        ["max"],
        {},
        {"query": "q : "},
        "left",
    ]
)
FILES = {
    "modules.json": ["type", "path"],
    "1_Pooling/config.json": ["pooling_mode", "pooling_mode_mean_tokens", "pooling_mode_cls_token", "include_prompt", "word_embedding_dimension"],
    "sentence_bert_config.json": ["max_seq_length", "do_lower_case", "tokenizer_args"],
    "tokenizer_config.json": ["model_max_length", "padding_side", "truncation_side"],
    "config.json": ["max_position_embeddings", "n_positions", "pad_token_id", "model_type", "num_attention_heads", "layer_norm_eps"],
    f"{ST}.json": ["prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim", "model_type"],
}  # fmt: skip
MODULES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "path": st.sampled_from(["", "1_Pooling", "2_Dense", "..", 3]),
            "type": st.sampled_from(["x.Transformer", "x.Pooling", "x.Normalize", "x.Dense", "Nothing", None]),
        },
    ),
    max_size=4,
)


@st.composite
def folders(draw: st.DrawFn) -> dict[str, object]:
    """Some of the files, with some of the keys, some of them odd; some files no JSON."""
    found: dict[str, object] = {}
    for file, names in FILES.items():
        how = draw(st.sampled_from(["absent", "there", "there", "there", "odd"]))
        if how == "odd":
            found[file] = draw(st.sampled_from(["", "{", "[]", "null", "3", '"x"', "\udcff", '{"a": NaN}']))
        elif how == "there":
            keys = draw(st.lists(st.sampled_from(names), unique=True, max_size=3))
            found[file] = draw(MODULES) if file == "modules.json" else {key: draw(ODD) for key in keys}
    return found


@given(folders(), st.sampled_from(["model.onnx", "model.safetensors"]))
def test_any_folder_gives_an_encoder_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, object], weights: str
) -> None:
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(FIXTURES / "bert" / "tokenizer.json", folder)
    if weights == "model.onnx":
        Graph().save(folder / weights)
    else:
        shutil.copy(FIXTURES / "bert" / weights, folder)
    for file, value in files.items():
        (folder / file).parent.mkdir(exist_ok=True)
        text = value if isinstance(value, str) else json.dumps(value)
        (folder / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        encoder = open_encoder(folder)
        found = encoder.encode(["the cat sat", "", "a tax on sugar is fair " * 9], encoder.recipe.query_prompt)
    except KnnscopeError as error:
        assert "\n" not in str(error)
        return
    assert np.isfinite(found).all()
    dim = min(DIM * len(encoder.recipe.pooling.split("+")), encoder.recipe.truncate_dim or 1 << 20)
    assert found.shape == (3, dim)
    assert all(len(t) <= encoder.recipe.max_tokens for t in encoder.tokens(["a tax on sugar is fair " * 9]))
