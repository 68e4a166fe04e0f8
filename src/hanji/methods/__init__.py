"""Which parameters learn. A new method is one file here and one line below."""

from __future__ import annotations

import logging

from hanji.contracts.registry import Registry

METHODS = Registry(
    "methods",
    {
        "full": "hanji.methods.full:Full",
        "freeze": "hanji.methods.freeze:Freeze",
        "adapter": "hanji.methods.adapter:Adapter",
        "prompt": "hanji.methods.prompt:Prompt",
        "lora": "hanji.methods.lora:Lora",
        "qlora": "hanji.methods.qlora:Qlora",
    },
)

# PEFT imports bitsandbytes where that is installed, which then misses a package that is not wanted here.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
