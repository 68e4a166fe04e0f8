"""Pairs of texts: which stand as they stood, which do not, and how they fill their rows.

In these corpora every token says from which document it is, and where it stood there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hanji.contracts.batch import IGNORED
from hanji.contracts.errors import ConfigError, DataError
from hanji.contracts.protocols import Task
from hanji.contracts.rows import TokenRows
from hanji.models.policies import policy_for
from hanji.objectives.nsp import MaskedWithNextSentence
from hanji.objectives.relation import UNKNOWN, relation_loss
from hanji.objectives.sop import MaskedWithSentenceOrder
from objectives.encoders import CLS, MASK, SEP, Numbers
from tiny_models import tiny

LENGTH = 40
ROOM = LENGTH - 3
DOCUMENT_TOKENS = 1000


@dataclass(frozen=True)
class Pair:
    """A row read back: its two texts as numbers of tokens, the second None where there is none."""

    first: list[int]
    second: list[int] | None
    label: int

    @property
    def documents(self) -> list[set[int]]:
        return [{index // DOCUMENT_TOKENS for index in text} for text in (self.first, self.second or [])]


def corpus(documents: int, sentences: int, longest: int = 12, seed: int = 0) -> list[dict[str, str]]:
    """Documents of uneven sentences; token k of document d is d × DOCUMENT_TOKENS + k, from 5 on."""
    random = np.random.default_rng(seed)
    texts = []
    for document in range(documents):
        at, said = 5 + document * DOCUMENT_TOKENS, []
        for size in random.integers(2, longest + 1, sentences).tolist():
            said.append(" ".join(map(str, range(at, at + size))) + ".")
            at += size
        texts.append({"text": " ".join(said)})
    return texts


def bound(kind: Any, size: int = 60 * DOCUMENT_TOKENS, **options: Any) -> Any:
    objective = kind(**options)
    objective.bind(Task(Numbers(size), LENGTH))
    return objective


def pairs_of(rows: TokenRows) -> list[Pair]:
    found = []
    assert rows.borders is not None and rows.targets is not None
    parts = np.split(rows.ids, rows.offsets[1:-1])
    for ids, border, label in zip(parts, rows.borders.tolist(), rows.targets[:, 0].tolist(), strict=True):
        text = (ids - 5).tolist()
        assert (ids[0], ids[-1]) == (CLS, SEP)
        if border:
            assert ids[border - 1] == SEP
            found.append(Pair(text[1 : border - 1], text[border:-1], int(label)))
        else:
            found.append(Pair(text[1:-1], None, int(label)))
    return found


def made(kind: Any, rows: list[dict[str, str]], **options: Any) -> list[Pair]:
    return pairs_of(bound(kind, **options).encode(rows, Numbers(60 * DOCUMENT_TOKENS)))


def is_a_stretch(text: list[int]) -> bool:
    return bool(text) and text == [*range(text[0], text[0] + len(text))]


@pytest.fixture(scope="module")
def next_sentences() -> list[Pair]:
    return [pair for seed in range(4) for pair in made(MaskedWithNextSentence, corpus(50, 100, seed=seed))]


@pytest.fixture(scope="module")
def orders() -> list[Pair]:
    return [pair for seed in range(4) for pair in made(MaskedWithSentenceOrder, corpus(50, 100, seed=seed))]


@pytest.mark.parametrize("kind", ["next_sentences", "orders"])
def test_half_of_the_pairs_stand_as_they_stood(kind: str, request: pytest.FixtureRequest) -> None:
    labels = [pair.label for pair in request.getfixturevalue(kind) if pair.second is not None]
    assert set(labels) == {0, 1} and len(labels) > 2000
    assert abs(np.mean(labels) - 0.5) < 4 * 0.5 / len(labels) ** 0.5


@pytest.mark.parametrize("longest", [12, 60])
def test_the_labels_are_even_whatever_the_sentences_are(longest: int) -> None:
    """A long sentence may fill a row alone; it must not make the label guessable."""
    found = [
        pair for seed in range(4) for pair in made(MaskedWithNextSentence, corpus(30, 30, longest, seed=seed))
    ]
    labels = [pair.label for pair in found if pair.second is not None]
    assert abs(np.mean(labels) - 0.5) < 4 * 0.5 / len(labels) ** 0.5
    alone = [pair for pair in found if pair.second is None]
    assert alone and all(pair.label == UNKNOWN for pair in alone)


@pytest.mark.parametrize("kind", ["next_sentences", "orders"])
def test_a_genuine_pair_is_neighbouring_text(kind: str, request: pytest.FixtureRequest) -> None:
    genuine = [pair for pair in request.getfixturevalue(kind) if pair.label == 0]
    assert len(genuine) > 1000
    for pair in genuine:
        assert pair.second is not None
        assert is_a_stretch(pair.first + pair.second)
        assert len(set.union(*pair.documents)) == 1


def test_the_other_text_is_from_another_document(next_sentences: list[Pair]) -> None:
    counterfeit = [pair for pair in next_sentences if pair.label == 1]
    for pair in counterfeit:
        assert pair.second is not None
        assert is_a_stretch(pair.first) and is_a_stretch(pair.second)
        first, second = pair.documents
        assert len(first) == len(second) == 1 and first != second
    others = {document for pair in counterfeit for document in pair.documents[1]}
    assert len(others) == 50  # every document serves


def test_a_swapped_pair_is_the_second_before_the_first(orders: list[Pair]) -> None:
    whole = 0
    for pair in orders:
        if pair.label != 1:
            continue
        assert pair.second is not None
        assert is_a_stretch(pair.first) and is_a_stretch(pair.second)
        assert pair.documents[0] == pair.documents[1]
        assert pair.second[-1] < pair.first[0]
        whole += is_a_stretch(pair.second + pair.first)
    assert whole > 50  # pairs that needed no cut


@pytest.mark.parametrize("kind", [MaskedWithNextSentence, MaskedWithSentenceOrder])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_rows_are_full_but_for_the_short_ones(kind: Any, share: float) -> None:
    found = made(kind, corpus(50, 100), short_share=share)
    sizes = np.array([len(pair.first) + len(pair.second or []) for pair in found])
    assert sizes.max() <= ROOM and sizes.min() >= 1
    # a document's end fills no row; there are two a document at most
    tails = 100 / len(found)
    within = 4 * (max(share, 0.01) / len(found)) ** 0.5
    not_full = (sizes < ROOM).mean()
    assert share * 0.6 - within < not_full < share + tails + within
    assert sizes.mean() > ROOM * (0.95 - share * 0.6)


@pytest.mark.parametrize("kind", [MaskedWithNextSentence, MaskedWithSentenceOrder])
def test_most_of_the_text_is_in_some_row(kind: Any) -> None:
    rows = corpus(50, 100)
    seen = {index for pair in made(kind, rows) for index in pair.first + (pair.second or [])}
    tokens = sum(len(row["text"].split()) for row in rows)
    assert len(seen) > 0.85 * tokens  # what is cut off rows is the end of a sentence


@pytest.mark.parametrize("kind", [MaskedWithNextSentence, MaskedWithSentenceOrder])
def test_a_long_sentence_alone_is_cut_into_pieces_and_none_of_it_lost(kind: Any) -> None:
    rows = [{"text": " ".join(map(str, range(5, 305)))}, {"text": " ".join(map(str, range(1005, 1105)))}]
    found = made(kind, rows, short_share=0.0)
    assert all(pair.second is None or pair.label != UNKNOWN for pair in found)
    seen = {index for pair in found for index in pair.first + (pair.second or [])}
    assert len(seen) == 400


@pytest.mark.parametrize("kind", [MaskedWithNextSentence, MaskedWithSentenceOrder])
def test_documents_of_a_single_sentence_have_no_label(kind: Any) -> None:
    objective = bound(kind)
    rows = objective.encode(corpus(50, 1), Numbers(60 * DOCUMENT_TOKENS))
    found = pairs_of(rows)
    assert len(found) == 50
    assert all(pair.second is None and pair.label == UNKNOWN for pair in found)
    batch = objective.collate(rows)
    assert objective.counts(batch)["pairs"] == 0
    assert objective.counts(batch)["tokens"] >= 50


def test_sentences_without_a_token_and_empty_documents_are_passed_over() -> None:
    rows = [{"text": "5 6. . 7 8. ."}, {"text": ". ."}, {"text": ""}, {"text": "1005 1006. . . 1007."}]
    for seed in range(30):
        found = made(MaskedWithNextSentence, [*rows, *corpus(1, 1, seed=seed)], short_share=0.5)
        assert all(pair.first and pair.second != [] for pair in found)


def test_one_document_alone_is_refused() -> None:
    with pytest.raises(DataError, match="other documents") as caught:
        made(MaskedWithNextSentence, corpus(1, 30))
    assert "mlm+sop" in str(caught.value)
    assert made(MaskedWithSentenceOrder, corpus(1, 30))
    objective = bound(MaskedWithNextSentence)
    objective.encode(corpus(2, 30), Numbers(60 * DOCUMENT_TOKENS))
    last = objective.encode(corpus(1, 30), Numbers(60 * DOCUMENT_TOKENS))  # the rest of many
    assert {pair.label for pair in pairs_of(last)} <= {0, UNKNOWN}


@pytest.mark.parametrize("kind", [MaskedWithNextSentence, MaskedWithSentenceOrder])
def test_the_same_documents_give_the_same_rows(kind: Any) -> None:
    rows = corpus(20, 40)
    assert made(kind, rows) == made(kind, rows)
    assert made(kind, rows) != made(kind, rows[:-1])
    objective = bound(kind)  # nor does it matter what was encoded before
    encoder = Numbers(60 * DOCUMENT_TOKENS)
    objective.encode(corpus(20, 40, seed=1), encoder)
    assert pairs_of(objective.encode(rows, encoder)) == made(kind, rows)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="short_share"):
        MaskedWithNextSentence(short_share=share)


@pytest.mark.parametrize("has_segments", [True, False])
def test_segments_are_those_of_the_tokenizer(has_segments: bool) -> None:
    encoder = Numbers(60 * DOCUMENT_TOKENS, has_segments=has_segments)
    objective = MaskedWithNextSentence()
    objective.bind(Task(encoder, LENGTH))
    rows = objective.encode(corpus(10, 20), encoder)
    batch = objective.collate(rows)
    if not has_segments:
        assert batch.segments is None
        return
    assert rows.borders is not None and batch.segments is not None
    for types, border in zip(batch.segments.split(batch.lengths), rows.borders.tolist(), strict=True):
        begin = border or len(types)
        assert types.tolist() == [0] * begin + [1] * (len(types) - begin)


def test_specials_are_not_hidden_and_targets_are_the_labels() -> None:
    objective = bound(MaskedWithNextSentence, mask_rate=0.5)
    rows = objective.encode(corpus(10, 20), Numbers(60 * DOCUMENT_TOKENS))
    batch = objective.collate(rows)
    assert (batch.labels[batch.labels != IGNORED] > MASK).all()
    specials = torch.from_numpy(rows.ids <= MASK)
    assert torch.equal(batch.input_ids[specials], torch.from_numpy(rows.ids).long()[specials])
    assert rows.targets is not None and batch.targets is not None
    assert batch.targets.tolist() == rows.targets.tolist()


def test_the_loss_of_the_relation_counts_labelled_rows_only() -> None:
    logits = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, UNKNOWN, 1, 1, UNKNOWN])
    total, correct = relation_loss(logits, labels)
    known = labels != UNKNOWN
    expected = -logits.double().log_softmax(-1)[known, labels[known]].sum()
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert int(correct) == int((logits.argmax(-1)[known] == labels[known]).sum())
    total.backward()
    assert logits.grad is not None and not logits.grad[~known].any()
    nothing, none = relation_loss(logits, torch.full((5,), UNKNOWN))
    assert (nothing.item(), int(none)) == (0.0, 0)


@pytest.mark.parametrize(
    ("family", "kind"), [("bert", MaskedWithNextSentence), ("albert", MaskedWithSentenceOrder)]
)
def test_both_losses_are_means_of_their_own_units(family: str, kind: Any) -> None:
    encoder = Numbers(200)
    objective = kind()
    objective.bind(Task(encoder, LENGTH))
    random = np.random.default_rng(3)
    texts = [
        {"text": " ".join(" ".join(map(str, random.integers(5, 200, 9))) + "." for _ in range(sentences))}
        for sentences in (12, 1, 8)
    ]
    batch = objective.collate(objective.encode(texts, encoder))
    policy = policy_for("pretraining", tiny(family, "pretraining"), pad_id=0).eval()
    counts = objective.counts(batch)
    loss = objective.loss(policy, batch)
    plain, name = (
        tiny(family, "pretraining").double(),
        "sop_logits" if family == "albert" else "seq_relationship_logits",
    )
    assert batch.segments is not None and batch.targets is not None
    documents = zip(batch.input_ids.split(batch.lengths), batch.segments.split(batch.lengths), strict=True)
    with torch.no_grad():
        outputs = [plain(input_ids=ids[None], token_type_ids=types[None]) for ids, types in documents]
    tokens = F.cross_entropy(torch.cat([output.prediction_logits[0] for output in outputs]), batch.labels)
    relation = F.cross_entropy(
        torch.cat([getattr(output, name) for output in outputs]), batch.targets[:, 0].long()
    )
    assert UNKNOWN in batch.targets[:, 0]
    assert loss.normalised(counts).item() == pytest.approx((tokens + relation).item(), rel=1e-5)
    task = "sentence_order" if family == "albert" else "next_sentence"
    means = {name: total / counts[unit] for name, (total, unit) in loss.metrics.items()}
    assert means["masked_loss"] == pytest.approx(tokens.item(), rel=1e-5)
    assert means[f"{task}_loss"] == pytest.approx(relation.item(), rel=1e-5)
    assert 0 <= means[f"{task}_accuracy"] <= 1
    parts = [objective.loss(policy, part).normalised(counts).item() for part in batch.split(100)]
    assert len(parts) > 2 and sum(parts) == pytest.approx(loss.normalised(counts).item(), rel=1e-6)
