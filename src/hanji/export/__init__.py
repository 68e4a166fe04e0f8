"""Formats that other programs run. A new one is one file here and one line below."""

from __future__ import annotations

from hanji.contracts.registry import Registry

EXPORTS = Registry(
    "exports",
    {
        "merged": "hanji.export.merged:Merged",
        "adapter": "hanji.export.adapter:Adapter",
        "gguf": "hanji.export.gguf:Gguf",
        "onnx": "hanji.export.onnx:Onnx",
    },
)
