"""Budgets: whatever is given first ends the run."""

import pytest

from gssl import schemas
from gssl.engine.budget import Clock


def budget(**given):
    empty = dict(steps=None, epochs=None, images=None, seconds=None, flops=None, default_epochs=7)
    return schemas.Budget(**(empty | given))


def test_every_unit_becomes_steps():
    assert Clock.of(budget(steps=5), 10, 100).steps == 5
    assert Clock.of(budget(epochs=2), 10, 100).steps == 20
    assert Clock.of(budget(epochs=0.25), 10, 100).steps == 3
    assert Clock.of(budget(images=101), 10, 100).steps == 11
    assert Clock.of(budget(), 10, 100).steps == 70


def test_the_first_limit_wins():
    assert Clock.of(budget(steps=5, epochs=2), 10, 100).steps == 5
    clock = Clock.of(budget(steps=100, seconds=10.0), 10, 100)
    assert clock.progress(10, 9.0) == pytest.approx(0.9)
    assert clock.progress(95, 1.0) == pytest.approx(0.95)
    assert clock.progress(500, 1.0) == 1


def test_flops_become_steps_once_counted():
    clock = Clock.of(budget(flops=1000.0), 10, 100)
    assert clock.steps is None
    assert clock.progress(3, 1.0) == 0
    clock.count(30.0)
    assert clock.steps == 33
    clock = Clock.of(budget(flops=1.0), 10, 100)
    clock.count(30.0)
    assert clock.steps == 1
