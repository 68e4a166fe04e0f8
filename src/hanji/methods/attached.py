"""What LoRA and bottleneck adapters share: PEFT puts layers into the model, saves them and takes them out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import Tensor, nn

from hanji.contracts.errors import ConfigError, ModelError
from hanji.methods.modules import head_modules, is_classifier, task_type

_INNER = "base_model.model."
"""How PEFT calls the model within its own."""


class Attached:
    """Layers of one PEFT config in one model, which runs as before and needs no wrapper around it.

    Args:
        config: a PEFT config without its task and its whole modules, which follow from the model.
        new: modules with random weights: they learn, and are saved beside the layers. A classification head
            always does, as in PEFT.

    Raises:
        ConfigError: PEFT cannot adapt this model so.
    """

    def __init__(self, model: Any, config: Any, new: Sequence[str]) -> None:
        config.task_type = task_type(model)
        config.modules_to_save = head_modules(model, new) if is_classifier(model) else list(new) or None
        try:
            with _quiet():
                self._peft = PeftModel(model, config)
        except ValueError as error:
            raise ConfigError(
                "PEFT cannot adapt this model so",
                where="method",
                value=model.config.model_type,
                hint=" ".join(str(error).split())[:300],
            ) from error
        self.model: nn.Module = self._peft.get_base_model()

    def save(self, directory: Path, *, base: str, state: Mapping[str, Tensor]) -> None:
        """See `contracts.AddingMethod`."""
        self._peft.peft_config["default"].base_model_name_or_path = base
        whole = {_INNER + name: tensor for name, tensor in state.items()}
        with _quiet():
            self._peft.save_pretrained(str(directory), state_dict=whole)
        (directory / "README.md").unlink(missing_ok=True)  # a model card without a word about this model

    def switched_off(self) -> AbstractContextManager[None]:
        """See `contracts.AddingMethod`."""
        off: AbstractContextManager[None] = self._peft.disable_adapter()
        return off

    def merge(self) -> nn.Module:
        """The plain model, with what was learned in its own weights."""
        with _quiet():
            merged: nn.Module = self._peft.merge_and_unload()
        return merged


class AttachingMethod:
    """What is the same in methods whose layers PEFT attaches; `apply` of each sets `_attached`."""

    adds = True
    _attached: Attached

    def save(self, model: nn.Module, directory: Path, *, base: str, state: Mapping[str, Tensor]) -> None:
        """See `contracts.AddingMethod`."""
        self._attached.save(directory, base=base, state=state)

    def switched_off(self, model: nn.Module) -> AbstractContextManager[None]:
        """See `contracts.AddingMethod`."""
        return self._attached.switched_off()

    def merge(self, model: nn.Module) -> nn.Module:
        """See `contracts.AddingMethod`."""
        return self._attached.merge()


def load_attached(model: nn.Module, directory: Path) -> tuple[nn.Module, Any]:
    """The model with what `Attached.save` wrote, and PEFT's wrapper of it.

    Raises:
        ModelError: it is of a model of another shape.
    """
    try:
        with _quiet():
            peft = PeftModel.from_pretrained(model, str(directory))
    except (RuntimeError, ValueError, KeyError) as error:
        raise ModelError(
            "this adapter does not fit the model",
            where=str(directory),
            value=type(model).__name__,
            hint=" ".join(str(error).split())[:300],
        ) from error
    return peft.get_base_model(), peft


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PEFT's warnings about settings that it mends itself."""
    with warnings.catch_warnings():
        for kind in (UserWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        yield
