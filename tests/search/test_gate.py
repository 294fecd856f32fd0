"""Which trials wait to keep an actor, and when they are let go. With Ray: tests/trainers/command/test_end_to_end.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hptransfer.search.gate import Gate


@pytest.fixture
def opened() -> list[str]:
    return []


@pytest.fixture
def gate(opened: list[str]) -> Gate:
    found = Gate()
    found._doors = SimpleNamespace(open=SimpleNamespace(remote=opened.append))
    return found


def test_only_the_actor_of_a_run_that_ended_is_kept(gate: Gate) -> None:
    assert gate.hold("a") is None
    gate.ended()
    assert gate.hold("a") is not None and gate.hold("b") is None


def test_a_run_that_starts_takes_an_idle_actor_before_one_that_waits(gate: Gate, opened: list[str]) -> None:
    for _ in range(2):
        gate.ended()
    assert gate.hold("a")
    gate.started()
    assert opened == []
    gate.started()
    assert opened == ["a"]
    gate.started()  # on an actor that has yet to start
    assert opened == ["a"]


def test_who_has_given_up_waiting_is_not_let_go_and_at_the_end_all_are(gate: Gate, opened: list[str]) -> None:
    for trial in "abc":
        gate.ended()
        assert gate.hold(trial)
    gate.left("b")
    gate.open()
    assert sorted(opened) == ["a", "c"]
    gate.started()
    assert len(opened) == 2
