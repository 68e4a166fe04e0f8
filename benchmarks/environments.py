"""A virtual environment of its own for each peer, made once, in a cache folder outside the project."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"


def cache_directory() -> Path:
    """`HANJI_BENCHMARKS_CACHE`, or a folder under the user's cache."""
    named = os.environ.get("HANJI_BENCHMARKS_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "hanji-benchmarks"


def peer_environment(name: str, *, constrained: bool = True, without: Sequence[str] = ()) -> Path:
    """The `bin` folder of the environment that `requirements/<name>.txt` describes; made where it is missing.

    The folder's name holds a digest of the requirements and of our constraints: a change of either makes
    a new one, so that both sides always run on the same torch.

    Args:
        constrained: False for a peer that pins other versions than ours by itself, torch's aside.
        without: packages that it asks for, and that are taken away again.
    """
    requirements = Path(__file__).parent / "requirements" / f"{name}.txt"
    constraints = CONSTRAINTS if constrained else Path(os.devnull)
    inputs = (requirements.read_bytes(), constraints.read_bytes(), sys.version.encode())
    digest = hashlib.sha256(b"\0".join(inputs)).hexdigest()[:12]
    directory = cache_directory() / f"{name}-{digest}"
    ready = directory / "ready"
    if not ready.exists():
        print(f"installing the peer {name} into {directory} (once)", file=sys.stderr)
        venv.create(directory, clear=True, with_pip=True)
        install = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "--prefer-binary"]
        index = os.environ.get("TORCH_INDEX_URL")
        extra = ["--extra-index-url", index] if index else []
        subprocess.run([*install, *extra, "-c", constraints, "-r", requirements], check=True)
        if without:
            subprocess.run([*install[:3], "uninstall", "--quiet", "--yes", *without], check=True)
        ready.touch()
    return directory / "bin"
