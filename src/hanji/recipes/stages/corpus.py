"""The tokens that a training stage learns from, and those that it is scored on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hanji.artifacts.artifact import Artifact
from hanji.contracts.errors import DataError
from hanji.contracts.protocols import Objective
from hanji.data.token_store import TokenStore
from hanji.recipes.context import StageContext
from hanji.recipes.fields import Mix
from hanji.recipes.stages.tokens import Encoding, prepared, token_store
from hanji.recipes.train import TrainSettings
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.training.parallel import Parallel


@dataclass(frozen=True)
class Corpus:
    """The tokens that a stage learns from and is scored on.

    Attributes:
        training: one store for each part of the mixture. `weights`: their shares, or None for their sizes.
        held_out: the validation rows of each part that has some.
    """

    training: list[TokenStore]
    weights: list[float] | None
    held_out: list[TokenStore] = field(default_factory=list)

    @property
    def stores(self) -> list[TokenStore]:
        """All of them."""
        return [*self.training, *self.held_out]


def load_corpus(
    mixture: tuple[Mix, ...],
    inputs: Mapping[str, Artifact | str],
    *,
    tokenizer: Tokenizer,
    tokenizer_digest: str,
    objective: Objective,
    settings: TrainSettings,
    parallel: Parallel,
    context: StageContext,
) -> Corpus:
    """Tokenises what is not yet tokenised, on rank 0 alone, and opens the stores.

    Raises:
        DataError: nothing to train on.
        ConfigError: the objective cannot do with over-long rows what `settings` say.
    """
    encoding = Encoding(
        tokenizer, tokenizer_digest, objective, settings.sequence_length, settings.overlong, context
    )

    def load() -> Corpus:
        stores: dict[str, list[TokenStore]] = {"train": [], "validation": []}
        for mix in mixture:
            data = prepared(inputs[mix.data])
            for split, found in stores.items():
                store = token_store(data, split, encoding)
                if store is not None:
                    found.append(store)
                elif split == "train":
                    raise DataError("there are no rows to train on", where=mix.data)
        weights = [mix.weight for mix in mixture if mix.weight is not None]
        return Corpus(stores["train"], weights or None, stores["validation"])

    if parallel.world_size > 1:
        parallel.on_main(lambda: load() and None)
    return load()
