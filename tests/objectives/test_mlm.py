"""Masked language modelling: how texts become rows, what is hidden of them, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hanji.contracts.batch import IGNORED
from hanji.contracts.errors import ConfigError
from hanji.contracts.protocols import Task
from hanji.contracts.random_keys import mix
from hanji.contracts.rows import TokenRows
from hanji.models.policies import policy_for
from hanji.objectives.mlm import MaskedLanguageModelling
from objectives.encoders import CLS, ENGLISH, KOREAN, MASK, SEP, UNKNOWN, Numbers, trained
from tiny_models import tiny


def bound(encoder: Any, sequence_length: int, **options: Any) -> MaskedLanguageModelling:
    objective = MaskedLanguageModelling(**options)
    objective.bind(Task(encoder, sequence_length))
    return objective


def encoded(texts: list[str], sequence_length: int, encoder: Any = None) -> TokenRows:
    encoder = encoder or Numbers(1000)
    return bound(encoder, sequence_length).encode([{"text": text} for text in texts], encoder)


def split(rows: TokenRows) -> list[list[int]]:
    return [part.tolist() for part in np.split(rows.ids, rows.offsets[1:-1])]


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(5, 20))
def test_pieces_lose_and_double_nothing(sizes: list[int], length: int) -> None:
    first = 5 + np.cumsum(sizes) - sizes
    texts = [[*range(start, start + size)] for start, size in zip(first, sizes, strict=True)]
    rows = encoded([" ".join(map(str, text)) for text in texts], length)
    pieces = split(rows)
    assert all(
        piece[0] == CLS and piece[-1] == SEP and 3 <= len(piece) <= length for piece in pieces if piece
    )
    inner = [piece[1:-1] for piece in pieces if piece]
    assert [index for piece in inner for index in piece] == [index for text in texts for index in text]
    # every piece of one text, and full but for its last
    owner = {index: number for number, text in enumerate(texts) for index in text}
    assert all(len({owner[index] for index in piece}) == 1 for piece in inner)
    assert len(inner) == sum(-(-size // (length - 2)) for size in sizes)
    assert rows.trained.tolist() == [index > MASK for index in rows.ids]
    assert rows.borders is None and rows.targets is None


def test_empty_texts_are_no_rows() -> None:
    assert len(encoded(["", "5 6", ""], 8)) == 1
    assert len(encoded([""], 8)) == 0


def test_a_text_that_fits_is_what_the_tokenizer_makes_of_it() -> None:
    tokenizer = trained("wordpiece")
    rows = encoded([ENGLISH, KOREAN], 512, tokenizer)
    assert split(rows) == [tokenizer.hf(text).input_ids for text in (ENGLISH, KOREAN)]


@pytest.mark.parametrize(("length", "needed"), [(4, 5), (2, 5)])
def test_a_sequence_too_short_for_text_is_refused(length: int, needed: int) -> None:
    with pytest.raises(ConfigError, match=f"at least {needed}") as caught:
        bound(Numbers(100), length)
    assert caught.value.where == "train.sequence_length"
    bound(Numbers(100), needed)


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="mask token"):
        bound(trained("bpe"), 64)
    bound(trained("bpe", "[MASK]"), 64)


@pytest.mark.parametrize(
    "options",
    [
        {"mask_rate": 0.0},
        {"mask_rate": 1.0},
        {"mask_units": "letters"},
        {"mask_share": 0.9, "random_share": 0.2},
        {"mask_share": -0.1},
        {"random_share": -0.1},
    ],
)
def test_what_is_no_share_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        MaskedLanguageModelling(**options)


def many(rows: int = 200, length: int = 64, seed: int = 0) -> tuple[MaskedLanguageModelling, TokenRows]:
    random = np.random.default_rng(seed)
    texts = [" ".join(map(str, random.integers(5, 1000, length - 2))) for _ in range(rows)]
    objective = bound(Numbers(1000), length)
    encoder = Numbers(1000)
    made = objective.encode([{"text": text} for text in texts], encoder)
    keyed = TokenRows(made.ids, made.lengths, made.trained, made.text_bytes, keys=mix(1, np.arange(rows)))
    return objective, keyed


def test_labels_are_what_is_hidden_and_nothing_else_is_changed() -> None:
    objective, rows = many()
    batch = objective.collate(rows)
    ids, labels, shown = torch.from_numpy(rows.ids).long(), batch.labels, batch.input_ids
    hidden = labels != IGNORED
    assert torch.equal(labels[hidden], ids[hidden])
    assert torch.equal(shown[~hidden], ids[~hidden])
    assert (hidden.view(200, 64).sum(1) == round(0.15 * 62)).all()
    assert objective.counts(batch) == {"tokens": 200 * round(0.15 * 62)}
    assert batch.segments is None and batch.targets is None
    changed = shown[shown != ids]
    assert ((changed == MASK) | (changed > MASK)).all()  # no other special token stands in
    assert (shown[hidden] == MASK).float().mean() == pytest.approx(0.8, abs=0.05)


def test_a_row_hides_the_same_tokens_in_any_batch_and_others_with_another_key() -> None:
    objective, rows = many()
    whole = objective.collate(rows)
    some = np.array([150, 3, 77])
    part = objective.collate(rows.take(some))
    for name in ("input_ids", "labels"):
        expected = getattr(whole, name).view(200, 64)[some].flatten()
        assert torch.equal(getattr(part, name), expected)
    other = TokenRows(rows.ids, rows.lengths, rows.trained, rows.text_bytes, keys=mix(2, np.arange(200)))
    both = (objective.collate(other).labels != IGNORED) & (whole.labels != IGNORED)
    assert float(both.sum()) / whole.trained_tokens == pytest.approx(9 / 62, abs=0.03)


def test_an_unknown_word_is_never_hidden() -> None:
    """It is a special token: there is nothing to learn in its name."""
    text = "-1 5 -1 6 7 -1 -1 8"
    rows = encoded([text] * 300, 16)
    assert (rows.ids == UNKNOWN).sum() == 4 * 300
    objective = bound(Numbers(1000), 16, mask_rate=0.9)
    batch = objective.collate(rows)
    labels = batch.labels[batch.labels != IGNORED]
    assert set(labels.tolist()) == {5, 6, 7, 8}
    assert (batch.input_ids == UNKNOWN).sum() == 4 * 300
    assert len(labels) == 300 * round(0.9 * 4)


@pytest.mark.parametrize("units", ["words", "spans"])
@pytest.mark.parametrize(("algorithm", "specials"), [("wordpiece", ()), ("bpe", ("[MASK]",))])
def test_whole_words_from_text_to_labels(units: Any, algorithm: str, specials: tuple[str, ...]) -> None:
    tokenizer = trained(algorithm, *specials)
    objective = bound(tokenizer, 512, mask_units=units)
    rows = objective.encode([{"text": f"{KOREAN} {ENGLISH}"}] * 50, tokenizer)
    hidden = (objective.collate(rows).labels != IGNORED).numpy()
    begins = ~tokenizer.continues_word[rows.ids] | ~rows.trained
    apart = np.flatnonzero(hidden[1:] != hidden[:-1]) + 1
    first_of_text = rows.offsets[:-1] + len(tokenizer.frame.before)
    assert (begins[apart] | np.isin(apart, first_of_text)).all()
    assert 0.14 < hidden.mean() < (0.2 if units == "words" else 0.28)  # the last of a short row goes over


def test_the_loss_is_the_mean_over_hidden_tokens() -> None:
    objective, rows = many(rows=6, length=30)
    ids = (rows.ids % 200 + 5 * (rows.ids % 200 < 5)).astype(np.int32)  # of the tiny model's vocabulary
    ids = np.where(rows.trained, ids, rows.ids).astype(np.int32)
    encoder = Numbers(200)
    objective = bound(encoder, 30)
    batch = objective.collate(TokenRows(ids, rows.lengths, rows.trained, rows.text_bytes, keys=rows.keys))
    policy = policy_for("masked", tiny("bert", "masked"), pad_id=0).eval()
    loss = objective.loss(policy, batch)
    with torch.no_grad():
        logits = tiny("bert", "masked").double()(input_ids=batch.input_ids.view(6, 30)).logits
    expected = F.cross_entropy(logits.flatten(0, 1), batch.labels)
    assert loss.normalised(objective.counts(batch)).item() == pytest.approx(float(expected), rel=1e-5)
    right = (logits.flatten(0, 1).argmax(-1) == batch.labels).sum()
    assert loss.metrics["accuracy"] == (float(right), "tokens")


def test_the_loss_does_not_depend_on_micro_batches() -> None:
    encoder = Numbers(200)
    objective = bound(encoder, 40)
    random = np.random.default_rng(5)
    texts = [" ".join(map(str, random.integers(5, 200, size))) for size in (38, 4, 20, 11, 38)]
    batch = objective.collate(objective.encode([{"text": text} for text in texts], encoder))
    policy = policy_for("masked", tiny("bert", "masked"), pad_id=0).eval()
    counts = objective.counts(batch)
    found = []
    for size in (1000, 45):
        policy.zero_grad()
        shares = [objective.loss(policy, part).normalised(counts) for part in batch.split(size)]
        torch.stack(shares).sum().backward()
        found.append(
            (
                len(shares),
                sum(map(Tensor.item, shares)),
                policy.model.bert.embeddings.word_embeddings.weight.grad,
            )
        )
    (one, whole, gradient), (more, parts, other) = found
    assert one == 1 and more > 2
    assert parts == pytest.approx(whole, rel=1e-6)
    torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-6)
