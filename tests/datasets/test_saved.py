"""What ``knnscope embed -o`` writes is read back as it was; what does not belong together is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.datasets import registry, saved
from knnscope.datasets.beir import load_folder
from knnscope.errors import KnnscopeError
from knnscope.records import Texts

ENDS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""What str.splitlines takes for the end of a line, but for the line feed."""
FACTS = {"encoder": "all-MiniLM-L6-v2", "sha256": "0" * 64, "recipe": {"name": "x", "metric": "cosine"}}
ids_of_any_characters = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n"), min_size=1)
ids_with_ends = st.text(st.sampled_from("a" + ENDS), min_size=1)


def write(folder: Path, texts: Texts, dim: int = 3) -> np.ndarray:
    values = np.arange(len(texts) * dim, dtype=np.float32).reshape(-1, dim)
    saved.write(folder, saved.Column(texts, [values[:2], values[2:]], dim, FACTS))
    return values


@given(
    st.lists(st.one_of(ids_of_any_characters, ids_with_ends), min_size=1, max_size=6, unique=True),
    st.data(),
)
def test_any_ids_and_texts_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("run")
    texts = data.draw(st.lists(st.text(st.characters()), min_size=len(ids), max_size=len(ids)))  # surrogates too
    values = write(folder, Texts(ids, texts))
    found, _ = registry.load(str(folder))
    assert list(found.documents.ids) == ids
    assert list(found.documents.texts) == texts
    np.testing.assert_array_equal(found.documents.values, values)
    assert found.encoded_by.name == "all-MiniLM-L6-v2"


def test_a_collection_may_have_such_ids_from_end_to_end(tmp_path: Path) -> None:
    ids = [f"a{end}b" for end in ENDS] + [f"c{end}" for end in ENDS] + [f"{end}d" for end in ENDS]
    (tmp_path / "qrels").mkdir()
    for name in ("corpus", "queries"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"_id": i, "text": "x"}) + "\n" for i in ids))
    (tmp_path / "qrels/test.tsv").write_bytes("".join(f"{i}\t{i}\t1\n" for i in ids).encode())
    found = load_folder(tmp_path, "toy")
    assert list(found.documents.ids) == list(found.queries.ids) == ids
    assert found.qrels.documents.tolist() == found.qrels.queries.tolist() == list(range(len(ids)))
    assert not found.notes
    write(tmp_path / "run", found.documents)
    assert list(registry.load(str(tmp_path / "run"))[0].documents.ids) == ids


@pytest.mark.parametrize("raw", [b"\xef\xbb\xbfa\r\nb\r\n", b"a\nb", b"a\r\nb\r\n", b"a\nb\n"])
def test_ids_written_by_hand(tmp_path: Path, raw: bytes) -> None:
    np.save(tmp_path / "vectors.npy", np.eye(2, dtype=np.float32))
    (tmp_path / "ids.txt").write_bytes(raw)
    assert list(registry.load(str(tmp_path))[0].documents.ids) == ["a", "b"]


def test_a_column_of_none_removes_what_a_former_run_left(tmp_path: Path) -> None:
    for part in (tmp_path, tmp_path / "queries"):
        write(part, Texts(["a", "b"], ["x", "y"]))
    write(tmp_path / "queries", Texts([], []))
    assert registry.load(str(tmp_path))[0].queries is None
    assert list((tmp_path / "queries").iterdir()) == []


def test_a_limit_cuts_ids_and_texts_too(tmp_path: Path) -> None:
    write(tmp_path, Texts(["a", "b", "c"], ["x", "y", "z"]))
    found, _ = registry.load(str(tmp_path), registry.DatasetOptions(registry.beir.Selection(limit=2)))
    assert (len(found.documents), found.documents.ids, found.documents.texts) == (2, ["a", "b"], ["x", "y"])
    assert found.encoded_by is not None


def replaced(name: str, raw: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(raw)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (replaced("ids.txt", b"a\n"), "ids.txt: 1 ids for 2 rows of vectors.npy: the files do not belong together"),
        (replaced("ids.txt", b"a\xff\nb\n"), "ids.txt: not UTF-8 text"),
        (replaced("texts.jsonl", b'{"_id": "a", "text": "x"}\n'), "texts.jsonl: 1 texts for 2 rows"),
        (
            replaced("texts.jsonl", b'{"_id": "a", "text": "x"}\n{"_id": "c", "text": "y"}\n'),
            "texts.jsonl, line 2: another id than line 2 of ids.txt",
        ),
        (replaced("texts.jsonl", b'{"_id": "a"}\n'), "texts.jsonl, line 1: has no 'text'"),
        (replaced("meta.json", b"{}"), "meta.json: holds no recipe"),
        (replaced("meta.json", b"\xff"), "meta.json: holds no recipe"),
    ],
)
def test_what_does_not_belong_together_is_one_line(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    write(tmp_path, Texts(["a", "b"], ["x", "y"]))
    damage(tmp_path)
    with pytest.raises(KnnscopeError, match=message):
        registry.load(str(tmp_path))


@given(st.sampled_from(saved.FILES[1:]), st.binary(max_size=30), st.integers(0, 60), st.integers(0, 40))
def test_any_damage_gives_a_data_set_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, noise: bytes, at: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    write(folder, Texts(["a", "b", "c"], ["x", "y", "z"]))
    raw = (folder / name).read_bytes()
    (folder / name).write_bytes(raw[:at] + noise + raw[at + cut :])
    try:
        found, _ = registry.load(str(folder))
    except KnnscopeError as error:
        assert "\n" not in str(error)
    else:
        assert len(found.documents.ids) == len(found.documents.texts) == 3


@pytest.mark.parametrize("name", ["vectors.npy", "ids.txt", "queries/vectors.npy", "queries/meta.json"])
@pytest.mark.parametrize("meta", [None, "{}", "no JSON", '{"rows": "3"}'])
def test_what_others_wrote_is_neither_replaced_nor_removed(tmp_path: Path, name: str, meta: str | None) -> None:
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"somebody's")
    if meta is not None and place.name != "meta.json":
        (place.parent / "meta.json").write_text(meta)
    before = {path: path.read_bytes() for path in place.parent.iterdir()}
    with pytest.raises(KnnscopeError, match=r"knnscope did not write it.*another folder"):
        saved.check_own(tmp_path)
    for texts in (Texts(["a"], ["b"]), Texts((), ())):
        with pytest.raises(KnnscopeError, match="did not write it"):
            write(place.parent, texts)
    assert {path: path.read_bytes() for path in place.parent.iterdir()} == before


def test_a_folder_of_this_program_is_written_again_whole_or_half(tmp_path: Path) -> None:
    write(tmp_path, Texts(["a", "b"], ["x", "y"]))
    write(tmp_path, Texts(["c"], ["z"]))
    assert list(registry.load(str(tmp_path))[0].documents.ids) == ["c"]

    def ends_early() -> Iterator[np.ndarray]:
        yield np.zeros((1, 3), dtype=np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        saved.write(tmp_path, saved.Column(Texts(["d", "e"], ["1", "2"]), ends_early(), 3, FACTS))
    assert list(registry.load(str(tmp_path))[0].documents.ids) == ["c"], (
        "nothing has changed before all vectors are there"
    )
    (tmp_path / "ids.txt").unlink()
    (tmp_path / "ids.txt").mkdir()  # which no file takes the place of
    with pytest.raises(KnnscopeError):
        write(tmp_path, Texts(["d", "e"], ["1", "2"]))
    (tmp_path / "ids.txt").rmdir()
    with pytest.raises(KnnscopeError, match="was not finished"):
        registry.load(str(tmp_path))
    saved.check_own(tmp_path)
    write(tmp_path, Texts(["d", "e"], ["1", "2"]))
    assert list(registry.load(str(tmp_path))[0].documents.ids) == ["d", "e"]
