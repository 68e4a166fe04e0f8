"""The kinds of stages: each is a settings class in `recipes.schema` and one file here.

Every file has `make(stage, inputs, work, context) -> dict[str, Any]`: it writes the artifact's content into
`work` and returns metrics. `inputs` holds, for every name that the stage refers to (as written there), the
artifact that it means, or the name itself where it is a path or a hub id. Settings never change `work`'s
meaning: what an earlier, cut-off attempt left there (checkpoints) may be used.
"""

from __future__ import annotations

from typing import Final

MAKERS: Final[dict[str, str]] = {
    "prepare": "hanji.recipes.stages.prepare:make",
    "tokenizer": "hanji.recipes.stages.tokenizer:make",
    "pretrain": "hanji.recipes.stages.pretrain:make",
    "finetune": "hanji.recipes.stages.finetune:make",
    "evaluate": "hanji.recipes.stages.evaluate:make",
}
"""Kind of stage → `module:function`, imported only when such a stage is made."""
