"""One training step traced on tensors without storage: what it allocates, and what it computes.

The model's own code, the packed attention, the chunked head and the optimizer all run, on fake tensors, so
that the trace follows the implementation and no table of architectures has to be kept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PretrainedConfig

from hanji.contracts.labels import Labels
from hanji.contracts.protocols import Encoder, Head, Method, Objective
from hanji.methods.quantised import parameter_count
from hanji.models.attention import PACKED_ATTENTION, Documents, packed_masks
from hanji.models.cross_entropy import log_probabilities, summed_cross_entropy
from hanji.models.heads import CLASSES, is_encoder
from hanji.models.own_head import head_alone, pooled
from hanji.recipes.plan.recorder import PARTS, Operation, Recorder
from hanji.training.optimizers import build_optimizers

_TRACED_LAYERS = (2, 4)
"""Deeper models of equal layers are traced at these depths; all that is traced is linear in the depth."""
_HEAD_IS_MORE = ("final_logit_softcapping", "logits_scaling", "logit_scale", "router_aux_loss_coef")
"""Fields of configs whose models do not end in a plain product with the head's matrix."""


class CannotTrace(Exception):
    """The model does what fake tensors cannot follow, as looking at values: only weights can be counted."""


Adapt = Callable[[Any], Any]
"""What a method does to a model (`Method.apply`)."""


def every_parameter(model: Any) -> Any:
    """Nothing is frozen, nothing added."""
    return model


@dataclass(frozen=True, slots=True)
class Learning:
    """What an objective and a method make of a step.

    Attributes:
        head: what the model ends in.
        adapt: what the method does to the model; freezes what does not learn.
        each_token: whether the loss wants the log-probability of each token, as that of preferences.
        reference: whether the model without its method runs first, without gradients.
        labels: of a classification head.
    """

    head: Head = "causal"
    adapt: Adapt = every_parameter
    each_token: bool = False
    reference: bool = False
    labels: Labels | None = None

    @classmethod
    def of(
        cls,
        objective: Objective,
        method: Method | None = None,
        labels: Labels | None = None,
        encoder: Encoder | None = None,
    ) -> Learning:
        """A stage's; `method` None for one that trains everything."""
        compares = objective.reference
        adapt = every_parameter if method is None else partial(method.apply, encoder=encoder)
        off = bool(method is not None and method.adds)
        return cls(objective.head, adapt, compares, compares and off, labels)


@dataclass(frozen=True, slots=True)
class StepShape:
    """How one training step is cut.

    Attributes:
        lengths: documents of one micro-batch, in tokens.
        trained: positions of it with a label.
        head: what the model ends in.
        each_token: whether the loss wants the log-probability of each token, as that of preferences.
        reference: whether the model without its method runs first, without gradients.
        accumulates: whether a step has several micro-batches, so that gradients stay while one is computed.
        precision: the dtype of autocast, or None.
    """

    lengths: tuple[int, ...]
    trained: int
    accumulates: bool
    optimizer: str = "adamw"
    precision: torch.dtype | None = None
    activation_checkpointing: bool = False
    device: str = "cpu"
    learning: Learning = Learning()


@dataclass(frozen=True, slots=True)
class StepTrace:
    """A training step of one model.

    Attributes:
        parameters, trainable: counts; a tied matrix counts once.
        micro_batch: what one forward and backward pass computes.
        update: clipping and the optimizer's step.
        memory: bytes by part (`PARTS`) at the moment of the peak.
        tokens: of the micro-batch.
        flops_per_token: of matrix products and attention, forward and backward.
    """

    parameters: int
    trainable: int
    micro_batch: list[Operation]
    update: list[Operation]
    memory: dict[str, float]
    tokens: int
    flops_per_token: float

    @property
    def peak_bytes(self) -> float:
        """All tensors together."""
        return sum(size for part, size in self.memory.items() if part != "small")


def trace_step(config: PretrainedConfig, shape: StepShape) -> StepTrace:
    """Traces a step of a model of this config.

    Raises:
        CannotTrace: the model looks at values, as some mixtures of experts do.
    """
    depth = getattr(config, "num_hidden_layers", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    first, second = _TRACED_LAYERS
    if not isinstance(depth, int) or depth <= second + 2 or len(kinds) > 1:
        return _trace(config, shape)
    try:
        shallow, deeper = (_trace(_of_depth(config, layers), shape) for layers in _TRACED_LAYERS)
    except CannotTrace:  # a method may want more blocks than are traced
        return _trace(config, shape)
    return _extrapolated(shallow, deeper, (depth - first) / (second - first))


def count_parameters(config: PretrainedConfig, learning: Learning = Learning()) -> int:
    """Parameters of a model of this config, exactly: it is built without storage."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in _build(config, learning).parameters())


def _build(config: PretrainedConfig, learning: Learning) -> Any:
    if learning.labels is not None:
        config = type(config)(**(config.to_dict() | learning.labels.config_fields()))
    return CLASSES[learning.head].from_config(config, dtype=torch.float32)


def _of_depth(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    content = config.to_dict()
    for name in ("layer_types", "transformers_version", "model_type"):
        content.pop(name, None)
    name = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    return type(config)(**(content | {name: layers}))


def _extrapolated(shallow: StepTrace, deeper: StepTrace, steps: float) -> StepTrace:
    """`shallow + steps × (deeper − shallow)`, of everything."""

    def line(first: float, second: float) -> float:
        return first + steps * (second - first)

    def operations(first: list[Operation], second: list[Operation]) -> list[Operation]:
        weighted = [replace(item, count=item.count * (1 - steps)) for item in first]
        return weighted + [replace(item, count=item.count * steps) for item in second]

    return StepTrace(
        round(line(shallow.parameters, deeper.parameters)),
        round(line(shallow.trainable, deeper.trainable)),
        operations(shallow.micro_batch, deeper.micro_batch),
        operations(shallow.update, deeper.update),
        {part: max(line(shallow.memory[part], deeper.memory[part]), 0.0) for part in PARTS},
        shallow.tokens,
        line(shallow.flops_per_token, deeper.flops_per_token),
    )


def _trace(config: PretrainedConfig, shape: StepShape) -> StepTrace:
    recorder = Recorder(max(shape.lengths))
    try:
        # PEFT moves modules, which fake parameters cannot stand: the method is applied before
        with torch.device("meta"):
            model = shape.learning.adapt(_build(config, shape.learning))
        with FakeTensorMode(), torch.device(shape.device):
            _allocate(model, shape.device)
            recorder.hold([*model.parameters(), *model.buffers()])
            if shape.activation_checkpointing:
                model.activation_checkpointing_enable({"use_reentrant": False})
            model.train()
            with recorder:
                _update(model, shape, recorder)
                _forward_and_backward(model, shape, recorder)
            learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
            memory = recorder.peak_by_part([p.grad for p in learning if p.grad is not None])
            parameters = parameter_count(model)
            trainable = sum(parameter.numel() for parameter in learning)
    except Exception as error:  # fake tensors refuse what looks at values, each operation in its own way
        raise CannotTrace(f"{config.model_type}: {type(error).__name__}: {str(error)[:200]}") from error
    update = [item for item in recorder.operations if item.phase == "optimizer"]
    micro_batch = [item for item in recorder.operations if item.phase != "optimizer"]
    tokens = sum(shape.lengths)
    flops = sum(item.flops for item in micro_batch) / tokens
    return StepTrace(parameters, trainable, micro_batch, update, memory, tokens, flops)


def _allocate(model: nn.Module, device: str) -> None:
    """Gives parameters and buffers the storage that there is here, tied ones one for all."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                learns = parameter.requires_grad
                made.setdefault(
                    id(parameter),
                    nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype, device=device), learns),
                )
                module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                made.setdefault(id(buffer), torch.empty(buffer.shape, dtype=buffer.dtype, device=device))
                module._buffers[name] = made[id(buffer)]


def _update(model: nn.Module, shape: StepShape, recorder: Recorder) -> None:
    """Clipping and the optimizer's step; leaves its states, and gradients only where they accumulate."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with recorder.phase("optimizer"):
        for parameter in learning:
            parameter.grad = torch.empty_like(parameter)
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        for optimizer in build_optimizers(model, shape.optimizer, learning_rate=1e-3, weight_decay=0.1):
            optimizer.step()
            recorder.keep(optimizer)
            if not shape.accumulates:
                optimizer.zero_grad(set_to_none=True)


def _forward_and_backward(model: Any, shape: StepShape, recorder: Recorder) -> None:
    lengths = [length + len(_virtual(model)) for length in shape.lengths]
    autocast = torch.autocast(shape.device, shape.precision) if shape.precision else nullcontext()
    run = _Pass(model, tuple(lengths), shape)
    if shape.learning.reference:
        with recorder.phase("forward"), autocast, torch.no_grad():
            run.forward(recorder)
    with recorder.phase("forward"), autocast:
        total = run.forward(recorder)
    with recorder.phase("backward"):
        _backward(total)


def _virtual(model: Any) -> tuple[int, ...]:
    ids: tuple[int, ...] = getattr(model.get_input_embeddings(), "virtual_ids", ())
    return ids


def _backward(total: Tensor) -> None:
    (total / 2).backward()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass over a micro-batch, packed, as `ModelPolicy` runs what supports it."""

    model: Any
    lengths: tuple[int, ...]
    shape: StepShape

    def forward(self, recorder: Recorder) -> Tensor:
        """[] something that depends on all that the loss does."""
        model, shape, head = self.model, self.shape, self.shape.learning.head
        ids = torch.zeros(sum(self.lengths), dtype=torch.int64)
        at = torch.zeros(shape.trained, dtype=torch.int64)
        if head == "causal" and any(getattr(model.config, name, None) for name in _HEAD_IS_MORE):
            logits = self._run(model, ids, logits_to_keep=at).logits[0]
            with recorder.phase("head"):
                return nn.functional.cross_entropy(logits.float(), at, reduction="sum")
        hidden = self._run(model.base_model, ids).last_hidden_state[0]
        with recorder.phase("head"):
            firsts = hidden[torch.zeros(len(self.lengths), dtype=torch.int64)]
            if head == "classification":
                one = torch.zeros(len(self.lengths), 1, dtype=torch.int64)
                with head_alone(model, firsts[:, None], pooled(model, firsts)) as only:
                    return only(input_ids=one).logits.square().sum()  # type: ignore[no-any-return]
            matrix = model.get_output_embeddings()
            kept, others = hidden[at], 0.0
            if head != "causal":
                with head_alone(model, kept[None], pooled(model, firsts), without_matrix=True) as only:
                    output = only(input_ids=at[None])
                kept = output[0][0]
                others = output[1].square().sum() if head == "pretraining" else 0.0
            bias = getattr(matrix, "bias", None)
            if shape.learning.each_token:
                return log_probabilities(kept, matrix.weight, bias, at).sum()
            return summed_cross_entropy(kept, matrix.weight, bias, at)[0] + others

    def _run(self, module: Any, ids: Tensor, **options: Any) -> Any:
        self.model.set_attn_implementation(PACKED_ATTENTION)
        if not is_encoder(self.model.config):
            options["use_cache"] = False
        if int(getattr(self.model.config, "type_vocab_size", 0) or 0) > 1:
            options["token_type_ids"] = torch.zeros_like(ids)[None]
        with packed_masks():
            return module(
                input_ids=ids[None], position_ids=torch.zeros_like(ids)[None],
                documents=Documents(self.lengths, ids.device), **options,
            )  # fmt: skip
