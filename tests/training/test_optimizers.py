from __future__ import annotations

import pytest
import torch
from torch import nn

from hanji.contracts.errors import ConfigError
from hanji.training.optimizers import build_optimizers, set_learning_rate


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.LayerNorm(4)])
        self.head = nn.Linear(4, 7)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_learning_parameter_is_in_one_group_and_only_matrices_decay(name: str) -> None:
    model = Model()
    optimizers = build_optimizers(model, name, learning_rate=1e-3, weight_decay=0.3)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    members = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(members) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    for group in groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.3 if parameter.ndim == 2 else 0.0)


def test_muon_takes_the_matrices_of_the_blocks_alone() -> None:
    model = Model()
    muon, adamw = build_optimizers(model, "muon", learning_rate=1e-3, weight_decay=0.1)
    assert [id(p) for p in muon.param_groups[0]["params"]] == [id(model.layers[0].weight)]
    assert isinstance(adamw, torch.optim.AdamW)


def test_one_learning_rate_for_all() -> None:
    optimizers = build_optimizers(Model(), "muon", learning_rate=1e-3, weight_decay=0.1)
    set_learning_rate(optimizers, 0.5)
    assert {group["lr"] for optimizer in optimizers for group in optimizer.param_groups} == {0.5}


def test_muon_is_refused_on_several_devices_and_unknown_names_everywhere() -> None:
    with pytest.raises(ConfigError, match="whole matrices"):
        build_optimizers(Model(), "muon", learning_rate=1e-3, weight_decay=0.1, sharded=True)
    with pytest.raises(ConfigError, match="adamw, muon"):
        build_optimizers(Model(), "sgd", learning_rate=1e-3, weight_decay=0.1)
