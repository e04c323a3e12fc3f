"""Unpacking of downloaded archives, which are not trusted."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from knnscope.errors import KnnscopeError
from knnscope.progress import bar
from knnscope.store import make_folder, os_problem, sync_folder

MAX_MEMBERS = 10_000
MAX_GROWTH = 100
"""Texts pack 3 to 10 times; DEFLATE's own limit is 1,032 times."""


def unzip(archive: Path, folder: Path, check: Callable[[Path], None] = lambda _: None) -> None:
    """Unpack a zip file into a new folder, which appears only when all of it is on disk.

    Args:
        archive: the file.
        folder: what to make.
        check: raises where the unpacked files, in a folder that it is given, are not what was wanted.

    Raises:
        KnnscopeError: not a zip file, damaged, a member that would land outside, too many or too large members, the
            folder cannot be written, or ``check``'s.
    """
    make_folder(folder.parent)
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:  # without the temporary folder's name
        raise os_problem(OSError(error.errno, error.strerror), folder.parent) from error
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = [m for m in bundle.infolist() if not m.is_dir()]
            total = _check(archive, members)
            with bar(total, f"unpack {archive.name}", "B", scale=True) as progress:
                for member in members:
                    path = temporary.joinpath(*PurePosixPath(member.filename).parts)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with bundle.open(member) as source, path.open("xb") as target:
                        while block := source.read(1 << 20):
                            target.write(block)
                            progress.update(len(block))
                        target.flush()
                        os.fsync(target.fileno())
        check(temporary)
        temporary.chmod(0o755)
        for inner, _, _ in os.walk(temporary, topdown=False):
            sync_folder(Path(inner))
        os.replace(temporary, folder)
        with contextlib.suppress(PermissionError):  # a folder may be written and not read
            sync_folder(folder.parent)
    except (
        zipfile.BadZipFile,
        zlib.error,
        LZMAError,
        ValueError,
        EOFError,
        NotImplementedError,  # zipfile's word for a compression or version it does not know
        RuntimeError,
        FileExistsError,
    ) as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR):
            raise _damaged(archive, error) from error
        raise os_problem(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _damaged(archive: Path, error: Exception) -> KnnscopeError:
    reason = (getattr(error, "strerror", None) or str(error))[:120]  # without the temporary folder's name
    return KnnscopeError(f"{archive}: a damaged zip file ({reason}): delete it and download it again")


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> int:
    if not members:
        raise KnnscopeError(f"{archive}: holds no file: delete it and download it again")
    if len(members) > MAX_MEMBERS:
        raise KnnscopeError(f"{archive}: {len(members):,} members are more than the limit of {MAX_MEMBERS:,}")
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
            raise KnnscopeError(
                f"{archive}: member {member.filename!r} would land outside its folder: nothing was unpacked"
            )
        if (mode := stat.S_IFMT(member.external_attr >> 16)) not in (0, stat.S_IFREG):
            raise KnnscopeError(
                f"{archive}: member {member.filename!r} is no plain file ({mode:#o}): nothing was unpacked"
            )
    total = sum(m.file_size for m in members)
    if total > MAX_GROWTH * max(archive.stat().st_size, 1):
        raise KnnscopeError(
            f"{archive}: would unpack to {total:,} bytes, over {MAX_GROWTH} times its size: nothing was unpacked"
        )
    return total
