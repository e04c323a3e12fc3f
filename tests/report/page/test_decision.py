"""The first sentence of the page: which engine to take, by batch size, and how sure that is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from knnscope.analysis.choice import choices
from knnscope.analysis.doubts import doubts
from knnscope.analysis.measurement import Measurement
from knnscope.analysis.run import ComparisonRun
from knnscope.report.page.sections import decision
from tests.analysis.test_verdict import failed
from tests.analysis.test_verdict import rows as made_up


def quiet(
    engine: str, us: float, grade: str = "exact", batch: int = 1, k: int = 10, boundary: str = "host"
) -> list[Measurement]:
    return made_up(engine, us, grade, batch, k=k, boundary=boundary, noise=0.0)


CASES = {
    "Take a for 1 query a call.": quiet("a", 100) + quiet("b", 200),
    "Take a at every batch size measured.": quiet("a", 100)
    + quiet("b", 200)
    + quiet("a", 100, batch=9)
    + quiet("b", 200, batch=9),
    "Take a for 1 query a call and b for 10.": quiet("a", 100)
    + quiet("b", 200)
    + quiet("a", 300, batch=10)
    + quiet("b", 200, batch=10),
    "Take a up to 10 queries a call and b from 100.": [
        *(quiet("a", 100) + quiet("b", 200) + quiet("a", 100, batch=10) + quiet("b", 200, batch=10)),
        *(
            quiet("a", 900, batch=100)
            + quiet("b", 200, batch=100)
            + quiet("a", 900, batch=1000)
            + quiet("b", 200, batch=1000)
        ),
    ],
    "k = 3: Take b for 1 query a call. k = 10: Take a for 1 query a call.": [
        *(quiet("a", 100) + quiet("b", 200) + quiet("a", 300, k=3) + quiet("b", 200, k=3)),
    ],
    "Take right for 1 query a call.": quiet("wrong one", 10, "wrong") + quiet("right", 100, "float32"),
    "No engine gave an answer known to be right for 1 query a call.": quiet("a", 10, "wrong") + failed("b", "crashed"),
    "No engine was measured.": failed("b", "missing"),
    "Take a for 1 query a call. ": quiet("a", 100) + quiet("b", 50, boundary="device"),
}


@pytest.mark.parametrize("said", CASES)
def test_the_first_sentence(said: str) -> None:
    assert decision.lead(choices(CASES[said])) == said.strip()


def test_how_sure_it_is() -> None:
    told = decision.sure_of(choices(quiet("a", 100) + quiet("b", 200)))
    assert told == [
        "It is 2.00 times as fast as the next right engine, told apart every time. Every answer that was checked has the neighbors of float64."
    ]
    level = quiet("a", 100) + quiet("b", 100.5)
    assert decision.sure_of(choices(level))[0].startswith("None of that is certain: others may be as fast.")
    some = level + quiet("a", 100, batch=10) + quiet("b", 300, batch=10)
    assert decision.sure_of(choices(some))[0].startswith("At 1 another may be as fast.")
    rough = decision.sure_of(choices(quiet("a", 100, "float32") + quiet("b", 300)))
    assert rough[0].endswith("Where its ids are not those of float64, float32 rounding explains it.")


def test_the_line_of_a_case_says_who_is_exact_and_who_is_wrong() -> None:
    ((_, table),) = decision.answers(
        choices(quiet("rough", 50, "float32") + quiet("a", 100) + quiet("bad", 10, "wrong"))
    )
    (line,) = table.lines
    assert [str(cell) for cell in line] == [
        *("1", "rough", "50.0 µs", "20,000", "2.00× (2.00 to 2.00) as fast as a"),
        *("float32: 3 of 50 differ; bad faster, and wrong", "a, 100 µs"),
    ]


def stopped(engine: str) -> list[Measurement]:
    """Nothing of it was timed before the run was interrupted."""
    none = dict.fromkeys(("median_ns", "low_ns", "high_ns", "noisy", "cpu_ns", "cores", "grade"))
    row = made_up(engine, 100)[-1]
    return [replace(row, status="interrupted", reason="stopped by the user", samples_ns=[], **none)]


def test_what_was_not_measured_to_the_end_is_never_kept_quiet() -> None:
    for others in ([], made_up("b", 300), made_up("b", 101), made_up("b", 300, rounds=2)):
        said = decision._line(choices(made_up("a", 100) + others + stopped("c"))[0], None)[4]
        assert str(said).endswith("others were not measured to the end")


def test_where_nothing_is_right_nobody_is_faster() -> None:
    some = choices(made_up("a", 100, "wrong") + made_up("b", 50, "undecided"))
    none = "no engine gave an answer known to be right"
    assert decision._line(some[0], None)[5] == f"{none}; a: wrong; b: undecided"
    assert decision.lead(some) == "No engine gave an answer known to be right for 1 query a call."
    cut = choices(made_up("a", 100, "wrong") + stopped("c"))
    assert decision._line(cut[0], None)[5] == "interrupted before any right answer was timed; a: wrong"
    assert decision.lead(cut) == "Interrupted before any right answer was timed for 1 query a call."


def test_rounds_of_one_process_are_one_in_what_is_doubtful() -> None:
    """Interrupted after ten rounds there are five pairs of processes, which tell nothing apart."""
    rows = [
        replace(row, rounds_a_process=2)
        for name, us in (("a", 100), ("b", 140))
        for row in made_up(name, us, rounds=10, of=10)
    ]
    assert choices(rows)[0].certain is False
    (said,) = doubts(ComparisonRun(tuple(rows)))
    assert said.text == "at most 5 rounds, those of one process counted once: 7 are needed to tell engines apart"
