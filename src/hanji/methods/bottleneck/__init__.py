"""Bottleneck adapters as a PEFT tuner; importing this is what makes them known to PEFT.

`import hanji` does it by itself as soon as PEFT is imported, before or after.
"""

from __future__ import annotations

from peft import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import register_peft_method

from hanji.methods.bottleneck.config import BottleneckConfig
from hanji.methods.bottleneck.model import BottleneckModel
from hanji.methods.bottleneck.peft_type import bottleneck_type

__all__ = ["BottleneckConfig", "BottleneckModel"]

if PEFT_TYPE_TO_TUNER_MAPPING.get(bottleneck_type()) is not BottleneckModel:
    register_peft_method(name="bottleneck", config_cls=BottleneckConfig, model_cls=BottleneckModel)
