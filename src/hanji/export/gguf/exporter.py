"""Writes a GGUF file tensor by tensor, and has it read back by two readers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hanji.contracts.errors import ConfigError, ModelError
from hanji.contracts.progress import Progress
from hanji.export.comparison import Comparison
from hanji.export.gguf.families import FAMILIES, Family, more_tensors
from hanji.export.gguf.readers import compare_with_llama_cpp, compare_with_transformers
from hanji.export.gguf.vocabulary import Vocabulary
from hanji.export.subject import Subject, refuse

Precision = Literal["f32", "f16", "q8_0"]

_TYPES: Final = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
_FILE_TYPES: Final = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
_ALWAYS_F32: Final = ("position_embd.weight", "rope_freqs.weight")
"""Matrices that llama.cpp reads in no other type."""


class Gguf:
    """One file for llama.cpp. A LoRA becomes part of the weights; adapters and soft prompts cannot.

    Args:
        type: of the matrices: `f32`; `f16`; `q8_0`, eight bits and a scale for every 32 values. Vectors are
            always f32; a matrix whose rows are no multiple of 32 long is f16 in q8_0.

    Raises:
        ConfigError: another type.
    """

    mark = None

    def __init__(self, type: Precision = "f32") -> None:
        if type not in get_args(Precision):
            raise ConfigError(
                "there is no such type of GGUF here", where="--type", value=type,
                expected=", ".join(get_args(Precision)),
            )  # fmt: skip
        self.type = type

    @property
    def ending(self) -> str:
        """Of the file's name."""
        return f"-{self.type}.gguf"

    def check(self, subject: Subject) -> None:
        """See `exporting.Exporter`: the head, the family, every field of its config, and the tokenizer."""
        config = subject.config
        if subject.head != "causal":
            raise refuse(
                f"llama.cpp continues text, and this model ends in a {subject.head} head",
                value=config.model_type,
                expected="a causal model",
                hint="export encoders and classifiers with --to onnx",
            )
        if config.model_type not in FAMILIES:
            raise refuse(
                f"this family is not written as GGUF here: {config.model_type}",
                value=config.model_type,
                expected=", ".join(FAMILIES),
                hint="export with --to merged; llama.cpp's own converter reads that",
            )
        for name, value, wanted in FAMILIES[config.model_type].doubts(config):
            raise refuse(
                f"llama.cpp does not compute {config.model_type} with this {name}",
                value=value,
                expected=wanted,
            )
        subject.check_whole()
        Vocabulary.of(subject.tokenizer, config.vocab_size)

    def write(self, subject: Subject, work: Path, target: Path, progress: Progress) -> None:
        """See `exporting.Exporter`."""
        model = subject.whole()
        config = model.config
        family = FAMILIES[config.model_type]
        vocabulary = Vocabulary.of(subject.tokenizer, config.vocab_size)
        for note in vocabulary.notes:
            progress.note(note)
        writer = gguf.GGUFWriter(work, family.architecture)
        # never "mistral" alone: transformers' reader would take every such file for another architecture
        writer.add_name(f"{target.name.removesuffix(self.ending)} from hanji")
        writer.add_file_type(_FILE_TYPES[self.type])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        family.describe(writer, config)
        vocabulary.write(writer)
        tensors = _named_tensors(family, model)
        for name, tensor in tensors.items():
            kind = self._kind(name, tensor)
            shape, size = _stored(tensor, kind)
            writer.add_tensor_info(name, shape, np.dtype(np.float32), size, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for number, (name, tensor) in enumerate(tensors.items(), start=1):
            writer.write_tensor_data(_packed(tensor, self._kind(name, tensor)))
            progress.advance("writing tensors", number, len(tensors))
        writer.close()

    def compare(self, subject: Subject, work: Path, progress: Progress) -> list[Comparison]:
        """Transformers' reader, and llama.cpp where it is installed."""
        found = compare_with_transformers(subject, work, self.type, progress)
        return [*found, *compare_with_llama_cpp(subject, work, self.type, progress)]

    def _kind(self, name: str, tensor: Tensor) -> gguf.GGMLQuantizationType:
        if tensor.ndim < 2 or name in _ALWAYS_F32:
            return gguf.GGMLQuantizationType.F32
        if self.type == "q8_0" and tensor.shape[-1] % 32:
            return gguf.GGMLQuantizationType.F16
        return _TYPES[self.type]


def _named_tensors(family: Family, model: Any) -> dict[str, Tensor]:
    """Every tensor by llama.cpp's name, as it wants it; a tied output matrix is not among them."""
    architecture = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == family.architecture)
    names = gguf.get_tensor_name_map(architecture, model.config.num_hidden_layers)
    found = dict(_renamed(names, family, model))
    return {**found, **more_tensors(family, model)}


def _renamed(names: Any, family: Family, model: Any) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters():
        there = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if there is None:
            raise ModelError(
                "llama.cpp has no place for this weight", where=model.config.model_type, value=name
            )
        yield there, family.turn(name, parameter.detach(), model.config)


def _stored(tensor: Tensor, kind: gguf.GGMLQuantizationType) -> tuple[list[int], int]:
    """The shape and the bytes of a tensor in the file."""
    block, bytes_of_block = gguf.GGML_QUANT_SIZES[kind]
    return list(tensor.shape), tensor.numel() // block * bytes_of_block


def _packed(tensor: Tensor, kind: gguf.GGMLQuantizationType) -> NDArray[Any]:
    """Raises: ModelError where a value is too large for the type."""
    values = tensor.to(torch.float32).contiguous().cpu().numpy()
    if kind != gguf.GGMLQuantizationType.F32 and np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
        raise ModelError(
            "a weight is too large for 16 bits", value=float(np.abs(values).max()), expected="at most 65,504",
            hint="export with --type f32",
        )  # fmt: skip
    return np.ascontiguousarray(gguf.quants.quantize(values, kind))
