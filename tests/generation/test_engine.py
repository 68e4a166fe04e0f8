"""Continuous batching, held against transformers' own `generate`, one prompt at a time."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hanji.contracts.errors import ConfigError, ModelError
from hanji.generation import Engine, Piece, Request, Sampling
from hanji.generation.decoders import PlainDecoder, SlotDecoder
from tiny_models import FAMILIES, VOCABULARY, Ids, tiny

IN_SLOTS = set(FAMILIES) - {"falcon", "mamba"}
"""Falcon calls no attention but its own, and Mamba has none: they are decoded one by one."""


def prompts(count: int, longest: int = 60) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    sizes = torch.randint(1, longest, (count,), generator=generator).tolist()
    return [torch.randint(3, VOCABULARY, (size,), generator=generator).tolist() for size in sizes]


def by_transformers(model: Any, prompt: list[int], new: int) -> list[int]:
    ids = torch.tensor([prompt])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, pad_token_id=0
    )
    return output[0, len(prompt) :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_equal_those_of_transformers(family: str) -> None:
    model = tiny(family)
    asked = prompts(7)
    with Engine(model, Ids(2), slots=3, block=16) as engine:
        kind = SlotDecoder if family in IN_SLOTS else PlainDecoder
        assert isinstance(engine._decoder, kind)
        answers = engine.run(Request(prompt=prompt, max_new_tokens=24) for prompt in asked)
    for prompt, answer in zip(asked, answers, strict=True):
        assert answer.ids == by_transformers(model, prompt, 24)
        assert answer.finish_reason == ("stop" if answer.ids[-1] == 2 else "length")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("length", [17, 33, 49])
def test_a_prompt_that_ends_one_token_after_a_block_is_read_in_order(
    family: str, slots: int, length: int
) -> None:
    """After another in its slot, several blocks a pass."""
    before, prompt = ([*range(start, start + length)] for start in (100, 20))
    with Engine(tiny(family), Ids(), slots=slots, block=16, prefix_bytes=0) as engine:
        asked = [
            Request(prompt=ids, max_new_tokens=8, stop_ids=(), prompt_logprobs=0) for ids in (before, prompt)
        ]
        answers = [engine.run([one])[0] for one in asked]
    assert answers[1].ids == by_transformers(tiny(family), prompt, 8)
    with torch.no_grad():
        logits = tiny(family)(input_ids=torch.tensor([prompt])).logits[0].log_softmax(-1)
    told = [one.logprob for one in answers[1].prompt_logprobs]
    expected = logits[:-1].gather(1, torch.tensor(prompt[1:])[:, None])[:, 0].tolist()
    assert told == pytest.approx(expected, abs=1e-4)


def drawn(seed: int, **changes: Any) -> Sampling:
    return Sampling(temperature=1.3, seed=seed, **changes)


@pytest.mark.parametrize("settings", [{}, {"top_k": 40, "top_p": 0.9, "min_p": 0.01}])
def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(settings: dict[str, Any]) -> None:
    model = tiny("llama")
    asked = [
        Request(prompt=prompt, sampling=drawn(index, **settings), max_new_tokens=40, logprobs=0)
        for index, prompt in enumerate(prompts(9))
    ]
    with Engine(model, Ids(2), slots=4) as engine:
        together = engine.run(asked)
        alone = [engine.run([request])[0] for request in asked]
        with_others = engine.run([asked[0], Request(prompt=[5] * 150, max_new_tokens=60)])[0]
    assert [answer.ids for answer in together] == [answer.ids for answer in alone]
    assert [answer.logprobs for answer in together] == [answer.logprobs for answer in alone]
    assert with_others.logprobs == alone[0].logprobs


def test_logprobs_are_the_models_own() -> None:
    model = tiny("llama")
    prompt = prompts(1)[0]
    request = Request(prompt=prompt, sampling=drawn(3), max_new_tokens=12, logprobs=4, prompt_logprobs=2)
    with Engine(model, Ids(2), slots=2, block=8) as engine:
        answer = engine.run([request])[0]
    with torch.no_grad():
        table = model(torch.tensor([prompt + answer.ids])).logits[0].log_softmax(-1)
    told = [*answer.prompt_logprobs, *answer.logprobs]
    following = (prompt + answer.ids)[1:]
    assert [one.token for one in told] == following
    for place, (one, token) in enumerate(zip(told, following, strict=True)):
        assert one.logprob == pytest.approx(float(table[place, token]), abs=1e-4)
        best = table[place].topk(len(one.top))
        assert [token for token, _ in one.top] == best.indices.tolist()
    assert {len(one.top) for one in answer.logprobs} == {4}


def test_a_shared_prefix_is_read_once_and_changes_no_bit() -> None:
    model, shared = tiny("qwen3"), prompts(1, 61)[0] * 3
    asked = [Request(prompt=[*shared[:70], 10 + index], max_new_tokens=8, logprobs=0) for index in range(5)]
    with Engine(model, Ids(2), slots=2, block=16, prefix_bytes=0) as engine:
        expected = engine.run(asked)
    with Engine(model, Ids(2), slots=2, block=16) as engine:
        found = engine.run(asked)
        assert [answer.reused for answer in found] == [0, 64, 64, 64, 64]
        again = engine.run(asked)
        assert {answer.reused for answer in again} == {64}
        one_block = engine.prefixes.nbytes // 4
    for answers in (found, again):
        assert [answer.logprobs for answer in answers] == [answer.logprobs for answer in expected]
    with Engine(model, Ids(2), slots=2, block=16, prefix_bytes=one_block * 2) as engine:
        forgetful = engine.run([*asked, *asked])
        assert engine.prefixes.nbytes <= one_block * 2
    assert [answer.ids for answer in forgetful] == [answer.ids for answer in [*expected, *expected]]


def test_stop_strings_end_an_answer_before_them() -> None:
    model = tiny("llama")
    prompt = prompts(1)[0]
    with Engine(model, Ids(2), slots=1) as engine:
        free = engine.run([Request(prompt=prompt, max_new_tokens=12, stop_ids=())])[0]
        third, fourth = (f"<{token}>" for token in free.ids[3:5])
        pieces: list[Piece] = []
        request = Request(
            prompt=prompt, max_new_tokens=12, stop_ids=(), stop=(third[2:] + fourth[:2], "none")
        )
        handle = engine.submit(request, pieces.append)
        while engine.step():
            pass
    assert handle.answer.finish_reason == "stop"
    assert handle.answer.stopped_by == third[2:] + fourth[:2]
    assert handle.answer.text == free.text[: free.text.index(third[2:] + fourth[:2])]
    assert "".join(piece.text for piece in pieces) == handle.answer.text
    assert [token for piece in pieces for token in piece.ids] == free.ids[:5]


def test_one_whom_nobody_waits_for_leaves_its_slot_at_the_next_step() -> None:
    with Engine(tiny("llama"), Ids(2), slots=1) as engine:
        first = engine.submit(Request(prompt=[5], max_new_tokens=100, stop_ids=()))
        second = engine.submit(Request(prompt=[6], max_new_tokens=3, stop_ids=()))
        third = engine.submit(Request(prompt=[7], max_new_tokens=3, stop_ids=()))
        for _ in range(4):
            engine.step()
        first.cancel()
        third.cancel()
        engine.step()
        assert first.answer.finish_reason == third.answer.finish_reason == "cancelled"
        assert second.slot == 0
        while engine.step():
            pass
    assert len(second.answer.ids) == 3


def test_values_that_are_not_finite_fail_one_request_and_harm_no_other() -> None:
    model = tiny("llama")
    rows = model.get_input_embeddings().weight
    with torch.no_grad():
        rows[7] = float("nan")
        model.lm_head.weight = torch.nn.Parameter(rows.nan_to_num().clone())
    with Engine(model, Ids(2), slots=1) as engine:
        expected = engine.run([Request(prompt=[5, 6], max_new_tokens=6, logprobs=0)])[0]
        damaged = engine.submit(Request(prompt=[5, 7], max_new_tokens=6))
        while engine.step():
            pass
        assert isinstance(damaged.answer.error, ModelError)
        after = engine.run([Request(prompt=[5, 6], max_new_tokens=6, logprobs=0)])[0]
    assert after.logprobs == expected.logprobs


def test_an_answer_ends_where_the_context_does() -> None:
    with Engine(tiny("llama"), Ids(2), slots=2, context=20) as engine:
        answer = engine.run([Request(prompt=[5] * 15, max_new_tokens=50, stop_ids=())])[0]
        assert (len(answer.ids), answer.finish_reason) == (5, "length")
        with pytest.raises(ModelError, match="leaves no room"):
            engine.submit(Request(prompt=[5] * 20))
        with pytest.raises(ModelError, match="no tokens"):
            engine.submit(Request(prompt=[]))


def test_tokens_that_the_model_has_not_are_refused_before_anything_runs() -> None:
    with Engine(tiny("llama"), Ids(2), slots=1) as engine:
        for odd in (
            {"prompt": [5, VOCABULARY]},
            {"prompt": [-1]},
            {"prompt": [5], "sampling": Sampling(logit_bias={VOCABULARY: 1.0})},
        ):
            with pytest.raises(ConfigError, match="no such token"):
                engine.submit(Request(**odd))
        assert not engine.step()


def test_the_memory_bounds_the_context() -> None:
    model = tiny("llama")
    token = 2 * 2 * 2 * 8 * 4  # keys and values, layers, key heads, head size, bytes
    with Engine(model, Ids(2), slots=4, cache_bytes=4 * 150 * token) as engine:
        assert engine.context == 128
        engine.run([Request(prompt=[5], max_new_tokens=4)])
        assert engine._decoder.cache.nbytes == 4 * 129 * token
    with pytest.raises(ConfigError, match="too long"):
        Engine(model, Ids(2), slots=4, cache_bytes=4 * 150 * token, context=140)


def test_afterwards_the_model_is_as_it_was() -> None:
    model = tiny("llama").train()
    attention = model.config._attn_implementation
    with Engine(model, Ids(2), slots=2) as engine:
        engine.run([Request(prompt=[5], max_new_tokens=2)])
    assert model.training
    assert model.config._attn_implementation == attention


def test_pieces_of_a_stream_join_to_the_answer_and_closing_it_frees_the_slot() -> None:
    request = Request(prompt=prompts(1)[0], sampling=drawn(5), max_new_tokens=24)
    with Engine(tiny("llama"), Ids(2), slots=1) as engine:
        expected = engine.run([request])[0]
        pieces = list(engine.stream(request))
        assert "".join(piece.text for piece in pieces) == expected.text
        assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
        left = engine.stream(request)
        next(left)
        left.close()
        assert not engine.running
        assert engine.run([request])[0] == expected


class Broken:
    """A constraint that comes to its end after two tokens."""

    def __init__(self) -> None:
        self.seen = 0

    def allowed(self) -> torch.Tensor:
        if self.seen > 1:
            raise ConfigError("this grammar cannot be followed")
        return torch.ones(VOCABULARY, dtype=torch.bool)

    def accept(self, token: int) -> None:
        self.seen += 1


def test_a_constraint_that_fails_harms_no_other_request() -> None:
    with Engine(tiny("llama"), Ids(2), slots=2) as engine:
        broken = engine.submit(Request(prompt=[5], constraint=Broken(), max_new_tokens=9))
        fine = engine.submit(Request(prompt=[6], max_new_tokens=9, stop_ids=()))
        while engine.step():
            pass
    assert isinstance(broken.answer.error, ConfigError)
    assert len(fine.answer.ids) == 9


def test_an_engine_that_cannot_be_made_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = tiny("llama").train()
    attention = model.config._attn_implementation
    with pytest.raises(ModelError, match="no adapter"):
        Engine(model, Ids(2), adapters={"none": tmp_path})
    assert model.training
    assert model.config._attn_implementation == attention
