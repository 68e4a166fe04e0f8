"""What the sides of benchmarks.generate and benchmarks.serve are given: models, adapters, uneven requests."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median

import torch
from peft import LoraConfig, get_peft_model

from benchmarks.material import read_lines, smollm2_gguf, write_directory
from benchmarks.workers.traffic import Asked
from hanji.models.load import blank_model, load_model
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer

TEXT = "pretrain-en/sotu.txt.gz"
LINES = 4000
"""Of the speeches: enough for every prompt to be of other words."""
PROMPT_TOKENS = (16, 200)
ANSWER_TOKENS = (8, 120)
SHARED_TOKENS, OWN_TOKENS, SHORT_ANSWER = 1024, (16, 48), 16
VOCABULARY = 8192


def write_model(name: str, directory: Path) -> int:
    """The model called so, in fp32, with its tokenizer; returns its parameters.

    Args:
        name: `9m`, a Llama with random weights; `smollm2`, SmolLM2-135M-Instruct, dequantised.
    """
    if name == "smollm2":
        tokenizer, model = Tokenizer.load(smollm2_gguf()), load_model(smollm2_gguf())
    else:
        texts = islice(read_lines(TEXT), LINES)
        tokenizer = train_tokenizer(texts, algorithm="bpe", vocab_size=VOCABULARY)
        architecture = {
            "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 6, "intermediate_size": 688,
            "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
        }  # fmt: skip
        model = blank_model(architecture, tokenizer, seed=0)
    return write_directory(directory, model, tokenizer)


def write_loras(directory: Path, count: int, rank: int = 16) -> dict[str, str]:
    """LoRAs with random weights on all linear layers of the model in `directory`: directories by name."""
    found = {}
    for index in range(count):
        torch.manual_seed(index)
        config = LoraConfig(r=rank, target_modules="all-linear", lora_alpha=rank, init_lora_weights=False)
        name = f"lora-{index}"
        get_peft_model(load_model(directory), config).save_pretrained(directory / name)
        found[name] = str(directory / name)
    return found


class Text:
    """Ids of a long text, taken piece by piece: no two prompts are of the same words."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        lines = [line for line in islice(read_lines(TEXT), LINES) if line.strip()]
        self.ids = [token for row in tokenizer.encode_texts(lines) for token in row.tolist()]
        self.at = 0

    def take(self, count: int) -> list[int]:
        """The next ids; from the beginning again where the text ends."""
        if self.at + count > len(self.ids):
            self.at = 0
        self.at += count
        return self.ids[self.at - count : self.at]


def uneven(text: Text, count: int, *, seed: int = 0, longest_answer: int = ANSWER_TOKENS[1]) -> list[Asked]:
    """Requests of uneven prompts and answers; their lengths follow from the seed."""
    lengths = random.Random(seed)
    return [
        Asked(
            text.take(lengths.randint(*PROMPT_TOKENS)), min(longest_answer, lengths.randint(*ANSWER_TOKENS))
        )
        for _ in range(count)
    ]


def sharing(text: Text, count: int) -> list[Asked]:
    """Requests that begin with the same tokens, and have short answers."""
    shared, lengths = text.take(SHARED_TOKENS), random.Random(0)
    return [
        Asked(shared + text.take(lengths.randint(*OWN_TOKENS)), SHORT_ANSWER) for _ in range(count)
    ]  # fmt: skip


def write_requests(asked: Sequence[Asked], path: Path) -> None:
    """As `workers.traffic.read_requests` reads them."""
    rows = [{"prompt": one.prompt, "new_tokens": one.new_tokens, "adapter": one.adapter} for one in asked]
    path.write_text(json.dumps(rows), encoding="utf-8")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


def first_tokens(sides: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, float]:
    """Milliseconds to the first token of each side, p50 and p95: medians over rounds of seconds."""
    return {
        f"{side}_first_token_p{round(share * 100)}_ms": 1000
        * median(percentile(one, share) for one in rounds)
        for side, rounds in sides.items()
        for share in (0.50, 0.95)
    }


def same_answers(peer: str, ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> None:
    """Refuses to time two sides whose greedy answers are not the same tokens."""
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if list(mine) != list(other):
            at = next((i for i, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), len(mine))
            raise SystemExit(f"not the same work: answer {number} of {peer} differs from ours at token {at}")
    print(f"the same on both sides: greedy tokens of the first {len(ours)} answers ({peer})")
