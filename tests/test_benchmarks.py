"""The benchmarks' own arithmetic, and their refusal to time unequal work."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.harness import Figures, Worker, interleave, ratio, report, same
from benchmarks.traffic import first_tokens, percentile, same_answers, uneven, write_requests
from benchmarks.workers.generate_continuous import Continuous
from benchmarks.workers.generate_ours import Ours
from benchmarks.workers.generate_static import Static
from benchmarks.workers.serve_load import Load
from benchmarks.workers.traffic import Asked, Told, context_of, in_flight, measure, read_requests
from hanji.models.load import save_model
from hanji.tokenizers.train import train_tokenizer
from tiny_models import VOCABULARY, tiny


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


class Counting:
    """A text whose ids are 0, 1, 2, ..."""

    def __init__(self) -> None:
        self.at = 0

    def take(self, count: int) -> list[int]:
        self.at += count
        return list(range(self.at - count, self.at))


def test_requests_are_uneven_and_follow_from_their_seed(tmp_path: Path) -> None:
    asked = uneven(Counting(), 64)
    assert asked == uneven(Counting(), 64) != uneven(Counting(), 64, seed=1)
    prompts, answers = [len(one.prompt) for one in asked], [one.new_tokens for one in asked]
    assert 16 <= min(prompts) < 40 < 170 < max(prompts) <= 200
    assert 8 <= min(answers) < 20 < 100 < max(answers) <= 120
    assert len({one.prompt[0] for one in asked}) == 64
    write_requests(asked, tmp_path / "requests.json")
    assert read_requests(tmp_path / "requests.json") == asked


def test_the_context_holds_the_longest_prompt_with_its_answer() -> None:
    assert context_of([Asked([1] * 60, 4), Asked([1], 8)]) == 64
    assert context_of([Asked([1] * 60, 5)]) == 128


def test_so_many_requests_are_on_their_way_and_no_more() -> None:
    under_way: list[int] = []
    most = []

    def wait() -> list[int]:
        most.append(len(under_way))
        return [under_way.pop(0)]

    in_flight([Asked([1], 1)] * 7, 3, under_way.append, wait)
    assert (most, under_way) == ([3, 3, 3, 3, 3, 2, 1], [])


def test_an_answer_of_another_length_is_not_timed() -> None:
    asked = [Asked([1], 2), Asked([1], 3)]
    found = measure(lambda _: [Told([5, 6], 0.1), Told(first=0.2, count=3)], asked)
    assert (found["tokens"], found["first"]) == (5, [0.1, 0.2])
    with pytest.raises(RuntimeError, match="answer 1 has 2 tokens, not 3"):
        measure(lambda _: [Told([5, 6]), Told([5, 6])], asked)


def test_the_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(20, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile([7.0], 0.95)) == (10, 19, 7)
    rounds = [[0.001, 0.002, 0.9], [0.003, 0.004, 0.9], [0.5, 0.6, 0.9]]
    assert first_tokens({"ours": rounds}) == {
        "ours_first_token_p50_ms": 4.0, "ours_first_token_p95_ms": 900.0
    }  # fmt: skip


def test_answers_of_other_tokens_are_refused() -> None:
    same_answers("peer", [[1, 2], [3]], [[1, 2], [3]])
    with pytest.raises(SystemExit, match="answer 1 of peer differs from ours at token 2"):
        same_answers("peer", [[1, 2], [3, 4, 5]], [[1, 2], [3, 4, 6]])


def test_engine_static_and_continuous_batches_give_the_same_answers(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(iter(["a few words"]), vocab_size=300)
    tokenizer.save(tmp_path)
    save_model(tiny("llama"), tmp_path, generation={})
    asked = [Asked([3 + (7 * n + k) % (VOCABULARY - 3) for k in range(4 + n)], 3 + n % 4) for n in range(6)]
    ours = Ours(tmp_path, slots=2, context=64).run(asked)
    static = Static(tmp_path, slots=4).run(asked)
    side = Continuous(tmp_path, slots=2, context=64, sized=True)
    continuous = side.run(asked)
    side.manager.stop(block=True, timeout=5)
    for sides in zip(asked, ours, static, continuous, strict=True):
        one, *told = sides
        assert told[0].ids == told[1].ids == told[2].ids
        assert len(told[0].ids) == one.new_tokens
        assert all(answer.first > 0 for answer in told)


class Service(BaseHTTPRequestHandler):
    """Answers a completion as the service does, or breaks off."""

    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        events = [{"choices": [{"text": "so"}]}, {"choices": [{"text": "me"}]}]
        usage = {"choices": [], "usage": {"completion_tokens": asked["max_tokens"]}}
        for event in [*events, usage] if asked["prompt"] != [0] else events:
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        if asked["prompt"] != [0]:
            self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_the_load_reads_streams_and_refuses_broken_ones() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        load = Load(f"http://127.0.0.1:{server.server_port}", "model", 2)
        told = load.run([Asked([1, 2], 9)] * 3)
        assert [(one.text, one.tokens, one.first > 0) for one in told] == [("some", 9, True)] * 3
        with pytest.raises(RuntimeError, match="broke off after 2 events"):
            load.run([Asked([0], 9)])
        server.shutdown()
