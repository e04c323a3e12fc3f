"""WordNet's data files: glosses taken apart, counts of the real files where they are, and damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.datasets import wordnet
from knnscope.datasets.beir import Selection
from knnscope.errors import KnnscopeError

LICENCE = "  1 This software and database is being provided to you\n"
NOUN = (
    LICENCE
    + '00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is; "a living entity"; "an entity (of sorts)"  \n'
)
ADJ = LICENCE + (
    "00002312 00 a 02 galore(ip) 0 in_abundance 4 002 ;c 06037666 n 0000 | in great numbers  \n"
    '00003000 00 s 0a a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 000 | ten words; "ten of them"  \n'
)


def write(folder: Path, **files: str) -> Path:
    given_files = {"noun": NOUN, "verb": LICENCE, "adj": ADJ, "adv": LICENCE, **files}
    for name, text in given_files.items():
        (folder / f"data.{name}").write_text(text)
    return folder


def test_definitions_examples_and_ids(tmp_path: Path) -> None:
    found = wordnet.load(write(tmp_path), Selection())
    assert dict(zip(found.documents.ids, found.documents.texts, strict=True)) == {
        "n00001740": "that which is",
        "a00002312": "in great numbers",
        "a00003000": "ten words",
    }
    assert list(found.queries.ids) == ["n00001740-1", "n00001740-2", "a00003000-1"]
    assert list(found.queries.texts) == ["a living entity", "an entity (of sorts)", "ten of them"]
    assert [found.qrels.of(q) for q in range(3)] == [{0: 1}, {0: 1}, {2: 1}]


def test_lemmas_come_first_without_markers(tmp_path: Path) -> None:
    found = wordnet.load(write(tmp_path), Selection(), lemmas=True)
    assert found.documents.texts[1] == "galore, in abundance: in great numbers"


@pytest.mark.parametrize(
    ("gloss", "definition", "examples"),
    [
        ('to be; "I am"; "you are"', "to be", ["I am", "you are"]),
        ('utter; "drop a hint"; drop names"', 'utter; drop names"', ["drop a hint"]),
        ('first; "one"; second', "first; second", ["one"]),
        ('"only an example"', "", ["only an example"]),
        ("none", "none", []),
    ],
)
def test_glosses(gloss: str, definition: str, examples: list[str]) -> None:
    assert wordnet.split_gloss(gloss) == (definition, examples)


def test_absent_files_tell_how_to_get_them_without_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet, "USUAL", (tmp_path,))
    with pytest.raises(KnnscopeError, match="dpkg -x wordnet-base"):
        wordnet.find_folder(None)
    with pytest.raises(KnnscopeError, match="no WordNet data files"):
        wordnet.find_folder(str(tmp_path / "nowhere"))
    write(tmp_path)
    assert wordnet.find_folder(None) == tmp_path
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    monkeypatch.setattr(wordnet, "USUAL", ())
    assert wordnet.find_folder(None) == tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "0000174 03 n 01 entity 0 000 | short offset\n",
        "00001740 03 n xx entity 0 | bad count\n",
        "00001740 03 n 01 entity 0 000 no bar\n",
        NOUN[:-9],
    ],
)
def test_damage_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(KnnscopeError, match=r"data.noun, line \d: not a WordNet data line"):
        wordnet.load(write(tmp_path, noun=LICENCE + line if line != NOUN[:-9] else line), Selection())


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 60))
def test_any_bytes_give_a_data_set_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, cut: int
) -> None:
    folder = write(tmp_path_factory.mktemp("wn"))
    raw = (folder / "data.adj").read_bytes()
    (folder / "data.adj").write_bytes(raw[:at] + noise + raw[at + cut :])
    try:
        wordnet.load(folder, Selection())
    except KnnscopeError as error:
        assert str(folder) in str(error) or "wordnet" in str(error)


def test_the_real_files_have_their_known_counts() -> None:
    try:
        folder = wordnet.find_folder(None)
    except KnnscopeError:
        pytest.skip("Debian's wordnet-base is not installed here")
    found = wordnet.load(folder, Selection())
    assert (len(found.documents), len(found.queries), len(found.qrels)) == (117_659, 48_339, 48_339)
