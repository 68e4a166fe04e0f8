"""Prompt tuning: a few learned vectors stand before every document, as tokens past the vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from peft import PromptTuningConfig
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hanji.contracts.errors import ConfigError, ModelError
from hanji.contracts.protocols import Encoder
from hanji.methods.modules import head_modules, is_classifier, standing_in, task_type

Start = Literal["vocabulary", "random", "text"]

WEIGHTS = "adapter_model.safetensors"
_PROMPT = "prompt_embeddings"
_BASE = "base_model."
"""How PEFT calls the model under a soft prompt."""


class PromptEmbedding(nn.Module):
    """The model's input embedding, with learned vectors for the ids past its end.

    So rows with a soft prompt are rows of ids like any others: they pack, batch and cache.

    Args:
        base: the model's own embedding, whose weights stay tied to whatever they were tied to.
        vectors: [virtual tokens, embedding size] where learning starts.
    """

    def __init__(self, base: nn.Embedding, vectors: Tensor) -> None:
        super().__init__()
        self.base = base
        self.prompt = nn.Parameter(vectors)
        self.active = True

    @property
    def weight(self) -> Tensor:
        """[vocabulary, embedding size] of the model's own embedding."""
        return self.base.weight

    @property
    def virtual_ids(self) -> tuple[int, ...]:
        """The ids that every document begins with; none while the prompt is switched off."""
        first = self.base.weight.shape[0]
        return tuple(range(first, first + self.prompt.shape[0])) if self.active else ()

    def forward(self, ids: Tensor) -> Tensor:
        """ids: [...] → [..., embedding size]"""
        return look_up(self.base, self.prompt, ids)


def look_up(base: nn.Embedding, vectors: Tensor, ids: Tensor) -> Tensor:
    """ids: [...] → [..., embedding size]; those past the end of `base` are rows of `vectors`."""
    place = ids - base.weight.shape[0]
    embedded = base(torch.where(place < 0, ids, 0))
    # Not `vectors[...]`: on a CPU its gradient is added up by threads in whatever order they come, and a
    # resumed run would end in other bits.
    learned = nn.functional.embedding(place.clamp_min(0), vectors).to(embedded.dtype)
    return torch.where((place < 0)[..., None], embedded, learned)


class Prompt:
    """Prompt tuning (Lester et al. 2021): only vectors of virtual tokens learn, and a head if it is new.

    In PEFT's format. In an encoder the virtual tokens stand before [CLS], and it is read at position 0, the
    first of them, as in PEFT.

    Args:
        length: how many virtual tokens.
        start: where they begin: at the embeddings of random tokens of the `vocabulary`, at `random` vectors,
            or at those of a `text`.
        text: which text; shorter ones are repeated, longer ones cut.

    Raises:
        ConfigError: an option out of its range.
    """

    name = "prompt"
    adds = True
    merges = False

    def __init__(self, length: int = 20, start: Start = "vocabulary", text: str | None = None) -> None:
        if length < 1:
            raise ConfigError(
                "a prompt needs virtual tokens", where="method.length", value=length, expected="1 or more"
            )
        if start not in get_args(Start):
            raise ConfigError(
                "unknown start", where="method.start", value=start, expected=", ".join(get_args(Start))
            )
        if (start == "text") != bool(text):
            raise ConfigError(
                "text and start: text belong together", where="method.text", value=text,
                hint="give both, or neither",
            )  # fmt: skip
        self.length, self.start, self.text = length, start, text
        self._heads: dict[str, Tensor] = {}

    def apply(
        self, model: nn.Module, *, new: Sequence[str] = (), encoder: Encoder | None = None
    ) -> nn.Module:
        """See `contracts.Method`."""
        model.requires_grad_(False)
        for name in head_modules(model, new) if is_classifier(model) else new:
            model.get_submodule(name).requires_grad_(True)
        self._heads = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
        vectors = self._vectors(embedding.weight.detach(), encoder)
        model.set_input_embeddings(PromptEmbedding(embedding, vectors))  # type: ignore[operator]
        return model

    def save(self, model: nn.Module, directory: Path, *, base: str, state: Mapping[str, Tensor]) -> None:
        """See `contracts.AddingMethod`."""
        config: Any = model.config
        tensors = {_BASE + name: state[name].contiguous() for name in self._heads}
        prompt = next(tensor for name, tensor in state.items() if name.endswith(".prompt"))
        PromptTuningConfig(
            task_type=task_type(model), base_model_name_or_path=base, inference_mode=True,
            num_virtual_tokens=self.length, token_dim=prompt.shape[1], num_transformer_submodules=1,
            num_attention_heads=config.num_attention_heads, num_layers=config.num_hidden_layers,
        ).save_pretrained(str(directory))  # fmt: skip
        save_file({**tensors, _PROMPT: prompt.contiguous()}, str(directory / WEIGHTS), {"format": "pt"})

    @contextmanager
    def switched_off(self, model: nn.Module) -> Iterator[None]:
        """See `contracts.AddingMethod`."""
        embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
        embedding.active = False
        try:
            with standing_in(model, self._heads):
                yield
        finally:
            embedding.active = True

    def merge(self, model: nn.Module) -> nn.Module:
        """See `contracts.AddingMethod`: it cannot."""
        raise ConfigError(
            "a soft prompt cannot be merged",
            where="merge",
            hint="it is tokens before the text, not a change of weights: keep it beside its base model",
        )

    def _vectors(self, vocabulary: Tensor, encoder: Encoder | None) -> Tensor:
        """[length, embedding size] in fp32, drawn from PyTorch's generator."""
        if self.start == "random":
            return torch.randn_like(vocabulary[: self.length], dtype=torch.float32) * vocabulary.std()
        if self.start == "text":
            assert encoder is not None and self.text is not None
            own = encoder.encode_texts([self.text])[0].tolist()
            ids = torch.tensor((own * -(-self.length // max(len(own), 1)))[: self.length])
        else:
            ids = torch.randint(vocabulary.shape[0], (self.length,))
        return vocabulary[ids.to(vocabulary.device)].float().clone()


def load_prompt(model: Any, directory: Path) -> nn.Module:
    """The model with the soft prompt that `Prompt.save` wrote, or PEFT.

    Raises:
        ModelError: it is of a model of another shape.
    """
    tensors = load_file(str(directory / WEIGHTS))
    prompt = tensors.pop(_PROMPT)
    embedding = model.get_input_embeddings()
    if prompt.shape[1] != embedding.weight.shape[1]:
        raise ModelError(
            "this soft prompt is of another model",
            where=str(directory),
            value=f"vectors of {prompt.shape[1]}",
            expected=f"vectors of {embedding.weight.shape[1]}",
        )
    heads = {name.removeprefix(_BASE): tensor for name, tensor in tensors.items()}
    _, unknown = model.load_state_dict(heads, strict=False)
    if unknown:
        raise ModelError(
            "this soft prompt comes with a head that the model has not",
            where=str(directory),
            value=unknown[:3],
        )
    model.set_input_embeddings(PromptEmbedding(embedding, prompt))
    return model  # type: ignore[no-any-return]
