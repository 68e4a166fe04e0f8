"""Figures of lengths against numpy on the lengths themselves."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanji.data.lengths import Lengths


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200))
def test_summary_against_numpy(lengths: list[int]) -> None:
    ours = Lengths()
    for length in lengths:
        ours.add(length)
    summary = ours.summary()
    assert (summary["total"], summary["min"], summary["max"]) == (sum(lengths), min(lengths), max(lengths))
    assert summary["mean"] == pytest.approx(np.mean(lengths))
    for name, share in (("median", 0.5), ("p90", 0.9), ("p99", 0.99)):
        exact = int(np.quantile(lengths, share, method="inverted_cdf"))
        assert abs(summary[name] - exact) <= 0.06 * exact + 0.5
    edges, counts = summary["histogram"]["edges"], summary["histogram"]["counts"]
    reference = [sum(low <= length < high for length in lengths) for low, high in pairwise(edges)]
    assert counts == reference and sum(counts) == len(lengths)
