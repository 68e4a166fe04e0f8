"""Checkpoints that are whole or absent: written aside, flushed, summed, renamed; checked before use.

    checkpoints/
      step-00001200/
        shard-00001-model-….safetensors   parameters and optimizer state, one file per rank
        state.json                        optimizer groups, random generators, the loop's own state
        manifest.json                     step, score, SHA-256 of the other files; written last
      step-00001300.tmp/                  being written, or cut off: never read
      step-00001250.corrupt/              did not match its sums when a run resumed; kept to be looked at

Nothing here is pickled, so nothing can run code when it is read. Still, a checkpoint is private to its run
and to the version of this project that wrote it; what others load are the final artifacts.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from hanji.contracts.disk import flush
from hanji.contracts.errors import ResourceError, TrainingError
from hanji.contracts.progress import Progress, Silent
from hanji.training.parallel import Parallel
from hanji.training.random_states import random_states, restore_random_states
from hanji.training.run_state import read_module, read_run, run_tensors, write_tensors

_NAME: Final = re.compile(r"step-(\d{8,})")
_MANIFEST: Final = "manifest.json"
_STATE: Final = "state.json"
_SPARE_BYTES: Final = 1 << 20


class Checkpoints:
    """The checkpoints of one run in one directory. Every rank makes one and calls it in step with the others.

    Args:
        directory: on a file system that all ranks share.
        keep_last: how many of the newest stay.
        keep_best: whether the one with the lowest score stays too.
        parallel: the ranks of the run.
        progress: is told of corrupt checkpoints.
    """

    def __init__(
        self,
        directory: Path,
        *,
        keep_last: int = 2,
        keep_best: bool = True,
        parallel: Parallel | None = None,
        progress: Progress | None = None,
    ) -> None:
        assert keep_last >= 1, "without a last checkpoint there is nothing to resume from"
        self.directory = directory
        self.keep_last = keep_last
        self.keep_best = keep_best
        self.parallel = parallel or Parallel.single()
        self.progress = progress or Silent()
        self.parallel.on_main(self._tidy)

    def steps(self) -> list[int]:
        """The steps that have a complete checkpoint, oldest first; whether they are intact is seen later."""
        found = (_NAME.fullmatch(path.name) for path in self.directory.iterdir() if path.is_dir())
        return sorted(int(match.group(1)) for match in found if match)

    def best(self) -> int | None:
        """The step with the lowest score, the later of equals; None where no checkpoint has one."""
        scores = {step: score for step in self.steps() if (score := self._score(step)) is not None}
        return min(scores, key=lambda step: (scores[step], -step), default=None)

    def save(
        self,
        step: int,
        module: nn.Module,
        optimizers: Sequence[Optimizer],
        state: Mapping[str, Any],
        *,
        score: float | None = None,
    ) -> Path:
        """Writes a checkpoint of everything that the run needs to go on, and removes those no longer kept.

        The states of the random generators are saved too, each rank's own. A checkpoint of the same step is
        replaced.

        Args:
            step: optimizer steps made.
            module: the policy; its learning parameters and buffers are saved.
            optimizers: in the order in which they will be loaded.
            state: what else the loop holds, as JSON; rank 0's is kept.
            score: lower is better (validation loss); not finite counts as none.

        Raises:
            ResourceError: the disk is full or fails. Earlier checkpoints stay, and nothing partial does.
        """
        tensors, descriptions = run_tensors(module, optimizers)
        generators = self.parallel.gather(random_states(self.parallel.device))
        document = {"state": state, "optimizers": descriptions, "random": generators}
        needed = self.parallel.sum({"bytes": sum(_local_bytes(tensor) for tensor in tensors.values())})[
            "bytes"
        ]
        final = self._path(step)
        partial = final.with_name(f"{final.name}.tmp")
        try:
            self._on_main(lambda: self._begin(partial, document, int(needed)))
            with self._disk_errors():
                write_tensors(tensors, partial, distributed=self.parallel.world_size > 1)
            manifest = {"step": step, "score": _finite(score), "files": self._sums(partial)}
            self._on_main(lambda: self._commit(partial, final, manifest))
        except BaseException:
            if self.parallel.main:
                shutil.rmtree(partial, ignore_errors=True)
            raise
        return final

    def load_latest(self, module: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Any] | None:
        """Puts the newest intact checkpoint into `module`, `optimizers` and the random generators.

        Corrupt newer ones are reported and moved aside. The number of ranks may differ from the saved one; a
        rank that was not there keeps its own random generators.

        Returns:
            What `save` was given as `state`; None where there is no checkpoint.

        Raises:
            TrainingError: every checkpoint is corrupt, or they are of another model or optimizer.
        """
        steps = self.parallel.on_main(self.steps)
        if not steps:
            return None
        corrupt: dict[int, str] = {}
        for step in reversed(steps):
            problem = self._problem(self._path(step))
            if problem is None:
                break
            corrupt[step] = problem
        else:
            raise TrainingError(
                "Every checkpoint of this run is corrupt.",
                where=str(self.directory),
                value=corrupt,
                hint="check the disk; remove the directory to train from the start",
            )
        for bad, problem in corrupt.items():
            self.progress.note(
                f"The checkpoint of step {bad} is corrupt ({problem}); step {step} is used instead."
            )
        self.parallel.on_main(lambda: self._set_aside(list(corrupt)))
        path = self._path(step)
        document = json.loads((path / _STATE).read_text(encoding="utf-8"))
        several = self.parallel.world_size > 1
        read_run(module, optimizers, document["optimizers"], path, distributed=several)
        if self.parallel.rank < len(document["random"]):
            restore_random_states(document["random"][self.parallel.rank], self.parallel.device)
        loaded: dict[str, Any] = document["state"]
        return loaded

    def load_best(self, module: nn.Module) -> int | None:
        """Puts the parameters of the best checkpoint into `module`; its step, or None where none has a score.

        Raises:
            TrainingError: it is corrupt, or of another model.
        """
        step = self.parallel.on_main(self.best)
        if step is None:
            return None
        problem = self._problem(self._path(step))
        if problem is not None:
            raise TrainingError(
                "The best checkpoint is corrupt.",
                where=str(self._path(step)),
                value=problem,
                hint="check the disk; train again from the last intact checkpoint",
            )
        read_module(module, self._path(step), distributed=self.parallel.world_size > 1)
        return step

    def _path(self, step: int) -> Path:
        return self.directory / f"step-{step:08d}"

    def _score(self, step: int) -> float | None:
        try:
            score = json.loads((self._path(step) / _MANIFEST).read_text(encoding="utf-8"))["score"]
        except (OSError, ValueError, KeyError, TypeError):
            return None  # corrupt: `load_latest` reports it when it comes to it
        return _finite(score) if isinstance(score, int | float) else None

    def _tidy(self) -> None:
        """Removes what a killed run left half written, and puts back what it was about to replace."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for path in self.directory.glob("step-*.replaced"):
            if path.with_suffix("").exists():
                shutil.rmtree(path)
            else:
                path.rename(path.with_suffix(""))
        for path in self.directory.glob("step-*.tmp"):
            shutil.rmtree(path)

    def _begin(self, partial: Path, document: Mapping[str, Any], needed: int) -> None:
        free = shutil.disk_usage(self.directory).free
        if free < needed + _SPARE_BYTES:
            raise OSError(errno.ENOSPC, f"{needed:,} bytes are needed, {free:,} are free")
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        _write_flushed(partial / _STATE, document)

    def _commit(self, partial: Path, final: Path, manifest: Mapping[str, Any]) -> None:
        _write_flushed(partial / _MANIFEST, manifest)
        flush(partial)
        replaced = final.with_name(f"{final.name}.replaced")
        if final.exists():
            final.rename(replaced)
        partial.rename(final)
        flush(self.directory)
        shutil.rmtree(replaced, ignore_errors=True)
        kept = set(self.steps()[-self.keep_last :])
        if self.keep_best:
            kept.add(self.best() or 0)
        for step in set(self.steps()) - kept:
            doomed = self._path(step).with_suffix(".tmp")  # half removed must not look whole
            self._path(step).rename(doomed)
            shutil.rmtree(doomed)

    def _set_aside(self, steps: Sequence[int]) -> None:
        for step in steps:
            aside = self._path(step).with_suffix(".corrupt")
            shutil.rmtree(aside, ignore_errors=True)
            self._path(step).rename(aside)

    def _sums(self, directory: Path) -> dict[str, str]:
        """SHA-256 of each file but the manifest, the work shared out over ranks."""
        names = self.parallel.on_main(lambda: sorted(path.name for path in directory.iterdir()))
        own = [name for name in names if name != _MANIFEST][self.parallel.rank :: self.parallel.world_size]
        sums: dict[str, str] = {}
        for part in self.parallel.gather({name: _sum(directory / name) for name in own}):
            sums.update(part)
        return sums

    def _problem(self, path: Path) -> str | None:
        """What is wrong with a checkpoint; None where it is as it was written."""

        def expected_sums() -> dict[str, str] | str:
            try:
                files = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))["files"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                return f"{_MANIFEST} cannot be read: {error}"
            return dict(files)

        expected = self.parallel.on_main(expected_sums)
        if isinstance(expected, str):
            return expected
        found = self._sums(path)
        for name, wanted in expected.items():
            if name not in found:
                return f"{name} is missing"
            if found[name] != wanted:
                return f"{name} does not match its checksum"
        return None

    def _on_main(self, work: Callable[[], None]) -> None:
        self.parallel.on_main(self._disk_errors()(work))

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Says what to do when the disk fails, on whichever rank it failed."""
        try:
            yield
        except CheckpointException as failures:
            causes = [error for error, _ in failures.failures.values()]
            on_disk = next((error for error in causes if isinstance(error, OSError)), None)
            if on_disk is None:
                raise causes[0] from failures
            raise self._disk_error(on_disk) from failures
        except OSError as error:
            raise self._disk_error(error) from error

    def _disk_error(self, error: OSError) -> ResourceError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space or lower train.keep_last" if full else "check the disk"
        return ResourceError(
            "The disk is full: the checkpoint was not written."
            if full
            else "The checkpoint could not be written.",
            where=str(self.directory),
            value=str(error),
            expected="room for one more checkpoint beside those that are kept" if full else None,
            hint=f"{remedy}, then run again: it resumes from the last checkpoint",
        )


def _finite(score: float | None) -> float | None:
    return None if score is None or not math.isfinite(score) else float(score)


def _local_bytes(tensor: Tensor) -> int:
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).nbytes


def _sum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error}"


def _write_flushed(path: Path, document: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
