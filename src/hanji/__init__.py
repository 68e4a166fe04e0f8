"""hanji: the whole life of a language model, from a blank page to a service.

```python
import hanji

made = hanji.run("recipes/tiny.yaml", "base.train.steps=20")   # as `hanji run`
made["base"].path                                              # a model directory for transformers
hanji.make("finetune", "model=base", "data=my.jsonl", "name=my-chat")   # as `hanji finetune`
hanji.find("my-chat").metrics
```

Nothing heavy is imported before a stage needs it. Once PEFT is imported too, before or after, it loads
bottleneck adapters as it loads its own.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from hanji.artifacts.artifact import Artifact
    from hanji.contracts.progress import Progress
    from hanji.recipes.load import Where
    from hanji.recipes.schema import Recipe

__all__ = ["__version__", "find", "make", "run"]
__version__ = "0.1.0"


def run(
    recipe: str | Path,
    *overrides: str,
    force: Sequence[str] = (),
    until: str | None = None,
    runs: str | Path = "runs",
    progress: Progress | None = None,
) -> dict[str, Artifact]:
    """Makes what is missing or stale of a recipe, and returns its artifacts by stage.

    Args:
        recipe: a YAML file.
        overrides: `stage.key=value`, as on the command line.
        force: stages to make anew.
        until: the last stage to make, with what it needs.
        runs: the directory of all artifacts.
        progress: is told how far the work is; by default nobody.

    Raises:
        HanjiError: whatever is wrong with the recipe, its data or this machine.
    """
    from hanji.recipes.load import load_recipe

    return _make(*load_recipe(Path(recipe), overrides), Path(runs), progress, force=force, until=until)


def make(
    kind: str,
    *settings: str,
    force: bool = False,
    runs: str | Path = "runs",
    progress: Progress | None = None,
) -> Artifact:
    """Makes one stage, as the verb `hanji KIND key=value ...`, and returns its artifact.

    Raises:
        HanjiError: as `run`.
    """
    from hanji.recipes.load import one_stage

    recipe, where = one_stage(kind, settings)
    (name,) = recipe.stages
    return _make(recipe, where, Path(runs), progress, force=[name] if force else [])[name]


def _make(
    recipe: Recipe,
    where: Where,
    runs: Path,
    progress: Progress | None,
    *,
    force: Sequence[str],
    until: str | None = None,
) -> dict[str, Artifact]:
    from hanji.artifacts.workspace import Workspace
    from hanji.contracts.progress import Silent
    from hanji.recipes.link import link
    from hanji.recipes.runner import Run

    workspace = Workspace(runs)
    linked = link(recipe, workspace, where)
    return Run(linked, workspace, force=force, until=until, progress=progress or Silent())()


def find(name: str, runs: str | Path = "runs") -> Artifact:
    """An artifact by `recipe/stage`, by its stage's name where that is unique, or by its path.

    Raises:
        ArtifactError: there is none.
    """
    from hanji.artifacts.workspace import Workspace

    return Workspace(Path(runs)).resolve(name)


class _AfterPeft:
    """A finder that finds `peft` as the others do, and adds a step to its import: it gets to know our tuner.

    PEFT has no entry points, and to import it here would make every start slow.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "peft":
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: Any) -> None:
                execute(module)
                _register_bottleneck()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register_bottleneck() -> None:
    try:
        import_module("hanji.methods.bottleneck")
    except Exception as error:  # a PEFT that we do not know must still serve who does without bottlenecks
        warnings.warn(f"PEFT cannot load hanji's bottleneck adapters: {error!r}", stacklevel=2)


if "peft" in sys.modules:
    _register_bottleneck()
else:
    sys.meta_path.insert(0, _AfterPeft())
