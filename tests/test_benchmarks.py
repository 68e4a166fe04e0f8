"""The benchmarks' own arithmetic, and their refusal to time unequal work."""

from __future__ import annotations

import json

import pytest

from benchmarks.harness import Figures, Worker, interleave, ratio, report, same


def test_sides_take_turns_and_the_order_turns_round() -> None:
    order: list[str] = []

    def side(name: str, value: float):
        return lambda: order.append(name) or value

    figures = interleave({"ours": side("ours", 4.0), "peer": side("peer", 2.0)}, rounds=3)
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert figures["ours"].values == (4.0, 4.0, 4.0)


def test_the_median_and_the_spread() -> None:
    figures = Figures((1.0, 2.0, 9.0))
    assert figures.median == 2.0
    assert figures.spread == 4.0


@pytest.mark.parametrize(("more_is_better", "expected"), [(True, 2.0), (False, 0.5)])
def test_a_ratio_above_one_is_in_our_favour(more_is_better: bool, expected: float) -> None:
    assert ratio(Figures((4.0,)), Figures((2.0,)), more_is_better) == expected


def test_the_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    report("x", {"ours": Figures((4.0,)), "peer": Figures((2.0,))}, unit="tokens/s", parameters=7)
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["name"], last["ours"], last["peer"], last["ratio"], last["parameters"]) == ("x", 4, 2, 2, 7)


def test_unequal_work_is_refused() -> None:
    same("loss", 1.0 + 1e-7, 1.0, relative=1e-6)
    with pytest.raises(SystemExit, match="not the same work: tokens"):
        same("tokens", 10, 11)


def test_a_worker_that_fails_says_why() -> None:
    worker = Worker("benchmarks.workers.bare", "/nowhere", "{}")
    with pytest.raises(RuntimeError, match="KeyError: 'device'"):
        worker.ask("train", steps=1)
    worker.close()
