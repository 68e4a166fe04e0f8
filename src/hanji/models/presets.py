"""Shapes of blank models under short names, one dial of size per family, and configs made from them.

Nothing heavy is imported until a config is made, so that the command line can list the names at once.

| size   | llama  | gpt2   | qwen3  | bert   | modernbert | for                                            |
|--------|--------|--------|--------|--------|------------|------------------------------------------------|
| nano   | 0.44 M | 0.45 M | 0.44 M | 0.46 M | 0.45 M     | seeing every stage run, in seconds             |
| micro  | 2.7 M  | 2.7 M  | 2.7 M  | 2.7 M  | 2.6 M      | a first model of real text, minutes on 2 cores |
| tiny   | 10 M   | 9.9 M  | 10 M   | 10 M   | 10 M       | short stories, hours on a CPU                  |
| small  | 32 M   | 32 M   | 31 M   | 32 M   | 32 M       | a day on a CPU, minutes on a GPU               |
| base   | 113 M  | 85 M   | 113 M  | 86 M   | 111 M      | GPT-2's, BERT's, ModernBERT's; hours on a GPU  |
| medium | 316 M  | 302 M  | 440 M  |        |            | `gpt2-medium`, Qwen3-0.6B; a day on a GPU      |
| large  | 705 M  | 708 M  | 736 M  | 303 M  | 344 M      | `gpt2-large`, encoders' second; days on a GPU  |
| xl     | 1.4 B  | 1.5 B  | 1.4 B  |        |            | `gpt2-xl`, Qwen3-1.7B; several GPUs            |

The figures are parameters without embeddings. bert and modernbert are encoders, the others decoders.

Dropout is 0 everywhere. Decoders see their text about once. Encoders go through it more often, but meet other
hidden tokens each time; ModernBERT's config has none either, and BERT's is brought back by
`config: {hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanji.contracts.errors import ConfigError, nearest
from hanji.models.shapes import Preset

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = ["PRESETS", "Preset", "find_preset", "named_presets", "preset_config"]


def _llama(size: str, layers: int, hidden: int, heads: int, pairs: int, wide: int, tied: bool) -> Preset:
    return Preset("llama", size, layers, hidden, heads, pairs, hidden // heads, wide, 2048, tied)


def _gpt2(size: str, layers: int, hidden: int, heads: int) -> Preset:
    return Preset("gpt2", size, layers, hidden, heads, heads, hidden // heads, 4 * hidden, 1024, True)


def _qwen3(size: str, layers: int, hidden: int, heads: int, pairs: int, head: int, wide: int) -> Preset:
    return Preset("qwen3", size, layers, hidden, heads, pairs, head, wide, 4096, True)


def _bert(size: str, layers: int, hidden: int, heads: int) -> Preset:
    return Preset("bert", size, layers, hidden, heads, heads, hidden // heads, 4 * hidden, 512, True)


def _modernbert(size: str, layers: int, hidden: int, heads: int, wide: int, context: int) -> Preset:
    return Preset("modernbert", size, layers, hidden, heads, heads, hidden // heads, wide, context, True)


_TABLE = (
    _llama("nano", 4, 96, 3, 3, 256, True),
    _llama("micro", 6, 192, 6, 6, 512, True),
    _llama("tiny", 8, 320, 5, 5, 896, True),
    _llama("small", 10, 512, 8, 8, 1408, True),
    _llama("base", 16, 768, 12, 12, 2048, True),
    _llama("medium", 28, 1024, 16, 4, 2816, True),
    _llama("large", 28, 1536, 24, 8, 4096, False),
    _llama("xl", 32, 2048, 32, 8, 5632, False),
    _gpt2("nano", 4, 96, 3),
    _gpt2("micro", 6, 192, 6),
    _gpt2("tiny", 8, 320, 5),
    _gpt2("small", 10, 512, 8),
    _gpt2("base", 12, 768, 12),
    _gpt2("medium", 24, 1024, 16),
    _gpt2("large", 36, 1280, 20),
    _gpt2("xl", 48, 1600, 25),
    _qwen3("nano", 4, 96, 4, 2, 32, 256),
    _qwen3("micro", 6, 192, 6, 3, 32, 576),
    _qwen3("tiny", 8, 320, 6, 3, 64, 960),
    _qwen3("small", 10, 512, 8, 4, 64, 1536),
    _qwen3("base", 16, 768, 12, 6, 64, 2304),
    _qwen3("medium", 28, 1024, 16, 8, 128, 3072),
    _qwen3("large", 24, 1536, 16, 8, 128, 4608),
    _qwen3("xl", 28, 2048, 16, 8, 128, 6144),
    _bert("nano", 4, 96, 3),
    _bert("micro", 6, 192, 6),
    _bert("tiny", 8, 320, 5),
    _bert("small", 10, 512, 8),
    _bert("base", 12, 768, 12),
    _bert("large", 24, 1024, 16),
    _modernbert("nano", 4, 96, 3, 256, 2048),
    _modernbert("micro", 7, 192, 6, 384, 2048),
    _modernbert("tiny", 10, 320, 5, 640, 2048),
    _modernbert("small", 13, 512, 8, 896, 2048),
    _modernbert("base", 22, 768, 12, 1152, 8192),
    _modernbert("large", 28, 1024, 16, 2624, 8192),
)

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _TABLE}
"""Name → shape, by family and then by size."""

_SPECIAL_IDS = tuple(f"{name}_token_id" for name in ("bos", "eos", "pad", "cls", "sep", "mask"))
"""Fields of configs for ids that are the tokenizer's."""
_KNOWN_TO_ALL = _SPECIAL_IDS[:3]
_NOT_ARCHITECTURE = frozenset(
    {
        *_SPECIAL_IDS,
        "transformers_version", "architectures", "output_hidden_states", "return_dict", "dtype",
        "torch_dtype",
        "chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id", "problem_type", "use_cache",
        "auto_map", "_name_or_path", "quantization_config",
    }
)  # fmt: skip
"""Fields of configs that say nothing of the shape, or that the tokenizer decides."""


def preset_config(
    spec: str | Path | Mapping[str, Any],
    *,
    vocab_size: int,
    overrides: Mapping[str, Any] | None = None,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
    cls_token_id: int | None = None,
    sep_token_id: int | None = None,
    mask_token_id: int | None = None,
) -> PretrainedConfig:
    """The config of a blank model, from whatever a recipe may say.

    Args:
        spec: a preset's name; the path of a `config.json` or of a directory with one; or a mapping
            `{model_type: ..., hidden_size: ..., ...}` of transformers' fields.
        vocab_size: tokens that the tokenizer knows.
        overrides: fields that replace those of `spec`.
        bos_token_id: as the other ids the tokenizer's, or None where it has no such token: a class never
            keeps the id that it was published with. `cls_token_id`, `sep_token_id` and `mask_token_id` go to
            the classes that have such a field.

    Raises:
        ConfigError: for an unknown preset, path, model type or field, or a shape that does not hold together.
    """
    ids = dict(
        zip(
            _SPECIAL_IDS,
            (bos_token_id, eos_token_id, pad_token_id, cls_token_id, sep_token_id, mask_token_id),
            strict=True,
        )
    )
    if isinstance(spec, Mapping):
        given = dict(spec)
        model_type = given.pop("model_type", None)
        if not isinstance(model_type, str):
            raise ConfigError(
                "A model given as a mapping must say its `model_type`.", where="model", value=dict(spec),
                expected="a mapping as {model_type: llama, hidden_size: 256, num_hidden_layers: 4, ...}",
            )  # fmt: skip
        _refuse_unknown(model_type, given, "model")
        return _build(model_type, given, overrides or {}, "model", vocab_size, ids)
    if isinstance(spec, str) and spec in PRESETS:
        preset = PRESETS[spec]
        return _build(preset.family, preset.architecture(), overrides or {}, f"model {spec}", vocab_size, ids)
    path = Path(spec)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise _unknown_model(str(spec))
    model_type, architecture = _read_config(path)
    return _build(model_type, architecture, overrides or {}, str(path), vocab_size, ids)


def find_preset(name: str) -> Preset:
    """The preset called `name`.

    Raises:
        ConfigError: naming the nearest one.
    """
    if name in PRESETS:
        return PRESETS[name]
    raise _unknown_model(name)


def named_presets() -> str:
    """The names of all presets, as a message lists them."""
    families = groupby(_TABLE, key=lambda preset: preset.family)
    listed = ((family, ",".join(preset.size for preset in presets)) for family, presets in families)
    return ", ".join(f"{family}-{{{sizes}}}" for family, sizes in listed)


def _unknown_model(name: str) -> ConfigError:
    near = nearest(name, PRESETS)
    return ConfigError(
        f"There is no preset and no config.json `{name}`.", where="model", value=name,
        expected=f"one of {named_presets()}, a path, or a mapping with model_type",
        hint=f"did you mean `{near}`?" if near else "`hanji models` lists the presets",
    )  # fmt: skip


def _read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """The model type and the architecture's fields of a config.json; the vocabulary is the tokenizer's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot read the model's config: {error}.", where=str(path)) from error
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise ConfigError("The config does not say its `model_type`.", where=str(path))
    left_out = _NOT_ARCHITECTURE | {"model_type", "vocab_size"}
    return content["model_type"], {key: value for key, value in content.items() if key not in left_out}


def _config_class(model_type: str, where: str) -> type[PretrainedConfig]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

    if model_type not in CONFIG_MAPPING_NAMES:
        near = nearest(model_type, CONFIG_MAPPING_NAMES)
        raise ConfigError(
            f"transformers knows no model type `{model_type}`.", where=where, value=model_type,
            expected="a model type of transformers, as llama, gpt2, qwen3, mistral, gemma2",
            hint=f"did you mean `{near}`?" if near else None,
        )  # fmt: skip
    found: type[PretrainedConfig] = CONFIG_MAPPING[model_type]
    return found


def _refuse_unknown(model_type: str, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`given` under transformers' own names of that class (`hidden_size` is `n_embd` in GPT-2)."""
    made = _config_class(model_type, where)
    known = {item.name for item in fields(made)} - _NOT_ARCHITECTURE
    aliases = {key: value for key, value in made.attribute_map.items() if value in known}
    if "rope_parameters" in known:
        aliases["rope_theta"] = "rope_theta"
    for key, value in given.items():
        if key in _NOT_ARCHITECTURE:
            raise ConfigError(
                f"`{key}` is not set by hand: it follows from the tokenizer and the training settings.",
                where=f"{where}: {key}", value=value,
            )  # fmt: skip
        if key not in known and key not in aliases:
            near = nearest(key, [*known, *aliases])
            raise ConfigError(
                f"A {model_type} config has no field `{key}`.", where=f"{where}: {key}", value=value,
                expected="one of " + ", ".join(sorted(known)),
                hint=f"did you mean `{near}`?" if near else None,
            )  # fmt: skip
    return {aliases.get(key, key): value for key, value in given.items()}


def _build(
    model_type: str,
    architecture: Mapping[str, Any],
    overrides: Mapping[str, Any],
    where: str,
    vocab_size: int,
    ids: Mapping[str, int | None],
) -> PretrainedConfig:
    made = _config_class(model_type, where)
    changes = _refuse_unknown(model_type, overrides, "config")
    arguments = {made.attribute_map.get(key, key): value for key, value in architecture.items()} | changes
    arguments.setdefault("vocab_size", vocab_size)
    if isinstance(arguments["vocab_size"], int) and arguments["vocab_size"] < vocab_size:
        raise ConfigError(
            "The model's vocabulary is smaller than the tokenizer's.", where=f"{where}: vocab_size",
            value=arguments["vocab_size"], expected=f"at least {vocab_size}", hint="leave vocab_size out",
        )  # fmt: skip
    layers = arguments.get("num_hidden_layers")
    if "layer_types" not in changes and len(arguments.get("layer_types") or ()) != layers:
        arguments.pop("layer_types", None)  # of the old number of layers: the class makes its own
    try:
        return made(**arguments, **_ids_of(made, ids))
    except Exception as error:  # huggingface_hub's strict dataclasses raise their own family, without a base
        detail = " ".join(str(error.__cause__ or error).split())
        raise ConfigError(f"The {model_type} config does not hold together: {detail}", where=where) from error


def _ids_of(made: type[PretrainedConfig], ids: Mapping[str, int | None]) -> dict[str, int | None]:
    """Those of `ids` that the class knows; a field that must have one gets 0 where the tokenizer has none."""
    types = dict.fromkeys(_KNOWN_TO_ALL, "None") | {item.name: str(item.type) for item in fields(made)}
    known = {name: index for name, index in ids.items() if name in types}
    return {
        name: 0 if index is None and "None" not in types[name] else index for name, index in known.items()
    }
