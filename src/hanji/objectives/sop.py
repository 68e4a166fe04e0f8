"""ALBERT's pre-training: hidden tokens, and whether two texts are in their order."""

from __future__ import annotations

from hanji.objectives.text_pairs import MaskingWithTextPairs


class MaskedWithSentenceOrder(MaskingWithTextPairs):
    """Masked language modelling and sentence-order prediction (Lan et al. 2020): half the pairs are swapped,
    so that topic alone does not tell."""

    name = "mlm+sop"
    counterfeit = "swapped"
    relation = "sentence_order"
