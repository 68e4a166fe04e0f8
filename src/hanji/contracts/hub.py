"""Hugging Face's hub, for whoever loads something by its id."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from hanji.contracts.errors import ModelError


def offline_if_unreachable() -> None:
    """Where the hub's host has no address here, only what is kept on this machine is loaded, and at once.

    Its library would ask six times, with lines of its own, for half a minute. What HF_HUB_OFFLINE says stays.
    """
    from huggingface_hub import constants

    if "HF_HUB_OFFLINE" not in os.environ and "TRANSFORMERS_OFFLINE" not in os.environ:
        constants.HF_HUB_OFFLINE = not (getproxies() or _has_address(urlsplit(constants.ENDPOINT).hostname))


def cannot_load(problem: str, source: str, error: Exception, *, expected: str) -> ModelError:
    """What is said of a directory, file or hub id that nothing could be loaded from.

    Args:
        error: of the library that tried; its first line is the reason.
    """
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    there = "see that all of its files are whole, or take it from where it came from once more"
    elsewhere = (
        "see that the name is right; where the hub cannot be reached, fetch it elsewhere (hf download NAME "
        "--local-dir DIRECTORY), bring the directory here and name that"
    )
    return ModelError(
        f"{problem}: {reason[:300]}", where=source, expected=expected,
        hint=there if Path(source).exists() else elsewhere,
    )  # fmt: skip


def _has_address(host: str | None) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False
