"""The state machine of living_machine.py: a short run always, 5,000 steps with --slow."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from knnscope.certified import living, tail
from tests.certified.living_machine import LivingMachine


def run(
    examples: int, steps: int, monkeypatch: pytest.MonkeyPatch, random: bool = False, machine: type = LivingMachine
) -> None:
    """Run a machine; other machines of an index take theirs from here."""
    for module in (living, tail):
        monkeypatch.setattr(module, "SEAL", 8)  # so that a few rows make many segments
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not random,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=how)


def test_a_living_index_agrees_with_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    run(8, 25, monkeypatch)


@pytest.mark.slow
def test_a_living_index_agrees_with_a_list_for_5000_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    run(100, 50, monkeypatch, random=True)
