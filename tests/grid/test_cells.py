"""The contract of every cell of model × method × objective, whatever is registered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grid.cells import of
from grid.material import Material
from grid.plain import generated, load_whole, load_with_peft, outputs_of
from grid.stages import STEPS, Seen, outputs, run, said
from hanji.artifacts.models import load_to_train, load_trained
from hanji.contracts.errors import ConfigError, ModelError
from hanji.generation import Engine, Request
from hanji.methods.modules import head_modules, is_classifier
from hanji.methods.quantised import quantise, quantization_of
from hanji.models.policies import policy_for
from hanji.recipes.context import Interrupted


def same(found: Tensor, expected: Tensor) -> None:
    """Equal but for the rounding of float32, which is in proportion to the largest of the outputs:
    one near zero is the difference of larger numbers.
    """
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found.flatten(), expected.flatten(), rtol=1e-5, atol=1e-5 * scale)


def test_the_loss_falls(trained: Seen) -> None:
    assert len(trained.losses) == STEPS
    assert trained.after < 0.99 * trained.before


def test_what_is_frozen_stays_and_what_learns_changes(trained: Seen) -> None:
    frozen, changed = set(trained.frozen()), set(trained.changed())
    assert not trained.drifted, "frozen, and changed between two steps"
    assert changed == set(trained.base) - frozen
    if trained.cell.adds:
        model = trained.stage.loaded.model
        new = trained.stage.loaded.new
        heads = head_modules(model, new) if is_classifier(model) else new
        biases = {name for name in changed if trained.cell.options.get("biases") and name.endswith(".bias")}
        assert all(name.startswith(tuple(f"{head}." for head in heads)) for name in changed - biases)
        learning = [p for p in trained.policy.parameters() if p.requires_grad]
        assert not {id(p) for p in learning} <= {id(p) for p, _ in trained.base.values()}, "nothing was added"
    elif trained.cell.method in ("full", None):
        assert not frozen


@of(lambda cell: cell.method == "freeze")
def test_freeze_leaves_all_blocks_but_the_last(trained: Seen) -> None:
    found = {name: re.search(r"\.(\d+)\.", name) for name in trained.base}
    block = {name: int(match[1]) for name, match in found.items() if match}
    top = max(block.values())
    changed = set(trained.changed())
    assert {name for name in block if name in changed} == {name for name in block if block[name] == top}
    assert not any("embed" in name or "wte" in name or "wpe" in name for name in changed)


def test_saved_and_loaded_it_gives_the_same(trained: Seen) -> None:
    pad_id = trained.stage.tokenizer.pad_id
    policy = policy_for(trained.cell.head, load_trained(trained.work), pad_id=pad_id)
    same(outputs(policy, trained.batch), outputs(trained.policy, trained.batch))
    same(said(policy, trained.batch), said(trained.policy, trained.batch))


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
def test_plain_libraries_load_it_with_the_same_outputs(trained: Seen) -> None:
    cell, expected = trained.cell, outputs(trained.policy, trained.batch)
    if cell.adds:
        loaded: Any = load_with_peft(trained.work, cell.head, trained.outputs_wanted)
    else:
        loaded = load_whole(trained.work, cell.head)
    same(outputs_of(loaded, trained.documents(trained.batch)), expected)


@of(lambda cell: cell.head == "causal")
@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
def test_the_engine_answers_what_plain_libraries_generate(trained: Seen) -> None:
    cell, tokenizer = trained.cell, trained.stage.tokenizer
    prompts = [ids[: 3 + 2 * number] for number, (ids, *_) in enumerate(trained.documents(trained.batch)[:4])]
    with Engine(load_trained(trained.work), tokenizer, slots=3) as engine:
        answers = engine.run(Request(prompt=ids, max_new_tokens=8, stop_ids=()) for ids in prompts)
    loaded: Any = (
        load_with_peft(trained.work, "causal", None) if cell.adds else load_whole(trained.work, "causal")
    )
    for ids, answer in zip(prompts, answers, strict=True):
        assert answer.ids == generated(loaded, ids, 8), ids


@of(lambda cell: cell.adds)
def test_switched_off_it_is_the_base_model(trained: Seen, material: Material) -> None:
    cell = trained.cell
    with trained.policy.switched_off():
        off = outputs(trained.policy, trained.batch)
    base = load_to_train(
        material.base(cell.family), cell.head,
        labels=trained.stage.labels, pad_id=trained.stage.tokenizer.pad_id, seed=trained.context.seed,
    )  # fmt: skip
    if trained.stage.method.name == "qlora":
        quantise(base.model, quantization_of(base.model))
    expected = outputs(
        policy_for(cell.head, base.model, pad_id=trained.stage.tokenizer.pad_id), trained.batch
    )
    assert torch.equal(off, expected)
    on = outputs(trained.policy, trained.batch)
    assert on.shape != off.shape or not torch.allclose(on, off, atol=1e-3), "nothing was learned"


def load_further(trained: Seen) -> Any:
    """The model as another stage would go on from it."""
    stage = trained.stage
    return load_to_train(
        trained.work, trained.cell.head, labels=stage.labels, pad_id=stage.tokenizer.pad_id, seed=0
    )  # fmt: skip


@of(lambda cell: cell.merges)
def test_merged_where_another_stage_goes_on_it_gives_the_same(trained: Seen) -> None:
    merged = load_further(trained).model.eval()
    same(outputs_of(merged, trained.documents(trained.batch)), outputs(trained.policy, trained.batch))


@of(lambda cell: cell.adds and not cell.merges)
def test_what_cannot_be_merged_says_so(trained: Seen) -> None:
    with pytest.raises(ModelError, match="cannot become part of its weights"):
        load_further(trained)
    method: Any = trained.stage.method
    with pytest.raises(ConfigError, match="cannot be merged"):
        method.merge(trained.policy.model)


@pytest.mark.slow
@of(lambda cell: cell.merges)
def test_a_stage_that_merges_leaves_a_whole_model(trained: Seen, material: Material, tmp_path: Path) -> None:
    run(trained.cell, material, tmp_path / "work", merge=True)
    whole = load_whole(tmp_path / "work", trained.cell.head)
    same(outputs_of(whole, trained.documents(trained.batch)), outputs(trained.policy, trained.batch))


def test_packed_it_is_as_padded(trained: Seen) -> None:
    """And with the head of its own, on either way, as at chosen positions only."""
    policy, batch = trained.policy, trained.batch
    packed_up_to, own_head = policy.packed_up_to, policy.own_head
    assert packed_up_to and own_head, "the fast ways are not taken"
    expected = said(policy, batch)
    try:
        for ways in ((0, True), (0, False), (packed_up_to, False)):
            policy.packed_up_to, policy.own_head = ways
            same(said(policy, batch), expected)
    finally:
        policy.packed_up_to, policy.own_head = packed_up_to, own_head


@pytest.mark.slow
def test_stopped_and_resumed_it_saves_the_same_bytes(
    trained: Seen, material: Material, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted, match=f"after step 3 of {STEPS}"):
        run(trained.cell, material, tmp_path / "work", stop_after=3)
    resumed = run(trained.cell, material, tmp_path / "work")
    assert len(resumed.losses) == STEPS - 3
    files = [path.name for path in trained.work.glob("*.safetensors")]
    assert files
    for name in files:
        assert (tmp_path / "work" / name).read_bytes() == (trained.work / name).read_bytes(), name
