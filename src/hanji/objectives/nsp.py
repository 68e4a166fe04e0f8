"""BERT's pre-training: hidden tokens, and whether the second text follows the first."""

from __future__ import annotations

from hanji.objectives.text_pairs import MaskingWithTextPairs


class MaskedWithNextSentence(MaskingWithTextPairs):
    """Masked language modelling and next-sentence prediction (Devlin et al. 2019): of half the pairs, the
    second text is from another document."""

    name = "mlm+nsp"
    counterfeit = "another document"
    relation = "next_sentence"
