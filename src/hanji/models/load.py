"""Models from nothing, from a directory, from a hub, from a GGUF file; and back to a directory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from hanji.contracts.errors import ModelError
from hanji.contracts.protocols import Encoder
from hanji.models.presets import preset_config

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


def blank_model(
    spec: str | Mapping[str, Any],
    encoder: Encoder,
    *,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> PreTrainedModel:
    """A decoder with random weights, drawn from `seed`, shaped for the tokenizer.

    Args:
        spec: a preset's name, a path to a `config.json`, or an architecture's config as a mapping.
        overrides: fields of the config to change.

    Raises:
        ConfigError: for an unknown preset or field.
        ModelError: for a shape that the architecture refuses.
    """
    config = preset_config(
        spec,
        vocab_size=encoder.vocabulary_size,
        overrides=dict(overrides or {}),
        bos_token_id=encoder.bos_id,
        eos_token_id=encoder.eos_id,
        pad_token_id=encoder.pad_id,
    )
    return from_config(config, seed)


def from_config(config: PretrainedConfig, seed: int) -> PreTrainedModel:
    """A decoder of exactly this config, with random weights drawn from `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        except (ValueError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"transformers cannot build a decoder of type {config.model_type}",
                expected=str(error).splitlines()[0],
            ) from error
    return _plain(model)


def load_model(source: str | Path, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A pre-trained decoder from a model directory, a hub id, or a `.gguf` file (dequantised).

    Raises:
        ModelError: where nothing loadable is there, or its weights do not fill the architecture.
    """
    path = Path(source)
    is_gguf = str(source).endswith(".gguf")
    if is_gguf and not path.is_file():
        raise ModelError("there is no such GGUF file", where=str(source))
    place = {"pretrained_model_name_or_path": str(path.parent if is_gguf else source)}
    options: dict[str, Any] = {"gguf_file": path.name} if is_gguf else {"use_safetensors": True}
    try:
        # transformers draws a bar of its own for GGUF, whoever is listening
        with redirect_stderr(StringIO()) if is_gguf else nullcontext():
            model, report = AutoModelForCausalLM.from_pretrained(
                **place, dtype=dtype, output_loading_info=True, trust_remote_code=False, **options
            )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            "no model could be loaded",
            where=str(source),
            expected="a directory with config.json and model.safetensors, a hub id, or a .gguf file",
            hint=str(error).splitlines()[0][:300],
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{len(missing)} weights of {type(model).__name__} are not in the file",
            where=str(source),
            value=missing[:3],
            hint="load a checkpoint of this architecture, or pre-train a blank model",
        )
    return _dequantised(model, dtype) if is_gguf else _plain(model)


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
    fresh = AutoModelForCausalLM.from_config(config, dtype=dtype)
    fresh.load_state_dict(model.state_dict())
    fresh.generation_config = model.generation_config
    return _plain(fresh)


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    model.config.use_cache = True
    model.train()
    return model
