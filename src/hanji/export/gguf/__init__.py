"""GGUF: one file with weights, tokenizer and chat template, for llama.cpp and what is built on it."""

from hanji.export.gguf.exporter import Gguf

__all__ = ["Gguf"]
