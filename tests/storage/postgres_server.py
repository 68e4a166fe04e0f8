"""A PostgreSQL server of its own for the tests: on loopback, with a password, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

PASSWORD = "not-so-secret"
_ACCOUNT = "postgres"
_START_SECONDS = 30


def binaries() -> Path | None:
    """The folder of the newest `initdb` and `postgres` here."""
    on_path = shutil.which("initdb")
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    found = [*([Path(on_path).parent] if on_path else []), *sorted(installed, reverse=True)]
    return next((folder for folder in found if (folder / "postgres").exists()), None)


def reason_to_skip() -> str | None:
    """Why no server can be started here."""
    if binaries() is None:
        return "PostgreSQL is not installed: no initdb on the path or in /usr/lib/postgresql"
    if os.geteuid() != 0:
        return None
    if shutil.which("setpriv") is None:
        return "PostgreSQL refuses to run as root, and there is no setpriv to run it as somebody else"
    try:
        pwd.getpwnam(_ACCOUNT)
    except KeyError:
        return f"PostgreSQL refuses to run as root, and there is no account {_ACCOUNT}"
    return None


@contextmanager
def running() -> Iterator[str]:
    """Starts a server; the URL of its database, whose user may make others."""
    bin_folder = binaries()
    assert bin_folder is not None
    folder = Path(tempfile.mkdtemp(prefix="hanji-postgres-"))
    as_account: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, _ACCOUNT, _ACCOUNT)
        as_account = ["setpriv", "--reuid", _ACCOUNT, "--regid", _ACCOUNT, "--clear-groups"]
    try:
        password, data = folder / "password", folder / "data"
        password.write_text(PASSWORD)
        subprocess.run(
            [
                *as_account, bin_folder / "initdb", "-D", data, "-U", "hanji", "--pwfile", password,
                "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync", "--no-instructions",
            ],
            check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        port = _free_port()
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    *as_account, bin_folder / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1",
                    "-k", "", "-F", "-c", "max_connections=40", "-c", "shared_buffers=8MB",
                ],
                stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip
        try:
            url = f"postgresql://hanji:{PASSWORD}@127.0.0.1:{port}/postgres"
            _wait(url, server, folder / "log")
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown, in its language
            server.wait(_START_SECONDS)
    finally:
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start:\n{log.read_text()}") from None
            time.sleep(0.05)
