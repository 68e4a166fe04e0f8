"""Models from nothing, from a directory, from a hub, from a GGUF file; and back to a directory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from hanji.contracts.errors import ModelError
from hanji.contracts.hub import cannot_load, offline_if_unreachable
from hanji.contracts.labels import Labels
from hanji.contracts.protocols import Encoder, Head
from hanji.models.heads import CLASSES, head_of, new_modules
from hanji.models.presets import preset_config

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, and the modules of it that were in no file: a new head, with random weights."""

    model: PreTrainedModel
    new: tuple[str, ...] = ()


def blank_model(
    spec: str | Mapping[str, Any],
    encoder: Encoder,
    *,
    head: Head = "causal",
    labels: Labels | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> PreTrainedModel:
    """A model with random weights, drawn from `seed`, shaped for the tokenizer.

    Args:
        spec: a preset's name, a path to a `config.json`, or an architecture's config as a mapping.
        head: what it ends in. `labels`: of a classification head.
        overrides: fields of the config to change.

    Raises:
        ConfigError: for an unknown preset or field.
        ModelError: for a shape that the architecture refuses.
    """
    config = blank_config(spec, encoder, overrides=overrides)
    _label(config, labels)
    return from_config(config, seed, head=head)


def blank_config(
    spec: str | Mapping[str, Any], encoder: Encoder, *, overrides: Mapping[str, Any] | None = None
) -> PretrainedConfig:
    """The config of `blank_model`."""
    return preset_config(
        spec,
        vocab_size=encoder.vocabulary_size,
        overrides=dict(overrides or {}),
        bos_token_id=encoder.bos_id,
        eos_token_id=encoder.eos_id,
        pad_token_id=encoder.pad_id,
        cls_token_id=next(iter(encoder.frame.before), None),
        sep_token_id=next(iter(encoder.frame.after), None),
        mask_token_id=encoder.mask_id,
    )


def from_config(config: PretrainedConfig, seed: int, *, head: Head = "causal") -> PreTrainedModel:
    """A model of exactly this config, with random weights drawn from `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            model = CLASSES[head].from_config(config, dtype=torch.float32)
        except (ValueError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"transformers cannot build a {head} model of type {config.model_type}",
                expected=str(error).splitlines()[0],
            ) from error
    return _plain(model)


def read_config(source: str | Path) -> PretrainedConfig:
    """The config of a trained model, from a directory, a hub id, or a `.gguf` file; weights are not read.

    Raises:
        ModelError: there is none.
    """
    path = Path(source)
    if path.suffix == ".gguf" and not path.is_file():
        raise ModelError("there is no such GGUF file", where=str(source))
    try:
        if path.suffix == ".gguf":
            return AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name)
        if not path.exists():
            offline_if_unreachable()
        return AutoConfig.from_pretrained(str(source), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise cannot_load(
            "no model's config could be read", str(source), error,
            expected="a directory with config.json, a hub id, or a .gguf file",
        ) from error  # fmt: skip


def load_model(
    source: str | Path, *, head: Head | None = None, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A trained model from a model directory, a hub id, or a `.gguf` file (dequantised).

    Args:
        head: what it ends in; None for the head that it was saved with.

    Raises:
        ModelError: where nothing loadable is there, or its weights do not fill the architecture.
    """
    chosen = head or head_of(read_config(source))
    loaded = load_with_head(source, chosen, dtype=dtype)
    if loaded.new:
        raise _unfilled(source, type(loaded.model).__name__, list(loaded.new))
    return loaded.model


def load_with_head(
    source: str | Path,
    head: Head,
    *,
    labels: Labels | None = None,
    pad_id: int | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = torch.float32,
) -> Loaded:
    """A trained model that ends in `head`; where it was saved with another, the head is new.

    Args:
        labels: of a classification head; one saved with other labels is replaced.
        pad_id: the padding token, by which plain transformers finds the last token that a decoder is read at.
        seed: of the new head's weights.
        dtype: of the weights; None for the one that they are stored in: then those of safetensors stay in
            the mapped file until something is done with them. Of GGUF it is fp32.

    Raises:
        ModelError: where nothing loadable is there, or more than a head is missing.
    """
    path = Path(source)
    is_gguf = path.suffix == ".gguf"
    config = read_config(source)
    anew = _label(config, labels)
    if pad_id is not None and head == "classification":
        config.pad_token_id = pad_id
    place = {"pretrained_model_name_or_path": str(path.parent if is_gguf else source)}
    options: dict[str, Any] = {"gguf_file": path.name} if is_gguf else {"use_safetensors": True}
    wanted = dtype or (torch.float32 if is_gguf else "auto")
    try:
        # transformers draws a bar of its own for GGUF, whoever is listening
        with redirect_stderr(StringIO()) if is_gguf else nullcontext(), torch.random.fork_rng():
            torch.manual_seed(seed)
            model, report = CLASSES[head].from_pretrained(
                **place, config=config, dtype=wanted, output_loading_info=True, trust_remote_code=False,
                ignore_mismatched_sizes=anew, **options,
            )  # fmt: skip
    except (OSError, ValueError, KeyError) as error:
        raise cannot_load(
            "no model could be loaded", str(source), error,
            expected="a directory with config.json and model.safetensors, a hub id, or a .gguf file",
        ) from error  # fmt: skip
    missing = sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
    new = new_modules(model, missing)
    body = [name for name in new if _is_body(model, name)]
    if (missing and not new) or body or (new and head == "causal"):
        raise _unfilled(source, type(model).__name__, missing)
    return Loaded(_dequantised(model, dtype or torch.float32) if is_gguf else _plain(model), new)


def _is_body(model: PreTrainedModel, module: str) -> bool:
    """Whether a module is no head; a pooler is one, though it stands in the body."""
    return module.split(".")[0] == model.base_model_prefix and "pooler" not in module


def _label(config: PretrainedConfig, labels: Labels | None) -> bool:
    """Gives the config these labels; says whether it had others."""
    if labels is None:
        return False
    had = Labels.of_config(config)
    for name, value in labels.config_fields().items():
        setattr(config, name, value)
    return had is None or (had.kind, had.names) != (labels.kind, labels.names)


def _unfilled(source: str | Path, architecture: str, missing: list[str]) -> ModelError:
    return ModelError(
        f"{len(missing)} weights of {architecture} are not in the file",
        where=str(source),
        value=missing[:3],
        hint="load a checkpoint of this architecture, or pre-train a blank model",
    )


def save_model(
    model: PreTrainedModel,
    directory: Path,
    *,
    generation: Mapping[str, Any],
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Writes config, safetensors and generation settings: what plain transformers, vLLM and llama.cpp read.

    Args:
        state: the weights, where they are not whole in the model (sharded over devices).
        generation: fields of `generation_config.json`: `eos_token_id` (all that end an answer), pad and bos.
    """
    attention = model.config._attn_implementation
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    if model.can_generate():
        for name, value in generation.items():
            setattr(model.generation_config, name, value)
    try:
        model.save_pretrained(directory, state_dict=None if state is None else dict(state))
    finally:
        model.set_attn_implementation(attention)


def _dequantised(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The same weights in a fresh model: one from GGUF keeps its quantisation and refuses to be saved."""
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.random.fork_rng():
        fresh = type(model)._from_config(config, dtype=dtype)
    fresh.load_state_dict(model.state_dict())
    if model.can_generate():
        fresh.generation_config = model.generation_config
    return _plain(fresh)


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    model.config.use_cache = True
    model.train()
    return model
