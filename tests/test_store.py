"""Nothing half-written, nothing lost."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from knnscope import store
from knnscope.certified.cpu import code_cache
from knnscope.encoders.vector_cache import VectorCache
from knnscope.errors import KnnscopeError
from knnscope.store import check_file, home, whole_file, write_json
from tests.processes import LONG


def break_off(path: Path) -> None:
    """Write half of a file."""
    with suppress(RuntimeError), whole_file(path) as file:
        file.write(b"half")
        raise RuntimeError


def test_a_file_appears_whole_with_ordinary_rights(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with whole_file(path) as file:
        file.write(b"all of it")
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert os.listdir(path.parent) == ["file"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    break_off(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], bytes]]]:
    """A pipe by name, and what somebody reads from it until it is closed."""
    path, found = tmp_path / "pipe", list[bytes]()
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: found.append(path.read_bytes()), daemon=True)
    thread.start()

    def read() -> bytes:
        thread.join(LONG)
        return found[0]

    yield path, read
    if thread.is_alive():  # nobody has written: let it end
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


@pytest.mark.parametrize("through", ["itself", "a link"])
def test_a_pipe_gets_all_of_it_and_stays_one(
    tmp_path: Path, reader: tuple[Path, Callable[[], bytes]], through: str
) -> None:
    path, read = reader
    (tmp_path / "link").symlink_to(path)
    with whole_file(tmp_path / "link" if through == "a link" else path, "w+b", follow=through == "a link") as file:
        file.write(b"....of it")
        file.seek(0)  # as formats do that end with their beginning
        file.write(b"all ")
    assert read() == b"all of it"
    assert stat.S_ISFIFO(path.lstat().st_mode)
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_gets_nothing_of_what_broke_off(reader: tuple[Path, Callable[[], bytes]]) -> None:
    path, read = reader
    break_off(path)
    os.close(os.open(path, os.O_WRONLY))
    assert read() == b""


def test_arrays_and_text_go_into_a_pipe_as_well(reader: tuple[Path, Callable[[], bytes]]) -> None:
    path, read = reader
    write_json(path, {"ä": 1})
    assert read().decode() == '{\n  "ä": 1\n}\n'


def test_a_device_is_written_into(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to("/dev/null")
    write_json(path, {"a": 1}, follow=True)
    assert path.is_symlink()
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert os.listdir(tmp_path) == ["link"]


@pytest.mark.parametrize("what", ["folder", "socket", "link to a folder"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, what: str) -> None:
    path = tmp_path / "there"
    with socket.socket(socket.AF_UNIX) as sock:
        if what == "socket":
            sock.bind(str(path))
        else:
            (tmp_path / "folder").mkdir()
            path = tmp_path / "folder"
        if what.startswith("link"):
            (tmp_path / "there").symlink_to(path)
            path = tmp_path / "there"
        before = sorted(os.listdir(tmp_path))
        said = f"^{path}: (this is a folder, a file was expected|no plain file)"
        with pytest.raises(KnnscopeError, match=said), whole_file(path, follow=True):
            raise AssertionError("it is refused before anything is written")
        with pytest.raises(KnnscopeError, match=str(path)):
            check_file(path)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("name", ["file", "new/folder/file", "link"])
def test_looking_whether_a_file_can_be_written_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("far/file")
    check_file(tmp_path / name)
    assert os.listdir(tmp_path) == ["link"]


def test_a_file_that_is_there_stays_while_it_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    check_file(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["file", "new/file"])
def test_a_place_that_takes_no_file_is_known_beforehand(name: str) -> None:
    """Not when what shall be saved has been computed for minutes; /proc takes no file of anybody."""
    with pytest.raises(
        KnnscopeError, match=f"^/proc/{name.split('/')[0]}.*: (no such file|permission|the file system)"
    ):
        check_file(Path("/proc") / name)


def test_a_link_that_the_user_named_stays_and_leads_to_the_new_file(tmp_path: Path) -> None:
    """A user keeps results on another disk; half a file must not appear there either."""
    far, link = tmp_path / "far", tmp_path / "link"
    far.mkdir()
    link.symlink_to("far/file")
    for said in (b"new", b"newer"):  # where nothing is yet, and where something is
        with whole_file(link, follow=True) as file:
            file.write(said)
            assert [path.parent for path in tmp_path.rglob("*.part")] == [far]
        assert os.readlink(link) == "far/file"
        assert (far / "file").read_bytes() == said
        assert not (far / "file").is_symlink()


def test_a_link_under_a_name_of_ours_is_replaced(tmp_path: Path) -> None:
    precious, link = tmp_path / "precious", tmp_path / "meta.json"
    precious.write_text("precious")
    link.symlink_to(precious)
    write_json(link, {"a": 1})
    assert precious.read_text() == "precious"
    assert not link.is_symlink()


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "\N{GRINNING FACE}" * 63])
def test_a_name_may_be_as_long_as_the_file_system_takes_it(tmp_path: Path, name: str) -> None:
    with whole_file(tmp_path / name) as file:
        file.write(b"all of it")
    assert (tmp_path / name).read_bytes() == b"all of it"


def test_a_refusal_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match=f"^{tmp_path}/{'x' * 256}: ") as caught, whole_file(tmp_path / ("x" * 256)):
        pass
    assert ".part" not in str(caught.value)


def test_the_rights_of_new_files_of_other_threads_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mask is the whole process's: while it is 0, what another thread makes would be open to all."""

    def refuse(_: int) -> None:
        raise AssertionError("the mask was changed")

    monkeypatch.setattr(os, "umask", refuse)
    with whole_file(tmp_path / "file") as file:
        file.write(b"all of it")


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only")]
)
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(KnnscopeError, match=message):
        write_json(tmp_path / "x.json", {"a": 1})
    assert os.listdir(tmp_path) == []


def test_no_nan_in_records(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == []


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KNNSCOPE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home() == tmp_path / "knnscope"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/somewhere")
    assert home() == Path("/somewhere/.cache/knnscope")


@pytest.mark.parametrize("how", ["lock", "part", "cache", "open"])
def test_what_others_laid_under_a_name_that_they_can_guess_is_not_followed(tmp_path: Path, how: str) -> None:
    """A home that others can write to: a link to a file of the user's own would be emptied or written to."""
    precious, link = tmp_path / "precious", tmp_path / "there"
    precious.write_text("precious")
    link.symlink_to(precious)
    (tmp_path / "v.open").symlink_to(precious)
    opens: dict[str, Callable[[], object]] = {
        "lock": lambda: store.locked(link).__enter__(),
        "part": lambda: store.open_own(link),
        "cache": lambda: VectorCache(link, 4),
        "open": lambda: VectorCache(tmp_path / "v.sqlite", 4),
    }
    with pytest.raises(KnnscopeError, match="a link, which is not followed"):
        opens[how]()
    assert precious.read_text() == "precious"


def test_a_lock_keeps_what_is_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("of somebody")
    with store.locked(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == "of somebody"
    with store.locked(tmp_path / "new"):
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    (tmp_path / "fifo").mkdir()
    with pytest.raises(KnnscopeError), store.locked(tmp_path / "fifo"):
        pass


def test_the_home_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, inner in (("a", ""), ("b/c", "downloads/x")):
        monkeypatch.setenv("KNNSCOPE_HOME", str(tmp_path / name))
        store.make_folder(store.home() / inner)
        assert store.home().stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("KNNSCOPE_HOME", str(tmp_path / "d" / "e"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    code_cache.write("x.code", b"what is compiled first")
    assert (tmp_path / "d/e").stat().st_mode & 0o777 == 0o700
    for name in ("a", "b/c"):
        monkeypatch.setenv("KNNSCOPE_HOME", str(tmp_path / name))
        assert store.home().stat().st_mode & 0o777 == 0o700
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o755)  # whatever the umask
    monkeypatch.setenv("KNNSCOPE_HOME", str(there))
    store.make_folder(there / "inner")
    assert there.stat().st_mode & 0o777 == 0o755, "a folder that is there stays as it is"


def test_a_write_that_numpy_could_not_end_is_told_in_words() -> None:
    said = str(store.os_problem(OSError("160000 requested and 25568 written"), "rows.npy"))
    assert said.startswith("rows.npy: not all could be written (160000 requested and 25568 written): the disk is full")
