"""The ids of a chat are its template's, what is typed stays text, and the answers are what is trained."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from hanji.contracts.errors import DataError, ModelError
from hanji.tokenizers.tokenizer import Tokenizer
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

FAMILIES = [
    *("blank", "chatml", "chatml-marked", "chatml-marked-content"),
    *("llama3", "mistral", "gemma", "zephyr", "phi", "qwen"),
]
NO_SYSTEM = {"gemma"}
TRIMMED = {"blank", "llama3", "gemma"}
TYPED = [
    "<|im_end|>",
    "<|im_start|>",
    "</s>",
    "<s>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "[INST]",
]
Make = Callable[..., Tokenizer]

properties = settings(
    deadline=None,
    max_examples=12,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
words = st.text(
    st.one_of(st.sampled_from("ab Zé한글 漢0 1.,!?\n\t'<|>"), st.characters(exclude_categories=["Cs"])),
    max_size=30,
)
typing = st.lists(st.one_of(words, st.sampled_from(TYPED)), max_size=5).map("".join)


def chats(content: st.SearchStrategy[str], *, system: bool = True) -> st.SearchStrategy[list[dict[str, str]]]:
    """One to three turns; no answer begins with a space, which a token of the prompt could swallow."""
    answer = content.map(str.lstrip).map(lambda text: text or "yes")
    turn = st.tuples(content, answer).map(
        lambda pair: [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    )
    opening = st.lists(content.map(lambda text: {"role": "system", "content": text}), max_size=1)
    turns = st.lists(turn, min_size=1, max_size=3)
    return st.tuples(opening if system else st.just([]), turns).map(
        lambda parts: sum(parts[1], list(parts[0]))
    )


def template_ids(tokenizer: Tokenizer, messages: list[dict[str, Any]], **options: Any) -> list[int]:
    return tokenizer.hf.apply_chat_template(messages, tokenize=True, return_dict=False, **options)


def reference_ids(tokenizer: Tokenizer, messages: list[dict[str, str]]) -> list[int]:
    """What the ids must be, by other means: letters instead of typed tokens, then stretch by stretch."""
    special = {
        token.content: index for index, token in tokenizer.hf.added_tokens_decoder.items() if token.special
    }
    either = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))))
    stand_in = {token: f"qzq{index}zqz" for index, token in enumerate(special)}
    back = {letters: token for token, letters in stand_in.items()}
    hidden = [
        {name: either.sub(lambda found: stand_in[found.group()], text) for name, text in message.items()}
        for message in messages
    ]
    rendered = tokenizer.hf.apply_chat_template(hidden, tokenize=False)
    backend = type(tokenizer.hf.backend_tokenizer).from_str(tokenizer.hf.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    ids: list[int] = []
    for part in re.split(f"({either.pattern})", rendered):
        typed = re.sub(r"qzq\d+zqz", lambda found: back[found.group()], part)
        plain = part not in special
        ids += (
            backend.encode(typed, add_special_tokens=False).ids
            if plain and part
            else [special[part]]
            if part
            else []
        )
    return ids


def runs(trained: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], trained.astype(int), [0]])))
    return list(zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True))


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
@pytest.mark.parametrize("name", FAMILIES)
@properties
@given(data=st.data())
def test_ids_are_the_templates_own(make_family: Make, name: str, kind: str, data: st.DataObject) -> None:
    tokenizer = make_family(name, kind)
    plain = words.filter(lambda text: not any(token in text for token in tokenizer.hf.added_tokens_encoder))
    messages = data.draw(chats(plain, system=name not in NO_SYSTEM))
    encoded = tokenizer.encode_chat(messages)
    assert encoded.ids.tolist() == template_ids(tokenizer, messages)
    assert encoded.ids.dtype == np.int32 and encoded.trained.shape == encoded.ids.shape


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
@pytest.mark.parametrize("name", FAMILIES)
@properties
@given(data=st.data())
def test_typed_control_tokens_stay_text(make_family: Make, name: str, kind: str, data: st.DataObject) -> None:
    tokenizer = make_family(name, kind)
    messages = data.draw(chats(typing, system=name not in NO_SYSTEM))
    encoded = tokenizer.encode_chat(messages)
    assert encoded.ids.tolist() == reference_ids(tokenizer, messages)
    if kind == "bytes":
        assert tokenizer.decode(encoded.ids.tolist()) == tokenizer.hf.apply_chat_template(
            messages, tokenize=False
        )


@pytest.mark.parametrize("name", FAMILIES)
@properties
@given(data=st.data())
def test_trained_tokens_are_the_answers(
    make_family: Make, end_of_turn: dict[str, str], name: str, data: st.DataObject
) -> None:
    tokenizer = make_family(name)
    messages = data.draw(chats(typing, system=name not in NO_SYSTEM))
    encoded = tokenizer.encode_chat(messages)
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    said = [
        (" " if name == "mistral" else "") + (text.strip() if name in TRIMMED else text) for text in answers
    ]
    stretches = runs(encoded.trained)
    found = [tokenizer.decode(encoded.ids[start:end].tolist()) for start, end in stretches]
    assert found == [text + end_of_turn[name] for text in said]
    end_id = tokenizer.hf.convert_tokens_to_ids(end_of_turn[name])
    assert all(encoded.ids[end - 1] == end_id for _, end in stretches)
    assert encoded.text_bytes == sum(len(text.encode()) for text in said)


@pytest.mark.parametrize("name", FAMILIES)
@properties
@given(data=st.data())
def test_a_served_prompt_begins_what_was_trained(make_family: Make, name: str, data: st.DataObject) -> None:
    tokenizer = make_family(name)
    messages = data.draw(chats(typing, system=name not in NO_SYSTEM))
    prompt = tokenizer.encode_chat(messages[:-1], add_generation_prompt=True)
    whole = tokenizer.encode_chat(messages)
    assert whole.ids[: len(prompt.ids)].tolist() == prompt.ids.tolist()
    assert runs(whole.trained)[-1][0] == len(prompt.ids)
    assert not prompt.trained.any() and prompt.text_bytes == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_many_at_once_are_as_one_by_one(make_family: Make, name: str) -> None:
    tokenizer = make_family(name)
    many = [
        (
            [
                {"role": "user", "content": f"{index} <|im_end|>" * index},
                {"role": "assistant", "content": f"안녕 {index}"},
            ],
            None,
        )
        for index in range(1, 9)
    ]
    together = tokenizer.encode_chats(many)
    for (messages, _), encoded in zip(many, together, strict=True):
        alone = tokenizer.encode_chat(messages)
        assert alone.ids.tolist() == encoded.ids.tolist()
        assert alone.trained.tolist() == encoded.trained.tolist()
        assert alone.text_bytes == encoded.text_bytes
    assert tokenizer.encode_chats([]) == []


def test_marks_and_rendering_agree(make_family: Make) -> None:
    """The same template with its marks taken away gives the same mask."""
    marked, unmarked = make_family("blank"), make_family("blank-unmarked")
    chat = [
        {"role": "system", "content": "짧게 답해."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "<|im_end|> and 2 + 2?"},
        {"role": "assistant", "content": "4 <|im_end|>\n4"},
    ]
    with_marks, without = marked.encode_chat(chat), unmarked.encode_chat(chat)
    assert with_marks.ids.tolist() == without.ids.tolist()
    assert with_marks.trained.tolist() == without.trained.tolist()
    assert with_marks.text_bytes == without.text_bytes


def test_private_use_characters_in_a_message_are_no_control_tokens(make_family: Make) -> None:
    tokenizer = make_family("llama3")
    names = "".join(map(chr, range(0xF0000, 0xF0030))) + "\U0010fffd<|eot_id|>"
    encoded = tokenizer.encode_chat(
        [{"role": "user", "content": names}, {"role": "assistant", "content": names}]
    )
    assert tokenizer.decode(encoded.ids.tolist()).count(names) == 2
    assert encoded.ids.tolist().count(tokenizer.hf.convert_tokens_to_ids("<|eot_id|>")) == 2


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"city": {"type": "string"}}}}]
CALLS = [
    {"role": "user", "content": "서울 날씨?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"function": {"name": "weather", "arguments": {"city": "서울 <|im_end|>", "<|im_end|>": 1}}}
        ],
    },
    {"role": "tool", "content": "맑음 <|im_end|>"},
    {"role": "assistant", "content": "맑아요."},
]


@pytest.mark.parametrize("name", ["blank", "qwen"])
def test_tools_and_calls(make_family: Make, name: str) -> None:
    tokenizer = make_family(name)
    encoded = tokenizer.encode_chat(CALLS, tools=TOOLS)
    rendered = tokenizer.hf.apply_chat_template(CALLS, tools=TOOLS, tokenize=False)
    assert tokenizer.decode(encoded.ids.tolist()) == rendered
    end = tokenizer.hf.convert_tokens_to_ids("<|im_end|>")
    assert (
        encoded.ids.tolist().count(end) == 5
    )  # system, user, call, tool, answer: none of those that were typed
    call, answer = (tokenizer.decode(encoded.ids[start:end].tolist()) for start, end in runs(encoded.trained))
    assert '"arguments": {"city": "서울 <|im_end|>", "<|im_end|>": 1}' in call and call.endswith("<|im_end|>")
    assert answer == "맑아요.<|im_end|>"
    prompt = tokenizer.encode_chat(CALLS[:3], tools=TOOLS, add_generation_prompt=True)
    assert encoded.ids[: len(prompt.ids)].tolist() == prompt.ids.tolist()


def test_words_that_are_tokens_but_not_special_stay_tokens(make_family: Make) -> None:
    tokenizer = make_family("qwen")
    chat = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nyes"},
    ]
    encoded = tokenizer.encode_chat(chat)
    assert encoded.ids.tolist() == template_ids(tokenizer, chat)
    assert tokenizer.hf.convert_tokens_to_ids("<think>") in encoded.ids[encoded.trained]


def test_a_template_that_drops_earlier_reasoning_is_refused_beyond_one_turn(make_family: Make) -> None:
    tokenizer = make_family("qwen")
    turn = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "yes", "reasoning_content": "let me see"},
    ]
    said = tokenizer.encode_chat(turn)
    assert (
        tokenizer.decode(said.ids[said.trained].tolist()) == "<think>\nlet me see\n</think>\n\nyes<|im_end|>"
    )
    with pytest.raises(DataError, match="writes an earlier answer otherwise than the last"):
        tokenizer.encode_chat(turn + turn)


@pytest.mark.parametrize(
    ("name", "chat", "reason"),
    [
        ("blank", [], "without messages"),
        (
            "gemma",
            [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}],
            "knows no system role",
        ),
        ("blank", [{"role": "narrator", "content": "x"}], "narrator"),
        ("chatml", [{"role": "user", "content": None}], "cannot write this chat"),
        ("llama3", [{"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}], "drops calls"),
        ("llama3", [{"role": "assistant", "content": "x", "reasoning_content": "y"}], "holds reasoning"),
        ("mistral", [{"role": "assistant", "content": "first"}], "take turns"),
    ],
)
def test_what_a_template_cannot_write_is_refused(
    make_family: Make, name: str, chat: list[dict[str, Any]], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        make_family(name).encode_chat(chat)


def test_tools_that_a_template_ignores_are_refused(make_family: Make) -> None:
    with pytest.raises(DataError, match="knows none"):
        make_family("llama3").encode_chat([{"role": "user", "content": "?"}], tools=TOOLS)


def test_a_token_across_the_border_is_refused(make_family: Make) -> None:
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "\n\nyes"}]
    assert make_family("blank").encode_chat(chat).trained.any()  # it trims
    with pytest.raises(DataError, match="no border of a token"):
        make_family("chatml").encode_chat(chat)


def test_a_prompt_whose_tokens_change_when_the_answer_follows_is_refused() -> None:
    """GPT-2's pattern takes two newlines apart before a letter, though no token spans the border."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|im_end|>"])
    backend.train_from_iterator(["\n\n"] * 200, trainer)
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    hf.chat_template = (
        "{% for m in messages %}{{ m.role + ':\n\n' + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:\n\n' }}{% endif %}"
    )
    assert len(hf("\n\n").input_ids) == 1 and len(hf("\n\na").input_ids) == 3
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "yes"}]
    with pytest.raises(DataError, match="no border of a token") as refused:
        Tokenizer(hf).encode_chat(chat)
    assert "?<|im_end|>assistant" in str(refused.value)


def test_a_template_that_escapes_what_it_writes(make_family: Make) -> None:
    template = str(make_family("chatml").chat_template)
    escaping = template.replace("message.content", "message.content | tojson(ensure_ascii=true)")
    tokenizer = with_template(make_family("chatml"), escaping)
    chat = [{"role": "user", "content": "한 <|im_end|>"}, {"role": "assistant", "content": "<s>지"}]
    encoded = tokenizer.encode_chat(chat)
    assert tokenizer.decode(encoded.ids.tolist()) == tokenizer.hf.apply_chat_template(chat, tokenize=False)
    assert encoded.ids.tolist().count(tokenizer.eos_ids[0]) == 2


def with_template(tokenizer: Tokenizer, template: str) -> Tokenizer:
    hf = copy.deepcopy(tokenizer.hf)
    hf.chat_template = template
    return Tokenizer(hf)


MARKED = "{%% generation %%}%s{%% endgeneration %%}"
EACH = "{% for m in messages %}{{ m.role + '>' }}%s{% endfor %}"


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ("{{ m.content }}<|im_end|>bye", "goes on after the end of the turn"),
        ("{% generation %}{{ m.content }}{% endgeneration %}bye<|im_end|>", "stop short of the end"),
        ("{% generation %}{{ m.content }}<|im_end|>bye{% endgeneration %}", "go on after the end"),
        ("{{ m.content if loop.last or m.role == 'user' else 'ABC' }}<|im_end|>", "otherwise than the last"),
        ("{{ m.content + ('<|im_end|>' if loop.index0 < 2 else '') }}", "nothing in the chat template ends"),
    ],
)
def test_an_uncertain_mask_is_refused(make_family: Make, turn: str, reason: str) -> None:
    prompt = "{% if add_generation_prompt %}{{ 'assistant>' }}{% endif %}"
    tokenizer = with_template(make_family("chatml"), EACH.replace("%s", turn) + prompt)
    chat = [{"role": role, "content": "abc"} for role in ("user", "assistant", "user", "assistant")]
    with pytest.raises(DataError, match=reason):
        tokenizer.encode_chat(chat)


def test_a_template_whose_prompt_is_not_how_answers_begin_is_refused(make_family: Make) -> None:
    prompt = "{% if add_generation_prompt %}{{ 'bot>' }}{% endif %}"
    tokenizer = with_template(make_family("chatml"), EACH.replace("%s", "{{ m.content }}<|im_end|>") + prompt)
    with pytest.raises(DataError, match="right after its own prompt") as refused:
        tokenizer.encode_chat([{"role": "user", "content": "?"}, {"role": "assistant", "content": "yes"}])
    assert refused.value.where == "message 1"


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ("{{ m.content }}{{ '<|end|>' if m.content == 'call' else '<|im_end|>' }}", "call<|end|>"),
        (
            f"{MARKED % '<think>'}{MARKED % '{{ m.content }}'}{{{{ '\\n' }}}}<|im_end|>",
            "<think>call\n<|im_end|>",
        ),
    ],
)
def test_turns_that_end_otherwise(make_family: Make, turn: str, said: str) -> None:
    """With another control token than usual; after several marks, and a line that the model must write."""
    prompt = "{% if add_generation_prompt %}{{ 'assistant>' }}{% endif %}"
    tokenizer = with_template(make_family("qwen"), EACH.replace("%s", turn) + prompt)
    encoded = tokenizer.encode_chat(
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": "call"}]
    )
    stretches = runs(encoded.trained)
    assert tokenizer.decode(encoded.ids[encoded.trained].tolist()).endswith(said)
    assert stretches[-1][1] == len(encoded.ids)


def test_several_templates(make_family: Make) -> None:
    hf = copy.deepcopy(make_family("chatml").hf)
    hf.chat_template = {
        "default": make_family("chatml").chat_template,
        "tool_use": make_family("qwen").chat_template,
    }
    tokenizer = Tokenizer(hf)
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "yes"}]
    assert tokenizer.encode_chat(chat).ids.tolist() == make_family("chatml").encode_chat(chat).ids.tolist()
    with_tools = tokenizer.encode_chat(chat, tools=TOOLS)
    assert with_tools.ids.tolist() == make_family("qwen").encode_chat(chat, tools=TOOLS).ids.tolist()
    hf.chat_template = {"tool_use": make_family("qwen").chat_template}
    with pytest.raises(ModelError, match="no default"):
        Tokenizer(hf).encode_chat(chat)


def test_a_template_without_an_end_of_turn(make_family: Make) -> None:
    tokenizer = make_family("endless")
    question = [{"role": "user", "content": "?"}]
    assert tokenizer.eos_ids == [tokenizer.eos_id]
    assert tokenizer.encode_chat(question, add_generation_prompt=True).ids.tolist() == template_ids(
        tokenizer, question, add_generation_prompt=True
    )
    with pytest.raises(ModelError, match="no token that ends"):
        tokenizer.encode_chat([*question, {"role": "assistant", "content": "yes"}])


def test_no_template_is_no_chat(make_trained: Make) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        make_trained("wordpiece").encode_chat([{"role": "user", "content": "?"}])


def test_an_error_names_the_chat(make_family: Make) -> None:
    good, bad = [{"role": "user", "content": "?"}], [{"role": "narrator", "content": "?"}]
    with pytest.raises(DataError) as refused:
        make_family("blank").encode_chats([(good, None), (good, None), (bad, None)])
    assert refused.value.where == "chat 2"


def test_threads_do_not_mix_their_chats(make_family: Make, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-6)
    tokenizer = make_family("blank")
    many = [
        [{"role": "user", "content": "가" * (index % 7)}, {"role": "assistant", "content": f"{index} 나"}]
        for index in range(200)
    ]
    alone = [tokenizer.encode_chat(messages) for messages in many]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(tokenizer.encode_chat, many))
    for one, other in zip(alone, together, strict=True):
        assert one.ids.tolist() == other.ids.tolist() and one.trained.tolist() == other.trained.tolist()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_end_of_an_answer_is_known(make_family: Make, end_of_turn: dict[str, str], name: str) -> None:
    tokenizer = make_family(name)
    assert tokenizer.eos_ids[0] == tokenizer.hf.convert_tokens_to_ids(end_of_turn[name])
    assert set(tokenizer.eos_ids) == {tokenizer.eos_ids[0], tokenizer.eos_id}
    assert tokenizer.pad_id not in tokenizer.eos_ids
    assert tokenizer.generation_settings()["eos_token_id"] == tokenizer.eos_ids


@settings(parent=properties, max_examples=10)
@given(messages=chats(typing))
def test_smollm2(smollm2: Tokenizer, messages: list[dict[str, str]]) -> None:
    """A real template, without marks, and a real vocabulary."""
    encoded = smollm2.encode_chat(messages)
    assert encoded.ids.tolist() == reference_ids(smollm2, messages)
    said = [message["content"] for message in messages if message["role"] == "assistant"]
    plain = [smollm2.encode_texts([text])[0].tolist() for text in said]
    found = [encoded.ids[start:end].tolist() for start, end in runs(encoded.trained)]
    assert found == [[*ids, 2] for ids in plain]
    prompt = smollm2.encode_chat(messages[:-1], add_generation_prompt=True)
    assert encoded.ids[: len(prompt.ids)].tolist() == prompt.ids.tolist()
