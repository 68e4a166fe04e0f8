"""How the three axes meet: what an objective may ask of a policy, and what a method does to a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from hanji.contracts.batch import Batch
from hanji.contracts.frame import Frame
from hanji.contracts.labels import Labels
from hanji.contracts.loss import Loss
from hanji.contracts.rows import TokenRows

Head = Literal["causal", "masked", "pretraining", "classification"]
"""What a model ends in: the next token; hidden tokens; hidden tokens and how two texts stand to each other;
scores of a whole document."""


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


@dataclass(frozen=True, slots=True)
class Task:
    """The surroundings of an objective.

    Attributes:
        encoder: the tokenizer.
        sequence_length: longest row in tokens.
        labels: what rows are labelled with, where they are.
    """

    encoder: Encoder
    sequence_length: int
    labels: Labels | None = None


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
    def chat_template(self) -> str | None:
        """The template of chats, where the tokenizer has one."""

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
    """The model under training, as an objective sees it; which of these it can do depends on its head."""

    def negative_log_likelihood(self, batch: Batch) -> Mapping[str, Tensor]:
        """Summed −log p(label) at the labelled positions.

        Returns:
            `nll`: [] the sum, with its graph; `correct`: [] how many labels were the most probable token;
            `auxiliary`: [] the model's own extra loss (load balancing of experts), times the tokens, if any;
            `relation`: [documents, 2] logits of how a document's two texts stand to each other, where the
            head tells (next-sentence prediction, sentence order).
        """

    def token_log_probabilities(self, batch: Batch) -> Tensor:
        """[labelled positions] log p(label), with its graph, in the order of the batch."""

    def document_scores(self, batch: Batch) -> Tensor:
        """[documents, outputs] what the classification head says of each document, with its graph."""

    def switched_off(self) -> AbstractContextManager[None]:
        """The model as it was before its method was applied, inside; for methods that allow it."""


class Objective(Protocol):
    """What is minimised. One file and one registry line each.

    Its options are the arguments of `__init__`, plain and typed; a recipe gives them beside the name.

    Attributes:
        rows: the kind of row it learns from: `text`, `chat`, `labelled`, `preference`.
        head: what the model must end in.
        overlong: what can be done with rows longer than the sequence, the default first.
        reference: whether `loss` compares with the model before training: then `reference_values` is asked
            for, on the spot where the method can be switched off, else once for all rows before training.
    """

    name: str
    rows: str
    head: Head
    overlong: tuple[str, ...]
    reference: bool

    def bind(self, task: Task) -> None:
        """Learns of its surroundings, once, before anything is encoded.

        Raises:
            HanjiError: something that it needs is not there, as a mask token or labels.
        """

    def encode(self, rows: Sequence[Mapping[str, Any]], encoder: Encoder) -> TokenRows:
        """Rows of prepared data to rows of tokens, in order; usually one to one."""

    def collate(self, rows: TokenRows) -> Batch:
        """Tokens to a batch with labels."""

    def counts(self, batch: Batch) -> dict[str, float]:
        """How many of each unit the batch has, on this rank."""

    def prepare(self, policy: Policy, batch: Batch) -> Iterable[Batch]:
        """The batch itself, except where it must be sampled first (ppo, grpo)."""

    def loss(self, policy: Policy, batch: Batch) -> Loss: ...


class ComparesWithReference(Protocol):
    """What an objective with `reference` has besides."""

    def reference_values(self, policy: Policy, batch: Batch) -> Tensor:
        """[rows, values] what the loss must know of the reference model; they become the last targets."""


class Method(Protocol):
    """Which parameters learn. One file and one registry line each.

    Its options are the arguments of `__init__`, plain and typed; a recipe gives them beside the name.

    Attributes:
        adds: whether it leaves the model as it is and learns something beside it: then only that is saved, in
            PEFT's format, and it can be switched off. Otherwise the whole model is saved.
        merges: whether what it adds can become part of the model's own weights.
    """

    name: str
    adds: bool
    merges: bool

    def apply(
        self, model: nn.Module, *, new: Sequence[str] = (), encoder: Encoder | None = None
    ) -> nn.Module:
        """Adds what it adds to the model, and leaves `requires_grad` only where something learns.

        Args:
            new: modules with random weights (a classification head), which learn whatever the method.
            encoder: the model's tokenizer, for methods that begin with words.

        Raises:
            ConfigError: options that this model cannot serve.
        """


class AddingMethod(Method, Protocol):
    """A method with `adds`: what it added can be saved, switched off and, perhaps, merged."""

    def save(self, model: nn.Module, directory: Path, *, base: str, state: Mapping[str, Tensor]) -> None:
        """Writes what was added as PEFT does: `adapter_config.json`, `adapter_model.safetensors`.

        Args:
            base: where the model without it is found.
            state: the model's whole state.
        """

    def switched_off(self, model: nn.Module) -> AbstractContextManager[None]:
        """The model without what was added, inside."""

    def merge(self, model: nn.Module) -> nn.Module:
        """The plain model with what was learned in its own weights.

        Raises:
            ConfigError: it cannot be merged; says why.
        """
