"""knnscope explain as a user runs it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Run, refused
from tests.trace import fixtures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


def test_in_words(knnscope: Run, folder: Path) -> None:
    code, out, _ = knnscope("explain", fixtures.unpacked("nsys-cupy-loop", folder))
    assert code == 0
    assert "NVIDIA H100" in out
    assert "search cupy-loop" in out
    assert out.index("high   launch-bound") < out.index("low    blocking-copies"), "ranked by saving"
    assert "would save about" in out
    assert "SELECT" in out


def test_json_and_exit_codes(knnscope: Run, folder: Path, tmp_path: Path) -> None:
    path = fixtures.unpacked("cupti-argsort", folder)
    code, out, err = knnscope("explain", path, "--json", "--fail-on", "high")
    told = json.loads(out)
    assert code == 1
    assert "--fail-on high: 1 finding" in err
    assert {"rule", "severity", "phase", "title", "evidence", "saving_ms", "remedy"} <= told["findings"][0].keys()
    assert told["findings"][0]["evidence"].keys() == {"sql", "rows"}
    assert [f["saving_ms"] for f in told["findings"]] == sorted(
        (f["saving_ms"] for f in told["findings"]), reverse=True
    )
    assert told["phases"][-1]["kernels"] == 12
    milder = tmp_path / "milder.sqlite"
    milder.write_bytes(fixtures.unpacked("cupti-fused", folder).read_bytes())
    with closing(sqlite3.connect(milder)) as base:  # the distances in half the time
        base.execute("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET end = start + (end - start) / 2 WHERE end - start > 100000")
        base.commit()
    assert knnscope("explain", milder, "--fail-on", "high")[0] == 0
    assert knnscope("explain", milder, "--fail-on", "low")[0] == 1
    assert knnscope("explain", fixtures.unpacked("cupti-fused-topk", folder), "--fail-on", "low")[0] == 0


def test_against(knnscope: Run, folder: Path) -> None:
    before, after = (fixtures.unpacked(f"nsys-{name}", folder) for name in ("argsort", "fused"))
    code, out, _ = knnscope("explain", before, "--against", after)
    assert code == 0
    assert "search argsort -> search fused" in out
    assert "vanished  kernel  cupy_square__float32_float32" in out
    assert "came true" in out
    told = json.loads(knnscope("explain", before, "--against", after, "--json")[1])
    assert told["against"][-1]["came_true"] is True


def test_what_a_trace_lacks_is_said(knnscope: Run, folder: Path) -> None:
    code, out, err = knnscope("explain", fixtures.unpacked("nsys-numpy-loop", folder))
    assert code == 0
    assert out.startswith("nothing was recorded on the GPU: record with knnscope profile, or with nsys profile")
    assert "would save" not in out
    assert "no kernels (no table CUPTI_ACTIVITY_KIND_KERNEL)" in err


def test_refusals(knnscope: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.sqlite").touch()
    (tmp_path / "text.sqlite").write_text("no database")
    refused(knnscope("explain", tmp_path / "nowhere.sqlite"), "a trace .* was expected")
    refused(knnscope("explain", tmp_path / "empty.sqlite"), "cut off")
    refused(knnscope("explain", tmp_path / "text.sqlite"), "no SQLite database")
