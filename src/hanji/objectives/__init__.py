"""What is minimised. A new objective is one file here and one line below."""

from __future__ import annotations

from hanji.contracts.registry import Registry

OBJECTIVES = Registry(
    "objectives",
    {
        "clm": "hanji.objectives.clm:CausalLanguageModelling",
        "sft": "hanji.objectives.sft:SupervisedFineTuning",
    },
)
