"""What is minimised. A new objective is one file here and one line below."""

from __future__ import annotations

from hanji.contracts.registry import Registry

OBJECTIVES = Registry(
    "objectives",
    {
        "clm": "hanji.objectives.clm:CausalLanguageModelling",
        "mlm": "hanji.objectives.mlm:MaskedLanguageModelling",
        "mlm+nsp": "hanji.objectives.nsp:MaskedWithNextSentence",
        "mlm+sop": "hanji.objectives.sop:MaskedWithSentenceOrder",
        "sft": "hanji.objectives.sft:SupervisedFineTuning",
        "classify": "hanji.objectives.classify:Classification",
        "reward": "hanji.objectives.reward:Reward",
        "dpo": "hanji.objectives.dpo:DirectPreferenceOptimisation",
    },
)
