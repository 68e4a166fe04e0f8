"""Pairs of answers: two documents a row, of which the answers are learned, and nothing before them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hanji.contracts.batch import IGNORED
from hanji.contracts.protocols import Task
from hanji.objectives.answer_pairs import AnswerPairs
from hanji.objectives.dpo import DirectPreferenceOptimisation
from hanji.objectives.reward import Reward
from hanji.tokenizers.tokenizer import Tokenizer
from objectives.encoders import Numbers, trained

ASK = {"role": "user", "content": "What is hanji?"}
EARLIER = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Good day."},
    {"role": "system", "content": "Be brief."},
]


def say(*texts: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text} for text in texts]


def row(chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {"messages": [*EARLIER, ASK], "chosen": say(chosen), "rejected": say(rejected), **more}


def bound(encoder: Any) -> AnswerPairs:
    objective = Reward()
    objective.bind(Task(encoder, 512))
    return objective


ROWS = [row("Korean paper.", "A fish.", margin=1.5), row("닥나무 종이.", "I do not know.", margin=None)]


def test_both_chats_are_the_templates_and_only_the_answer_is_trained() -> None:
    tokenizer = trained("bpe")
    objective = bound(tokenizer)
    rows = objective.encode(ROWS, tokenizer)
    batch = objective.collate(rows)
    assert len(rows) == 2 and batch.rows == 2 and len(batch.lengths) == 4
    parts = zip(batch.input_ids.split(batch.lengths), batch.labels.split(batch.lengths), strict=True)
    answers = [(row["messages"] + row[name], row[name]) for row in ROWS for name in ("chosen", "rejected")]
    for (chat, answer), (ids, labels) in zip(answers, parts, strict=True):
        assert ids.tolist() == tokenizer.encode_chat(chat).ids.tolist()
        learned = labels[labels != IGNORED].tolist()
        assert tokenizer.decode(learned) == answer[0]["content"] + "<|im_end|>"
        assert torch.equal(labels[:-1][labels[:-1] != IGNORED], ids[1:][labels[:-1] != IGNORED])
    assert batch.targets is not None and batch.targets.tolist() == [[1.5], [0.0]]
    assert batch.segments is None
    assert objective.counts(batch) == {"pairs": 2.0}


def test_an_answer_of_several_turns_is_learned_whole() -> None:
    tokenizer = trained("bpe")
    tool = {"role": "tool", "content": "paper"}
    pair = {
        "messages": [*EARLIER, ASK],
        "chosen": [*say("Wait."), tool, *say("Paper.")],
        "rejected": say("Fish."),
    }
    rows = bound(tokenizer).encode([pair], tokenizer)
    assert rows.borders is not None
    learned = rows.ids[: rows.borders[0]][rows.trained[: rows.borders[0]]]
    assert tokenizer.decode(learned.tolist()) == "Wait.<|im_end|>Paper.<|im_end|>"


def test_pairs_stay_together_when_a_batch_is_cut() -> None:
    tokenizer = trained("bpe")
    objective = bound(tokenizer)
    batch = objective.collate(objective.encode(ROWS * 3, tokenizer))
    parts = list(batch.split(1))
    assert [part.rows for part in parts] == [1] * 6
    assert [part.lengths for part in parts] == [batch.lengths[at : at + 2] for at in range(0, 12, 2)]
    for index, part in enumerate(parts):
        assert part.targets is not None and part.targets.tolist() == [[1.5 if index % 2 == 0 else 0.0]]
    assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)


@pytest.mark.parametrize("which", ["minilm", "wordpiece"])
def test_without_a_template_they_are_two_texts_as_the_tokenizer_frames_them(
    which: str, minilm_directory: Path
) -> None:
    tokenizer = Tokenizer.load(minilm_directory) if which == "minilm" else trained("wordpiece")
    objective = bound(tokenizer)
    batch = objective.collate(objective.encode(ROWS, tokenizer))
    assert batch.segments is not None
    parts = zip(
        *(part.split(batch.lengths) for part in (batch.input_ids, batch.segments, batch.labels)), strict=True
    )
    prompt = "\n".join(message["content"] for message in [*EARLIER, ASK])
    for answer, (ids, types, labels) in zip(
        [row[name][0]["content"] for row in ROWS for name in ("chosen", "rejected")], parts, strict=True
    ):
        theirs = tokenizer.hf(prompt, answer)
        assert (ids.tolist(), types.tolist()) == (theirs.input_ids, theirs.token_type_ids)
        learned = labels[labels != IGNORED].numpy()
        assert learned.tolist() == tokenizer.encode_texts([answer])[0].tolist()


def test_an_empty_answer_is_an_empty_second_text() -> None:
    encoder = Numbers(200)
    objective = bound(encoder)
    pair = {"messages": [{"role": "user", "content": "5 6"}], "chosen": say("7 8"), "rejected": say("")}
    batch = objective.collate(objective.encode([pair], encoder))
    assert batch.input_ids.tolist() == [2, 5, 6, 3, 7, 8, 3, 2, 5, 6, 3, 3]
    assert batch.segments is not None
    assert batch.segments.tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1]


def test_a_tokenizer_that_tells_no_types_has_no_segments() -> None:
    encoder = Numbers(200, has_segments=False)
    objective = bound(encoder)
    pair = {"messages": [{"role": "user", "content": "5 6"}], "chosen": say("7 8"), "rejected": say("9")}
    assert objective.collate(objective.encode([pair], encoder)).segments is None


def test_dpo_and_reward_read_the_same_rows() -> None:
    tokenizer = trained("bpe")
    for objective in (Reward(), DirectPreferenceOptimisation()):
        objective.bind(Task(tokenizer, 512))
        assert objective.rows == "preference"
        rows = objective.encode(ROWS, tokenizer)
        assert rows.borders is not None and (rows.borders > 0).all() and (rows.borders < rows.lengths).all()
        assert np.array_equal(rows.ids, bound(tokenizer).encode(ROWS, tokenizer).ids)
