"""The record of knnscope grade: written, read, held against a later one; what it looks like."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from knnscope.analysis import grades
from knnscope.analysis.grades import CaseFacts, EngineFacts, Graded, Grades, differences
from knnscope.errors import KnnscopeError
from knnscope.report import grades as report
from knnscope.search.grading import Evidence

EVIDENCE = Evidence(3, 1, 7, 9, 2.0, 1.5, 0.01, (7, 9), (9, 7), "is nearer and comes later")


def graded(engine: str, outcome: str, case: str = "ties", metric: str = "l2", batch: int = 1) -> Graded:
    answered = outcome in ("exact", "float32", "wrong")
    return Graded(
        engine=engine,
        case=case,
        metric=metric,  # type: ignore[arg-type]
        batch=batch,
        outcome=outcome,  # type: ignore[arg-type]
        judged=10 if answered else 0,
        differing=4 if outcome in ("float32", "wrong") else 0,
        beyond=2 if outcome == "wrong" else 0,
        reason=None if answered else "says | why",
        evidence=EVIDENCE if outcome == "wrong" else None,
    )


def run_of(*found: Graded, exact: tuple[str, ...] = ()) -> Grades:
    cases = dict.fromkeys(g.case for g in found)
    return Grades(
        environment={"cpu": {"model": "a <b>", "usable_cores": 2}, "gpus": [{"name": "G"}]},
        cases=tuple(
            CaseFacts(name=c, what="hard", rows=9, dim=2, dtype="float32", k=2, batches=(1, 10)) for c in cases
        ),
        engines=tuple(
            EngineFacts(name=e, device="cpu", exact=e in exact) for e in dict.fromkeys(g.engine for g in found)
        ),
        absent={"x": "no GPU", "y": "no GPU"},
        grades=found,
    )


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = run_of(graded("a", "exact"), graded("a", "wrong", batch=10), graded("b", "refused"), graded("b", "float32"))
    grades.save(run, tmp_path / "g.json")
    assert grades.load(tmp_path / "g.json") == run
    assert len((tmp_path / "g.json").read_text().splitlines()) < 80


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({"judged": 0}, "judged"),
        ({"outcome": "refused"}, "judged"),
        ({"outcome": "refused", "judged": 0}, "reason"),
        ({"outcome": "wrong"}, "beyond"),
        ({"outcome": "wrong", "beyond": 1, "differing": 1}, "evidence"),
        ({"differing": 11}, "beyond"),
        ({"outcome": "perfect"}, "outcome"),
    ],
)
def test_what_does_not_fit_is_named(found: dict[str, object], why: str, tmp_path: Path) -> None:
    plain = msgspec.to_builtins(run_of(graded("a", "exact")))
    plain["grades"][0].update(found)
    (tmp_path / "g.json").write_bytes(msgspec.json.encode(plain))
    with pytest.raises(KnnscopeError, match=rf"g\.json: not what knnscope grade writes \(.*{why}"):
        grades.load(tmp_path / "g.json")


@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_damaged_record_is_one_line(tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int) -> None:
    whole = msgspec.json.encode(run_of(graded("a", "exact"), graded("b", "wrong")))
    path = tmp_path_factory.mktemp("damaged") / "g.json"
    path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
    try:
        report.text(grades.load(path))
    except KnnscopeError as error:
        assert "\n" not in str(error)


def test_what_is_held() -> None:
    held = run_of(graded("a", "exact"), graded("a", "float32", batch=10), graded("b", "refused"))
    assert differences(held, held) == []
    rounded = run_of(graded("a", "float32"), graded("a", "exact", batch=10), graded("b", "refused"))
    assert differences(held, rounded) == [], "rounding may explain more or less elsewhere"
    wrong = run_of(graded("a", "exact"), graded("a", "wrong", batch=10), graded("b", "refused"))
    assert differences(held, wrong) == ["a, ties, l2, 10 queries a call: was float32, is wrong on 2 of 10 queries"]
    assert differences(wrong, replace(wrong, grades=(graded("a", "wrong"),))) == [], "was wrong on this case before"
    refuses = run_of(graded("a", "refused"), graded("b", "exact"))
    assert differences(held, refuses) == [
        "a, ties, l2, 1 query a call: was exact, is refused (says | why)",
        "b, ties, l2, 1 query a call: was refused, is exact",
    ]
    promised = run_of(graded("a", "float32"), exact=("a",))
    assert differences(held, promised) == [
        "a, ties, l2, 1 query a call: float32, and is exact by what it says of itself"
    ]
    assert differences(held, run_of(graded("new", "wrong"))) == [], "not asked before"
    assert differences(held, run_of(graded("a", "not asked"))) == []


def test_what_is_printed() -> None:
    run = run_of(
        graded("a", "exact"), graded("a", "exact", batch=10), graded("b", "float32"), graded("b", "wrong", batch=10)
    )
    text = report.text(run)
    assert text.startswith("2 engines, 1 hard case, 4 questions: a <b>, 2 cores, G\n")
    assert re.search(r"^a +2$", text, re.M)
    assert re.search(r"^b +1 +1 +40% of queries: ties, l2$", text, re.M)
    assert re.search(r"^ties +=  +≈✗$", text, re.M)
    assert "b, ties, l2, 10 a call: wrong on 2 of 10 queries; query 3, rank 1: row 7 stands where one is nearer" in text
    assert "by 0.5; rounding explains 0.01" in text
    assert "  x, y: no GPU" in text
    page = report.markdown(run_of(graded("a", "refused"), graded("b", "wrong")))
    assert "- a, ties: says \\| why" in page, "what Markdown would take for its own is marked"
    assert "| a | R |" not in page
    assert "<b>" not in report.grades_html(run)
    assert "a &lt;b&gt;" in report.grades_html(run)


def test_nothing_asked_is_said() -> None:
    empty = replace(run_of(), interrupted=True)
    assert "interrupted" in report.text(empty)
    assert report.markdown(empty)
    assert report.grades_html(empty)
