"""The certificate beside ground truth: what it was computed from and by which definition, what it hangs by, and how anybody checks it."""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knnscope.environment import version
from knnscope.errors import KnnscopeError
from knnscope.fetch import digest
from knnscope.groundtruth.answers import BESIDE
from knnscope.groundtruth.files import AS_STORED, beside, ending
from knnscope.groundtruth.inputs import Inputs
from knnscope.groundtruth.ties import Ties
from knnscope.store import not_ours, os_problem, read_json, write_json

KIND, VERSION = "knnscope ground truth", 1
BEHIND = ".certificate.json"
"""Behind the name of the output."""

DEFINITION = {
    "l2": "s = 0; for j = 0 .. d-1: t = x_j - q_j; s = s + t * t: squared distance, ascending",
    "ip": "s = 0; for j = 0 .. d-1: s = s + x_j * q_j: similarity, descending",
    "cosine": "ip(x, q) / (sqrt(ip(x, x)) * sqrt(ip(q, q))), 0 where either norm is 0: similarity, descending",
}
"""Of search/definition.py, which says it in full."""


def path_of(output: Path) -> Path:
    """Where the certificate of an output lies."""
    return output.with_name(output.name + BEHIND)


def key_of(inputs: Inputs, k: int) -> dict[str, Any]:
    """What the answer depends on; the sums of files are computed here, which reads all of them.

    Raises:
        KnnscopeError: a file cannot be read.
    """
    said = {"base": inputs.base, "queries": inputs.queries, "ids": inputs.ids}
    facts: dict[str, Any] = {name: one.facts() if one is not None else None for name, one in said.items()}
    return {**facts, "metric": inputs.metric, "k": k, "beyond": BESIDE}


def bare(key: Mapping[str, Any]) -> dict[str, Any]:
    """A key without the names of files: those may be moved."""
    return {
        part: {name: v for name, v in facts.items() if name not in ("name", "file")}
        if isinstance(facts, dict)
        else facts
        for part, facts in key.items()
    }


@dataclass(frozen=True, slots=True)
class Work:
    """What it took: distances computed and candidates of all queries, and the seconds of this call."""

    candidates: int
    computed: int
    seconds: float


def build(key: dict[str, Any], files: Sequence[Path], ties: Ties, work: Work) -> dict[str, Any]:
    """All of it in JSON's own types.

    Args:
        key: of ``key_of``.
        files: the output first; their sums are computed here.
        ties: what it hangs by.
        work: what it took.
    """
    base = key["base"]
    said = (base, key["queries"], key["ids"])
    checked = {facts["file"]: facts["sha256"] for facts in said if facts and "file" in facts}
    return {
        "kind": KIND,
        "version": VERSION,
        "made_by": {"knnscope": version(), "numpy": np.__version__, "python": platform.python_version()},
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "key": key,
        "definition": {
            "distance": DEFINITION[key["metric"]],
            "arithmetic": "each operation one IEEE 754 float64 operation rounded to nearest, in this order, no fused multiply-add",
            "ties": "equal distances: the smaller id first",
        },
        "files": [_file(path, key["metric"], number) for number, path in enumerate(files)],
        "proof": {
            "exact": True,
            "how": "rows were left out by a bound that holds whatever rounding does, all others ranked by the definition",
            "rows": base["rows"],
            "candidates": work.candidates,
            "computed": work.computed,
        },
        "margins": ties.margin(),
        "ties_at_k": ties.summary(),
        "seconds": round(work.seconds, 3),
        "check": {"sha256sum": checked, "command": _command(key, files)},
    }


def with_files(certificate: dict[str, Any], files: Sequence[Path]) -> dict[str, Any]:
    """The certificate of ground truth that is written only now."""
    key = certificate["key"]
    told = [_file(path, key["metric"], number) for number, path in enumerate(files)]
    return {**certificate, "files": told, "check": {**certificate["check"], "command": _command(key, files)}}


def _command(key: dict[str, Any], files: Sequence[Path]) -> str | None:
    """What grades the file; None where there is no file, or the inputs were arrays."""
    if not files or any(facts and facts["sha256_of"] != "file" for facts in (key["base"], key["queries"], key["ids"])):
        return None
    names = {name: shlex.quote(key[name]["name"]) for name in ("base", "queries", "ids") if key[name]}
    own = key["queries"].get("column") == "queries"  # they lie in the base
    asked = "" if own else f" --queries {names['queries']}"
    ids = f" --ids {names['ids']}" if "ids" in names else ""
    return f"knnscope verify {names['base']} {shlex.quote(files[0].name)}{asked} --metric {key['metric']}{ids}"


def _file(path: Path, metric: str, number: int) -> dict[str, Any]:
    kind = ending(path) if number == 0 else ""
    if number == 0:
        holds = {".bin": "ids in int32, then distances as defined, rounded to float32", ".npy": "ids in int64"}.get(
            kind, "ids in int32"
        )
        if kind in (".hdf5", ".h5"):
            holds = f"neighbors: ids; distances: {AS_STORED[metric]}, rounded to float32"
    else:
        holds = (
            "distances as defined, in float64" if path.suffix == ".npy" else "distances as defined, rounded to float32"
        )
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest(path, "sha256"), "holds": holds}


def save(output: Path, certificate: dict[str, Any]) -> None:
    """Write it beside the output.

    Raises:
        KnnscopeError: the file cannot be written.
    """
    write_json(path_of(output), certificate)


def load(output: Path) -> dict[str, Any] | None:
    """The certificate beside an output; None where there is none.

    Raises:
        KnnscopeError: it is damaged, or something else.
    """
    path = path_of(output)
    if not path.is_file():
        return None
    found = read_json(path)
    if found.get("kind") != KIND or found.get("version") != VERSION or not isinstance(found.get("key"), dict):
        raise KnnscopeError(f"{path}: no certificate of ground truth of this version of knnscope: move it away")
    return found


def holds(output: Path, certificate: dict[str, Any], key: dict[str, Any]) -> bool:
    """Whether the files beside a certificate are those that it is about, computed from the same inputs.

    Raises:
        KnnscopeError: a file cannot be read.
    """
    files = certificate.get("files")
    if bare(certificate["key"]) != bare(key) or not isinstance(files, list) or not files:
        return False
    for facts in files:
        if not isinstance(facts, dict) or Path(str(facts.get("name"))).name != facts.get("name"):
            return False
        if not _is_file(output.with_name(facts["name"]), facts):
            return False
    return bool(files[0]["name"] == output.name)


def _is_file(path: Path, facts: Mapping[str, Any]) -> bool:
    """Whether a file is the one that was written.

    Raises:
        KnnscopeError: it cannot be read.
    """
    try:
        return (
            path.is_file()
            and path.stat().st_size == facts.get("bytes")
            and digest(path, "sha256") == facts.get("sha256")
        )
    except OSError as error:
        raise os_problem(error, path) from error


def check_beside(output: Path, certificate: dict[str, Any] | None) -> None:
    """Refuse to write over a file that is not the user's choice by name, where the certificate that is there does not list it.

    Raises:
        KnnscopeError: names the file.
    """
    path = beside(output)
    if path is None or not os.path.lexists(path):
        return
    listed = certificate.get("files") if certificate is not None else None
    for facts in listed if isinstance(listed, list) else ():
        if isinstance(facts, dict) and facts.get("name") == path.name and _is_file(path, facts):
            return
    raise not_ours(path)
