"""A module and its optimizers as named tensors and plain JSON, and back, whole or sharded, bit for bit.

`torch.distributed.checkpoint.state_dict` does this too, but runs an optimizer step to invent missing state,
and returns parameter groups as objects that only pickle can store. Here every tensor keeps its type and
everything else is JSON, so that a checkpoint holds nothing that could run code.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from hanji.contracts.errors import TrainingError

_WRAPPERS = re.compile(r"(_orig_mod|_checkpoint_wrapped_module)\.")


def model_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Learning parameters and persistent buffers by name, once where tied; they share the module's memory.

    Frozen parameters are left out: whoever made the module loads them from where they came from. Those that
    will thaw (`parameter.thaws`) are not.
    """
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        frozen = isinstance(tensor, nn.Parameter) and not (tensor.requires_grad or _thaws(tensor))
        if frozen or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        tensors[f"model.{_WRAPPERS.sub('', name)}"] = tensor.detach()
    return tensors


def run_tensors(
    module: nn.Module, optimizers: Sequence[Optimizer]
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """All tensors of a run by name, and what else each optimizer holds, as JSON: groups and numbers."""
    tensors = model_tensors(module)
    names = _parameter_names(module)
    descriptions = []
    for index, optimizer in enumerate(optimizers):
        values: dict[str, dict[str, Any]] = {}
        for parameter, state in optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    # A counter may be one tensor for all parameters; in a file each stands alone.
                    own = value.detach().clone() if value.dim() == 0 else value.detach()
                    tensors[_state_name(index, names[parameter], key)] = own
                else:
                    values.setdefault(names[parameter], {})[key] = value
        groups = [
            {
                "parameters": [names[parameter] for parameter in group["params"]],
                "options": {
                    key: value.item() if isinstance(value, Tensor) else value
                    for key, value in group.items()
                    if key != "params"
                },
            }
            for group in optimizer.param_groups
        ]
        descriptions.append({"groups": groups, "values": values})
    return tensors, descriptions


def write_tensors(tensors: Mapping[str, Tensor], directory: Path, *, distributed: bool) -> None:
    """Writes `tensors` as safetensors, each rank its own shards, every file flushed to the disk."""
    stored = {name: tensor.contiguous() for name, tensor in tensors.items()}
    writer = HuggingFaceStorageWriter(str(directory), save_distributed=True)
    with _quiet():
        save(stored, storage_writer=writer, no_dist=not distributed)


def read_module(module: nn.Module, directory: Path, *, distributed: bool) -> None:
    """Puts the parameters and buffers stored in `directory` into `module`.

    Raises:
        TrainingError: they are of another module.
    """
    targets = model_tensors(module)
    _expect_fit(targets, _stored(directory), directory)
    _read(targets, directory, distributed=distributed)


def read_run(
    module: nn.Module,
    optimizers: Sequence[Optimizer],
    descriptions: Sequence[Mapping[str, Any]],
    directory: Path,
    *,
    distributed: bool,
) -> None:
    """Puts a whole run, as `run_tensors` described it, into `module` and `optimizers`.

    Raises:
        TrainingError: it is of another module, or of other optimizers.
    """
    stored = _stored(directory)
    targets = model_tensors(module)
    _expect_fit(targets, stored, directory)
    parameters = {name: parameter for parameter, name in _parameter_names(module).items()}
    _expect_groups(optimizers, descriptions, parameters, directory)
    states = [
        _empty_state(index, optimizer, parameters, stored) for index, optimizer in enumerate(optimizers)
    ]
    for index, state in enumerate(states):
        for name, entries in state.items():
            targets.update({_state_name(index, name, key): tensor for key, tensor in entries.items()})
    _read(targets, directory, distributed=distributed)
    for optimizer, description, state in zip(optimizers, descriptions, states, strict=True):
        optimizer.state.clear()
        for name in state.keys() | description["values"].keys():
            optimizer.state[parameters[name]] = state.get(name, {}) | description["values"].get(name, {})
        for group, saved in zip(optimizer.param_groups, description["groups"], strict=True):
            _restore_options(group, saved["options"])


def _thaws(parameter: nn.Parameter) -> bool:
    """Whether a method has frozen it for a while only."""
    return bool(getattr(parameter, "thaws", False))


def _parameter_names(module: nn.Module) -> dict[Tensor, str]:
    entries = module.state_dict(keep_vars=True).items()
    names: dict[Tensor, str] = {}
    for name, tensor in entries:
        if isinstance(tensor, nn.Parameter):
            names.setdefault(tensor, _WRAPPERS.sub("", name))
    return names


def _state_name(index: int, parameter: str, key: str) -> str:
    return f"optimizer.{index}.{parameter}/{key}"


def _empty_state(
    index: int,
    optimizer: Optimizer,
    parameters: Mapping[str, Tensor],
    stored: Mapping[str, TensorStorageMetadata],
) -> dict[str, dict[str, Tensor]]:
    groups = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    state: dict[str, dict[str, Tensor]] = {}
    prefix = _state_name(index, "", "")[:-1]
    for stored_name, metadata in stored.items():
        if stored_name.startswith(prefix):
            name, key = stored_name.removeprefix(prefix).rsplit("/", 1)
            parameter = parameters[name]
            state.setdefault(name, {})[key] = _empty(stored_name, metadata, parameter, groups[parameter])
    return state


def _empty(name: str, metadata: TensorStorageMetadata, parameter: Tensor, group: Mapping[str, Any]) -> Tensor:
    """A tensor to read into: laid out as the parameter where it has its shape, else whole."""
    dtype = metadata.properties.dtype
    if metadata.size == parameter.shape:
        return torch.zeros_like(parameter.detach(), dtype=dtype)
    if len(metadata.size) == 0:  # a counter; fused and capturable steps keep theirs beside the parameter
        beside = group.get("fused") or group.get("capturable")
        return torch.zeros((), dtype=dtype, device=parameter.device if beside else "cpu")
    if isinstance(parameter, DTensor):
        raise TrainingError(
            "This optimizer's state cannot be spread over ranks.",
            where=name,
            value=tuple(metadata.size),
            expected=f"a number, or the parameter's shape {tuple(parameter.shape)}",
            hint="resume on one process, or choose the optimizer adamw",
        )
    return torch.zeros(metadata.size, dtype=dtype, device=parameter.device)


def _restore_options(group: dict[str, Any], saved: Mapping[str, Any]) -> None:
    for key, value in saved.items():
        current = group.get(key)
        if isinstance(current, Tensor):
            current.fill_(value)
        else:
            group[key] = tuple(value) if isinstance(current, tuple) else value


def _stored(directory: Path) -> dict[str, TensorStorageMetadata]:
    metadata = HuggingFaceStorageReader(str(directory)).read_metadata()
    return cast("dict[str, TensorStorageMetadata]", metadata.state_dict_metadata)


def _read(targets: dict[str, Tensor], directory: Path, *, distributed: bool) -> None:
    reader = HuggingFaceStorageReader(str(directory))
    with _quiet(), torch.no_grad():
        load(cast("dict[str, Any]", targets), storage_reader=reader, no_dist=not distributed)


def _expect_fit(
    targets: Mapping[str, Tensor], stored: Mapping[str, TensorStorageMetadata], directory: Path
) -> None:
    ours = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in targets.items()}
    theirs = {
        name: (tuple(metadata.size), metadata.properties.dtype)
        for name, metadata in stored.items()
        if name.startswith("model.")
    }
    differing = [name for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
    if differing:
        name = differing[0]
        raise TrainingError(
            "The checkpoint is of another model.",
            where=f"{directory}: {name.removeprefix('model.')} ({len(differing)} such)",
            value=theirs.get(name, "absent"),
            expected=str(ours.get(name, "absent")),
            hint="move the checkpoints away to start afresh, or resume with the model they are of",
        )


def _expect_groups(
    optimizers: Sequence[Optimizer],
    descriptions: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Tensor],
    directory: Path,
) -> None:
    names = {parameter: name for name, parameter in parameters.items()}
    ours = [
        [[names[parameter] for parameter in group["params"]] for group in optimizer.param_groups]
        for optimizer in optimizers
    ]
    theirs = [[group["parameters"] for group in description["groups"]] for description in descriptions]
    if ours != theirs:
        raise TrainingError(
            "The checkpoint is of other optimizers.",
            where=str(directory),
            value=[[len(group) for group in groups] for groups in theirs],
            expected=f"groups of {[[len(group) for group in groups] for groups in ours]} parameters",
            hint="resume with the settings that the checkpoint was made with",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warning that one process saves alone, which is what we asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield
