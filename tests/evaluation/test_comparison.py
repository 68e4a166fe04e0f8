"""What is best, what is level with it, what is cheapest, and the advice that follows."""

import numpy as np
import pytest

from hanji.evaluation.comparison import Comparison, Way
from hanji.evaluation.report import ReportData, write_report
from hanji.evaluation.report.advice import advise
from hanji.evaluation.report.sections.comparison import sections
from hanji.evaluation.resampling import Quality
from hanji.evaluation.row_scores import draws

ROWS = 400


def way(name, right, *, memory=100e6, seconds=100.0, trained=1_000_000, role="method"):
    """A way that got the rows `right` right, of ROWS; every number that the table can show."""
    correct = np.zeros(ROWS)
    correct[list(right)] = 1
    drawn = np.array([correct[rows].mean() for rows in draws(ROWS)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Way(
        name, role, quality=Quality(correct.mean(), low, high, drawn, ROWS),
        scores={"accuracy": correct.mean()},
        learning_rate=1e-3, steps=10, parameters=1_000_000, trained_parameters=trained,
        peak_memory_bytes=memory, seconds=seconds, bytes_on_disk=4.0 * trained,
    )  # fmt: skip


def of(*ways, **settings):
    return Comparison("accuracy", "classify", ways, held_out="rows (test)", rows=ROWS, **settings)


FULL = way("full", range(360))
LORA = way("lora", range(1, 360), memory=25e6, seconds=80.0, trained=12_000)
POOR = way("prompt", range(300), memory=20e6, seconds=90.0, trained=1_000)


def test_on_the_same_rows_a_small_steady_difference_is_seen():
    """Ten rows more, and none less: both intervals overlap widely, that of the difference leaves out zero."""
    better, worse = way("full", range(300)), way("lora", range(290))
    assert better.quality.low < worse.quality.high
    found = of(better, worse).difference(better, worse)
    assert found.paired and found.told_apart
    assert found.value == pytest.approx(10 / ROWS)
    correct = np.zeros(ROWS)
    correct[290:300] = 1
    random = np.random.default_rng(0)
    by_hand = [correct[random.integers(ROWS, size=ROWS)].mean() for _ in range(1000)]
    assert [found.low, found.high] == pytest.approx(np.quantile(by_hand, [0.025, 0.975]))


def test_the_same_number_of_other_rows_is_not_told_apart():
    one, other = way("full", range(300)), way("lora", range(10, 310))
    assert not of(one, other).difference(one, other).told_apart


def test_without_draws_the_intervals_add_up():
    one, other = (
        Way(name, "method", quality=Quality(value, value - 0.03, value + 0.03))
        for name, value in (("a", 0.8), ("b", 0.76))
    )
    found = of(one, other).difference(one, other)
    assert not found.paired
    assert [found.low, found.high] == pytest.approx([0.04 - 0.03 * 2**0.5, 0.04 + 0.03 * 2**0.5])


def test_of_a_loss_less_is_more():
    one, other = (
        Way(name, "method", quality=Quality(value)) for name, value in (("high", 3.0), ("low", 2.0))
    )
    comparison = Comparison("loss", "sft", [one, other])
    assert [found.name for found in comparison.methods] == ["low", "high"]
    assert comparison.difference(other, one).value == 1.0


def test_one_is_clearly_best():
    advice = advise(of(LORA, POOR))
    assert advice.take == "lora"
    assert "clearly the best; prompt follows" in advice.text.en
    assert "Its price beside the cheapest, prompt at 75.0" in advice.text.en
    assert "12 times the trained parameters" in advice.text.en
    assert "1.2 times the peak memory" in advice.text.en
    assert "뚜렷이 가장 낫습니다" in advice.text.ko


def test_one_is_best_and_cheapest():
    advice = advise(of(way("full", range(200)), LORA))
    assert advice.take == "lora"
    assert advice.text.en.endswith("It is the cheapest, too.")


def test_the_cheapest_of_those_that_cannot_be_told_apart():
    advice = advise(of(FULL, LORA, POOR))
    text = advice.text.en.replace("\N{NO-BREAK SPACE}", " ")
    assert advice.take == "lora"
    assert "its accuracy 89.8 % cannot be told from the 90.0 % of full on these 400 rows" in text
    assert "1.2 % of the trained parameters, 25 % of the peak memory, 80 % of the time" in text
    assert "Clearly behind: prompt." in text
    assert "구별되지" in advice.text.ko


def test_the_best_is_the_cheapest_of_its_equals():
    advice = advise(of(FULL, way("lora", range(361), memory=25e6)))
    assert advice.take == "lora"
    assert "the best figure, and it is the cheapest" in advice.text.en


def test_without_times_the_fewest_trained_parameters_are_the_cheapest():
    comparison = of(way("full", range(360), memory=None), way("lora", range(359), memory=None, trained=9))
    assert comparison.cheapest.name == "lora"


@pytest.mark.parametrize(
    ("right", "told"), [(361, "no way can be told from it"), (390, "nothing beats it. The best way, full")]
)
def test_nothing_beats_the_baseline(right, told):
    advice = advise(of(FULL, POOR, way("blank", range(right), role="baseline")))
    assert advice.take == "blank"
    assert advice.text.en.startswith(f"Keep blank: {told}")
    assert "blank 모델을 그대로" in advice.text.ko


def test_a_baseline_that_is_beaten_changes_nothing():
    beaten = way("blank", range(200), role="baseline", memory=1e6)
    assert advise(of(FULL, LORA, beaten)) == advise(of(FULL, LORA))


def test_one_way_alone_and_none():
    assert "the only way that was scored" in advise(of(FULL)).text.en
    beaten = way("blank", range(200), role="baseline")
    assert "and beats blank at 50.0" in advise(of(FULL, beaten)).text.en
    nothing = advise(of(Way("full", "method"), Way("prompting", "untried")))
    assert nothing.take is None
    assert "No way could be scored" in nothing.text.en


def test_the_report_has_the_table_the_pictures_and_both_languages(tmp_path):
    comparison = of(FULL, LORA, POOR, way("blank", range(200), role="baseline"), Way("prompting", "untried"))
    write_report(ReportData("spam"), tmp_path, first=sections(comparison, advise(comparison)))
    html, markdown = ((tmp_path / f"report.{kind}").read_text("utf-8") for kind in ("html", "md"))
    markdown = markdown.replace("\N{NO-BREAK SPACE}", " ")
    assert "## Which way? · 어떤 방식이 나은가" in markdown
    assert "Take lora: its accuracy" in markdown and "lora 방식을 쓰세요" in html
    assert "| lora ✓ | 89.8 % (" in markdown
    row = next(line for line in markdown.splitlines() if line.startswith("| lora"))
    assert row.endswith("| 0.001 | 12 k (1.2 %) | 25 MB | 1 min 20 s | 48 kB |")
    assert "| prompting, nothing trained | not measured yet | – | – | – | – | – | – |" in markdown
    assert {file.stem for file in (tmp_path / "charts").iterdir()} == {
        "quality-by-parameters", "memory-by-way", "time-by-way",
    }  # fmt: skip
    assert html.count("<svg ") == 3


def test_a_report_of_ways_without_any_figure(tmp_path):
    comparison = Comparison("accuracy", "dpo", [Way("full", "method")], in_training=True)
    write_report(ReportData("spam"), tmp_path, first=sections(comparison, advise(comparison)))
    assert "validation rows as training ended" in (tmp_path / "report.md").read_text("utf-8")
