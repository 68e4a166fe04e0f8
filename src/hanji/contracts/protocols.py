"""How the three axes meet: what an objective may ask of a policy, and what a method does to a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from hanji.contracts.batch import Batch
from hanji.contracts.frame import Frame
from hanji.contracts.loss import Loss
from hanji.contracts.rows import TokenRows


@dataclass(frozen=True, slots=True)
class EncodedChat:
    """The ids of one chat, and which of them the model learns to produce.

    Attributes:
        ids: [tokens] int32.
        trained: [tokens] bool, the assistant's words and the end of each of its turns.
        text_bytes: UTF-8 bytes of the trained text.
    """

    ids: NDArray[np.int32]
    trained: NDArray[np.bool_]
    text_bytes: int


class Encoder(Protocol):
    """A tokenizer, as objectives and data see it."""

    @property
    def bos_id(self) -> int | None: ...
    @property
    def eos_id(self) -> int | None: ...
    @property
    def pad_id(self) -> int: ...
    @property
    def vocabulary_size(self) -> int: ...
    @property
    def mask_id(self) -> int | None:
        """The token that stands for a hidden one, where the tokenizer has it."""

    @property
    def special_ids(self) -> frozenset[int]:
        """Every special token: text is never encoded to one of them, except to the unknown token."""

    @property
    def frame(self) -> Frame:
        """The special tokens around a text, and around two."""

    @property
    def continues_word(self) -> NDArray[np.bool_]:
        """[vocabulary_size], whether a token goes on with the word of the token before it.

        The first token of a text begins a word whatever is said here.
        """

    def encode_texts(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Plain text to ids, without special tokens: ids [tokens] and lengths [texts]."""

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> EncodedChat:
        """The one function from a chat to ids, for training, chat and server alike."""

    def encode_chats(
        self, chats: Sequence[tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]] | None]]
    ) -> list[EncodedChat]:
        """Many chats at once, each as its messages and tools: what `encode_chat` gives, faster."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str: ...


class Policy(Protocol):
    """The model under training, as an objective sees it."""

    def negative_log_likelihood(self, batch: Batch) -> Mapping[str, Tensor]:
        """Summed −log p(label) at the labelled positions.

        Returns:
            `nll`: [] the sum, with its graph; `correct`: [] how many labels were the most probable token;
            `auxiliary`: [] the model's own extra loss (load balancing of experts), times the tokens, if any.
        """

    def token_log_probabilities(self, batch: Batch) -> Tensor:
        """[labelled positions] log p(label), with its graph, in the order of the batch."""


class Objective(Protocol):
    """What is minimised. One file and one registry line each."""

    name: str
    rows: str
    """The kind of row it learns from: `text`, `chat`, ..."""

    def encode(self, rows: Sequence[Mapping[str, Any]], encoder: Encoder) -> TokenRows:
        """Rows of prepared data to tokens; one row in, one row out."""

    def collate(self, rows: TokenRows) -> Batch:
        """Tokens to a batch with labels."""

    def counts(self, batch: Batch) -> dict[str, float]:
        """How many of each unit the batch has, on this rank."""

    def prepare(self, policy: Policy, batch: Batch) -> Iterable[Batch]:
        """The batch itself, except where it must be sampled first (ppo, grpo)."""

    def loss(self, policy: Policy, batch: Batch) -> Loss: ...


class Method(Protocol):
    """Which parameters learn. One file and one registry line each."""

    name: str

    def apply(self, model: nn.Module) -> nn.Module:
        """Adds what it adds to the model, and leaves `requires_grad` only where something learns."""
