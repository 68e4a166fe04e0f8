"""What the library `adapters` 1.3.0 computes with bottleneck adapters: our independent reference.

The numbers are kept in `reference_adapters.json`, because that library pins an older transformers than ours.
They were made so, in an environment of its own, and are made anew in the same way:

    python -m venv reference
    reference/bin/pip install torch==2.13.0 adapters==1.3.0       # brings transformers 4.57.6
    reference/bin/python tests/methods/reference_adapters.py > tests/methods/reference_adapters.json

Its configs are told to be what our placements are: `SeqBnConfig(original_ln_before=False)` reads what the
feed-forward gives, not that after the block's residual addition and norm. `ParBnConfig` is compared on BERT
alone: in models that normalise before a sublayer it reads the residual stream, ours what the feed-forward
reads.
"""

from __future__ import annotations

import json
import sys
import zlib
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

HIDDEN, REDUCTION, SCALING, ACTIVATION = 16, 4, 1.5, "gelu"
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2]])
CASES = [("bert", "houlsby"), ("bert", "pfeiffer"), ("bert", "parallel")]
CASES += [(family, placement) for family in ("gpt2", "llama") for placement in ("houlsby", "pfeiffer")]


def base_model(family: str) -> Any:
    """A model of two blocks in float64, with weights that follow from their names alone."""
    same: dict[str, Any] = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2}
    same |= {"intermediate_size": 24, "max_position_embeddings": 16}
    if family == "bert":
        model: Any = BertModel(BertConfig(vocab_size=11, **same))
    elif family == "gpt2":
        model = GPT2Model(GPT2Config(vocab_size=11, n_embd=HIDDEN, n_layer=2, n_head=2, n_positions=16))
    else:
        model = LlamaModel(LlamaConfig(vocab_size=11, num_key_value_heads=1, **same))
    model = model.double().eval()
    for name, parameter in model.named_parameters():
        fill(parameter, name)
    return model


def fill(parameter: torch.Tensor, name: str) -> None:
    """Random numbers drawn from the name, the same in every version of every library."""
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(parameter.shape))
    values = torch.from_numpy(0.2 * drawn) + float(parameter.ndim == 1 and name.endswith("weight"))
    with torch.no_grad():
        parameter.copy_(values)


def fill_adapter(down: torch.nn.Module, up: torch.nn.Module, block: int, role: str) -> None:
    """Fills one bottleneck; `role` is `attention` or `feed_forward`."""
    for part, linear in (("down", down), ("up", up)):
        for name, parameter in linear.named_parameters():
            fill(parameter, f"{block}.{role}.{part}.{name}")


def _computed_by_adapters(family: str, placement: str) -> torch.Tensor:
    import adapters
    from adapters import DoubleSeqBnConfig, ParBnConfig, SeqBnConfig

    same = {"reduction_factor": REDUCTION, "non_linearity": ACTIVATION, "scaling": SCALING}
    config = {
        "houlsby": lambda: DoubleSeqBnConfig(**same),
        "pfeiffer": lambda: SeqBnConfig(original_ln_before=False, **same),
        "parallel": lambda: ParBnConfig(**same),
    }[placement]()
    model = base_model(family)
    adapters.init(model)
    model.add_adapter("one", config=config)
    model.set_active_adapters("one")
    model.double().eval()
    for block, places in model.get_adapter("one").items():
        for place, adapter in places.items():
            role = {"mh_adapter": "attention", "output_adapter": "feed_forward"}[place]
            fill_adapter(adapter.adapter_down[0], adapter.adapter_up, block, role)
    with torch.no_grad():
        return model(IDS).last_hidden_state[0]


if __name__ == "__main__":
    made = {f"{family} {placement}": _computed_by_adapters(family, placement) for family, placement in CASES}
    rounded = {case: [[float(f"{x:.10g}") for x in row] for row in made[case].tolist()] for case in made}
    lines = (f"{json.dumps(case)}: {json.dumps(rows)}" for case, rows in rounded.items())
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")
