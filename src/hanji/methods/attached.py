"""What LoRA and bottleneck adapters share: PEFT puts layers into the model, saves them and takes them out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from peft import PeftModel
from torch import Tensor, nn

from hanji.contracts.errors import ConfigError, ModelError
from hanji.methods.modules import head_modules, is_classifier, task_type
from hanji.methods.quantised import dequantise, turn_back

_INNER = "base_model.model."
"""How PEFT calls the model within its own."""


class Attached:
    """Layers of one PEFT config in one model, which runs as before and needs no wrapper around it.

    Args:
        config: a PEFT config without its task and its whole modules, which follow from the model.
        new: modules with random weights: they learn, and are saved beside the layers. A classification head
            always does, as in PEFT.

    Attributes:
        peft: PEFT's wrapper. `model`: what it wraps.

    Raises:
        ConfigError: PEFT cannot adapt this model so.
    """

    def __init__(self, model: Any, config: Any, new: Sequence[str]) -> None:
        config.task_type = task_type(model)
        config.modules_to_save = head_modules(model, new) if is_classifier(model) else list(new) or None
        try:
            with _quiet():
                self.peft = PeftModel(model, config)
        except ValueError as error:
            raise ConfigError(
                "PEFT cannot adapt this model so",
                where="method",
                value=model.config.model_type,
                hint=" ".join(str(error).split())[:300],
            ) from error
        self.model: nn.Module = self.peft.get_base_model()

    def save(
        self,
        directory: Path,
        *,
        base: str,
        state: Mapping[str, Tensor],
        changes: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """See `contracts.AddingMethod`.

        Args:
            changes: fields of the config that are to be saved otherwise.
        """
        own = self.peft.peft_config["default"]
        whole = {_INNER + name: tensor for name, tensor in state.items()}
        self.peft.peft_config["default"] = replace(own, base_model_name_or_path=base, **changes)
        with _quiet():
            self.peft.save_pretrained(str(directory), selected_adapters=["default"], state_dict=whole)
        self.peft.peft_config["default"] = own
        (directory / "README.md").unlink(missing_ok=True)  # a model card without a word about this model

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """See `contracts.AddingMethod`."""
        with ExitStack() as stack:
            with _quiet():
                stack.enter_context(self.peft.disable_adapter())
            yield

    def merge(self) -> nn.Module:
        """The plain model, with what was learned in its own weights."""
        return merge_attached(self.peft)


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


def merge_attached(peft: Any) -> nn.Module:
    """The plain model within PEFT's wrapper, with what was learned in its own weights; those that were in 4
    bits are first what they were rounded to."""
    turned = dequantise(peft.get_base_model())
    with _quiet():
        merged: nn.Module = peft.merge_and_unload()
    turn_back(merged, turned)
    return merged


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PEFT's warnings about settings that it mends itself."""
    with warnings.catch_warnings():
        for kind in (UserWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        yield
