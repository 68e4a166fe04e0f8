"""Hugging Face's hub, for whoever loads something by its id."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies


def offline_if_unreachable() -> None:
    """Where the hub's host has no address here, only what is kept on this machine is loaded, and at once.

    Its library would ask six times, with lines of its own, for half a minute. What HF_HUB_OFFLINE says stays.
    """
    from huggingface_hub import constants

    if "HF_HUB_OFFLINE" not in os.environ and "TRANSFORMERS_OFFLINE" not in os.environ:
        constants.HF_HUB_OFFLINE = not (getproxies() or _has_address(urlsplit(constants.ENDPOINT).hostname))


def _has_address(host: str | None) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False
