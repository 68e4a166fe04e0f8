"""What the runner hands to every stage beside its settings and inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from hanji.contracts.errors import HanjiError
from hanji.contracts.progress import Progress, Silent

if TYPE_CHECKING:
    from hanji.artifacts.workspace import Workspace


class Interrupted(HanjiError):
    """The work was asked to stop, and stopped where it can be resumed; the command line exits 143 or 130."""

    exit_code = 143


@dataclass(frozen=True, slots=True)
class StageContext:
    """The surroundings of one stage's work.

    Attributes:
        name: `recipe/stage`.
        seed: where the stage's randomness comes from.
        device: `cpu`, `cuda` or `mps`, already chosen.
        workspace: where artifacts live.
        cache: directory for what can be made again, as token stores; shared by all recipes.
        progress: who is told how far the work is.
        stop: set when the work shall stop at the next safe point; a stage that can be resumed then
            raises `Interrupted`, with what it needs for that in its working directory.
    """

    name: str
    seed: int
    device: str
    workspace: Workspace
    cache: Path
    progress: Progress = field(default_factory=Silent)
    stop: Event = field(default_factory=Event)
