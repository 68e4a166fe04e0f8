"""Which special tokens a tokenizer puts around a text, and around two."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around texts, the same whatever they say.

    A text alone is `before + text + after`, two are `before + first + between + second + after`: exactly the
    ids that the tokenizer itself gives for them.

    Attributes:
        before: ids before the (first) text: BERT's [CLS].
        between: ids between two texts: BERT's [SEP].
        after: ids after the last text: BERT's [SEP].
        has_segments: whether the tokenizer gives token types: 1 to the second text and `after` of a pair, 0
            to all before them and to a text alone. Without them a model is told no types.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    has_segments: bool
