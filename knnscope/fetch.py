"""Downloads that resume, are checked, and appear under their name only when whole."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from knnscope.errors import KnnscopeError
from knnscope.progress import bar, say
from knnscope.store import home, locked, make_folder, open_own, os_problem, whole_file, write_json

BLOCK = 1 << 18
MAX_BYTES = 1 << 37
"""128 GiB: more than any file in the catalogues; a server cannot fill the disk with an endless answer."""

WINDOW = 30.0
"""Seconds in which a server sends at least ``LEAST_BYTES``."""
LEAST_BYTES = 1 << 15


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on a server. ``checksum`` is "md5:HEX" or "sha256:HEX"; None is recorded at first use."""

    url: str
    size: int | None = None
    checksum: str | None = None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https down to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        old, new = req.full_url.partition(":")[0], newurl.partition(":")[0].lower()
        if new not in ("http", "https") or (old == "https" and new == "http"):
            fp.close()
            raise KnnscopeError(f"{req.full_url}: redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _LeastRate:
    """A server that keeps a connection by a byte now and then has stalled."""

    def __init__(self) -> None:
        self._since, self._bytes = time.monotonic(), 0

    def count(self, received: int, enough: int | None = None) -> None:
        """So many bytes came.

        Raises:
            TimeoutError: less than ``enough`` in ``WINDOW``; by default ``LEAST_BYTES``.
        """
        self._bytes += received
        if time.monotonic() - self._since >= WINDOW:
            if self._bytes < (LEAST_BYTES if enough is None else enough):
                raise TimeoutError
            self._since, self._bytes = time.monotonic(), 0


class _Paced(io.RawIOBase):
    """What comes over a connection: the head within ``WINDOW``, then at the least rate, sizes of chunks and trailers too."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._rate: _LeastRate | None = None
        self.head = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        if self._rate is None:  # a server may think before it answers: the time-out's business
            self._rate = _LeastRate()
        elif count:
            self._rate.count(count, MAX_BYTES if self.head else None)
        return count

    def body(self) -> None:
        """The head is over."""
        self.head, self._rate = False, None

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer whose every byte is paced."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._paced = _Paced(self.fp.detach())
        self.fp = io.BufferedReader(self._paced)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        self._paced.body()


class _Pacing(urllib.request.AbstractHTTPHandler):
    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> Any:
        """As its parent, with ``_Answer`` for the answer."""
        paced: Any = type("Paced", (http_class,), {"response_class": _Answer})
        return super().do_open(paced, req, **options)


class _Http(_Pacing, urllib.request.HTTPHandler):
    pass


class _Https(_Pacing, urllib.request.HTTPSHandler):
    pass


def digest(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def fetch(remote: Remote, target: Path, *, timeout: float = 30.0, attempts: int = 5, pause: float = 1.0) -> str | None:
    """Download a file unless it is there; a broken download goes on where it stopped.

    Args:
        remote: what to get and what it must be.
        target: where it goes; ``target.part`` holds what has come so far.
        timeout: seconds without a byte after which a connection counts as stalled; so does one that is slower than ``LEAST_BYTES`` in ``WINDOW``.
        attempts: connections in a row that may bring less than ``LEAST_BYTES``.
        pause: seconds before the first new attempt; doubled each time.

    Returns:
        A note for the user where the checksum was not known before, else None.

    Raises:
        KnnscopeError: no network, wrong size or checksum, a full disk.
    """
    if target.exists():
        return None
    if remote.url.partition(":")[0] not in ("http", "https"):
        raise KnnscopeError(f"{remote.url}: only http and https are downloaded")
    make_folder(target.parent)
    part = target.with_name(target.name + ".part")
    try:
        with locked(target.with_name(target.name + ".lock")), open_own(part) as file:
            if target.exists():
                part.unlink()
                return None
            _fill(remote, file, part, timeout, attempts, pause)
            file.flush()
            os.fsync(file.fileno())
            note = _check(remote, part, target.name)
            os.replace(part, target)
    except OSError as error:
        raise os_problem(error, target) from error
    _tag_file(part).unlink(missing_ok=True)
    return note


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _fill(remote: Remote, file: IO[bytes], part: Path, timeout: float, attempts: int, pause: float) -> None:
    failures, problem = 0, "no answer"
    while failures < attempts:
        before = file.tell()
        try:
            if _receive(remote, file, part, timeout):
                return
            problem = "the connection ended early"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in (408, 416, 429):
                raise KnnscopeError(f"{remote.url}: the server answers {error.code} {_words(error.reason)}") from error
            if error.code == 416:
                file.truncate(0)
            problem = f"the server answers {error.code} {_words(error.reason)}"
        except ValueError as error:
            raise KnnscopeError(f"{remote.url}: the server's answer leads nowhere ({error})") from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            problem = "the server stalled" if isinstance(reason, TimeoutError) else _words(reason)
        file.seek(0, os.SEEK_END)
        failures = 0 if file.tell() - before >= LEAST_BYTES else failures + 1  # a crumb is no progress
        if failures < attempts:
            say(f"{remote.url}: {problem}, trying again (attempt {failures + 1} of {attempts} without progress)")
            time.sleep(pause * 2 ** max(failures - 1, 0))
    kept = f"; {file.tell():,} bytes are kept in {part}, the same command goes on from there" if file.tell() else ""
    raise KnnscopeError(
        f"{remote.url}: {problem}, {attempts} attempts in a row{kept}. Without network, put the file at {part.with_suffix('')}"
    )


def _words(reason: object) -> str:
    """On one line, without numbers that only a programmer knows."""
    return " ".join(str(getattr(reason, "strerror", None) or reason).split()) or type(reason).__name__


def _receive(remote: Remote, file: IO[bytes], part: Path, timeout: float) -> bool:
    """One connection; True when the file is complete."""
    have = file.tell()
    if remote.size is not None and have == remote.size:
        return True
    request = urllib.request.Request(remote.url, headers={"User-Agent": "knnscope", "Accept-Encoding": "identity"})
    tag_file = _tag_file(part)
    if have and tag_file.exists():
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag_file.read_text("latin-1"))
    elif have:
        file.truncate(0)
    opener = urllib.request.build_opener(_SafeRedirects, _Http, _Https)
    with opener.open(request, timeout=timeout) as answer:
        resumed = answer.status == 206 and str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")
        if not resumed:
            file.truncate(0)
            have = 0
            if answer.status != 200:  # a part that nobody asked for would pass as the whole
                raise http.client.HTTPException(f"the server answers {answer.status}, not with the file")
        whole = _promised(remote.url, answer.headers.get("Content-Length"), have)
        _expect(remote, whole, part)
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if tag and not tag.startswith("W/"):
            with whole_file(tag_file) as whole_tag:
                whole_tag.write(tag.encode("latin-1", "replace"))
        else:
            tag_file.unlink(missing_ok=True)
        limit = remote.size or whole or MAX_BYTES
        with bar(whole or remote.size, part.stem, "B", initial=have, scale=True) as progress:
            while block := answer.read1(BLOCK):
                have += len(block)
                if have > limit:
                    file.truncate(0)
                    raise KnnscopeError(f"{remote.url}: sends more than the {limit:,} bytes expected")
                file.write(block)
                progress.update(len(block))
        return have == whole if whole is not None else have > 0


def _promised(url: str, length: str | None, have: int) -> int | None:
    """Bytes of the whole file as the server says; None where it does not."""
    if length is None:
        return None
    length = length.strip()
    if not (length.isascii() and length.isdigit()):
        raise KnnscopeError(f"{url}: the server says that {length[:40]!r} bytes follow, which is no number")
    if len(length) > 15:
        raise KnnscopeError(f"{url}: {length[:40]} bytes are more than the limit of {MAX_BYTES:,}")
    return have + int(length)


def _expect(remote: Remote, whole: int | None, part: Path) -> None:
    if whole is None:
        return
    if remote.size is not None and whole != remote.size:
        raise KnnscopeError(
            f"{remote.url}: the server has {whole:,} bytes, {remote.size:,} were expected: the file was changed"
        )
    if not whole:
        raise KnnscopeError(f"{remote.url}: the server sends an empty file")
    if whole > MAX_BYTES:
        raise KnnscopeError(f"{remote.url}: {whole:,} bytes are more than the limit of {MAX_BYTES:,}")
    free = shutil.disk_usage(part.parent).free
    have = part.stat().st_size
    if whole - have > free:
        raise KnnscopeError(
            f"{part.parent}: {whole - have:,} bytes are needed and {free:,} are free: set KNNSCOPE_HOME to another disk"
        )


def _check(remote: Remote, part: Path, name: str) -> str | None:
    if remote.checksum is not None:
        algorithm, _, wanted = remote.checksum.partition(":")
        found = digest(part, algorithm)
        if found != wanted:
            _discard(part)
            raise KnnscopeError(
                f"{remote.url}: wrong {algorithm} checksum {found}, {wanted} was expected: the download was deleted, try again"
            )
        return None
    return _trust_on_first_use(remote.url, digest(part, "sha256"), part, name)


def _trust_on_first_use(url: str, found: str, part: Path, name: str) -> str | None:
    ledger = home() / "checksums.json"
    with locked(ledger.with_suffix(".lock")):
        known = _recorded(ledger)
        if url not in known:
            write_json(ledger, {**known, url: found})
    if url not in known:
        return f"{name}: no checksum is published; recorded sha256 {found} at this first use in {ledger}"
    if known[url] != found:
        _discard(part)
        raise KnnscopeError(
            f"{url}: sha256 {found} differs from {known[url]} recorded at first use in {ledger}: the download was deleted"
        )
    return None


def _recorded(ledger: Path) -> dict[str, str]:
    try:
        known = json.loads(ledger.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise KnnscopeError(f"{ledger}: cannot be read: delete it to record checksums afresh") from error
    if not isinstance(known, dict):
        raise KnnscopeError(f"{ledger}: holds no checksums: delete it to record them afresh")
    return known


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)
