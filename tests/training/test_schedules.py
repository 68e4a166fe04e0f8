from __future__ import annotations

import math

import pytest

from hanji.contracts.errors import ConfigError
from hanji.training.schedules import SCHEDULES, schedule


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_climbs_in_equal_steps_to_the_highest_rate(name: str) -> None:
    rate = schedule(name, learning_rate=1.0, steps=100, warmup=0.1)
    assert [rate(step) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(map(rate, range(100))) == pytest.approx(1.0)


def test_cosine_is_the_half_wave_of_the_paper() -> None:
    rate = schedule("cosine", learning_rate=2.0, steps=50, minimum_ratio=0.1)
    for step in range(50):
        wave = (1 + math.cos(math.pi * step / 50)) / 2
        assert rate(step) == pytest.approx(0.2 + 1.8 * wave)


def test_linear_falls_by_equal_amounts() -> None:
    rate = schedule("linear", learning_rate=1.0, steps=10)
    assert [rate(step) for step in range(10)] == pytest.approx([1 - step / 10 for step in range(10)])


def test_wsd_is_flat_and_then_falls() -> None:
    rate = schedule("wsd", learning_rate=1.0, steps=100, warmup=0.1, decay=0.2, minimum_ratio=0.5)
    assert {rate(step) for step in range(10, 81)} == {1.0}
    assert rate(90) == pytest.approx(0.75)


def test_constant() -> None:
    assert {schedule("constant", learning_rate=3.0, steps=5)(step) for step in range(5)} == {3.0}


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match="cosine, linear, wsd, constant"):
        schedule("cosinus", learning_rate=1.0, steps=5)
