"""PEFT knows bottleneck adapters once hanji is imported too, in either order."""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING, PeftType

import hanji
from hanji.methods import bottleneck
from methods.bottleneck_models import IDS, adapted, base_model, logits


def python(code: str, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, env=environment, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_added_member_is_like_those_of_peft() -> None:
    ours, theirs = PeftType("BOTTLENECK"), PeftType("LORA")
    assert ours is PeftType.BOTTLENECK is PeftType["BOTTLENECK"] is bottleneck.BottleneckConfig().peft_type
    assert ours in list(PeftType)
    assert "BOTTLENECK" in list(PeftType)
    assert list(PeftType).count(ours) == 1
    assert len(PeftType) == len(list(PeftType)) == len(PeftType.__members__)
    assert set(vars(ours)) == set(vars(theirs))
    assert (ours.name, ours.value, str(ours), hash(ours)) == (
        "BOTTLENECK", "BOTTLENECK", str(theirs).replace("LORA", "BOTTLENECK"), hash("BOTTLENECK")
    )  # fmt: skip
    assert ours is pickle.loads(pickle.dumps(ours)) is copy.deepcopy(ours)


def test_registering_again_changes_nothing() -> None:
    before = PEFT_TYPE_TO_CONFIG_MAPPING["BOTTLENECK"], PEFT_TYPE_TO_TUNER_MAPPING["BOTTLENECK"]
    importlib.reload(importlib.import_module("hanji.methods.bottleneck.peft_type"))
    importlib.reload(bottleneck)
    assert before == (bottleneck.BottleneckConfig, bottleneck.BottleneckModel)
    assert before == (PEFT_TYPE_TO_CONFIG_MAPPING["BOTTLENECK"], PEFT_TYPE_TO_TUNER_MAPPING["BOTTLENECK"])
    assert list(PeftType).count("BOTTLENECK") == 1


# When this fails, PEFT has changed: read `bottleneck/peft_type.py`, and see whether it can go.
PEFT_FIRST = """
from peft import LoraConfig, LoraModel, PeftType
from peft.utils import register_peft_method

assert 'BOTTLENECK' not in list(PeftType), 'PEFT has a method of our name'
try:
    register_peft_method(name='bottleneck', config_cls=LoraConfig, model_cls=LoraModel)
except ValueError as error:
    assert 'Unknown PEFT type BOTTLENECK' in str(error)
else:
    raise SystemExit('PEFT takes foreign names: peft_type.py is no longer needed')
import hanji
"""

HANJI_FIRST = """
import hanji, importlib.util

importlib.util.find_spec('peft')  # as transformers looks whether PEFT is there
"""

LOAD = """
import sys
import torch
from transformers import AutoModelForMaskedLM

base, adapter, wanted = sys.argv[1:]
kept = torch.load(wanted, weights_only=True)
by_transformers = AutoModelForMaskedLM.from_pretrained(base)
by_transformers.load_adapter(adapter)  # here transformers imports PEFT, where nobody did

from peft import PeftModel

by_peft = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained(base), adapter)
with torch.no_grad():
    for model in (by_transformers.eval(), by_peft.eval()):
        assert torch.equal(model(input_ids=kept['ids']).logits, kept['logits'])
print('equal')
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    folder: Path = tmp_path_factory.mktemp("saved")
    base_model("bert").save_pretrained(folder / "base")
    model = adapted("bert", "parallel")
    model.save_pretrained(folder / "adapter")
    torch.save({"ids": IDS, "logits": logits(model)}, folder / "wanted.pt")
    return str(folder / "base"), str(folder / "adapter"), str(folder / "wanted.pt")


@pytest.mark.parametrize("first", [PEFT_FIRST, HANJI_FIRST], ids=["peft first", "hanji first"])
def test_plain_peft_and_transformers_load_our_directory(first: str, saved: tuple[str, str, str]) -> None:
    assert python(first + LOAD, *saved) == "equal\n"


def test_hanji_alone_imports_neither_torch_nor_peft() -> None:
    out = python(
        "import sys, hanji; print(sorted({'torch', 'peft', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    assert out == "[]\n"


def test_a_peft_that_cannot_take_them_still_works_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hanji.methods.bottleneck", None)  # its import fails
    with pytest.warns(UserWarning, match="PEFT cannot load hanji's bottleneck adapters: ModuleNotFoundError"):
        hanji._register_bottleneck()
