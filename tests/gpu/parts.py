"""The tests of tests/gpu in parts, several at once, within a time; what there was no time for can be run next.

    python -m tests.gpu.parts [--at-once 8] [--seconds 500] [--out DIR] [--only DIR/left.txt] [arguments of pytest]

A test here waits for the host most of the time (compiling, float64's answers), so several processes share a GPU. What is lent for minutes is
used to the end: after SECONDS the tests that run are stopped. DIR/left.txt names those that have no result, DIR/failed.txt has what failed, in full.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from xml.etree import ElementTree

TOGETHER = 12
"""Tests of a process at most: to load CuPy takes as long as some of them."""


@dataclass
class Found:
    """passed, failed, skipped: names of tests. texts: of those that failed."""

    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)


def pytest(*arguments: str) -> list[str]:
    """A command."""
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]


def names(arguments: list[str]) -> list[str]:
    """All tests of tests/gpu that these arguments of pytest choose."""
    asked = pytest("--collect-only", *(arguments or ["tests/gpu"]))
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    found = [line for line in said.stdout.splitlines() if "::" in line and not line.startswith(("ERROR", "FAILED"))]
    if said.returncode or not found:
        raise SystemExit(f"pytest collects nothing:\n{said.stdout}{said.stderr}")
    return found


def results(file: Path, asked: list[str], said: str, found: Found) -> None:
    """What a process wrote of its tests; without a file it did not get to its end."""
    if not file.exists():
        found.texts.append(said)
        return
    by_case = {as_junit(name): name for name in asked}
    for case in ElementTree.parse(file).iter("testcase"):
        own = case.get("name", "")
        name = by_case.get((case.get("classname", ""), own), own)  # a whole file that is skipped has its module's name
        if (bad := case.find("failure")) is not None or (bad := case.find("error")) is not None:
            found.failed.add(name)
            found.texts.append(f"{name}\n{bad.text}")
        else:
            (found.skipped if case.find("skipped") is not None else found.passed).add(name)


def as_junit(name: str) -> tuple[str, str]:
    """What pytest's file calls a test: its module with its class, and itself."""
    file, *classes, own = name.split("::")
    return ".".join([file.removesuffix(".py").replace("/", "."), *classes]), own


def shares(asked: list[str], at_once: int) -> list[list[str]]:
    """Parts for so many processes at once: none stays idle, and what stands together, and compiles as much, is dealt out."""
    count = max(min(at_once, len(asked)), -(-len(asked) // TOGETHER))
    return [asked[number::count] for number in range(count)]


def work(parts: SimpleQueue[list[str]], until: float, found: Found, lock: threading.Lock) -> None:
    """Parts, one after the other, while there is time."""
    while (left := until - time.monotonic()) > 0:
        try:
            part = parts.get_nowait()
        except Empty:
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "found.xml")
            command = pytest("--require-gpu", f"--junitxml={file}", *part)
            try:
                said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=left).stdout
            except subprocess.TimeoutExpired:
                return
            with lock:
                results(file, part, said, found)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-tests"))
    parser.add_argument("--only", type=Path, help="a file of names, one a line")
    args, rest = parser.parse_known_args()
    until = time.monotonic() + args.seconds
    asked = args.only.read_text().split("\n") if args.only else names(rest)
    asked = [name for name in asked if name]
    parts: SimpleQueue[list[str]] = SimpleQueue()
    for part in shares(asked, args.at_once):
        parts.put(part)
    found, lock = Found(), threading.Lock()
    workers = [threading.Thread(target=work, args=(parts, until, found, lock)) for _ in range(args.at_once)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    left = [name for name in asked if name not in found.passed | found.failed | found.skipped]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "left.txt").write_text("".join(f"{name}\n" for name in left))
    (args.out / "failed.txt").write_text("\n\n".join(found.texts))
    for kind, those in (("failed", sorted(found.failed)), ("skipped", sorted(found.skipped))):
        for name in those:
            print(f"{kind}: {name}")
    print(f"{len(found.passed)} passed, {len(found.failed)} failed, {len(found.skipped)} skipped, {len(left)} left")
    raise SystemExit(bool(found.failed or found.texts or not found.passed))


if __name__ == "__main__":
    main()
