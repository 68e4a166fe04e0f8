"""What each rank of `test_parallel` runs, under torchrun or alone: train, save, resume, and report.

python ranks_program.py DIRECTORY straight|resume FAMILY[:METHOD]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1]))

from hanji.contracts.errors import ConfigError, TrainingError
from hanji.contracts.rows import TokenRows
from hanji.methods.freeze import Freeze
from hanji.methods.full import Full
from hanji.methods.lora import Lora
from hanji.methods.qlora import Qlora
from hanji.models.policies import CausalPolicy
from hanji.objectives.clm import CausalLanguageModelling
from hanji.training.callbacks import Advance
from hanji.training.checkpoints import Checkpoints
from hanji.training.loop import Run, fit
from hanji.training.non_finite import NonFinite
from hanji.training.optimizers import build_optimizers
from hanji.training.parallel import Parallel
from tiny_models import FAMILIES, VOCABULARY

METHODS: dict[str, Any] = {
    "": Full(),
    "thawing": Freeze(top_layers=2, head=False, gradually=0.6),
    "pissa": Lora(rank=4, start="pissa"),
    "qlora": Qlora(rank=4),
}
LENGTHS = np.array([20, 5, 33, 8, 12, 27, 3], np.int64)  # an odd number: the ranks' shares are not alike


class Shares:
    """Other rows at each step; a rank's share is every so manyth of them."""

    def __init__(self, parallel: Parallel, step: int) -> None:
        self.parallel, self.step = parallel, step

    def next_rows(self) -> TokenRows:
        random = np.random.default_rng(self.step)
        self.step += 1
        tokens = int(LENGTHS.sum())
        ids = random.integers(3, VOCABULARY, tokens).astype(np.int32)
        rows = TokenRows(ids, LENGTHS, random.random(tokens) > 0.3, LENGTHS)
        return rows.take(np.arange(self.parallel.rank, len(LENGTHS), self.parallel.world_size))


def tied_decoder(family: str) -> Any:
    """In float64: in float32 Adam turns the rounding of sums into 2e-5 of a matrix, on one process too."""
    torch.manual_seed(0)
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = CONFIG_MAPPING[family](
        vocab_size=VOCABULARY, tie_word_embeddings=True, **tokens, **FAMILIES[family]
    )
    for dropout in {"resid_pdrop", "embd_pdrop", "attn_pdrop"} & vars(config).keys():
        setattr(config, dropout, 0.0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float64)


def make_run(parallel: Parallel, family: str, directory: Path) -> Run:
    name, _, method = family.partition(":")
    policy = CausalPolicy(METHODS[method].apply(tied_decoder(name)).double(), pad_id=0)
    parallel.shard(policy, policy.layers())
    return Run(
        policy=policy, objective=CausalLanguageModelling(), rows=Shares(parallel, 0),
        optimizers=build_optimizers(policy, "adamw", learning_rate=1e-2, weight_decay=0.1),
        schedule=lambda step: 1e-2, steps=6, micro_batch_tokens=30, max_grad_norm=0.5,
        non_finite=NonFinite(directory), parallel=parallel,
    )  # fmt: skip


def train(parallel: Parallel, directory: Path, mode: str, family: str) -> None:
    """`straight`: three steps, a checkpoint, three more. `resume`: the last three from that checkpoint."""
    run = make_run(parallel, family, directory)
    store = Checkpoints(directory / "checkpoints", parallel=parallel)
    reports: list[Any] = []
    if mode == "resume":
        state = store.load_latest(run.policy, run.optimizers)
        assert state is not None
        run.step = state["step"]
        run.rows = Shares(parallel, run.step)

    advance = Advance(METHODS[family.partition(":")[2]], run)
    learning: list[int] = []

    def each_step(run: Run, report: Any) -> None:
        reports.append([report.loss, report.gradient_norm, report.tokens])
        learning.append(sum(parameter.requires_grad for parameter in run.policy.parameters()))
        if mode == "straight" and run.step == 3:
            store.save(3, run.policy, run.optimizers, {"step": 3}, score=1.0)

    fit(run, [each_step, advance])
    if family.endswith("thawing"):  # the lower block joins before the fifth step
        assert learning == sorted(learning) and learning[-2] == learning[-1] == 2 * learning[0], learning
    state = parallel.gather_full_state(run.policy.model)
    if not parallel.main:
        assert state == {}
        return
    head = state.pop("lm_head.weight")
    assert any(tensor.data_ptr() == head.data_ptr() for tensor in state.values())  # still tied
    name = f"{mode}-{parallel.world_size}"
    save_file(state, directory / f"{name}.safetensors")
    (directory / f"{name}.json").write_text(json.dumps(reports))


def talk(parallel: Parallel) -> None:
    """The small things that ranks say to each other."""
    rank = parallel.rank
    assert parallel.sum({"tokens": 10.0 + rank, "loss": 0.5}) == {"tokens": 21.0, "loss": 1.0}
    assert parallel.max(rank) == 1.0
    assert parallel.gather({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
    assert parallel.on_main(lambda: rank) == 0
    for names in (["a", "b"], ["a"]):
        try:
            parallel.sum(dict.fromkeys(names if rank else ["a", "c"], 1.0))
        except AssertionError as error:
            assert "different names" in str(error)
        else:
            raise RuntimeError("sums of different names were not refused")

    def fail() -> None:
        raise ConfigError("broken", where="here")

    try:
        parallel.on_main(fail)
    except ConfigError as error:
        assert (error.problem, error.where) == ("broken", "here")
    else:
        raise RuntimeError("an error on rank 0 did not reach the others")
    parallel.barrier()


def damage(parallel: Parallel, directory: Path) -> None:
    """A corrupt checkpoint is refused by all ranks alike."""
    run = make_run(parallel, "llama", directory)
    store = Checkpoints(directory / "damaged", parallel=parallel)
    path = store.save(1, run.policy, run.optimizers, {})
    if parallel.main:
        last = max(path.glob("*.safetensors"))
        last.write_bytes(last.read_bytes()[:-1] + b"\x01")
    parallel.barrier()
    try:
        store.load_latest(run.policy, run.optimizers)
    except TrainingError as error:
        assert "shard-00002" in str(error)
    else:
        raise RuntimeError("a corrupt shard was used")


if __name__ == "__main__":
    parallel = Parallel.from_environment("cpu")
    modes = sys.argv[2].split(",")
    for mode in modes:
        train(parallel, Path(sys.argv[1]) / mode, mode, sys.argv[3])
    if parallel.world_size > 1 and ":" not in sys.argv[3]:
        damage(parallel, Path(sys.argv[1]))
        talk(parallel)
    parallel.close()
