"""`hanji chat` and `hanji predict`, on a tiny random model that was told when to end."""

import pytest
import torch
from typer.testing import CliRunner

from hanji.cli.app import app
from hanji.cli.predict import BAR_CHARACTERS, bar
from hanji.models.load import load_model
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory):
    from transformers import LlamaConfig, LlamaForCausalLM

    directory = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(iter(["한지는 닥나무로 만든 종이. hello there"] * 3), vocab_size=300)
    tokenizer.save(directory)
    torch.manual_seed(1)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=tokenizer.vocabulary_size, max_position_embeddings=96, initializer_range=0.3, **shape
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def hanji(*arguments, said=None):
    return CliRunner().invoke(app, [*map(str, arguments)], input=said, env={"COLUMNS": "120"})


def answer_by_hand(directory, messages, new_tokens):
    tokenizer, model = Tokenizer.load(directory), load_model(directory).eval()
    ids = tokenizer.encode_chat(messages, add_generation_prompt=True).ids.tolist()
    before = len(ids)
    for _ in range(new_tokens):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in tokenizer.eos_ids:
            break
    return tokenizer.decode(ids[before:], skip_special_tokens=True)


def test_each_line_of_a_pipe_is_a_turn_of_one_conversation(model_directory):
    result = hanji("chat", model_directory, "--max-new-tokens", 6, said="hello\n\nthere\n")
    first = answer_by_hand(model_directory, [{"role": "user", "content": "hello"}], 6)
    told = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": first}]
    second = answer_by_hand(model_directory, [*told, {"role": "user", "content": "there"}], 6)
    assert result.exit_code == 0
    assert result.stdout == f"{first}\n{second}\n"


def test_reset_begins_anew_and_quit_ends(model_directory):
    result = hanji(
        "chat", model_directory, "--max-new-tokens", 5, said="hello\n/reset\nhello\n/quit\nhello\n"
    )
    once = answer_by_hand(model_directory, [{"role": "user", "content": "hello"}], 5)
    assert result.stdout == f"{once}\n{once}\n"


def test_the_system_prompt_opens_every_conversation(model_directory):
    result = hanji("chat", model_directory, "--max-new-tokens", 5, "--system", "한지", said="/reset\nhello")
    messages = [{"role": "system", "content": "한지"}, {"role": "user", "content": "hello"}]
    assert result.stdout == answer_by_hand(model_directory, messages, 5) + "\n"


def test_a_sampled_conversation_is_the_same_with_the_same_seed(model_directory):
    def talk(seed):
        options = ("--temperature", 1.5, "--seed", seed, "--max-new-tokens", 8)
        return hanji("chat", model_directory, *options, said="hello\nhello\n").stdout

    assert talk(1) == talk(1) != talk(2)


def test_an_answer_that_was_cut_off_says_so_beside_the_output(model_directory):
    result = hanji("chat", model_directory, "--max-new-tokens", 1, said="hello")
    assert "cut off" in result.stderr and "cut off" not in result.stdout


def test_a_conversation_longer_than_the_context_is_refused_with_what_to_do(model_directory):
    result = hanji("chat", model_directory, said="hello there " * 100)
    assert result.exit_code == 1
    assert "/reset" in result.stderr


def test_a_model_without_a_template_is_refused(model_directory, tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((model_directory / name).read_bytes())
    result = hanji("chat", tmp_path, said="hello")
    assert result.exit_code == 1
    assert "hanji predict" in result.stderr


def test_a_mistyped_name_is_refused_with_what_there_is(tmp_path):
    result = hanji("predict", "quickstrat", "hello", "--runs", tmp_path)
    assert result.exit_code == 1
    assert "quickstrat" in result.stderr


def test_predict_shows_the_most_probable_tokens_with_their_probabilities(model_directory):
    result = hanji("predict", model_directory, "hello", "--top", 4)
    tokenizer, model = Tokenizer.load(model_directory), load_model(model_directory).eval()
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode_prompt("hello")])).logits[0, -1]
    probabilities, ids = logits.softmax(-1).topk(4)
    rows = [line for line in result.stdout.splitlines() if "%" in line and "others" not in line]
    assert len(rows) == 4
    for row, probability, index in zip(rows, probabilities.tolist(), ids.tolist(), strict=True):
        assert f"{probability:.2%}" in row
        assert row.split()[-1] == str(index)
    assert "all others" in result.stdout


@pytest.mark.parametrize(("share", "length"), [(1, BAR_CHARACTERS), (0.5, BAR_CHARACTERS // 2), (0, 0)])
def test_a_bar_is_as_long_as_its_share(share, length):
    assert bar(share) == "█" * length
