"""Well-known open models to fine-tune, and what training a model of a shape needs, without building it.

Facts are those of the models' cards; parameters are checked against the shapes in a test. Nothing here
imports torch, so that the command line answers at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hanji.contracts.errors import ConfigError, nearest
from hanji.models.presets import PRESETS, Preset, named_presets
from hanji.models.shapes import Family

Method = Literal["full", "freeze", "adapter", "prompt", "lora"]
METHODS: tuple[Method, ...] = ("full", "freeze", "adapter", "prompt", "lora")

TOKENS_PER_PARAMETER = 20
"""Training tokens for each parameter at which a compute budget is well spent (Hoffmann et al. 2022)."""
FROZEN_SHARE = 0.75
"""Share of the blocks that `freeze` leaves as they are in these estimates: only the last quarter learns."""
ADAPTER_SIZE, PROMPT_TOKENS, LORA_RANK = 64, 20, 16
"""Sizes of the other methods in these estimates: usual ones."""

_BYTES = 4
"""Of a parameter, gradient, state or activation: weights stay fp32 in training."""
_STATES = 2
"""AdamW's moments."""
_ACTIVATIONS: Mapping[Family, tuple[float, float, float, float]] = {
    "llama": (4.57, 4.57, 2.01, 3.95),
    "gpt2": (1.53, 1.53, 1.53, 6.11),
    "qwen3": (1.81, 5.59, 2.80, 5.42),
    "bert": (4.0, 3.0, 2.0, 2.0),
    "modernbert": (4.0, 3.0, 2.0, 4.0),
}
"""Numbers kept for the backward pass, for each token and block, as multiples of the width of the hidden
states, of the queries, of the keys and of the feed-forward layer. Those of decoders are fitted to traces of
the presets; those of encoders are counted: what autograd keeps of a block when documents lie end to end."""


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A trained model that anyone can download.

    Attributes:
        hub_id: where, as a recipe's `model` takes it.
        parameters: of the published weights; of an encoder's, as far as its masked head goes.
        context: longest sequence in tokens that it is said to read.
        languages: as its card says.
        korean: whether Korean is among them.
        chat: whether it is instruction-tuned; never an encoder.
        shape: of its blocks. `vocab_size`: rows of its embedding.
    """

    name: str
    hub_id: str
    parameters: int
    context: int
    licence: str
    languages: str
    korean: bool
    chat: bool
    shape: Preset
    vocab_size: int


def _shape(
    family: Family, layers: int, hidden: int, heads: int, pairs: int, head: int, wide: int,
    context: int, tied: bool = True,
) -> Preset:  # fmt: skip
    return Preset(family, "", layers, hidden, heads, pairs, head, wide, context, tied)


_QWEN_LANGUAGES = "English, Chinese, Korean and 26 more"
_QWEN3_LANGUAGES = "119 languages, Korean among them"
_BERT_BASE = _shape("bert", 12, 768, 12, 12, 64, 3072, 512)
_LLAMA_LANGUAGES = "English, German, French, Italian, Portuguese, Hindi, Spanish, Thai"

_TABLE = (
    OpenModel(
        "BERT", "google-bert/bert-base-uncased", 109_514_298, 512, "Apache-2.0", "English", False, False,
        _BERT_BASE, 30_522,
    ),
    OpenModel(
        "KLUE-BERT", "klue/bert-base", 110_650_880, 512, "CC-BY-SA-4.0", "Korean", True, False,
        _BERT_BASE, 32_000,
    ),
    OpenModel(
        "GPT-2", "openai-community/gpt2", 124_439_808, 1024, "MIT", "English", False, False,
        _shape("gpt2", 12, 768, 12, 12, 64, 3072, 1024), 50_257,
    ),
    OpenModel(
        "SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008, 8192, "Apache-2.0", "English",
        False, True, _shape("llama", 30, 576, 9, 3, 64, 1536, 8192), 49_152,
    ),
    OpenModel(
        "ModernBERT-base", "answerdotai/ModernBERT-base", 149_655_232, 8192, "Apache-2.0", "English", False,
        False, _shape("modernbert", 22, 768, 12, 12, 64, 1152, 8192), 50_368,
    ),
    OpenModel(
        "BERT-multilingual", "google-bert/bert-base-multilingual-cased", 177_974_523, 512, "Apache-2.0",
        "104 languages, Korean among them", True, False, _BERT_BASE, 119_547,
    ),
    OpenModel(
        "SmolLM2-360M", "HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120, 8192, "Apache-2.0", "English",
        False, True, _shape("llama", 32, 960, 15, 5, 64, 2560, 8192), 49_152,
    ),
    OpenModel(
        "ModernBERT-large", "answerdotai/ModernBERT-large", 395_881_664, 8192, "Apache-2.0", "English", False,
        False, _shape("modernbert", 28, 1024, 16, 16, 64, 2624, 8192), 50_368,
    ),
    OpenModel(
        "Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B-Instruct", 494_032_768, 32_768, "Apache-2.0", _QWEN_LANGUAGES,
        True, True, _shape("llama", 24, 896, 14, 2, 64, 4864, 32_768), 151_936,
    ),
    OpenModel(
        "Qwen3-0.6B", "Qwen/Qwen3-0.6B", 596_049_920, 32_768, "Apache-2.0", _QWEN3_LANGUAGES, True, True,
        _shape("qwen3", 28, 1024, 16, 8, 128, 3072, 32_768), 151_936,
    ),
    OpenModel(
        "TinyLlama-1.1B", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1_100_048_384, 2048, "Apache-2.0", "English",
        False, True, _shape("llama", 22, 2048, 32, 4, 64, 5632, 2048, tied=False), 32_000,
    ),
    OpenModel(
        "Llama-3.2-1B", "meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400, 131_072, "Llama 3.2 Community",
        _LLAMA_LANGUAGES, False, True, _shape("llama", 16, 2048, 32, 8, 64, 8192, 131_072), 128_256,
    ),
    OpenModel(
        "EXAONE-4.0-1.2B", "LGAI-EXAONE/EXAONE-4.0-1.2B", 1_279_391_488, 65_536, "EXAONE, non-commercial",
        "Korean, English, Spanish", True, True, _shape("qwen3", 30, 2048, 32, 8, 64, 4096, 65_536), 102_400,
    ),
    OpenModel(
        "SmolLM2-1.7B", "HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384, 8192, "Apache-2.0", "English",
        False, True, _shape("llama", 24, 2048, 32, 32, 64, 8192, 8192), 49_152,
    ),
    OpenModel(
        "Qwen3-1.7B", "Qwen/Qwen3-1.7B", 1_720_574_976, 32_768, "Apache-2.0", _QWEN3_LANGUAGES, True, True,
        _shape("qwen3", 28, 2048, 16, 8, 128, 6144, 32_768), 151_936,
    ),
    OpenModel(
        "Kanana-1.5-2.1B", "kakaocorp/kanana-1.5-2.1b-instruct-2505", 2_086_979_328, 32_768, "Apache-2.0",
        "Korean, English", True, True, _shape("llama", 32, 1792, 24, 8, 128, 8064, 32_768), 128_256,
    ),
    OpenModel(
        "Qwen3-4B", "Qwen/Qwen3-4B", 4_022_468_096, 32_768, "Apache-2.0", _QWEN3_LANGUAGES, True, True,
        _shape("qwen3", 36, 2560, 32, 8, 128, 9728, 32_768), 151_936,
    ),
    OpenModel(
        "Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248, 131_072, "Llama 3.1 Community",
        _LLAMA_LANGUAGES, False, True,
        _shape("llama", 32, 4096, 32, 8, 128, 14_336, 131_072, tied=False), 128_256,
    ),
    OpenModel(
        "Qwen3-8B", "Qwen/Qwen3-8B", 8_190_735_360, 32_768, "Apache-2.0", _QWEN3_LANGUAGES, True, True,
        _shape("qwen3", 36, 4096, 32, 8, 128, 12_288, 32_768, tied=False), 151_936,
    ),
)  # fmt: skip

OPEN_MODELS: Mapping[str, OpenModel] = {model.name: model for model in _TABLE}
"""Name → model, the smallest first."""


def find(name: str) -> Preset | OpenModel:
    """A preset or an open model, by its name or hub id, capital letters or not.

    Raises:
        ConfigError: naming the nearest.
    """
    known: dict[str, Preset | OpenModel] = {preset.lower(): shape for preset, shape in PRESETS.items()}
    for model in _TABLE:
        known |= {model.name.lower(): model, model.hub_id.lower(): model}
    if name.lower() in known:
        return known[name.lower()]
    near = nearest(name.lower(), known)
    raise ConfigError(
        f"There is no preset and no model `{name}` in the catalog.", value=name,
        expected=", ".join([named_presets(), *OPEN_MODELS]),
        hint=f"did you mean `{near}`?" if near else "`hanji models` lists them; a recipe takes any hub id",
    )  # fmt: skip


def trainable_parameters(shape: Preset, parameters: int, method: Method) -> int:
    """How many parameters learn, with the usual sizes of a method (`ADAPTER_SIZE` and its fellows)."""
    hidden, queries, pairs = shape.hidden_size, shape.heads * shape.head_size, _pairs(shape)
    match method:
        case "full":
            return parameters
        case "freeze":
            return round(shape.non_embedding_parameters * (1 - FROZEN_SHARE))
        case "adapter":  # two bottlenecks a block (Houlsby et al. 2019)
            return shape.layers * 2 * (2 * hidden * ADAPTER_SIZE + ADAPTER_SIZE + hidden)
        case "prompt":
            return PROMPT_TOKENS * hidden
        case "lora":  # beside every matrix of a block
            wide = shape.intermediate_size
            attention = 2 * (hidden + queries) + 2 * (hidden + pairs)
            feeds = (2 if shape.family in ("gpt2", "bert") else 3) * (hidden + wide)
            if shape.family == "modernbert":  # one matrix for queries, keys and values; one for both gates
                attention, feeds = 2 * hidden + 2 * queries + 2 * pairs, 2 * hidden + 3 * wide
            return shape.layers * LORA_RANK * (attention + feeds)


def training_bytes(shape: Preset, parameters: int, method: Method, micro_batch_tokens: int) -> float:
    """Memory of training in fp32 with AdamW: weights, gradients, moments, activations.

    An estimate from the shape alone; `hanji plan` traces the model itself. Logits are left out, for the head
    works in chunks, and frozen weights are taken to keep as many activations as learning ones.
    """
    learning = trainable_parameters(shape, parameters, method)
    extra = 0 if method in ("full", "freeze") else learning
    blocks = shape.layers * ((1 - FROZEN_SHARE) if method == "freeze" else 1.0)
    widths = (shape.hidden_size, shape.heads * shape.head_size, _pairs(shape), shape.intermediate_size)
    numbers = sum(map(math.prod, zip(_ACTIVATIONS[shape.family], widths, strict=True)))
    kept = blocks * numbers * micro_batch_tokens
    return float(_BYTES * (parameters + extra + (1 + _STATES) * learning + kept))


def fitting_tokens(parameters: int) -> int:
    """Tokens of pre-training that fit a model of this size (Hoffmann et al. 2022)."""
    return TOKENS_PER_PARAMETER * parameters


def fitting_parameters(tokens: int) -> int:
    """The size of a model that `tokens` of pre-training fit."""
    return tokens // TOKENS_PER_PARAMETER


def _pairs(shape: Preset) -> int:
    return shape.key_value_heads * shape.head_size
