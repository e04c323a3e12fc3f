"""Downloads against a server that truncates, redirects, corrupts, stalls, lies about sizes and forgets ranges."""

from __future__ import annotations

import hashlib
import io
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from knnscope import fetch as module
from knnscope.errors import KnnscopeError
from knnscope.fetch import Remote, _SafeRedirects, fetch
from tests.processes import LONG

BODY = bytes(range(256)) * 2000  # 512,000 bytes
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """The path says what goes wrong; ``asked`` remembers the ranges."""

    asked: ClassVar[list[str | None]] = []
    release: ClassVar[threading.Event] = threading.Event()
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        kind = self.path.strip("/")
        wanted = self.headers.get("Range")
        Handler.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and kind != "norange" else 0
        if kind.startswith("redirect"):
            self.send_response(302)
            self.send_header(
                "Location",
                {"redirect": "/plain", "redirect-loop": "/redirect-loop", "redirect-bad": "http://[bad"}.get(
                    kind, "file:///etc/passwd"
                ),
            )
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if kind in ("part", "empty"):
            self.send_response(206 if kind == "part" else 200)
            self.send_header("Content-Length", "3" if kind == "part" else "0")
            self.end_headers()
            self.wfile.write(b"abc" if kind == "part" else b"")
            return
        if kind in ("404", "503"):
            self.send_error(int(kind))
            return
        body = BODY
        if kind == "changed":
            start, body = 0, BODY[::-1]
        elif kind == "corrupt":
            body = BODY[:1000] + b"?" + BODY[1001:]
        elif kind == "endless":
            body = BODY + BODY
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if kind != "nolength":
            self.send_header("Content-Length", str(len(body) - start))
        else:
            self.send_header("Connection", "close")
        self.send_header("ETag", '"second"' if kind == "changed" else '"first"')
        self.end_headers()
        if kind == "crumb" and len(Handler.asked) < 50:
            self.wfile.write(body[start : start + 1])
            self.close_connection = True
            return
        if kind in ("truncate", "norange-truncate", "stall", "norange"):
            end = min(start + 200_000, len(body))
            self.wfile.write(body[start:end])
            self.wfile.flush()
            if kind == "stall" and end < len(body):
                Handler.release.wait(LONG)
            self.close_connection = True
            return
        self.wfile.write(body[start:])
        self.close_connection = kind == "nolength"


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked.clear()
    Handler.release.clear()
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}"
    Handler.release.set()
    web.shutdown()
    thread.join()
    web.server_close()


def get(
    url: str, target: Path, checksum: str | None = MD5, size: int | None = len(BODY), timeout: float = LONG
) -> str | None:
    return fetch(Remote(url, size, checksum), target, timeout=timeout, attempts=3, pause=0.01)


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("kind", ["plain", "redirect", "nolength"])
def test_arrives_whole(server: str, tmp_path: Path, kind: str) -> None:
    assert get(f"{server}/{kind}", tmp_path / "file") is None
    assert (tmp_path / "file").read_bytes() == BODY
    assert leftovers(tmp_path) == ["file", "file.lock"]


def test_a_truncated_answer_is_continued_where_it_broke(server: str, tmp_path: Path) -> None:
    get(f"{server}/truncate", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    assert Handler.asked == [None, "bytes=200000-", "bytes=400000-"]


def test_a_stalled_answer_is_continued(server: str, tmp_path: Path) -> None:
    """The server sends nothing more before the test ends: it is the client that gives up waiting."""
    get(f"{server}/stall", tmp_path / "file", timeout=0.5)
    assert (tmp_path / "file").read_bytes() == BODY
    first, *others = Handler.asked
    assert first is None
    froms = [int(str(asked).removeprefix("bytes=").rstrip("-")) for asked in others]
    assert froms == sorted(froms), "a busy machine may stall as well, and then it goes on from wherever it was"
    assert len(froms) >= 2


def test_a_later_run_goes_on_with_what_an_earlier_one_left(server: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY[:123_456])
    (tmp_path / "file.part.tag").write_text('"first"')
    get(f"{server}/plain", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    assert Handler.asked == ["bytes=123456-"]


def test_a_file_that_changed_on_the_server_starts_afresh(server: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY[:123_456])
    (tmp_path / "file.part.tag").write_text('"first"')
    get(f"{server}/changed", tmp_path / "file", "md5:" + hashlib.md5(BODY[::-1]).hexdigest())
    assert (tmp_path / "file").read_bytes() == BODY[::-1]


def test_a_server_that_forgets_ranges_and_truncates_ends_in_one_line(server: str, tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match="attempts in a row"):
        get(f"{server}/norange", tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_corruption_is_found_and_deleted(server: str, tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match="wrong md5 checksum"):
        get(f"{server}/corrupt", tmp_path / "file")
    assert leftovers(tmp_path) == ["file.lock"]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("404", "answers 404"),
        ("503", "answers 503.*3 attempts"),
        ("redirect-away", "file:///etc/passwd.*not allowed"),
        ("redirect-loop", "answers 302|infinite loop"),
        ("endless", "1,024,000 bytes, 512,000 were expected"),
    ],
)
def test_refusals_name_the_address_and_leave_no_file(server: str, tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(KnnscopeError, match=message) as caught:
        get(f"{server}/{kind}", tmp_path / "file")
    assert server in str(caught.value)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(("old", "new"), [("https://a/x", "http://a/x"), ("http://a/x", "ftp://a/x")])
def test_no_redirect_leads_away_from_the_web_or_down_from_https(old: str, new: str) -> None:
    handler, body = _SafeRedirects(), io.BytesIO()
    with pytest.raises(KnnscopeError, match="not followed"):
        handler.redirect_request(urllib.request.Request(old), body, 302, "Found", {}, new)
    assert body.closed


def test_more_than_promised_without_a_length(server: str, tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match="sends more than the 1,000 bytes expected"):
        get(f"{server}/nolength", tmp_path / "file", size=1000)


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match="put the file at"):
        get("http://192.0.2.1/file", tmp_path / "file")
    with pytest.raises(KnnscopeError, match="only http and https"):
        get("ftp://127.0.0.1/file", tmp_path / "file")


def test_an_unknown_checksum_is_recorded_then_held(server: str, tmp_path: Path) -> None:
    note = get(f"{server}/plain", tmp_path / "a", None, None)
    assert note is not None
    assert hashlib.sha256(BODY).hexdigest() in note
    assert get(f"{server}/plain", tmp_path / "b", None, None) is None
    ledger = Path(note.rpartition(" ")[2])
    ledger.write_text(ledger.read_text().replace(hashlib.sha256(BODY).hexdigest(), "0" * 64))
    with pytest.raises(KnnscopeError, match="differs from"):
        get(f"{server}/plain", tmp_path / "c", None, None)
    assert not (tmp_path / "c").exists()


def test_a_full_disk_is_said_before_anything_is_fetched(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knnscope.fetch.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(KnnscopeError, match="1,000 are free: set KNNSCOPE_HOME"):
        get(f"{server}/plain", tmp_path / "file")


def test_nothing_is_asked_for_a_file_that_is_there(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    assert get(f"{server}/plain", tmp_path / "file") is None
    assert Handler.asked == []


def test_addresses_that_lead_nowhere_and_a_damaged_ledger(server: str, tmp_path: Path, home: Path) -> None:
    with pytest.raises(KnnscopeError, match="leads nowhere"):
        get(f"{server}/redirect-bad", tmp_path / "file")
    (home / "checksums.json").write_text("[]")
    with pytest.raises(KnnscopeError, match="holds no checksums"):
        get(f"{server}/plain", tmp_path / "file", None, None)


def test_two_downloads_at_once_fetch_it_once(server: str, tmp_path: Path) -> None:
    both = [threading.Thread(target=get, args=(f"{server}/plain", tmp_path / "file")) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert (tmp_path / "file").read_bytes() == BODY
    assert Handler.asked == [None]
    assert leftovers(tmp_path) == ["file", "file.lock"]


@pytest.mark.parametrize("length", ["9" * 16, "9" * 400, "-5", "5e3", "0x10", "\u0665", ""])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    with pytest.raises(KnnscopeError, match=r"no number|more than the limit") as refused:
        module._promised("http://server/file", length, 0)
    assert len(str(refused.value)) < 200
    assert module._promised("http://server/file", None, 0) is None
    assert module._promised("http://server/file", " 17 ", 3) == 20


def test_a_server_that_keeps_the_line_by_a_byte_now_and_then_has_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    slow = module._LeastRate()

    def drip() -> None:
        while now[0] < 1000:
            now[0] += 0.3
            slow.count(1)

    with pytest.raises(TimeoutError):
        drip()
    assert module.WINDOW <= now[0] < 2 * module.WINDOW
    fair = module._LeastRate()
    for _ in range(1000):
        now[0] += 1.0
        fair.count(module.LEAST_BYTES // 20)


class Dripping(io.RawIOBase):
    """A connection on which a byte comes each 0.3 s of a clock that goes by them; it never ends."""

    def __init__(self, sent: bytes, again: bytes, at_once: int = 0) -> None:
        self.now, self._sent, self._again, self._at_once = 0.0, sent, again, at_once

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.now > 1000:
            raise AssertionError("still listening")
        if not self._sent:
            self._sent = self._again
        count = min(len(buffer), max(self._at_once, 1))
        block, self._sent = self._sent[:count], self._sent[count:]
        self._at_once -= len(block)
        if self._at_once < 0:
            self.now += 0.3
        buffer[: len(block)] = block
        return len(block)

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(self)


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "again", "at_once"),
    [
        (b"", b"X", 0),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0),
        (b"HTTP/1.1 200 OK\r\nX: ", b"a", 0),
        (HEAD, b"0", len(HEAD)),
        (HEAD, b"1\r\nx\r\n", len(HEAD)),
        (HEAD + b"0\r\n", b"Trailer: x\r\n", len(HEAD) + 3),
    ],
    ids=["status", "headers", "header", "size of a chunk", "chunks", "trailers"],
)
def test_whatever_part_of_an_answer_drips_has_stalled(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, again: bytes, at_once: int
) -> None:
    line = Dripping(sent, again, at_once)
    monkeypatch.setattr(module.time, "monotonic", lambda: line.now)
    answer = module._Answer(line)

    def listen() -> None:
        answer.begin()
        while answer.read1(1 << 16):
            pass

    with pytest.raises(TimeoutError):
        listen()
    assert module.WINDOW <= line.now < 2 * module.WINDOW


def test_a_head_without_an_end_has_stalled_however_fast_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Dripping(b"", CONTINUE * 100)
    monkeypatch.setattr(module.time, "monotonic", lambda: line.now)
    monkeypatch.setattr(module, "LEAST_BYTES", 1)
    with pytest.raises(TimeoutError):
        module._Answer(line).begin()
    assert line.now < 2 * module.WINDOW


def test_an_answer_may_be_long_in_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server thinks about is bounded by the time-out; the rate is that of what it sends."""
    line = Dripping(HEAD + b"5\r\nwhole\r\n0\r\n\r\n", b"", 1 << 16)
    line.now = 500.0
    monkeypatch.setattr(module.time, "monotonic", lambda: line.now)
    answer = module._Answer(line)
    answer.begin()
    assert answer.read() == b"whole"


@pytest.mark.parametrize(("kind", "message"), [("part", "answers 206, not with the file"), ("empty", "an empty file")])
def test_what_is_not_the_file_does_not_pass_as_one_where_no_checksum_is_known(
    server: str, tmp_path: Path, home: Path, kind: str, message: str
) -> None:
    with pytest.raises(KnnscopeError, match=message):
        get(f"{server}/{kind}", tmp_path / "file", None, None)
    assert not (tmp_path / "file").exists()
    assert not (home / "checksums.json").exists()


@pytest.mark.parametrize("kind", ["redirect-loop", "refused"])
def test_a_refusal_is_one_line_in_words(server: str, tmp_path: Path, kind: str) -> None:
    with pytest.raises(KnnscopeError) as caught:
        get("http://127.0.0.1:1/file" if kind == "refused" else f"{server}/{kind}", tmp_path / "file")
    assert "\n" not in str(caught.value)
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("kind", ["crumb", "plain"])
def test_the_rate_holds_for_real_connections(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A crumb a connection is no progress: a server could hold the lock for as long as the file has bytes."""
    if kind == "crumb":
        with pytest.raises(KnnscopeError, match="3 attempts in a row"):
            get(f"{server}/crumb", tmp_path / "file")
        assert len(Handler.asked) == 3
    else:
        monkeypatch.setattr(module, "WINDOW", -1.0)
        monkeypatch.setattr(module, "LEAST_BYTES", 1 << 40)
        monkeypatch.setattr(module, "BLOCK", 1000)  # else one read may bring all: Python 3.14 reads 128 KiB ahead
        with pytest.raises(KnnscopeError, match="stalled, 3 attempts"):
            get(f"{server}/plain", tmp_path / "file")
