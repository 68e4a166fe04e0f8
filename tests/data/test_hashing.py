"""Digests are the standard's, the set of digests is a set, splits are stable and of the right size."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanji.contracts.errors import ConfigError
from hanji.data.hashing import DigestSet, digest, fraction
from hanji.data.splits import Splitter, copies


def test_digest_is_blake2b() -> None:
    assert digest("한지") == int(hashlib.blake2b("한지".encode(), digest_size=8).hexdigest(), 16)
    assert digest("한지", "seed") != digest("한지")


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40), max_size=300), st.integers(1, 9))
def test_digest_set_is_a_set(values: list[int], waiting: int) -> None:
    ours, reference = DigestSet(waiting), set()
    for value in values:
        assert ours.add(value) == (value not in reference)
        reference.add(value)
    assert len(ours) == len(reference)


def test_splits_have_their_shares_and_do_not_move() -> None:
    splitter = Splitter({"validation": 0.1, "test": 0.05}, seed=3)
    placed = {f"row {index}": splitter.split(f"row {index}") for index in range(20_000)}
    shares = {
        name: sum(found == name for found in placed.values()) / len(placed) for name in ("validation", "test")
    }
    assert shares["validation"] == pytest.approx(0.1, abs=4 * np.sqrt(0.1 * 0.9 / 20_000))
    assert shares["test"] == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 20_000))
    assert placed == {key: Splitter({"validation": 0.1, "test": 0.05}, seed=3).split(key) for key in placed}
    assert placed != {key: Splitter({"validation": 0.1, "test": 0.05}, seed=4).split(key) for key in placed}
    # a larger share keeps what was held out, so that a growing hold-out never trains on old validation rows
    larger = Splitter({"validation": 0.2}, seed=3)
    assert all(larger.split(key) == "validation" for key, found in placed.items() if found == "validation")


@given(st.text(), st.text(max_size=8))
def test_fraction_is_in_the_unit_interval(key: str, salt: str) -> None:
    try:
        key.encode(), salt.encode()
    except UnicodeEncodeError:
        return
    assert 0 <= fraction(key, salt) < 1


@pytest.mark.parametrize("shares", [{"validation": 1.0}, {"validation": -0.1}, {"train": 0.5}])
def test_impossible_shares_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="impossible shares"):
        Splitter(shares, seed=0)


@pytest.mark.parametrize("weight", [0.3, 1.0, 2.0, 2.5])
def test_weights_repeat_rows(weight: float) -> None:
    found = [copies(str(index), weight, seed=0) for index in range(5000)]
    assert np.mean(found) == pytest.approx(weight, abs=0.03)
    assert max(found) - min(found) <= 1
