"""What TRL 1.16.0 computes of two pairs of answers: our independent reference for dpo and reward.

The numbers are kept in `reference_trl.json`, so that TRL need not be installed here. They were made in the
environment that the benchmarks make for it, and are made anew in the same way:

    bin=$(python -c 'from benchmarks.environments import peer_environment as peer; print(peer("trl"))')
    PYTHONPATH=src:tests $bin/python tests/objectives/reference_trl.py > tests/objectives/reference_trl.json

Each is the loss that the trainer's own `compute_loss` gives for a batch of its own collator: fp32, on the
CPU, without dropout; and the norm of the gradient of the output embedding (of `score`, in the reward model).
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any

from objectives.preference_pairs import (
    CHOSEN,
    MARGINS,
    PROMPTS,
    REJECTED,
    policy_model,
    reference_model,
    reward_model,
)

DPO: dict[str, dict[str, Any]] = {
    "sigmoid": {"loss_type": ["sigmoid"]},
    "ipo": {"loss_type": ["ipo"]},
    "hinge": {"loss_type": ["hinge"]},
    # TRL smooths its `sigmoid` no more; `aot_unpaired` of a single pair is the same formula
    "smoothed, first pair": {"loss_type": ["aot_unpaired"], "label_smoothing": 0.1},
    "smoothed, second pair": {"loss_type": ["aot_unpaired"], "label_smoothing": 0.1},
}
REWARD: dict[str, dict[str, Any]] = {
    "plain": {},
    "centred": {"center_rewards_coefficient": 0.01},
    "centred, with margins": {"center_rewards_coefficient": 0.01},
}


def _options(directory: str) -> dict[str, Any]:
    return {"output_dir": directory, "use_cpu": True, "bf16": False, "report_to": "none"}


def _tokenizer() -> Any:
    """A tokenizer whose words are their own ids; the trainers want one, the batches are made without it."""
    from transformers import PreTrainedTokenizerFast

    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({str(index): index for index in range(211)}, unk_token="0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="0", bos_token="1", eos_token="2")


def _texts() -> Any:
    from datasets import Dataset

    def said(answers: list[list[int]]) -> list[str]:
        return [" ".join(map(str, answer)) for answer in answers]

    return Dataset.from_dict({"prompt": said(PROMPTS), "chosen": said(CHOSEN), "rejected": said(REJECTED)})


def _dpo(name: str, directory: str) -> dict[str, float]:
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    trainer = DPOTrainer(
        policy_model(), reference_model(), DPOConfig(**_options(directory), beta=0.1, **DPO[name]),
        train_dataset=_texts(), processing_class=_tokenizer(),
    )  # fmt: skip
    pairs = [
        {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
        for prompt, chosen, rejected in zip(PROMPTS, CHOSEN, REJECTED, strict=True)
    ]
    if name.startswith("smoothed"):
        pairs = pairs[:1] if "first" in name else pairs[1:]
    loss = trainer.compute_loss(trainer.model, DataCollatorForPreference(0)(pairs))
    loss.backward()
    gradient = trainer.model.get_output_embeddings().weight.grad
    return {"loss": float(loss), "gradient": float(gradient.norm())}


def _reward(name: str, directory: str) -> dict[str, float]:
    from trl import RewardConfig, RewardTrainer
    from trl.trainer.reward_trainer import DataCollatorForPreference

    trainer = RewardTrainer(
        reward_model(), RewardConfig(**_options(directory), **REWARD[name]),
        train_dataset=_texts(), processing_class=_tokenizer(),
    )  # fmt: skip
    pairs: list[dict[str, Any]] = [
        {"chosen_ids": prompt + chosen, "rejected_ids": prompt + rejected}
        for prompt, chosen, rejected in zip(PROMPTS, CHOSEN, REJECTED, strict=True)
    ]
    if "margins" in name:
        pairs = [pair | {"margin": margin} for pair, margin in zip(pairs, MARGINS, strict=True)]
    loss = trainer.compute_loss(trainer.model, DataCollatorForPreference(0)(pairs))
    loss.backward()
    return {"loss": float(loss), "gradient": float(trainer.model.score.weight.grad.norm())}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        made = {"dpo": {name: _dpo(name, directory) for name in DPO}}
        made["reward"] = {name: _reward(name, directory) for name in REWARD}
    sys.stdout.write(json.dumps(made, indent=2) + "\n")
