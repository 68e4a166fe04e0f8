"""Existing tokenizers: from a directory, a hub, or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
from transformers.integrations.gguf.reader import read_gguf_metadata

from hanji.contracts.errors import ModelError
from hanji.contracts.hub import cannot_load, offline_if_unreachable
from tokenizers import pre_tokenizers

_GPT2_SPLIT: Final = frozenset(
    {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "roberta-bpe"}
    | {"jina-es", "jina-de", "jina-v1-en", "jina-v2-es", "jina-v2-de", "jina-v2-code", "gigachat"}
)
_DIGIT_SPLIT: Final = frozenset(
    {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"}
)
_WHOLE_WORDS: Final = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "tekken"}
)
"""GGUF's names for ways to cut text before merging: GPT-2's pattern; each digit alone, then GPT-2's pattern;
ways that transformers knows, where besides a word that is in the vocabulary is taken whole."""


def load_hf(source: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer at `source`: a directory, a `.gguf` file, or a hub id.

    Raises:
        ModelError: where there is none, or one that `tokenizers` cannot run.
    """
    path = Path(source)
    if path.suffix == ".gguf":
        return _load_gguf(path)
    if path.is_dir() or not _could_be_hub_id(str(source)):
        return _load_directory(path)
    offline_if_unreachable()
    return _checked(_from_pretrained(str(source), str(source)), str(source))


def _could_be_hub_id(source: str) -> bool:
    return not source.startswith((".", "/", "~")) and source.count("/") <= 1


def _load_directory(directory: Path) -> PreTrainedTokenizerFast:
    if not directory.is_dir():
        raise ModelError(
            "there is no such directory",
            where=str(directory),
            expected="a directory with tokenizer.json, a .gguf file, or a hub id as owner/name",
        )
    if (directory / "tokenizer.json").is_file() and not (directory / "tokenizer_config.json").is_file():
        return PreTrainedTokenizerFast(
            tokenizer_file=str(directory / "tokenizer.json"), bos_token=None, eos_token=None
        )
    return _checked(_from_pretrained(str(directory), str(directory)), str(directory))


def _load_gguf(path: Path) -> PreTrainedTokenizerFast:
    """Through transformers, which takes GPT-2's way of cutting text wherever it does not know the file's."""
    if not path.is_file():
        raise ModelError("there is no such GGUF file", where=str(path))
    try:
        metadata, _ = read_gguf_metadata(str(path), ())
    except (ValueError, OSError) as error:
        raise ModelError("not a readable GGUF file", where=str(path), hint=str(error)) from error
    hf = _checked(_from_pretrained(str(path.parent), str(path), gguf_file=path.name), str(path))
    if metadata.get("tokenizer.ggml.model") != "gpt2":
        return hf
    way = metadata.get("tokenizer.ggml.pre", "none")
    backend = hf.backend_tokenizer
    if way in _DIGIT_SPLIT:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    elif way not in _GPT2_SPLIT and way not in GGUF_PRE_TOKENIZER_SPLITS:
        raise ModelError(
            "this GGUF file cuts text in a way that is not known here, and another would give wrong tokens",
            where=str(path),
            value=way,
            hint="Take the tokenizer from the model's original directory or hub id.",
        )
    if way in _WHOLE_WORDS:
        backend.model.ignore_merges = True
    return hf


def _from_pretrained(place: str, where: str, **options: Any) -> Any:
    loader = PreTrainedTokenizerFast if options else AutoTokenizer  # a GGUF file needs no config to choose by
    try:
        return loader.from_pretrained(place, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise cannot_load(
            "no tokenizer could be loaded", where, error,
            expected="a directory with tokenizer.json, a .gguf file, or a hub id that can be reached",
        ) from error  # fmt: skip


def _checked(hf: Any, where: str) -> PreTrainedTokenizerFast:
    if not isinstance(hf, PreTrainedTokenizerFast):
        raise ModelError(
            "a tokenizer written in Python, which the tokenizers library cannot run",
            where=where,
            value=type(hf).__name__,
            hint="Take a version of it that has a tokenizer.json.",
        )
    return hf
