"""One maker at a time: a lock that the system itself releases when its holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hanji.contracts.errors import ArtifactError


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file `path` while the block runs.

    The lock is the kernel's (flock), so that the file of a process that was killed hinders nobody. The file
    stays and says who held it last.

    Raises:
        ArtifactError: another process holds it; says which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            raise ArtifactError(
                f"{what} is being made by {holder}",
                where=str(path),
                hint="wait for it to end, or stop it: it can be resumed",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
