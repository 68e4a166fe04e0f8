"""Saved directories as others load them: plain transformers and plain PEFT. Nothing here imports hanji.

Run as a program, it loads what a file lists and compares; hanji is imported only where the first argument
says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

CLASSES = {
    "causal": transformers.AutoModelForCausalLM,
    "masked": transformers.AutoModelForMaskedLM,
    "pretraining": transformers.AutoModelForPreTraining,
    "classification": transformers.AutoModelForSequenceClassification,
}
Row = Sequence[list[int]]
"""Ids, and where the tokenizer gives them, token types."""


def load_whole(directory: Path, head: str) -> Any:
    """A model directory; every weight of the model is in it."""
    model, found = CLASSES[head].from_pretrained(directory, output_loading_info=True)
    assert not any(found.values()), found
    return model.eval()


def load_with_peft(directory: Path, head: str, outputs: int | None) -> Any:
    """A PEFT directory over its base model.

    Args:
        outputs: of a classification head, which the base has not.
    """
    from peft import PeftModel

    about = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
    told = json.loads((directory / "base.json").read_text(encoding="utf-8"))["quantization"]
    options: dict[str, Any] = {} if outputs is None else {"num_labels": outputs}
    if told is not None:
        options["quantization_config"] = transformers.BitsAndBytesConfig(**told)
    base = CLASSES[head].from_pretrained(about["base_model_name_or_path"], **options)
    for module in base.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # rounds to bfloat16 outside of training
            module.support_avx512bf16_for_cpu = False
    return PeftModel.from_pretrained(base, str(directory)).eval()


def outputs_of(model: Any, rows: Sequence[Row]) -> Tensor:
    """All that it says of each row alone: logits of all tokens, end to end, then the relations of texts."""
    of_tokens, of_rows = [], []
    for ids, *types in rows:
        options = {"token_type_ids": torch.tensor(types)} if types else {}
        with torch.no_grad():
            output = model(
                input_ids=torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                **options,
            )
        if "prediction_logits" in output:
            of_tokens.append(output.prediction_logits)
            of_rows.append(output[1])
        else:
            of_tokens.append(output.logits)
    return torch.cat([part.flatten() for part in (*of_tokens, *of_rows)])


def generated(model: Any, ids: list[int], new_tokens: int) -> list[int]:
    """The greedy answer; no token ends it."""
    asked = torch.tensor([ids])
    found = model.generate(
        input_ids=asked, attention_mask=torch.ones_like(asked), max_new_tokens=new_tokens,
        min_new_tokens=new_tokens, do_sample=False, pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    answer: list[int] = found[0, len(ids) :].tolist()
    return answer


def main(listed: Path, *, with_hanji: bool) -> None:
    """Compares each directory of `listed` with the outputs saved beside it, and says how many there were."""
    if with_hanji:
        import hanji  # noqa: F401 - from now on PEFT knows bottleneck adapters
    cases = json.loads(listed.read_text(encoding="utf-8"))
    for case in cases:
        model = load_with_peft(Path(case["directory"]), case["head"], case["outputs"])
        expected = torch.tensor(case["expected"])
        torch.testing.assert_close(outputs_of(model, case["rows"]), expected, rtol=1e-5, atol=1e-5)
    assert with_hanji or not any(name.partition(".")[0] == "hanji" for name in sys.modules)
    print(f"{len(cases)} are the same")


if __name__ == "__main__":
    main(Path(sys.argv[2]), with_hanji=sys.argv[1] == "with-hanji")
