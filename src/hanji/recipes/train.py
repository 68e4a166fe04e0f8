"""The `train:` part of a stage: how long, how fast, in which portions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from hanji.recipes.fields import Count, Fraction, Positive, Share, Strict

BUDGETS = ("tokens", "epochs", "steps")
"""How long to train: exactly one of these is said."""


class TrainSettings(Strict):
    """How a model is trained, whatever the objective and the method."""

    NEUTRAL: ClassVar[frozenset[str]] = frozenset(
        {
            "micro_batch_tokens",
            "activation_checkpointing",
            "compile",
            "checkpoint_every",
            "keep_last",
            "trackers",
            "log_every",
        }
    )
    """Fields that leave the result what it is, but for the rounding of sums: no part of a fingerprint, so
    that a run that ran out of memory goes on with smaller portions."""

    tokens: Count | None = None
    """Train on this many tokens."""
    epochs: Positive | None = None
    """Train this many times over the data."""
    steps: Count | None = None
    """Train for this many optimizer steps."""

    learning_rate: Positive = 1e-3
    """Highest learning rate. Muon's updates are scaled to AdamW's size, so that one rate serves both."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """`adamw` for everything, or `muon` for the matrices of the blocks and AdamW for the rest."""
    schedule: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    """How the learning rate falls after the warm-up; `wsd` stays high and decays at the end."""
    warmup: Share = 0.02
    """Share of the steps in which the learning rate climbs to its highest."""
    decay: Fraction = 0.2
    """Share of the steps in which `wsd` decays."""
    minimum_learning_rate_ratio: Fraction = 0.1
    """Where the schedule ends, as a share of the highest learning rate."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of matrices; biases, norms and embeddings have none."""
    betas: tuple[Share, Share] = (0.9, 0.95)
    """AdamW's decay rates of the first and second moments."""
    max_grad_norm: Positive | None = 1.0
    """The gradient's norm is clipped to this; null: never."""

    sequence_length: int = Field(default=1024, ge=2)
    """Longest row in tokens, and the size that rows are packed to."""
    batch_tokens: Count = 32_768
    """Tokens of one optimizer step over all devices, rounded down to whole rows of sequence_length."""
    micro_batch_tokens: Count = 4096
    """Tokens that go through the model at once: memory follows it, the loss does not."""
    overlong: Literal["drop", "split", "error", "truncate"] | None = None
    """What happens to rows longer than sequence_length; counted in the report. By default text is split
    and chats are dropped."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic: `auto` is bf16 autocast on CUDA and fp32 elsewhere."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    compile: bool = False
    """torch.compile the model: pays in long runs, mostly on a GPU."""

    evaluate_every: int | None = Field(default=None, ge=0)
    """Steps between evaluations on held-out rows; by default a tenth of the run; 0: only at the end."""
    checkpoint_every: int | None = Field(default=None, ge=0)
    """Steps between checkpoints; by default a tenth of the run; 0: only when stopped."""
    keep_last: Count = 2
    """How many of the newest checkpoints stay."""
    keep_best: bool = False
    """The result is the checkpoint of the lowest validation loss, instead of the last step."""
    non_finite: Literal["stop", "skip"] = "stop"
    """A loss that is not finite: `stop` with the batch saved for inspection, or `skip` that step."""
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Where metrics also go, beside metrics.jsonl."""
    log_every: Count = 10
    """Steps between lines of metrics.jsonl."""

    @model_validator(mode="after")
    def _one_budget(self) -> TrainSettings:
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if not given:
            raise ValueError("says not how long to train: give one of tokens, epochs, steps")
        if len(given) > 1:
            raise ValueError(f"gives {' and '.join(given)}: give exactly one of tokens, epochs, steps")
        return self

    @model_validator(mode="after")
    def _fields_that_have_an_effect(self) -> TrainSettings:
        if "decay" in self.model_fields_set and self.schedule != "wsd":
            raise ValueError(f"decay belongs to schedule wsd, not {self.schedule}")
        if "minimum_learning_rate_ratio" in self.model_fields_set and self.schedule == "constant":
            raise ValueError("minimum_learning_rate_ratio has no effect with schedule constant")
        if self.schedule == "wsd" and self.warmup + self.decay > 1:
            raise ValueError("warmup and decay together are more than the whole run")
        if self.batch_tokens < self.sequence_length:
            raise ValueError(
                f"batch_tokens {self.batch_tokens} is less than one row of {self.sequence_length} tokens"
            )
        return self


class PretrainSettings(TrainSettings):
    """How a blank model is trained."""


class FinetuneSettings(TrainSettings):
    """How a trained model is trained further: gently."""

    epochs: Positive | None = None
    """Train this many times over the data; 3, where neither tokens, epochs nor steps are given."""
    learning_rate: Positive = 2e-5
    """Highest learning rate."""
    warmup: Share = 0.05
    """Share of the steps in which the learning rate climbs to its highest."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of matrices; biases, norms and embeddings have none."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """AdamW's decay rates of the first and second moments."""
    batch_tokens: Count = 8192
    """Tokens of one optimizer step over all devices, rounded down to whole rows of sequence_length."""

    @model_validator(mode="before")
    @classmethod
    def _three_epochs(cls, data: Any) -> Any:
        if isinstance(data, dict) and all(data.get(name) is None for name in BUDGETS):
            return {**data, "epochs": 3}
        return data
