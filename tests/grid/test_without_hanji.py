"""What was added to a model is PEFT's: a process without hanji loads it, with the same outputs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grid import plain
from grid.cells import Cell
from grid.material import Material
from grid.stages import outputs, run

PLACES = (
    ("llama", "sft"),
    ("gpt2", "classify"),
    ("bert", "mlm+nsp"),
    ("bert", "classify"),
    ("modernbert", "mlm"),
    ("modernbert", "reward"),
)

VARIANT = {("lora", "gpt2"): "olora"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "methods"), [("alone", ("lora", "qlora", "prompt")), ("with-hanji", ("adapter",))]
)
def test_peft_loads_it(how: str, methods: tuple[str, ...], material: Material, tmp_path: Path) -> None:
    cases: list[dict[str, Any]] = []
    for method in methods:
        for family, objective in PLACES:
            cell = Cell(family, method, objective, VARIANT.get((method, family), ""))
            seen = run(cell, material, tmp_path / str(cell))
            few = seen.first(2)
            cases.append(
                {
                    "directory": str(seen.work),
                    "head": cell.head,
                    "outputs": seen.outputs_wanted,
                    "rows": seen.documents(few),
                    "expected": outputs(seen.policy, few).flatten().tolist(),
                }
            )
    listed = tmp_path / "cases.json"
    listed.write_text(json.dumps(cases), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", plain.__file__, how, listed],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(cases)} are the same\n"
