"""The kinds of stages: each is a settings class in `recipes.schema` and one file here.

Every file has `make(stage, inputs, work, context) -> dict[str, Any]`: it writes the artifact's content into
`work`, and returns metrics. `inputs` holds, for every name that the stage refers to (as written there), the
artifact that it means, or the name itself where it is a path or a hub id."""

from __future__ import annotations

from typing import Final

MAKERS: Final[dict[str, str]] = {
    "prepare": "hanji.recipes.stages.prepare:make",
    "tokenizer": "hanji.recipes.stages.tokenizer:make",
    "pretrain": "hanji.recipes.stages.pretrain:make",
    "finetune": "hanji.recipes.stages.finetune:make",
    "evaluate": "hanji.recipes.stages.evaluate:make",
    "compare": "hanji.recipes.stages.compare:make",
}
"""Kind of stage → `module:function`, imported only when such a stage is made."""

RESUMED: Final = frozenset({"pretrain", "finetune"})
"""Kinds that go on from what a cut-off attempt left in `work`, and watch `context.stop`; the others find
`work` empty, and are ended where they stand."""

WITHOUT_DEVICE: Final = frozenset({"prepare", "tokenizer"})
"""Kinds that need no accelerator, and no torch to find one."""
