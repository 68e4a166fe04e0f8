"""Who computes the answers of a service. A new engine is one file here and one line below."""

from __future__ import annotations

from hanji.contracts.registry import Registry

ENGINES = Registry(
    "engines",
    {
        "hanji": "hanji.serving.engines.hanji:starts",
        "vllm": "hanji.serving.engines.vllm:starts",
        "llama.cpp": "hanji.serving.engines.llama_cpp:starts",
    },
)
