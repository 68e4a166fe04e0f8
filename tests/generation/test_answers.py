import pytest
import torch

from hanji.contracts.errors import ConfigError, ModelError
from hanji.generation import generate

PROMPTS = [list(b"The cat"), list(b"a"), list("한지".encode())]


def greedy_by_hand(model, prompt, new_tokens, stop=()):
    ids = list(prompt)
    for _ in range(new_tokens):
        with torch.no_grad():
            ids.append(int(model.eval()(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in stop:
            break
    return ids[len(prompt) :]


def test_greedy_answers_of_a_batch_equal_a_loop_by_hand(model, tokenizer):
    answers = generate(model, tokenizer, PROMPTS, max_new_tokens=12)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        assert answer.ids == greedy_by_hand(model, prompt, 12, stop=tokenizer.eos_ids)


def test_an_answer_ends_at_a_stop_token_and_says_so(model, tokenizer):
    free = greedy_by_hand(model, PROMPTS[0], 12)
    stop = free[4]
    cut = free.index(stop)
    answer = generate(model, tokenizer, PROMPTS, max_new_tokens=12, stop_ids=[stop])[0]
    assert answer.ids == free[: cut + 1]
    assert answer.finish_reason == "stop"
    assert answer.text == tokenizer.decode(free[:cut])


def test_without_stop_ids_an_answer_is_as_long_as_allowed(model, tokenizer):
    answer = generate(model, tokenizer, [PROMPTS[0]], max_new_tokens=12, stop_ids=[])[0]
    assert len(answer.ids) == 12
    assert answer.finish_reason == "length"


def test_the_same_seed_gives_the_same_answers_and_another_seed_others(model, tokenizer):
    def sampled(seed):
        return generate(model, tokenizer, PROMPTS, max_new_tokens=16, temperature=1.5, seed=seed)

    assert sampled(7) == sampled(7)
    assert sampled(7) != sampled(8)


def test_sampling_leaves_the_random_numbers_outside_alone(model, tokenizer):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    generate(model, tokenizer, PROMPTS, max_new_tokens=4, temperature=1.0, seed=1)
    assert torch.equal(torch.rand(4), expected)


def test_top_k_of_one_is_greedy(model, tokenizer):
    sampled = generate(model, tokenizer, PROMPTS, max_new_tokens=8, temperature=2.0, top_k=1)
    assert sampled == generate(model, tokenizer, PROMPTS, max_new_tokens=8)


def test_sampled_tokens_follow_the_models_probabilities(model, tokenizer):
    """4,000 first tokens against the softmax at that temperature: the total variation of honest sampling."""
    with torch.no_grad():
        logits = model.eval()(torch.tensor([PROMPTS[0]])).logits[0, -1]
    expected = (logits / 0.7).softmax(-1)
    answers = [
        answer
        for seed in range(125)
        for answer in generate(
            model, tokenizer, [PROMPTS[0]] * 32, max_new_tokens=1, temperature=0.7, seed=seed
        )
    ]
    seen = torch.bincount(torch.tensor([answer.ids[0] for answer in answers]), minlength=len(expected))
    of_honest_sampling = (2 * expected / (torch.pi * len(answers))).sqrt().sum() / 2
    assert (seen / len(answers) - expected).abs().sum() / 2 < 1.2 * of_honest_sampling


def test_the_models_own_generation_settings_do_not_slip_in(make_llama, tokenizer):
    model = make_llama()
    plain = generate(model, tokenizer, PROMPTS, max_new_tokens=12)
    own = model.generation_config
    own.repetition_penalty, own.do_sample, own.temperature, own.top_k, own.min_new_tokens = (
        5.0,
        True,
        3.0,
        3,
        9,
    )
    own.max_length = 3
    assert generate(model, tokenizer, PROMPTS, max_new_tokens=12) == plain


def test_training_mode_comes_back(make_llama, tokenizer):
    model = make_llama().train()
    model.model.layers[0].eval()
    generate(model, tokenizer, PROMPTS, max_new_tokens=2)
    assert model.training and not model.model.layers[0].training and model.model.layers[1].training


def test_an_answer_stops_where_the_context_ends(model_of_24_positions, tokenizer):
    answer = generate(model_of_24_positions, tokenizer, [[65] * 20], max_new_tokens=50, stop_ids=[])[0]
    assert len(answer.ids) == 4
    assert answer.finish_reason == "length"


@pytest.mark.parametrize("prompt", [[], [65] * 24, [65] * 30])
def test_a_prompt_that_cannot_be_answered_is_refused(model_of_24_positions, tokenizer, prompt):
    with pytest.raises(ModelError):
        generate(model_of_24_positions, tokenizer, [prompt])


@pytest.mark.parametrize(
    "setting", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"max_new_tokens": 0}]
)
def test_a_setting_out_of_range_is_refused_with_its_name(model, tokenizer, setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        generate(model, tokenizer, PROMPTS, **setting)


def test_many_long_prompts_take_turns_where_memory_is_short(model, tokenizer, monkeypatch):
    monkeypatch.setattr("hanji.generation.answers.CACHE_BYTES", 1)  # a single slot holds more
    prompts = [[*prompt] * 9 for prompt in PROMPTS]
    for prompt, answer in zip(
        prompts, generate(model, tokenizer, prompts, max_new_tokens=6, stop_ids=[]), strict=True
    ):
        assert answer.ids == greedy_by_hand(model, prompt, 6)
