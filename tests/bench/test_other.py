"""Another environment: whether its interpreter can measure, whose code does, and what is said where it cannot."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from knnscope import environment
from knnscope.bench import other
from knnscope.bench.other import Other, Shape
from knnscope.errors import ArgumentError, KnnscopeError
from knnscope.processes import PACKAGE
from knnscope.search.rounding import Formula
from tests import environments
from tests.environments import LIBRARIES, furnished, packages

SHAPE = Shape("l2", "float32", 8, (1, 10))
Program = Callable[[str], Path]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """An executable of this text."""

    def made(text: str) -> Path:
        path = tmp_path / "python"
        path.write_text(text)
        path.chmod(0o755)
        return path

    return made


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment without any library."""
    return environments.bare(tmp_path_factory.mktemp("bare") / "venv")


def refused(given: object, said: str) -> None:
    with pytest.raises(ArgumentError, match=said) as caught:
        other.find(Path(str(given)))
    assert str(caught.value).startswith(f"beside {given}: ")
    assert "\n" not in str(caught.value)


def test_an_environment_without_knnscope_is_measured_by_this_code(bare: Path, tmp_path: Path) -> None:
    made = furnished(bare, tmp_path / "venv")
    found = other.find(made)
    assert found == Other(str(made / "bin" / "python"), own=False)
    (run := tmp_path / "run").mkdir()
    place = found.place(run)
    assert place.variables["PYTHONPATH"] == str(run / "code")
    assert (run / "code/knnscope/bench/child.py").read_bytes() == (PACKAGE / "knnscope/bench/child.py").read_bytes()
    assert not any(place.folder.iterdir()), "nothing there has the name of a library"
    told = other.tell(found, place, ["numpy", "nobody"], SHAPE)
    assert told.problems == {"nobody": "its knnscope has no engine of this name"}
    assert told.entries["numpy"]["path"] == "knnscope.search.engines.numpy:NumpyEngine"
    assert told.formulas["numpy", 10] == Formula("expanded")
    assert told.environment["source_sha256"] == environment.source_digest()
    assert told.environment["libraries"]["numpy"] == environment.libraries()["numpy"]


def test_a_virtual_environment_is_named_by_its_folder_and_not_followed(bare: Path) -> None:
    """Its interpreter is a link to another one, which has other libraries."""
    refused(
        bare,
        rf"lacks llvmlite, msgspec, numpy, tqdm, which knnscope needs: {bare}/bin/python -m pip install llvmlite msgspec numpy tqdm$",
    )
    refused(bare / "bin" / "python", "lacks llvmlite, msgspec, numpy, tqdm")


def test_variables_of_this_environment_do_not_lead_into_it(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(LIBRARIES))
    refused(bare, "lacks llvmlite, msgspec, numpy, tqdm")


def test_libraries_that_are_missing_and_engines_that_are_left_out(bare: Path, tmp_path: Path) -> None:
    refused(furnished(bare, tmp_path / "one", "msgspec"), "lacks msgspec, which knnscope needs")
    found = other.find(furnished(bare, tmp_path / "two", "faiss"))
    assert not found.own, "there is no knnscope"
    (tmp_path / "run").mkdir()
    told = other.tell(found, found.place(tmp_path / "run"), ["numpy", "faiss"], SHAPE)
    assert list(told.entries) == ["numpy"]
    assert list(told.problems) == ["faiss"]
    assert told.problems["faiss"].startswith("faiss is not installed: ")
    assert told.environment["libraries"]["faiss-cpu"] is None


def test_another_knnscope_measures_by_its_own_code(bare: Path, tmp_path: Path) -> None:
    made = furnished(bare, tmp_path / "venv")
    site = packages(made)
    shutil.copytree(PACKAGE / "knnscope", site / "knnscope")
    assert not other.find(made).own, "it is the same"
    with (site / "knnscope/search/catalog.py").open("a") as file:
        file.write('\nENGINES["theirs"] = ENGINES["numpy"]\n')
    found = other.find(made)
    assert found.own
    (tmp_path / "run").mkdir()
    place = found.place(tmp_path / "run")
    assert place.variables["PYTHONPATH"] is None
    told = other.tell(found, place, ["theirs"], SHAPE)
    assert list(told.entries) == ["theirs"]
    assert told.environment["source_sha256"] != environment.source_digest()
    with (site / "knnscope/bench/child.py").open("a") as file:
        file.write("\nPROTOCOL = 99\n")
    with pytest.raises(ArgumentError, match=r"measured by other messages \(99, here 1\): uninstall it there"):
        other.tell(other.find(made), place, ["numpy"], SHAPE)
    (site / "knnscope/environment.py").write_text("import no_such_library\n")
    refused(made, "knnscope does not load there: ModuleNotFoundError: No module named 'no_such_library'")


def test_what_is_no_interpreter_is_refused_in_a_line(program: Program, tmp_path: Path) -> None:
    refused(
        tmp_path / "none", "no such file: a Python interpreter was expected, or the folder of a virtual environment"
    )
    (tmp_path / "text").write_text("no program")
    refused(tmp_path / "text", "not an executable file: a Python interpreter was expected")
    refused(tmp_path, "no virtual environment: it has no bin/python")
    refused(program("#!/bin/sh\necho hello\n"), "no Python interpreter: asked for its version, it says 'hello'")
    refused(program("#!/bin/sh\necho no luck >&2; exit 3\n"), "no Python interpreter: no luck")
    refused(program("#!/bin/sh\nexit 3\n"), "no Python interpreter: exit code 3")
    refused(program("#!/no/such/program\n"), r"no Python interpreter: it cannot be run \(No such file or directory\)")
    refused(program("#!/bin/sh\necho Python 3.9.18\n"), r"Python 3\.9\.18: knnscope needs 3\.11 or later")
    refused(program("#!/bin/sh\necho Python 2.7.18\n"), r"Python 2\.7\.18: knnscope needs 3\.11 or later")
    answers = '#!/bin/sh\ncase "$2" in *version_info*) echo Python 3.12.1;; *) echo nonsense;; esac\n'
    refused(program(answers), "asked what it has, it says 'nonsense'")


def test_without_room_for_anything_temporary_there_is_one_line(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(
        KnnscopeError, match=r"no temporary file can be written \(No space left on device\): set TMPDIR"
    ):
        other.find(program("#!/bin/sh\necho Python 3.12.1\n"))


def test_one_that_does_not_answer_is_given_up(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other, "SECONDS", 0.2)
    refused(program("#!/bin/sh\nexec sleep 60\n"), r"no answer within 0\.2 s")


def test_what_libraries_print_is_no_part_of_the_answer(bare: Path, tmp_path: Path) -> None:
    made = furnished(bare, tmp_path / "venv", "tqdm")
    site = packages(made)
    (site / "tqdm.py").write_text(
        "print('{\"engines\": 1}')\nimport os\nos.write(1, b'noise')\nclass tqdm:\n    set_lock = classmethod(lambda *_: 0)\n"
    )
    found = other.find(made)
    (tmp_path / "run").mkdir()
    assert list(other.tell(found, found.place(tmp_path / "run"), ["numpy"], SHAPE).entries) == ["numpy"]
