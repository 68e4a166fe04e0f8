"""What a service does by itself, every so often: aliases are followed, and the use of keys is noted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from hanji.serving.models import Models, Start
from hanji.serving.own_thread import in_own_thread
from hanji.storage.aliases import Aliases
from hanji.storage.keys import Keys

log = logging.getLogger(__name__)

FOLLOW_SECONDS: Final = 1.0
NOTE_SECONDS: Final = 60.0


class Chore(Protocol):
    """Something to be done again and again, and once more at the end where `at_end` says so."""

    @property
    def every_seconds(self) -> float: ...
    @property
    def at_end(self) -> bool: ...

    async def __call__(self) -> None: ...


@asynccontextmanager
async def doing(chores: Sequence[Chore]) -> AsyncIterator[None]:
    """Does them while the block runs; one that fails is tried again at its next time."""
    tasks = [asyncio.create_task(_repeat(chore)) for chore in chores]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for chore in chores:
            if chore.at_end:
                await _once(chore)


async def _repeat(chore: Chore) -> None:
    while True:
        await asyncio.sleep(chore.every_seconds)
        await _once(chore)


async def _once(chore: Chore) -> None:
    try:
        await chore()
    except Exception as error:
        log.error("%s: %s", type(chore).__name__, error)


@dataclass(slots=True)
class NoteKeys:
    """Writes when keys were last used."""

    keys: Keys
    every_seconds: float = NOTE_SECONDS
    at_end: bool = True

    async def __call__(self) -> None:
        """Once."""
        await asyncio.to_thread(self.keys.write_last_used)


@dataclass(slots=True)
class FollowAliases:
    """Has names that are aliases answered by what they stand for now.

    Attributes:
        standing: the artifact of each alias that is served, when the service began.
        load: loads an artifact, and says how it comes to answer to a name. One that cannot be loaded is not
            tried again; what was there before goes on.
    """

    models: Models
    aliases: Aliases
    standing: dict[str, str]
    load: Callable[[str, str], Start]
    every_seconds: float = FOLLOW_SECONDS
    at_end: bool = False

    async def __call__(self) -> None:
        """Once."""
        now: Mapping[str, str] = {
            alias: found.artifact for alias, found in (await asyncio.to_thread(self.aliases.current)).items()
        }
        for alias, before in list(self.standing.items()):
            artifact = now.get(alias, before)
            if artifact == before:
                continue
            self.standing[alias] = artifact
            try:
                begin = await asyncio.to_thread(in_own_thread, partial(self.load, alias, artifact))
                await self.models.replace(alias, begin)
            except Exception as error:
                log.error("%s still stands for %s: %s", alias, before, error)
            else:
                log.info("%s now stands for %s", alias, artifact)
